"""`edge-oneshot model`: show and check a model bundle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from edge_oneshot.cli.common import find_config, json_option, print_json

if TYPE_CHECKING:
    from edge_oneshot.model.card import CohortScores


@click.group()
def model() -> None:
    """Show and check model bundles."""


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
        click.echo(f"{key + ':':12} {value}")
    if isinstance(c, EncoderCard) and c.thresholds is not None:
        t = c.thresholds
        click.echo(f"thresholds:  {t.protocol}")
        click.echo(
            f"             {t.identities} identities, {t.mated_pairs} mated and {t.non_mated_pairs} non-mated pairs"
        )
        for p in t.points:
            interval = "" if p.ci95 is None else f"  95 % interval {p.ci95[0]:.3f} to {p.ci95[1]:.3f}"
            rate = "" if p.tar is None else f"  TAR {100 * p.tar:.2f} %"
            click.echo(f"             FMR {p.fmr:<8g} threshold {p.threshold:.3f}{rate}{interval}")
    if isinstance(c, EncoderCard) and c.cohort is not None:
        for line in _strangers(c.cohort):
            click.echo(line)


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


@model.command()
@click.argument("bundle", required=False, default="")
@click.pass_context
def check(ctx: click.Context, bundle: str) -> None:
    """Load BUNDLE, compare it with its card, and run it once."""
    import numpy as np

    from edge_oneshot.model.bundle import find_bundle, read_bundle
    from edge_oneshot.model.encoder import TwinEncoder
    from edge_oneshot.types import Chip
    from edge_oneshot.vision.detector import BlazeFaceDetector
    from edge_oneshot.vision.locate import LandmarkPlacer

    config = find_config(ctx)
    b = read_bundle(find_bundle(bundle or config.model.encoder, "encoder"))
    spec = b.card.input
    grey = np.full(spec.shape, 128, dtype=np.uint8)
    if b.card.kind == "encoder":
        encoder = TwinEncoder(b, config.model.runtime, config.model.threads)
        vector = encoder.encode(Chip(pixels=grey, transform=np.eye(2, 3))).vector
        result = f"an embedding of {vector.size} values on {encoder.runtime.name}"
        if encoder.card.thresholds is None and encoder.card.cohort is None:
            result += ". It has no thresholds: `enroll` refuses it unless decision.threshold or model.cohort is set"
    elif b.card.kind == "landmarks":
        placer = LandmarkPlacer(b, config.model.runtime, config.model.threads)
        result = f"{len(placer.look(grey)[0])} landmarks on {placer.runtime.name}"
    else:
        detector = BlazeFaceDetector(b, config.model.runtime, config.model.threads)
        result = f"{len(detector.detect(grey))} faces in a grey picture on {detector.runtime.name}"
    click.echo(f"{b.path}: the model agrees with its card and returns {result}")
