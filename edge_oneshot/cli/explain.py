"""`edge-oneshot explain`: why tracks were published as they were, or not."""

from __future__ import annotations

import re
from typing import Any

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json
from edge_oneshot.control.requests import Explain

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def span(ctx: click.Context, param: click.Parameter, value: str | None) -> float | None:
    """A span of time such as 90s, 10m, 2h, 1d, at most a year; as seconds."""
    if value is None:
        return None
    found = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)([smhd])", value)
    seconds = float(found[1]) * UNITS[found[2]] if found else 0.0
    if not 0 < seconds <= 366 * 86400:
        raise click.BadParameter(f"expected a span such as 90s, 10m, 2h or 1d, got {value!r}", ctx, param)
    return seconds


@click.command()
@click.option("--last", "last_s", callback=span, metavar="SPAN", help="Tracks seen within the last 90s, 10m, 2h, 1d.")
@click.option("--event", "event_id", metavar="ID", help="The track that this event came from.")
@json_option
@click.pass_context
def explain(ctx: click.Context, last_s: float | None, event_id: str | None, as_json: bool) -> None:
    """Show for each track what was seen, the best candidates, the frames that a gate refused, and why it was published or not.

    Without options: the last 10 minutes. The output names candidates who did not match: keep it confidential.
    """
    if last_s is None and event_id is None:
        last_s = 600.0
    r = perform(find_config(ctx), Explain(last_s=last_s, event_id=event_id))
    if as_json:
        print_json(r)
        return
    for t in r.tracks:
        print_track(t)
    if not r.tracks:
        click.echo(
            "no such track is recorded" if r.kept else "no tracks are recorded: decision.explain_tracks is 0", err=True
        )
    if r.fault:
        click.echo(f"track records cannot be written: {r.fault}", err=True)


def print_track(t: dict[str, Any]) -> None:
    published = ", ".join(e["event_type"] for e in t["events"]) or "nothing"
    here = " (in sight)" if t.get("in_sight") else ""
    click.echo(f"track {t['track']}  {t['first_at'][11:19]} to {t['last_at'][11:19]} UTC{here}  published: {published}")
    click.echo(
        f"  {t['frames']} frames, {t['compared']} compared"
        + "".join(f"; {code}: {r['frames']} refused ({r['last']})" for code, r in t["refused"].items())
    )
    if t["best"]:
        second = (
            f", second {t['second']['identity'] or 'a person removed since'} {t['second']['score']:.3f}"
            if t["second"]
            else ""
        )
        best = t["best"]["identity"] or "a person removed since"
        click.echo(f"  best {best} {t['best']['score']:.3f}{second}, threshold {t['threshold']:.3f}")
    pad = t.get("pad") or {"decision": "not_performed"}
    if pad["decision"] != "not_performed":
        click.echo(f"  presentation attack detection: {pad['decision']}, score {pad['score']:.3g} by {pad['method']}")
    click.echo(f"  {t['why']}")
