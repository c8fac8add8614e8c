"""`edge-oneshot gallery`: the enrolled people."""

from __future__ import annotations

import click

from edge_oneshot.cli import as_called, gallery_files
from edge_oneshot.cli.access import words as access_words
from edge_oneshot.cli.common import adaptation_words, door_words, find_config, json_option, perform, print_json, words
from edge_oneshot.control import requests as rq
from edge_oneshot.control.parts import AlikePair, OldEncoder
from edge_oneshot.control.responses import Checked

AGAIN = "edge-oneshot enroll --name … --id {} --replace"


@click.group()
def gallery() -> None:
    """List, show, rename, merge, ignore, remove, check, export and import people; seal what is stored about them."""


for command in gallery_files.COMMANDS:
    gallery.add_command(command)


@gallery.command("list")
@json_option
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List the enrolled people."""
    people = perform(find_config(ctx), rq.List()).identities
    if as_json:
        print_json(people)
        return
    for p in people:
        note = "  must be enrolled again (template of an unknown encoder)" if p.needs_enrollment else ""
        note = "  old template: enroll again" if p.old_template else note
        note += "  no error rate can be stated" if p.no_rate else ""
        note += f"  denied here now ({p.denied})" if p.denied else "  has access rules" if p.access else ""
        click.echo(f"{p.identity:20} {p.name:24} since {p.created_at[:10]}{note}")
    if not people:
        click.echo(as_called("the gallery is empty; enroll a person with `edge-oneshot enroll --name NAME`"), err=True)


@gallery.command()
@click.argument("name")
@json_option
@click.pass_context
def show(ctx: click.Context, name: str, as_json: bool) -> None:
    """Show the templates of a person. NAME is a name or an identity."""
    p = perform(find_config(ctx), rq.Show(name=name))
    if as_json:
        print_json(p)
        return
    click.echo(f"{p.name} ({p.identity}), enrolled {p.created_at[:19]}")
    if p.no_rate:
        click.echo('no error rate can be stated for this person; match events carry "rate": "none"')
    if p.access:
        click.echo(f"access: {access_words(p.access)}" + (f"; denied here now ({p.denied})" if p.denied else ""))
    for t in p.details:
        state = "in use" if t.comparable else "of an unknown encoder, not compared"
        state = "in use, old: enroll again" if t.comparable and p.old_template else state
        measures = ", ".join(f"{key} {value:g}" for key, value in t.quality.items())
        click.echo(f"  {t.template_id[:8]}  {t.created_at[:19]}  {state}  {measures}")


@gallery.command()
@click.argument("name")
@click.argument("new_name")
@json_option
@click.pass_context
def rename(ctx: click.Context, name: str, new_name: str, as_json: bool) -> None:
    """Change the name of a person; the identity in topics stays."""
    r = perform(find_config(ctx), rq.Rename(name=name, to=new_name))
    print_json(r) if as_json else click.echo(f"renamed {r.before} to {r.name} (identity {r.identity} is unchanged)")


@gallery.command()
@click.argument("name")
@click.argument("into")
@click.option("--force", is_flag=True, help="Merge two people although they do not match each other.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@click.pass_context
def merge(ctx: click.Context, name: str, into: str, force: bool, yes: bool, as_json: bool) -> None:
    """Give the templates of NAME to INTO, the same person, and remove NAME."""
    if not yes:
        click.confirm(f"Give the templates of {name} to {into}, and remove {name}?", abort=True, err=True)
    r = perform(find_config(ctx), rq.Merge(name=name, into=into, force=force))
    print_json(r) if as_json else click.echo(
        f"removed {r.removed}; {r.name} ({r.identity}) has {r.templates} templates"
    )


@gallery.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@click.pass_context
def remove(ctx: click.Context, name: str, yes: bool, as_json: bool) -> None:
    """Remove a person and overwrite the stored templates."""
    if not yes:
        click.confirm(f"Remove {name}?", abort=True, err=True)
    r = perform(find_config(ctx), rq.Forget(name=name))
    print_json(r) if as_json else click.echo(f"removed {r.name} ({r.identity})")


@gallery.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="Publish events of the person again.")
@json_option
@click.pass_context
def ignore(ctx: click.Context, name: str, off: bool, as_json: bool) -> None:
    """Publish no event of a person at this camera. Visits are still recorded and counted."""
    r = perform(find_config(ctx), rq.Ignore(name=name, on=not off))
    state = "ignored: no event is published" if r.ignored else "no longer ignored"
    print_json(r) if as_json else click.echo(f"{r.name} ({r.identity}) is {state}")


@gallery.command(short_help="Find stale templates and look-alike pairs.")
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Find people who should be enrolled again, and pairs who would match each other."""
    r = perform(find_config(ctx), rq.Check())
    if as_json:
        print_json(r)
        return
    click.echo(f"{r.identities} people, {r.templates} templates, threshold {r.threshold:.3f}")
    if r.rate is not None:
        click.echo(f"stated: {words(r.rate)}")
    if r.door is not None:
        click.echo(door_words(r.door, r.rate))
    if r.adaptation is not None:
        click.echo(adaptation_words(r.adaptation))
    _print_findings(r)
    current = " with a template of the current encoder" if r.old_encoders else ""
    for state, word in zip(r.growth or (), ("now", "with 100 more people"), strict=False):
        missed = "" if state.fnir is None else f", {100 * state.fnir:.1f} % of enrolled people's captures are missed"
        beyond = " (extrapolated beyond the cohort)" if state.extrapolated else ""
        matched = r.rate is not None and r.rate.against == "matched" and state.everybody_fpir is not None
        anybody = f" ({100 * (state.everybody_fpir or 0.0):.2g} % of anybody's)" if matched else ""
        whose = "matched strangers'" if matched else "strangers'"
        click.echo(
            f"expected {word}: {state.identities} people{current}, threshold {state.threshold:.3f}{beyond}: "
            f"{100 * state.fpir:.2g} % of {whose} captures{anybody} match an enrolled person{missed}"
        )


