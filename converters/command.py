"""edge-oneshot-convert: convert a trained model to an int8 bundle and compare its decisions with the float model's."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from converters.card import Json, Preparation, encoder_card, parsed
from converters.certify import Certificate, Limits
from converters.chips import ChipReader, chips_digest, find_pictures, spread
from converters.convert import Conversion
from converters.exact import OMITTED, SourceCheck
from converters.labelled import Labelled, labelled
from converters.options import Options, prepared
from converters.produce import FINETUNE_PICTURES, add_thresholds, certified, check_finetuning, finetuned, quantised, say
from converters.sources import Source, load_source
from edge_oneshot.errors import EXIT_NOT_CERTIFIED, EdgeOneshotError, ModelError
from edge_oneshot.model.bundle import digest, write_bundle
from edge_oneshot.recognition.checked import trust_made_here

NO_THRESHOLDS = (
    "not certified, and no thresholds: `edge-oneshot enroll` refuses this bundle. Fix: --certify DIR with pictures of "
    "people who will not be enrolled, one folder per person (250 people with two pictures each are enough)"
)
REPEAT = (
    "repeat with --finetune, which trains the weights for int8 (use other pictures in --calibration than in --certify)"
)


def _source_digest(path: Path) -> str:
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return digest(b"".join(p.read_bytes() for p in files))


def blank_card(source: Source, how: Preparation, o: Options) -> Json:
    """The card before anything is measured."""
    dimension = int(np.prod(source.graph.outputs[0].shape[1:]))
    digests = {"source": _source_digest(o.source), "calibration": "not read yet"}
    return encoder_card(o.about, how, dimension, digests)


def build(source: Source, card: Json, how: Preparation, o: Options, pictures: Labelled | None) -> Conversion:
    """Convert, compare with the source, and finetune if asked. The card gets what was measured.

    pictures: of the certificate; the weights are not finetuned on them.
    """
    folder = o.calibration_folder
    count = max(o.pictures, FINETUNE_PICTURES) if o.finetune else o.pictures
    every, missed = ChipReader(parsed(card)).read_all(spread(find_pictures(folder), count))
    chips = every[:: max(1, -(-len(every) // o.pictures))]
    if missed:
        say(f"calibration: no face in {len(missed)} of {len(missed) + len(every)} pictures")
    if not chips:
        raise ModelError(
            f"--calibration {folder}: expected pictures with a face, got none",
            "give pictures of what the camera will see",
        )
    if o.finetune:
        check_finetuning(every, pictures)
    provenance = card["provenance"]
    provenance["digests"]["calibration"] = chips_digest(chips)
    check: SourceCheck | None = None
    if o.source_check:
        bgr = o.reversed_colours and source.preparation is None
        check = SourceCheck(source, chips, how.input.mean, how.input.std, bgr=bgr)
        check.read()
    conversion = quantised(source.graph, card, chips, takes_pixels=source.takes_pixels)
    provenance["source_check"] = (
        {"framework": None, "reason": OMITTED}
        if check is None
        else check.passes(conversion.reference, conversion.passes)
    )
    return finetuned(conversion, card, every, o.finetune_steps) if o.finetune else conversion


def run(o: Options) -> bool:
    """Convert, certify, measure thresholds and write. False: the certificate was refused and nothing was written."""
    source = load_source(o.source, o.reader)
    if source.reader:
        say(f"read by {source.reader}" if source.reader != "own" else "read by the built-in reader")
    how = prepared(source, o)
    if o.mirror and how.comparator.kind != "cosine":
        raise ModelError(
            f"--mirror: expected an encoder compared by cosine, got {how.comparator.kind}", "omit --mirror"
        )
    how = replace(how, mirror=o.mirror)
    card = blank_card(source, how, o)
    pictures = labelled(ChipReader(parsed(card)), o.certify, o.certify_pictures) if o.certify else None
    conversion = build(source, card, how, o, pictures)
    certificate: Certificate | None = None
    if pictures is None:
        say(NO_THRESHOLDS)
    else:
        certificate = _certificate(o, conversion, card, pictures)
        if not certificate.passed and not o.force:
            fix = "see the reasons above" if o.finetune or not certificate.int8_loses else REPEAT
            say(
                f"no bundle written to {o.out}: the certificate is refused. "
                f"Fix: {fix}; --force writes the bundle as not certified"
            )
            return False
        add_thresholds(conversion, card, pictures, o.out)
    bundle = write_bundle(o.out, conversion.model, card)
    trust_made_here(o.out)
    result = {
        "bundle": str(o.out),
        "encoder_id": bundle.encoder_id,
        "size_bytes": o.out.stat().st_size,
        "certified": certificate is not None and certificate.passed,
        "thresholds": card["thresholds"] is not None,
        "source_check": card["provenance"]["source_check"],
        "certificate": card["certificate"],
    }
    text = f"{o.out}: {result['size_bytes']} bytes, {bundle.encoder_id}"
    click.echo(json.dumps(result, indent=1) if o.as_json else text)
    if result["thresholds"]:
        say(f'next: set model.encoder = "{o.out.resolve()}" in the configuration, and enroll')
    return True


def _certificate(o: Options, conversion: Conversion, card: Json, pictures: Labelled) -> Certificate:
    limits = Limits(o.max_tar_loss, o.max_eer_loss, o.max_float_eer / 100)
    return certified(conversion, card, pictures, limits, o.report or o.out.with_suffix(".html"), o.draws)


PATH = click.Path(path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("source", type=PATH)
@click.option(
    "--calibration",
    type=PATH,
    help="Folder of 32 or more pictures of what the camera will see; default: the pictures of --certify.",
)
@click.option("--out", required=True, type=FILE, help="The bundle to write, .tflite.")
@click.option("--mean", help="Subtracted from pixels 0-255: one number, or one per channel.")
@click.option("--std", help="Divisor after the mean is subtracted: one number, or one per channel.")
@click.option(
    "--colour", type=click.Choice(["RGB", "BGR", "L"]), help="Colour order of the training pictures; L is grey."
)
@click.option("--regions", type=click.Choice(["face", "frame"]), help="Encode aligned faces, or whole pictures.")
@click.option(
    "--align", multiple=True, metavar="NAME=X,Y", help="Position of a landmark in the chip, px; at least two."
)
@click.option(
    "--mirror", is_flag=True, help="Also encode the mirror image, and use the mean: more accurate, twice the time."
)
@click.option(
    "--certify",
    type=PATH,
    help="Labelled pictures for certificate and thresholds: one folder per identity, or a pairs file in LFW's format.",
)
@click.option("--certify-pictures", type=FOLDER, help="Folder of the pictures that the pairs file names.")
@click.option("--max-tar-loss", default=1.0, show_default=True, help="Points of TAR at FMR 1e-3 that int8 may lose.")
@click.option("--max-eer-loss", default=0.5, show_default=True, help="Points of EER that int8 may add.")
@click.option(
    "--max-float-eer", default=20.0, show_default=True, help="EER in percent above which the float model is refused."
)
@click.option(
    "--source-check/--no-source-check",
    default=True,
    show_default=True,
    help="Compare with the source model in its own framework; without this check nothing is certified.",
)
@click.option(
    "--reader",
    type=click.Choice(["auto", "own", "litert-torch"]),
    default="auto",
    show_default=True,
    help="Reader of a .pt2 file; own: the built-in one; auto: own, then litert-torch, if it is installed.",
)
@click.option(
    "--finetune",
    is_flag=True,
    help="Train the weights for int8 on the pictures of --calibration, which must differ from those of --certify.",
)
@click.option(
    "--finetune-steps",
    type=click.IntRange(1),
    default=200,
    show_default=True,
    help="Steps of --finetune, 16 pictures each.",
)
@click.option("--draws", default=200, show_default=True, help="Bootstrap draws over identities.")
@click.option("--report", type=FILE, help="Certificate as HTML; default: OUT with .html.")
@click.option(
    "--force", is_flag=True, help="Write the bundle even if the certificate is refused; its card states that."
)
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
    """Entry point. Prints an error as one line on standard error and exits with its code."""
    try:
        command(standalone_mode=True)
    except EdgeOneshotError as error:
        click.echo(f"error: {error}", err=True)
        raise SystemExit(error.exit_code) from None
