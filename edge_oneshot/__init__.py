"""One-shot recognition on the edge.

    from edge_oneshot import Recognizer, open_camera

    with Recognizer.open() as recognizer:
        recognizer.enroll("Alice", "alice.jpg")
        for face in recognizer.identify("door.jpg"):
            print(face.identity, face.score, face.threshold, face.box)

Importing the package loads no interpreter, camera, broker or image library: a name is imported when it is first used.
`edge_oneshot.errors` holds the errors. docs/reference/api.md documents every name.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edge_oneshot import errors
    from edge_oneshot.cameras import open_camera
    from edge_oneshot.config import Config
    from edge_oneshot.recognition.enrollment import Enrollment
    from edge_oneshot.recognition.recognizer import Recognition, Recognizer
    from edge_oneshot.types import Box, Decision, DecisionKind, Frame, Identity, Observation, Quality, Sample

__version__ = "0.1.0"

__all__ = [
    "Box",
    "Config",
    "Decision",
    "DecisionKind",
    "Enrollment",
    "Frame",
    "Identity",
    "Observation",
    "Quality",
    "Recognition",
    "Recognizer",
    "Sample",
    "__version__",
    "errors",
    "open_camera",
]

_HOME = {
    "open_camera": "cameras",
    "Config": "config",
    "Enrollment": "recognition.enrollment",
    "Recognition": "recognition.recognizer",
    "Recognizer": "recognition.recognizer",
    **dict.fromkeys(
        ("Box", "Decision", "DecisionKind", "Frame", "Identity", "Observation", "Quality", "Sample"), "types"
    ),
}


def __getattr__(name: str) -> object:
    if name == "errors":
        return importlib.import_module("edge_oneshot.errors")
    if name not in _HOME:
        raise AttributeError(f"module 'edge_oneshot' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"edge_oneshot.{_HOME[name]}"), name)
    globals()[name] = value  # looked up once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