def _print_findings(r: Checked) -> None:
    for identity in r.needs_enrollment:
        click.echo(
            f"enroll again: {identity} (template of an unknown encoder, not compared): {as_called(AGAIN).format(identity)}"
        )
    for old in r.old_encoders or ():
        _print_old(old)
    for identity in r.no_rate:
        click.echo(f'no rate: {identity}: no error rate can be stated; match events carry "rate": "none"')
    for pair in r.look_alikes:
        limit = "" if pair.apart_at is None else f", threshold {r.threshold:.3f}"
        click.echo(
            f"look-alikes: {' and '.join(pair.identities)}: score {pair.score:.3f}{limit}: they match each other"
            f"{_cost(pair, r.fnmr)}. {as_called('If they are one person: edge-oneshot gallery merge')} {' '.join(pair.identities)}"
        )
    if not (r.needs_enrollment or r.look_alikes or r.old_encoders or r.no_rate):
        click.echo("no problem found")


def _print_old(old: OldEncoder) -> None:
    """One encoder of old templates, and the people whom it compares."""
    matched = old.rate is not None and old.rate.against == "matched"
    whose = "matched strangers'" if matched else "strangers'"
    found = "" if old.growth is None else f": {100 * old.growth.fpir:.2g} % of {whose} captures match one of them"
    click.echo(f"{len(old.identities)} people are compared by {old.encoder}, threshold {old.threshold:.3f}{found}")
    if old.rate is not None:
        click.echo(f"stated for them: {words(old.rate)}")
    until = "" if old.until is None else f"; releases up to {old.until} contain this encoder"
    if len(old.can_migrate) < len(old.identities):
        click.echo(f"without kept captures, only a new enrollment replaces an old template{until}")
    for identity in old.identities:
        fix = as_called("edge-oneshot gallery migrate" if identity in old.can_migrate else AGAIN).format(identity)
        click.echo(f"old template: {identity}: {fix}")


@gallery.command(short_help="Replace old templates, from kept captures.")
@json_option
@click.pass_context
def migrate(ctx: click.Context, as_json: bool) -> None:
    """Replace the templates of an old encoder by templates of the current one, made from kept captures (gallery.keep_capture).

    Each person is compared by the old template until the new one is stored. If the command is interrupted, run it again.
    People without kept captures must be enrolled again.
    """
    config, done, no_rate = find_config(ctx), list[str](), list[str]()
    while True:
        r = perform(config, rq.Migrate())
        done += r.identities
        no_rate += r.no_rate
        if not (r.left and r.identities):
            break
        click.echo(f"{len(done)} people migrated, {r.left} left", err=True)
    if as_json:
        print_json({"identities": done, "needs_enrollment": r.needs_enrollment, "no_rate": no_rate})
        return
    if done or r.needs_enrollment:
        click.echo(f"migrated {len(done)} people")
    else:
        click.echo("nothing to migrate: every template is of the current encoder")
    for identity in no_rate:
        click.echo(f"no rate: {identity}: no error rate can be stated", err=True)
    for identity in r.needs_enrollment:
        click.echo(f"enroll again: {identity} (no kept captures): {AGAIN.format(identity)}", err=True)


def _cost(pair: AlikePair, fnmr: float | None) -> str:
    """What a threshold that separates the pair would cost."""
    if pair.apart_at is None:
        return ""
    cost = "" if pair.fnmr is None else f" and misses {100 * pair.fnmr:.3g} % of enrolled people's captures"
    today = "" if pair.fnmr is None or fnmr is None else f" (today {100 * fnmr:.3g} %)"
    return f"; a threshold of {pair.apart_at:.4f} separates these templates{cost}{today}"


@gallery.command("reset-door", short_help="Erase the measurement of this door.")
@json_option
@click.pass_context
def reset_door(ctx: click.Context, as_json: bool) -> None:
    """Erase the scores of this door's visitors, and take back the raise of the threshold. Measuring begins again.

    Use it after the camera was moved or replaced, or after someone with a twin at this door was removed.
    """
    r = perform(find_config(ctx), rq.ResetDoor())
    print_json(r) if as_json else click.echo(f"erased the counts of {r.visits} visits; threshold {r.threshold:.3f}")


@gallery.command("reset-adaptation", short_help="Erase what was learned of this site's strangers.")
@json_option
@click.pass_context
def reset_adaptation(ctx: click.Context, as_json: bool) -> None:
    """Erase what decision.adapt has learned of this site's strangers. Learning begins again with the next visit.

    Use it after the camera was moved or replaced.
    """
    r = perform(find_config(ctx), rq.ResetAdaptation())
    print_json(r) if as_json else click.echo(f"erased what {r.visits} visits had taught")
