"""The steps from a float graph and its card to a bundle's content, with what they find on standard error."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import click

from converters.card import Json, parsed
from converters.certify import Certificate, Limits, as_text, certify
from converters.checks import check_int8, try_run, undelegated
from converters.convert import Conversion, convert
from converters.graph import Array, Graph
from converters.labelled import Labelled
from converters.litert import latency_ms
from converters.report import report_page
from converters.tflite_runtime import check_predecessor


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
    check_int8(conversion.model)
    out = try_run(conversion.model, chips[0], card["output"]["dimension"])
    parts, left = undelegated(conversion.model)
    if left:
        say(f"XNNPACK leaves {len(left)} operators to slow kernels ({parts} partitions): {', '.join(left[:8])}")
    else:
        say("XNNPACK takes every operator, in one partition" if parts == 1 else f"XNNPACK: {parts} partitions")
    card["provenance"]["ran_on"] = {
        "ai-edge-litert": metadata.version("ai-edge-litert"),
        "tflite-runtime": check_predecessor(conversion.model, chips[0], out),
    }
    return conversion


def certified(
    conversion: Conversion, card: Json, labelled: Labelled, limits: Limits, report: Path | None, draws: int = 200
) -> Certificate:
    """Compare float and int8 on labelled chips. The card keeps the certificate; `report` is written as HTML."""
    spec = parsed(card)
    certificate = certify(conversion, labelled, spec.comparator, limits, draws, mirror=spec.mirror)
    card["certificate"] = certificate.record
    say(as_text(certificate))
    if report is not None:
        times = {"float": latency_ms(conversion.reference), "int8": latency_ms(conversion.model)}
        say(f"one inference on this machine, one thread: float {times['float']:.1f} ms, int8 {times['int8']:.1f} ms")
        report.write_text(report_page(certificate, card["name"], times, conversion.passes), encoding="utf-8")
        say(f"report: {report}")
    return certificate
