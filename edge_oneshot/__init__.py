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

__version__ = "0.1.0"

# Public name -> the module that defines it. __init__.pyi lists the same names for type checkers.
_MODULES = {
    "errors": "",
    "open_camera": "cameras",
    "Config": "config",
    "Enrollment": "recognition.enrollment",
    "Recognition": "recognition.recognizer",
    "Recognizer": "recognition.recognizer",
    **dict.fromkeys(
        ("Box", "Decision", "DecisionKind", "Frame", "Identity", "Observation", "Quality", "Sample"), "types"
    ),
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'edge_oneshot' has no attribute {name!r}")
    module = _MODULES[name]
    value = (
        getattr(importlib.import_module(f"edge_oneshot.{module}"), name)
        if module
        else importlib.import_module(f"edge_oneshot.{name}")
    )
    globals()[name] = value  # looked up once
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
