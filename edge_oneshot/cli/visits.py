"""`edge-oneshot visits`: what was recorded of visits, and who it was."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json
from edge_oneshot.control import requests as rq
from edge_oneshot.control.review import RESULTS, Filter, LabelRecord, VisitRecord

WORDS = {
    "match": "recognized",
    "denied": "denied",
    "unknown": "unknown",
    "rejected": "undecided",
    "nothing": "not reported",
}
OUTCOMES = {
    "right": "right",
    "missed": "missed",
    "wrong_name": "wrong name",
    "false_match": "false match",
    "unclear": "",
}


@click.group()
def visits() -> None:
    """List visits with the reason for each result, say who a visitor was, and manage the pictures of visits."""


def _day(ctx: click.Context, param: click.Parameter, value: datetime | None) -> object:
    return None if value is None else value.date()


@visits.command("list")
@click.option("--person", metavar="NAME", help="Only visits of this enrolled person (name or identity).")
@click.option("--result", type=click.Choice(RESULTS), help="Only visits with this result; nothing: not reported.")
@click.option(
    "--day",
    type=click.DateTime(("%Y-%m-%d",)),
    callback=_day,
    metavar="YYYY-MM-DD",
    help="Only visits of this day, in local time.",
)
@click.option("--todo", is_flag=True, help="Only visits that were drawn at random and have no answer yet.")
@click.option("--count", type=click.IntRange(min=1), default=30, help="List at most this number of visits.")
@json_option
@click.pass_context
def list_(
    ctx: click.Context, person: str | None, result: str | None, day: None, todo: bool, count: int, as_json: bool
) -> None:
    """List visits, newest first."""
    config = find_config(ctx)
    names = {p.identity: p.name for p in perform(config, rq.List()).identities}
    identity = perform(config, rq.Show(name=person)).identity if person else ""
    chosen = Filter(person=identity, result=result or "", day=day, todo=todo)
    found = perform(config, rq.Visits())
    shown = [v for v in found.visits if chosen.passes(v)][:count]
    if as_json:
        print_json(shown)
        return
    for v in shown:
        click.echo(_line(v, names))
    if not shown:
        click.echo("no such visit is recorded", err=True)
    if found.pictures is not None:
        kept = found.pictures
        click.echo(
            f"pictures of visits are kept for {kept.days} days: {kept.kept}, {kept.size_bytes / 1e6:.1f} MB", err=True
        )
    if found.fault:
        click.echo(f"records of visits cannot be written: {found.fault}", err=True)


def _line(v: VisitRecord, names: dict[str, str]) -> str:
    at = datetime.fromisoformat(v.first_at).astimezone()
    who = names.get(v.identity, v.identity) if v.identity else "-"
    score = "" if v.score is None or v.threshold is None else f"score {v.score:.2f}, needs {v.threshold:.2f}"
    note = (
        "  in sight" if v.in_sight else f"  {_said(v.label, names)}" if v.label else "  who was it?" if v.asked else ""
    )
    return f"{v.visit:22} {at:%Y-%m-%d %H:%M:%S}  {WORDS[v.result]:12} {who:20} {score}{note}"


def _said(label: LabelRecord, names: dict[str, str]) -> str:
    """What was said about a visit."""
    if label.who == "person":
        name = (
            "a person who has since been removed"
            if label.identity is None
            else names.get(label.identity, label.identity)
        )
    else:
        name = {"stranger": "not enrolled", "unclear": "cannot tell"}[label.who]
    outcome = OUTCOMES[label.outcome]
    return f"answer: {name}" + (f" ({outcome})" if outcome else "")


@visits.command()
@click.argument("visit")
@json_option
@click.pass_context
def show(ctx: click.Context, visit: str, as_json: bool) -> None:
    """Show why a visit was reported as it was. The output names candidates who did not match: keep it confidential."""
    from edge_oneshot.cli.explain import print_track

    config = find_config(ctx)
    found = _find(perform(config, rq.Visits()).visits, visit)
    if as_json:
        print_json(found)
        return
    names = {p.identity: p.name for p in perform(config, rq.List()).identities}
    click.echo(_line(found, names))
    for track in found.tracks:
        print_track(track)
    for picture in found.pictures:
        click.echo(f"picture: edge-oneshot visits picture {picture} FILE.jpg")


def _find(found: list[VisitRecord], visit: str) -> VisitRecord:
    from edge_oneshot.errors import ControlError

    for v in found:
        if v.visit == visit:
            return v
    raise ControlError(f"no visit {visit!r} is recorded", "`edge-oneshot visits list` lists the recorded visits")


COUNTS = "the answer counts for the error rates of this door"
NOT_COUNTED = "the answer does not count for the error rates of this door: this visit was not drawn at random"


@visits.command()
@click.argument("visit")
@click.option("--person", metavar="NAME", help="The visitor was this enrolled person (name or identity).")
@click.option("--stranger", "who", flag_value="stranger", help="The visitor is not enrolled.")
@click.option("--unclear", "who", flag_value="unclear", help="You cannot tell who it was.")
@click.option("--remove", "who", flag_value="none", help="Remove the answer.")
@click.option("--add-template", is_flag=True, help="With --person: add a template from the picture of the visit.")
@json_option
@click.pass_context
def label(
    ctx: click.Context, visit: str, person: str | None, who: str | None, add_template: bool, as_json: bool
) -> None:
    """Say who a visitor was. This changes no template and no result. `edge-oneshot evaluate door` counts
    the answers about visits that were drawn at random (`visits list --todo`).

    --add-template checks the picture as an enrollment does: quality gates, and whether it resembles another person.
    """
    if bool(person) == bool(who) or (add_template and not person):
        raise click.UsageError(
            "give one of --person NAME, --stranger, --unclear, --remove; --add-template needs --person"
        )
    config = find_config(ctx)
    said = perform(config, rq.Label(visit=visit, who=who or "person", person=person))  # type: ignore[arg-type]
    if add_template:
        _add_template(ctx, said.pictures, said.label.identity if said.label else None, said.name or "")
    if as_json:
        print_json(said)
    elif said.label is None:
        click.echo("the answer was removed")
    else:
        click.echo(_said(said.label, {said.label.identity or "": said.name or ""}))
        click.echo(COUNTS if said.counts else NOT_COUNTED, err=True)


def _add_template(ctx: click.Context, pictures: list[str], identity: str | None, name: str) -> None:
    from edge_oneshot.errors import EnrollmentError

    config = find_config(ctx)
    if not pictures:
        raise EnrollmentError(
            "no template was added: expected a kept picture of this visit, got none",
            "enroll at the camera with `edge-oneshot enroll --add`; visits.pictures keeps pictures of later visits",
        )
    jpeg = perform(config, rq.VisitPicture(picture=pictures[-1])).jpeg
    request = rq.Enroll(name=name, id=identity, image=jpeg, source="the picture of the visit", add=True, dry_run=True)
    checked = perform(config, request)
    if checked.look_alike is not None or checked.unlike:
        other = "the person's own templates" if checked.look_alike is None else checked.look_alike.identity
        reason = "resembles" if checked.look_alike is not None else "does not match"
        raise EnrollmentError(
            f"no template was added to {name}: the picture {reason} {other}", "use another capture, or check who it was"
        )
    perform(config, rq.Enroll(name=name, id=identity, image=jpeg, source="the picture of the visit", add=True))
    click.echo(f"added a template to {name}", err=True)


@visits.command()
@click.argument("picture")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.pass_context
def picture(ctx: click.Context, picture: str, file: Path) -> None:
    """Write a picture of a visit to FILE (JPEG), which only you can read. PICTURE is printed by `visits show`."""
    from edge_oneshot.cli.draw import write

    jpeg = perform(find_config(ctx), rq.VisitPicture(picture=picture)).jpeg
    write(jpeg, file)
    click.echo(f"wrote {file}", err=True)


@visits.command("erase-pictures")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@click.pass_context
def erase_pictures(ctx: click.Context, yes: bool, as_json: bool) -> None:
    """Erase all pictures of visits. To keep no new ones, set visits.pictures = false and reload."""
    if not yes:
        click.confirm("Erase all pictures of visits?", abort=True, err=True)
    r = perform(find_config(ctx), rq.ErasePictures())
    print_json(r) if as_json else click.echo(f"erased {r.erased} pictures")
