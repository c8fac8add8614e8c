"""edge-oneshot-convert: convert a trained model to an int8 bundle and compare its decisions with the float model's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from converters.card import About, Json, Preparation, encoder_card, parsed
from converters.certify import Certificate, Limits
from converters.checks import check_source
from converters.chips import ChipReader, chips_digest, find_pictures, spread
from converters.convert import Conversion
from converters.labelled import labelled
from converters.passes.colour import bgr_to_rgb
from converters.produce import certified, quantised, say
from converters.sources import Source, load_source
from edge_oneshot.errors import EXIT_NOT_CERTIFIED, EdgeOneshotError, ModelError
from edge_oneshot.model.bundle import digest, write_bundle
from edge_oneshot.model.card import InputSpec
from edge_oneshot.recognition.checked import trust_made_here


@dataclass(frozen=True, kw_only=True)
class Options:
    """The command line. A field per argument or option of `command`."""

    source: Path
    calibration: Path
    out: Path
    mean: str | None
    std: str | None
    colour: str | None
    regions: str | None
    align: tuple[str, ...]
    mirror: bool
    certify: Path | None
    certify_pictures: Path | None
    max_tar_loss: float
    max_eer_loss: float
    draws: int
    report: Path | None
    force: bool
    pictures: int
    name: str | None
    version: str
    description: str
    licence: str
    training_data: str
    as_json: bool

    @property
    def about(self) -> About:
        name = self.name or self.source.stem
        return About(
            name=name,
            version=self.version,
            description=self.description or f"{name}, converted by edge-oneshot-convert",
            source=self.source.name,
            licence=self.licence,
            training_data=self.training_data,
        )


def _numbers(text: str | None, name: str, count: int) -> list[float]:
    try:
        values = [float(v) for v in (text or "").split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, count):
        raise ModelError(
            f"--{name}: expected one number or {count} separated by commas, got {text!r}",
            f"--{name} 127.5 or --{name} 123.7,116.3,103.5, for pixels from 0 to 255",
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


def prepared(source: Source, o: Options) -> Preparation:
    """How pictures are prepared for the network: as the source states it, else as the options do.

    A network trained on BGR is changed to take RGB. ModelError: an option is missing; there are no defaults, since a
    wrong colour order costs accuracy without an error.
    """
    if source.preparation is not None:
        return source.preparation
    given = {"--mean": o.mean, "--std": o.std, "--colour": o.colour, "--regions": o.regions}
    missing = [name for name, value in given.items() if value is None]
    if o.regions == "face" and not o.align:
        missing.append("--align")
    if missing:
        raise ModelError(
            f"expected {', '.join(missing)}: the model file does not state how its training prepared the pictures",
            "give the values that the training used",
        )
    channels = 1 if o.colour == "L" else 3
    width, height = check_source(source.graph, channels)
    mean, std = _numbers(o.mean, "mean", channels), _numbers(o.std, "std", channels)
    if o.colour == "BGR":
        bgr_to_rgb(source.graph)
        mean, std = mean[::-1], std[::-1]
    return Preparation(
        input=InputSpec(
            width_px=width,
            height_px=height,
            channels=channels,
            colour="L" if channels == 1 else "RGB",
            mean=tuple(mean),
            std=tuple(std),
        ),
        regions="face" if o.regions == "face" else "frame",
        points=_points(o.align) if o.regions == "face" else {},
    )


def _source_digest(path: Path) -> str:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return digest(b"".join(p.read_bytes() for p in files))


def build(source: Source, how: Preparation, o: Options) -> tuple[Conversion, Json]:
    """The conversion, and the card without measurements."""
    dimension = int(np.prod(source.graph.outputs[0].shape[1:]))
    digests = {"source": _source_digest(o.source), "calibration": "not read yet"}
    card = encoder_card(o.about, how, dimension, digests)
    chips, missed = ChipReader(parsed(card)).read_all(spread(find_pictures(o.calibration), o.pictures))
    if missed:
        say(f"calibration: no face in {len(missed)} of {len(missed) + len(chips)} pictures")
    if not chips:
        raise ModelError(
            f"--calibration {o.calibration}: expected pictures with a face, got none",
            "give pictures of what the camera will see",
        )
    card["provenance"]["digests"]["calibration"] = chips_digest(chips)
    return quantised(source.graph, card, chips, takes_pixels=source.takes_pixels), card


def run(o: Options) -> bool:
    """Convert, certify and write. False: the certificate was refused and nothing was written."""
    source = load_source(o.source)
    how = prepared(source, o)
    if o.mirror and how.comparator.kind != "cosine":
        raise ModelError(
            f"--mirror: expected an encoder compared by cosine, got {how.comparator.kind}", "omit --mirror"
        )
    conversion, card = build(source, replace(how, mirror=o.mirror), o)
    certificate: Certificate | None = None
    if o.certify is None:
        say("not certified: --certify DIR compares float and int8 on labelled pictures")
    else:
        pictures = labelled(ChipReader(parsed(card)), o.certify, o.certify_pictures)
        limits = Limits(o.max_tar_loss, o.max_eer_loss)
        certificate = certified(conversion, card, pictures, limits, o.report or o.out.with_suffix(".html"), o.draws)
        if not certificate.passed and not o.force:
            say(
                f"no bundle written to {o.out}: int8 changes too many of this model's decisions. "
                "Fix: see the reasons above; --force writes the bundle as not certified"
            )
            return False
    bundle = write_bundle(o.out, conversion.model, card)
    trust_made_here(o.out)
    result = {
        "bundle": str(o.out),
        "encoder_id": bundle.encoder_id,
        "size_bytes": o.out.stat().st_size,
        "certified": certificate is not None and certificate.passed,
        "certificate": card["certificate"],
    }
    text = f"{o.out}: {result['size_bytes']} bytes, {bundle.encoder_id}"
    click.echo(json.dumps(result, indent=1) if o.as_json else text)
    return True


PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=PATH)
@click.option("--calibration", required=True, type=PATH, help="Folder of pictures of what the camera will see.")
@click.option("--out", required=True, type=FILE, help="The bundle to write, .tflite.")
@click.option("--mean", help="Subtracted from pixels 0-255: one number, or one per channel.")
@click.option("--std", help="The difference is divided by it: one number, or one per channel.")
@click.option(
    "--colour", type=click.Choice(["RGB", "BGR", "L"]), help="Colour order of the training pictures; L is grey."
)
@click.option("--regions", type=click.Choice(["face", "frame"]), help="Encode aligned faces, or whole pictures.")
@click.option("--align", multiple=True, metavar="NAME=X,Y", help="Place of a landmark in the chip, px; at least two.")
@click.option(
    "--mirror", is_flag=True, help="Encode the mirror image too, and use the mean: more accurate, twice the time."
)
@click.option("--certify", type=PATH, help="Labelled pictures: a folder per identity, or a pairs file in LFW's format.")
@click.option("--certify-pictures", type=FOLDER, help="Folder of the pictures that a pairs file names.")
@click.option("--max-tar-loss", default=1.0, show_default=True, help="Points of TAR at FMR 1e-3 that int8 may lose.")
@click.option("--max-eer-loss", default=0.5, show_default=True, help="Points of EER that int8 may add.")
@click.option("--draws", default=200, show_default=True, help="Bootstrap draws over identities.")
@click.option("--report", type=FILE, help="Certificate as HTML; default: OUT with .html.")
@click.option("--force", is_flag=True, help="Write a bundle whose certificate is refused; its card states that.")
@click.option("--pictures", default=100, show_default=True, help="Maximum number of calibration pictures.")
@click.option("--name", help="Name of the encoder; default: the source's file name.")
@click.option("--version", default="1.0.0", show_default=True, help="Version of the encoder.")
@click.option("--description", default="", help="Description of the encoder.")
@click.option("--licence", default="not stated", show_default=True, help="Licence of the weights.")
@click.option("--training-data", default="not stated", show_default=True, help="Pictures that trained the weights.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON on standard output.")
def command(**given: Any) -> None:
    """Convert SOURCE to a full int8 bundle: .tflite, .pt2, .onnx, .keras or a SavedModel folder."""
    if not run(Options(**given)):
        raise SystemExit(EXIT_NOT_CERTIFIED)


def main() -> None:
    """Entry point. An error is one line on standard error, and its exit code."""
    try:
        command(standalone_mode=True)
    except EdgeOneshotError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
