"""One-shot recognition on the edge. The public API is documented in docs/reference/api.md.

A name is imported when it is first used, so importing the package loads no interpreter, camera, broker or image library.
"""

import importlib

__version__ = "0.1.0"

# Module -> the public names that it defines. __init__.pyi lists the same names for type checkers.
_NAMES = {
    "cameras": ("open_camera",),
    "config": ("Config",),
    "recognition.enrollment": ("Enrollment",),
    "recognition.recognition": ("Recognition",),
    "recognition.recognizer": ("Recognizer",),
    "types": ("Box", "Decision", "DecisionKind", "Frame", "Identity", "Observation", "Quality", "Rate", "Sample"),
}
_MODULES = {name: module for module, names in _NAMES.items() for name in names}
__all__ = ["__version__", "errors", *_MODULES]


def __getattr__(name: str) -> object:
    if name == "errors":
        return importlib.import_module("edge_oneshot.errors")
    if name not in _MODULES:
        raise AttributeError(f"module 'edge_oneshot' has no attribute {name!r}")
    return getattr(importlib.import_module(f"edge_oneshot.{_MODULES[name]}"), name)
