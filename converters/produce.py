"""The steps from a float graph and its card to a bundle's content, with what they find on standard error."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import click

from converters.card import Json, parsed
from converters.causes import other_preparation
from converters.certify import Certificate, Limits, as_text, certify
from converters.checks import check_int8, try_run, undelegated
from converters.convert import FOLDED, Conversion, convert
from converters.encoded import encode_pictures
from converters.graph import Array, Graph
from converters.labelled import Labelled
from converters.litert import latency_ms
from converters.report import report_page
from converters.sources import require
from converters.tflite_runtime import check_predecessor
from converters.thresholds import measure
from edge_oneshot.errors import EdgeOneshotError, ModelError
from edge_oneshot.evaluation.dataset import LabelledImage
from edge_oneshot.model.bundle import write_bundle
from edge_oneshot.recognition.checked import trust_made_here

FINETUNE_PICTURES = 1000  # most that --finetune reads; each step takes 16


def say(text: str) -> None:
    click.echo(text, err=True)


def quantised(graph: Graph, card: Json, chips: Sequence[Array], *, takes_pixels: bool = False) -> Conversion:
    """Convert the graph to int8 and run it; the card records the runtimes. ModelError: the device could not run it.

    takes_pixels: the graph takes raw pixels, so the normalisation on the card is not folded in.
    """
    norm = card["input"]["normalisation"]
    conversion = convert(graph, chips, *((None, None) if takes_pixels else (norm["mean"], norm["std"])))
    for line in conversion.passes:
        say(line)
    _check_runs(conversion.model, card, chips[0])
    parts, left = undelegated(conversion.model)
    if left:
        say(f"XNNPACK leaves {len(left)} operators to slow kernels ({parts} partitions): {', '.join(left[:8])}")
    else:
        say("XNNPACK takes every operator, in one partition" if parts == 1 else f"XNNPACK: {parts} partitions")
    return conversion


def _check_runs(model: bytes, card: Json, chip: Array) -> None:
    """Run an int8 model on the runtimes that are here; the card records them. ModelError: the device could not run it."""
    check_int8(model)
    out = try_run(model, chip, card["output"]["dimension"])
    card["provenance"]["ran_on"] = {
        "ai-edge-litert": metadata.version("ai-edge-litert"),
        "tflite-runtime": check_predecessor(model, chip, out),
    }


def check_finetuning(chips: Sequence[Array], pictures: Labelled | None) -> None:
    """ModelError: torch is missing, or pictures of the certificate would be trained on."""
    require("torch", "--finetune")
    judged = {c.tobytes() for c in pictures.chips} if pictures is not None else set()
    if both := sum(c.tobytes() in judged for c in chips):
        raise ModelError(
            f"--finetune: expected other pictures than those of the certificate to train on, got {both} of {len(chips)} "
            "that are in both",
            "--calibration DIR with pictures of other people; labels are not needed",
        )


def finetuned(conversion: Conversion, card: Json, chips: Sequence[Array], steps: int) -> Conversion:
    """The conversion with weights trained for int8 on the chips, if that is better; the card says so."""
    from converters.finetune import finetune

    found = finetune(conversion, chips, steps=steps, unit=parsed(card).comparator.kind == "cosine", say=say)
    if found.record is not None:
        card["provenance"]["finetuned"] = found.record
        _check_runs(found.conversion.model, card, chips[0])
    return found.conversion


def certified(
    conversion: Conversion, card: Json, labelled: Labelled, limits: Limits, report: Path | None, draws: int = 200
) -> Certificate:
    """Compare float and int8 on labelled chips. The card keeps the certificate; `report` is written as HTML."""
    spec = parsed(card)
    checked = card["provenance"].get("source_check")
    certificate = certify(conversion, labelled, spec.comparator, limits, draws, mirror=spec.mirror, source=checked)
    norm, eer = card["input"]["normalisation"], certificate.record["float"]["eer"]
    if eer > limits.float_eer and FOLDED in conversion.passes:
        better = other_preparation(conversion.reference, norm["mean"], norm["std"], labelled, spec.comparator, eer)
        certificate.record["reasons"] += [better] if better else []
    card["certificate"] = certificate.record
    say(as_text(certificate))
    if report is not None:
        times = {"float": latency_ms(conversion.reference), "int8": latency_ms(conversion.model)}
        say(f"one inference on this machine, one thread: float {times['float']:.1f} ms, int8 {times['int8']:.1f} ms")
        report.write_text(report_page(certificate, card["name"], times, conversion.passes), encoding="utf-8")
        say(f"report: {report}")
    return certificate


def add_thresholds(conversion: Conversion, card: Json, labelled: Labelled, out: Path) -> None:
    """Measure thresholds, cohort and probabilities on the pictures of the certificate, with the device's own code.

    If they do not suffice, the card stays without thresholds, and standard error says what is missing.
    """
    pictures = [LabelledImage(path=p, person=p.parent.name, number=i) for i, p in enumerate(labelled.pictures, 1)]
    part = out.with_name(f"{out.name}.unmeasured.tflite")
    try:
        write_bundle(part, conversion.model, card)
        trust_made_here(part)  # it is loaded from its file, in processes of its own
        embedded = encode_pictures(part, pictures, "for the thresholds", os.cpu_count() or 1)
        comparator = parsed(card).comparator
        card.update(measure(embedded, comparator, f"{labelled.protocol}; the pictures of the certificate"))
    except EdgeOneshotError as error:
        say(f"no thresholds, so `edge-oneshot enroll` refuses this bundle: {error}")
        return
    finally:
        part.unlink(missing_ok=True)
    t = card["thresholds"]
    at = next((p for p in t["points"] if p["fmr"] == 1e-3), t["points"][0])
    say(
        f"thresholds from {t['identities']} identities, {len(embedded.faults)} of {len(pictures)} pictures not acquired: "
        f"{at['threshold']:.4f} at FMR {at['fmr']:g}, TAR {100 * at['tar']:.1f} %"
    )
