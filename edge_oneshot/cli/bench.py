"""`edge-oneshot bench`: what one frame costs on this device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import find_config, json_option, perform, print_json, read_picture
from edge_oneshot.control.requests import Capture

if TYPE_CHECKING:
    from edge_oneshot.config import Config
    from edge_oneshot.types import Frame


@click.command()
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A portrait of one person, laid on 640x480; without it, a frame of the camera.",
)
@click.option(
    "--frames",
    type=click.IntRange(10, 100_000),
    default=200,
    show_default=True,
    help="Frames to measure, after a warm-up.",
)
@click.option(
    "--templates",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Random templates to compare with.",
)
@click.option("--threads", type=click.IntRange(1, 16), help="Threads of one inference; else the configuration's.")
@json_option
@click.pass_context
def bench(
    ctx: click.Context, image: Path | None, frames: int, templates: int, threads: int | None, as_json: bool
) -> None:
    """Measure the stages of one frame, and the raw interpreter invokes in them.

    Stop the daemon for true figures: both would share the processor. Exit code 6: not exactly one usable face was seen.
    """
    from dataclasses import replace

    from edge_oneshot.evaluation.benchmarking import machine, measure, strangers
    from edge_oneshot.recognition.compose import build_pipeline

    config = find_config(ctx)
    if threads:
        config = replace(config, model=replace(config.model, threads=threads))
    pipeline = build_pipeline(config)
    frame = _frame(config, image)
    result: dict[str, Any] = {
        "machine": machine(pipeline.encoder.runtime),
        "threads": config.model.threads,
        "source": frame.source,
    }
    result |= measure(pipeline, frame, frames, strangers(pipeline, templates))
    if as_json:
        print_json(result)
    else:
        _print(result)


def _frame(config: Config, image: Path | None) -> Frame:
    from edge_oneshot.cameras.images import decode_image
    from edge_oneshot.evaluation.benchmarking import frame_of

    if image is not None:
        return frame_of(decode_image(read_picture(image), str(image)).pixels, str(image), (640, 480))
    captured = perform(config, Capture())
    source = config.camera.uri.rpartition("@")[2]
    return frame_of(decode_image(captured.jpeg, source).pixels, source)


def _print(r: dict[str, Any]) -> None:
    m = r["machine"]
    click.echo(
        f"{m['processor']}, {m['cores']} cores ({m['machine']}), load {m['load']}; {m['runtime']}, numpy {m['numpy']}, "
        f"Pillow {m['pillow']}, Python {m['python']}, edge-oneshot {m['edge_oneshot']}"
    )
    click.echo(
        f"{r['frames']} frames of {r['size'][0]}x{r['size'][1]} with one face, {r['threads']} threads, {r['templates']} templates"
    )
    click.echo(f"{'stage':22} {'p50 ms':>8} {'p95 ms':>8}")
    rows = {
        **r["stages_ms"],
        "frame": r["frame_ms"],
        **{f"  invoke {k}": v for k, v in r["invoke_ms"].items()},
        "  not an invoke": r["not_invoke_ms"],
        "JPEG decode (apart)": r["decode_ms"],
    }
    for name, times in rows.items():
        click.echo(f"{name:22} {times['p50']:8.2f} {times['p95']:8.2f}")
    rss = "" if r["rss_bytes"] is None else f"; {r['rss_bytes'] / 1e6:.0f} MB resident"
    click.echo(
        f"{100 * r['not_invoke_share']:.1f} % of a frame is not an interpreter invoke; {r['frames_per_s']:g} frames per second{rss}"
    )
