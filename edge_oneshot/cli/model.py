"""`edge-oneshot model`: show, check and trust a model bundle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import find_config, json_option, print_json
from edge_oneshot.shown import plain

if TYPE_CHECKING:
    from edge_oneshot.model.card import CohortScores


@click.group()
def model() -> None:
    """Show, check and trust model bundles."""


@model.command(short_help="Show the card of a bundle.")
@click.argument("bundle", required=False, default="")
@json_option
@click.pass_context
def info(ctx: click.Context, bundle: str, as_json: bool) -> None:
    """Show the card of BUNDLE: a file or the name of a shipped bundle. Default: the configured encoder."""
    from edge_oneshot.model.bundle import find_bundle, read_bundle, split
    from edge_oneshot.model.card import EncoderCard, LandmarkCard

    b = read_bundle(find_bundle(bundle or find_config(ctx).model.encoder, "encoder"))
    if as_json:
        print_json({"path": str(b.path), "encoder_id": b.encoder_id, "card": split(b.path.read_bytes(), b.path)[1]})
        return
    c = b.card
    lines = {
        "bundle": f"{c.name} {c.version} ({c.kind}), {len(b.model)} bytes",
        "about": c.description,
        "file": b.path,
        "input": f"{c.input.width_px}x{c.input.height_px} px, {c.input.colour}",
        "source": c.provenance["source"],
        "licence": c.provenance["licence"],
        "trained on": c.provenance["training_data"],
    }
    if isinstance(c, EncoderCard):
        lines |= {
            "encoder_id": b.encoder_id,
            "regions": c.regions,
            "embedding": f"{c.dimension} values, compared by {c.comparator.kind}"
            + ("; mean of the picture and its mirror image" if c.mirror else ""),
            "certified": "yes" if c.certified else "no: what quantization cost it was not measured",
        }
    if isinstance(c, LandmarkCard):
        lines["landmarks"] = ", ".join(c.points)
    for key, value in lines.items():
        click.echo(plain(f"{key + ':':12} {value}"))
    if isinstance(c, EncoderCard) and c.thresholds is not None:
        t = c.thresholds
        click.echo(plain(f"thresholds:  {t.protocol}"))
        click.echo(
            f"             {t.identities} identities, {t.mated_pairs} mated and {t.non_mated_pairs} non-mated pairs"
        )
        for p in t.points:
            interval = "" if p.ci95 is None else f"  95 % interval {p.ci95[0]:.3f} to {p.ci95[1]:.3f}"
            rate = "" if p.tar is None else f"  TAR {100 * p.tar:.2f} %"
            click.echo(f"             FMR {p.fmr:<8g} threshold {p.threshold:.3f}{rate}{interval}")
    if isinstance(c, EncoderCard) and c.cohort is not None:
        for line in _strangers(c.cohort):
            click.echo(plain(line))


def _strangers(cohort: CohortScores) -> list[str]:
    """Whom a rate is kept against by default, and the rate of each group at that threshold."""
    from edge_oneshot.matching.cohort import fmr_at, fnmr_at
    from edge_oneshot.matching.threshold import MIN_GROUP, NO_GROUPS, Target, deciding_groups, threshold_for

    if not deciding_groups(cohort):
        return [f"strangers:   {NO_GROUPS}"]
    lines = ["strangers:   matched by default: adults of the same sex; the group with the highest threshold decides"]
    for fmr in (1e-2, 1e-3, 1e-4):
        t = threshold_for(Target(fmr=fmr), None, cohort, ())
        missed = fnmr_at(cohort, t.value)
        tar = "" if missed is None else f"  TAR {100 * (1 - missed):.1f} %"
        beyond = " (extrapolated)" if t.extrapolated else ""
        lines.append(
            f"             FMR {fmr:<8g} threshold {t.value:.3f}{beyond}{tar}  decided by {t.rate.group}  "
            f"everybody {t.rate.everybody_fmr:g}"
        )
        rates = (f"{name} {fmr_at(group, t.value):.2g}" for name, group in cohort.groups.items())
        lines.append(f"               {', '.join(rates)}")
    sizes = (
        f"{name} {group.identities}" + ("" if group.identities >= MIN_GROUP else " (does not decide)")
        for name, group in cohort.groups.items()
    )
    return [*lines, f"             people: {', '.join(sizes)}"]


@model.command(name="check")
@click.argument("bundle", required=False, default="")
@click.pass_context
def check_(ctx: click.Context, bundle: str) -> None:
    """Load BUNDLE in a separate process, compare it with its card, and run it on four pictures.

    A shipped encoder must also give the stored result for two drawn faces: this finds a processor or a runtime that computes wrongly.
    """
    from edge_oneshot.model.bundle import find_bundle
    from edge_oneshot.recognition.checked import check

    config = find_config(ctx)
    path = find_bundle(bundle or config.model.encoder, "encoder")
    found = check(path, config)
    click.echo(f"{path}: the model agrees with its card and returns {found.result}{_without_thresholds(path)}")


def _without_thresholds(path: Path) -> str:
    from edge_oneshot.model.bundle import read_bundle
    from edge_oneshot.model.card import EncoderCard

    card = read_bundle(path).card
    if not isinstance(card, EncoderCard) or card.thresholds is not None or card.cohort is not None:
        return ""
    return ". It has no thresholds: `enroll` refuses it unless decision.threshold or model.cohort is set"


@model.command(name="trust")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.pass_context
def trust_(ctx: click.Context, bundle: Path) -> None:
    """Check the file BUNDLE as `model check` does, and let this user's edge-oneshot load it.

    Shipped bundles need no trust. Trust only files whose origin you know: the check detects damage, not malicious
    training. For the service, run the command as its user: `sudo -u edge-oneshot edge-oneshot model trust BUNDLE`.
    """
    from edge_oneshot.model.bundle import read_bundle
    from edge_oneshot.recognition.checked import trust

    config = find_config(ctx)
    found, record = trust(bundle, config)
    card = read_bundle(bundle).card
    lines = {
        "bundle": f"{found.name} ({found.kind})",
        "source": card.provenance["source"],
        "licence": card.provenance["licence"],
        "file": f"{bundle} ({found.digest})",
        "check": f"it agrees with its card and returns {found.result}",
        "trusted": f"yes; {record} records it",
    }
    for key, value in lines.items():
        click.echo(plain(f"{key + ':':12} {value}"))
    if record.parent.parent != config.state_dir:
        click.echo(
            f"note: this user may not write {config.state_dir}. Only this user trusts the bundle; for the service, run "
            "the command as the user of the service",
            err=True,
        )
