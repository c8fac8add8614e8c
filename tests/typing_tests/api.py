"""A user's code against the public API. scripts/check runs mypy --strict over it; nothing runs it."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import numpy as np

from edge_oneshot import (
    Box,
    Config,
    Decision,
    DecisionKind,
    Enrollment,
    Frame,
    Observation,
    Recognition,
    Recognizer,
    errors,
    open_camera,
)


def recognize(folder: Path) -> list[str]:
    seen: list[str] = []
    with Recognizer.open(gallery=folder / "gallery.sqlite") as recognizer:
        assert_type(recognizer, Recognizer)
        enrollment = recognizer.enroll("Alice", folder / "alice.jpg", replace=True)
        assert_type(enrollment, Enrollment)
        for face in recognizer.identify(str(folder / "door.jpg")):
            assert_type(face, Recognition)
            assert_type(face.identity, str | None)
            assert_type(face.score, float | None)
            assert_type(face.threshold, float)
            assert_type(face.box, Box | None)
            if face.matched and face.identity is not None:
                seen.append(face.identity)
        one = recognizer.verify("Alice", np.zeros((480, 640, 3), dtype=np.uint8))
        assert_type(one.decision, Decision)
        assert_type(one.decision.kind, DecisionKind)
        assert_type(recognizer.people.names, dict[str, str])
    return seen


def watch(uri: str, config: Config) -> None:
    try:
        with Recognizer.open(config) as recognizer, open_camera(uri) as camera:
            for frame in camera:
                assert_type(frame, Frame)
                assert_type(recognizer.observe(frame), list[Observation])
    except errors.CameraError as e:
        assert_type(e.hint, str)
