"""edge-oneshot-convert: a trained model becomes one int8 bundle, certified.

python -m converters SOURCE --calibration DIR --out face.tflite [--certify PEOPLE_DIR] ...
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import click
import numpy as np

from converters.certify import Certificate, Limits, as_text, certify
from converters.checks import check_int8, check_source, try_run, undelegated
from converters.chips import ChipReader, chips_digest, find_pictures, spread
from converters.convert import Conversion, convert
from converters.graph import Array
from converters.labelled import labelled
from converters.litert import latency_ms
from converters.report import page
from converters.sources import Source, load_source
from converters.tflite_runtime import check_predecessor
from edge_oneshot.errors import EdgeOneshotError, ModelError
from edge_oneshot.model.bundle import digest, write_bundle
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.model.card_reader import parse_card

EXIT_REFUSED = 5
TOOLS = ("ai-edge-quantizer", "ai-edge-litert", "numpy", "pillow")


def _numbers(text: str | None, name: str, count: int) -> list[float]:
    try:
        values = [float(v) for v in (text or "").split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, count):
        raise ModelError(
            f"--{name}: expected one number or {count} separated by commas, got {text!r}",
            f"--{name} 127.5 or --{name} 123.7,116.3,103.5, in units of 0-255",
        )
    return values * count if len(values) == 1 else values


def _points(items: Sequence[str]) -> dict[str, list[float]]:
    found = {}
    for item in items:
        name, _, place = item.partition("=")
        try:
            x, y = (float(v) for v in place.split(","))
        except ValueError:
            raise ModelError(
                f"--align: expected NAME=X,Y in px of the chip, got {item!r}",
                "--align image_left_eye=38.3,51.7 --align image_right_eye=73.5,51.5 …",
            ) from None
        found[name] = [x, y]
    return found


def declared(
    source: Source, mean: str | None, std: str | None, colour: str | None, regions: str | None, align: Sequence[str]
) -> dict[str, Any]:
    """The card fields that a network cannot tell of itself: from our own checkpoints, else from the options.

    ModelError: one is missing. Nothing is guessed: a wrong colour order costs accuracy without any error.
    """
    if source.facts is not None:
        return dict(source.facts)
    missing = [
        f"--{n}" for n, v in (("mean", mean), ("std", std), ("colour", colour), ("regions", regions)) if v is None
    ]
    if regions == "face" and not align:
        missing.append("--align")
    if missing:
        raise ModelError(
            f"expected {', '.join(missing)}: a network does not tell how it was fed, and nothing is guessed",
            "say what its training used",
        )
    channels = 3 if colour in ("RGB", "BGR") else 1
    width, height = check_source(source.graph, channels)
    return {
        "input": {
            "width_px": width,
            "height_px": height,
            "channels": channels,
            "colour": "L" if channels == 1 else "RGB",
            "normalisation": {"mean": _numbers(mean, "mean", channels), "std": _numbers(std, "std", channels)},
        },
        "regions": regions,
        "alignment": {"method": "similarity", "points": _points(align)} if regions == "face" else None,
        "comparator": {"kind": "cosine"},
    }


def base_card(facts: dict[str, Any], dimension: int, about: dict[str, str], digests: dict[str, str]) -> dict[str, Any]:
    return {
        "card": 1,
        "kind": "encoder",
        "name": about["name"],
        "version": about["version"],
        "description": about["description"] or f"{about['name']}, converted by edge-oneshot-convert",
        **facts,
        "output": {"dimension": dimension},
        "thresholds": None,
        "probability": None,
        "certificate": None,
        "provenance": {
            "source": about["source"],
            "licence": about["licence"],
            "training_data": about["training_data"],
            "tools": {t: metadata.version(t) for t in TOOLS},
            "digests": digests,
        },
        "digests": {"model": "none yet"},
    }


def _encoder_card(raw: dict[str, Any]) -> EncoderCard:
    card = parse_card(raw, "the options")
    assert isinstance(card, EncoderCard)
    return card


def build(
    source: Source, path: Path, calibration: Path, count: int, facts: dict[str, Any], about: dict[str, str]
) -> tuple[Conversion, dict[str, Any], Array]:
    """(conversion, card without measurements, one calibration chip)."""
    y = source.graph.outputs[0]
    dimension = int(np.prod(y.shape[1:]))
    content = (
        path.read_bytes()
        if path.is_file()
        else b"".join(p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file())
    )
    raw = base_card(facts, dimension, about, {"source": digest(content), "calibration": "none yet"})
    chips, missed = ChipReader(_encoder_card(raw)).read_all(spread(find_pictures(calibration), count))
    if missed:
        click.echo(f"calibration: no face in {len(missed)} of {len(missed) + len(chips)} pictures", err=True)
    if not chips:
        raise ModelError(
            f"calibration {calibration}: expected pictures with a face, got none",
            "give pictures of what the camera will see",
        )
    raw["provenance"]["digests"]["calibration"] = chips_digest(chips)
    norm = None if source.takes_pixels else facts["input"]["normalisation"]
    conversion = convert(source.graph, chips, norm and norm["mean"], norm and norm["std"])
    return conversion, raw, chips[0]


def inspect(conversion: Conversion, chip: Array, dimension: int) -> dict[str, str]:
    """Refuse what is no device bundle, run the model, and say what XNNPACK leaves. Returns the runtimes it ran on."""
    check_int8(conversion.model)
    out = try_run(conversion.model, chip, dimension)
    parts, left = undelegated(conversion.model)
    if left:
        click.echo(
            f"XNNPACK leaves {len(left)} operators to slow kernels ({parts} partitions): {', '.join(left[:8])}",
            err=True,
        )
    else:
        click.echo(
            "XNNPACK takes every operator, in one partition" if parts == 1 else f"XNNPACK: {parts} partitions", err=True
        )
    return {
        "ai-edge-litert": metadata.version("ai-edge-litert"),
        "tflite-runtime": check_predecessor(conversion.model, chip, out),
    }


def measure(
    conversion: Conversion, card: EncoderCard, pairs: Path, pictures: Path | None, limits: Limits, draws: int
) -> Certificate:
    chips, comparisons, protocol = labelled(ChipReader(card), pairs, pictures)
    return certify(conversion, chips, comparisons, card.comparator, limits, protocol, draws, mirror=card.mirror)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    required=True,
    type=click.Path(path_type=Path),
    help="Folder of pictures of what the camera will see.",
)
@click.option(
    "--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The bundle to write, .tflite."
)
@click.option("--mean", help="Subtracted from pixels 0-255: one number, or one per channel.")
@click.option("--std", help="Then divided by this.")
@click.option("--colour", type=click.Choice(["RGB", "BGR", "L"]), help="What the network was trained on.")
@click.option("--regions", type=click.Choice(["face", "frame"]), help="A face found and aligned, or the whole picture.")
@click.option("--align", multiple=True, metavar="NAME=X,Y", help="Where a landmark lies in the chip, px; at least two.")
@click.option(
    "--mirror",
    is_flag=True,
    help="Let the device encode the mirror image too, and take the mean: better, twice the time.",
)
@click.option(
    "--certify",
    "pairs",
    type=click.Path(path_type=Path),
    help="A folder with one folder of pictures per identity, or a pairs file as LFW has it.",
)
@click.option(
    "--certify-pictures",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the pictures of a pairs file lie.",
)
@click.option("--max-tar-loss", default=1.0, show_default=True, help="Points of TAR at FMR 1e-3 that int8 may lose.")
@click.option("--max-eer-loss", default=0.5, show_default=True, help="Points of EER that int8 may add.")
@click.option("--draws", default=200, show_default=True, help="Bootstrap draws over identities.")
@click.option(
    "--report",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The certificate as a page; default: OUT with .html",
)
@click.option("--force", is_flag=True, help="Write the bundle although the certificate is refused; its card says so.")
@click.option("--pictures", default=100, show_default=True, help="At most this many calibration pictures.")
@click.option("--name", help="Of the encoder; default: the source's file name.")
@click.option("--version", default="1.0.0", show_default=True)
@click.option("--description", default="")
@click.option("--licence", default="not stated", show_default=True, help="Of the weights.")
@click.option("--training-data", default="not stated", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON on stdout.")
def command(
    source: Path,
    calibration: Path,
    out: Path,
    mean: str | None,
    std: str | None,
    colour: str | None,
    regions: str | None,
    align: tuple[str, ...],
    mirror: bool,
    pairs: Path | None,
    certify_pictures: Path | None,
    max_tar_loss: float,
    max_eer_loss: float,
    draws: int,
    report: Path | None,
    force: bool,
    pictures: int,
    name: str | None,
    version: str,
    description: str,
    licence: str,
    training_data: str,
    as_json: bool,
) -> None:
    """Convert SOURCE (.tflite, .pt2, .onnx, .keras, SavedModel, checkpoint) to a full int8 bundle."""
    about = {
        "name": name or source.stem,
        "version": version,
        "description": description,
        "licence": licence,
        "training_data": training_data,
        "source": source.name,
    }
    loaded = load_source(source)
    facts = declared(loaded, mean, std, colour, regions, align)
    if colour == "BGR" and loaded.facts is None:
        from converters.passes.colour import bgr_to_rgb

        norm = facts["input"]["normalisation"]
        bgr_to_rgb(loaded.graph)
        norm["mean"], norm["std"] = norm["mean"][::-1], norm["std"][::-1]
    if mirror:
        if facts["comparator"]["kind"] != "cosine":
            raise ModelError(
                f"--mirror: expected an encoder compared by cosine, got {facts['comparator']['kind']}",
                "leave out --mirror",
            )
        facts["mirror"] = True
    conversion, raw, chip = build(loaded, source, calibration, pictures, facts, about)
    for line in conversion.passes:
        click.echo(line, err=True)
    raw["provenance"]["ran_on"] = inspect(conversion, chip, raw["output"]["dimension"])
    certificate = None
    if pairs is not None:
        certificate = measure(
            conversion, _encoder_card(raw), pairs, certify_pictures, Limits(max_tar_loss, max_eer_loss), draws
        )
        raw["certificate"] = certificate.record
        click.echo(as_text(certificate), err=True)
        times = {"float": latency_ms(conversion.reference), "int8": latency_ms(conversion.model)}
        click.echo(
            f"one inference here, one thread: float {times['float']:.1f} ms, int8 {times['int8']:.1f} ms", err=True
        )
        target = report or out.with_suffix(".html")
        target.write_text(page(certificate, about["name"], times, conversion.passes), encoding="utf-8")
        click.echo(f"report: {target}", err=True)
    else:
        click.echo("not certified: give --certify to compare float and int8 on labelled pictures", err=True)
    refused = certificate is not None and not certificate.passed
    if refused and not force:
        click.echo(
            f"no bundle written to {out}: int8 spoils this model's decisions; --force writes it as not certified",
            err=True,
        )
    else:
        bundle = write_bundle(out, conversion.model, raw)
        result = {
            "bundle": str(out),
            "encoder_id": bundle.encoder_id,
            "size_bytes": out.stat().st_size,
            "certified": certificate is not None and certificate.passed,
            "certificate": raw["certificate"],
        }
        click.echo(
            json.dumps(result, indent=1) if as_json else f"{out}: {result['size_bytes']} bytes, {bundle.encoder_id}"
        )
    if refused and not force:
        raise SystemExit(EXIT_REFUSED)


def main() -> None:
    """Entry point: errors are one line on stderr, and their exit code."""
    try:
        command(standalone_mode=True)
    except EdgeOneshotError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None


if __name__ == "__main__":
    main()
