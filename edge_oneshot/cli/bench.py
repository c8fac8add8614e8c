"""`edge-oneshot bench`: what one frame costs on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json, read_picture
from edge_oneshot.control.requests import Capture

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.evaluation.benchmarking import FrameCost, Machine
    from edge_oneshot.types import Frame


@click.command(short_help="Measure the stages of one frame on this device.")
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Portrait of one person, scaled to fit 640x480. Default: one frame of the camera.",
)
@click.option(
    "--frames",
    type=click.IntRange(10, 100_000),
    default=200,
    show_default=True,
    help="Number of frames to measure, after a warm-up.",
)
@click.option(
    "--templates",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Number of random templates to compare with.",
)
@click.option("--threads", type=click.IntRange(1, 16), help="Threads of one inference. Default: model.threads.")
@click.option(
    "--share",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Also write a report that can be sent to the project: hardware, versions, times and temperatures. It has no name, "
    "host name, serial number, path or picture.",
)
@json_option
@click.pass_context
def bench(
    ctx: click.Context,
    image: Path | None,
    frames: int,
    templates: int,
    threads: int | None,
    share: Path | None,
    as_json: bool,
) -> None:
    """Measure the time of each stage of a frame, and of the interpreter's invoke() calls in it.

    Stop the daemon first: it would share the processor. Exit code 6: the image does not show exactly one usable face.
    """
    from dataclasses import replace

    from edge_oneshot.evaluation.benchmarking import machine, measure, random_references
    from edge_oneshot.evaluation.results import to_json
    from edge_oneshot.evaluation.share import heat, shared
    from edge_oneshot.evaluation.under_test import open_recognizer

    config = find_config(ctx)
    if threads:
        config = replace(config, model=replace(config.model, threads=threads))
    recognizer = open_recognizer(config)
    encoder = recognizer.pipeline.encoder
    recognizer.people.use(random_references(encoder, templates), {})
    frame = _frame(config, image)
    before = heat()
    about, cost = machine(encoder.runtime), measure(recognizer, frame, frames)
    if share is not None:
        _write(share, shared(config, recognizer.pipeline, about, cost, before, heat()))
    if as_json:
        head = {"machine": to_json(about), "threads": config.model.threads, "source": frame.source}
        print_json(head | to_json(cost))
    else:
        click.echo("\n".join(_lines(about, config.model.threads, cost)))


def _write(path: Path, report: dict[str, Any]) -> None:
    """Raises StorageError if the file cannot be written."""
    import json

    from edge_oneshot.errors import StorageError

    try:
        path.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    except OSError as e:
        raise StorageError(
            f"cannot write the report: {e.strerror} ({path})", "give --share a file in a folder that you may write to"
        ) from None
    click.echo(f"wrote {path}; read it before you send it", err=True)


def _frame(config: Config, image: Path | None) -> Frame:
    from edge_oneshot.cameras.images import decode_image
    from edge_oneshot.evaluation.benchmarking import make_frame
    from edge_oneshot.shown import redact_uri

    if image is not None:
        return make_frame(decode_image(read_picture(image), str(image)).pixels, str(image), (640, 480))
    captured = perform(config, Capture())
    source = redact_uri(config.camera.uri)
    return make_frame(decode_image(captured.jpeg, source).pixels, source)


def _lines(about: Machine, threads: int, cost: FrameCost) -> list[str]:
    rows = {
        **cost.stages_ms,
        "frame": cost.frame_ms,
        **{f"  invoke {name}": times for name, times in cost.invoke_ms.items()},
        "  not an invoke": cost.not_invoke_ms,
        "JPEG decoding (extra)": cost.decode_ms,
    }
    rss = "" if cost.rss_bytes is None else f"; resident memory {cost.rss_bytes / 1e6:.0f} MB"
    return [
        f"{about.processor}, {about.cores} cores ({about.machine}), load {about.load}; {about.runtime}, numpy {about.numpy}, "
        f"Pillow {about.pillow}, Python {about.python}, edge-oneshot {about.edge_oneshot}",
        f"{cost.frames} frames of {cost.size[0]}x{cost.size[1]} with one face; inference threads: {threads}; "
        f"templates: {cost.templates}",
        f"{'stage':22} {'p50 ms':>8} {'p95 ms':>8}",
        *(f"{name:22} {times.p50:8.2f} {times.p95:8.2f}" for name, times in rows.items()),
        f"{100 * cost.not_invoke_share:.1f} % of a frame is not an interpreter invoke; {cost.frames_per_s:g} frames per second{rss}",
    ]
