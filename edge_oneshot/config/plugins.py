"""Plug-in points: cameras and PAD methods that other distributions add through entry points (importlib.metadata).

A distribution names its factory in its pyproject.toml, and the configuration then names the plug-in:

    [project.entry-points."edge_oneshot.cameras"]      camera.uri = "demo:…"   edge_oneshot/cameras/schemes.py
    demo = "my_package:demo_camera"

    [project.entry-points."edge_oneshot.pad"]          model.pad = "demo"      edge_oneshot/vision/pad.py
    demo = "my_package:DemoPad"

The built-in cameras are in the same table. A factory is imported only when the configuration names it, so installing a
plug-in runs none of its code. tests/plugins/ has one example for each point.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from edge_oneshot.errors import EdgeOneshotError, did_you_mean

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

CAMERAS = "edge_oneshot.cameras"
PAD = "edge_oneshot.pad"

BUILT_IN: dict[str, dict[str, str]] = {
    CAMERAS: {
        "picamera2": "edge_oneshot.cameras.schemes:picamera2",
        "v4l2": "edge_oneshot.cameras.schemes:v4l2",
        "rtsp": "edge_oneshot.cameras.schemes:rtsp",
        "rtsps": "edge_oneshot.cameras.schemes:rtsp",
        "file": "edge_oneshot.cameras.schemes:file",
        "folder": "edge_oneshot.cameras.schemes:folder",
    },
    PAD: {},
}


def names(group: str) -> tuple[str, ...]:
    """The names in one table, built-in ones first. Imports no plug-in."""
    return tuple(dict.fromkeys([*BUILT_IN[group], *sorted(e.name for e in _installed(group))]))


def load(group: str, name: str, key: str, error: type[EdgeOneshotError]) -> Callable[..., object]:
    """Import the factory that `name` stands for. key: the configuration key that names it, for messages.

    Raises `error` for a name that is unknown or ambiguous, and for a plug-in that cannot be imported. An
    EdgeOneshotError that the import itself raises (a missing package, with its install command) is passed on.
    """
    entry = _find(group, name, key, error)
    try:
        factory: object = entry.load()
    except EdgeOneshotError:
        raise
    except Exception as e:  # a plug-in may raise anything while it is imported
        raise error(
            f"{key}: cannot import the plug-in {name!r} ({_origin(entry)}): {type(e).__name__}: {e}",
            "install what the plug-in needs, or upgrade or uninstall it",
        ) from e
    if not callable(factory):
        raise error(
            f"{key}: the plug-in {name!r} ({_origin(entry)}): expected a factory to call, got {type(factory).__name__}",
            "upgrade or uninstall the plug-in",
        )
    return factory


def _find(group: str, name: str, key: str, error: type[EdgeOneshotError]) -> EntryPoint:
    from importlib.metadata import EntryPoint

    found = [e for e in _installed(group) if e.name == name]
    if name in BUILT_IN[group]:
        found.insert(0, EntryPoint(name, BUILT_IN[group][name], group))
    if not found:
        known = names(group)
        raise error(
            f"{key}: expected one of {', '.join(known) or 'none (no plug-in is installed)'}, "
            f"got {name!r}{did_you_mean(name, known)}",
            "correct the name, or install the plug-in that provides it into the same Python environment",
        )
    if len({e.value for e in found}) > 1:
        raise error(
            f"{key}: expected one plug-in named {name!r}, got {len(found)}: {', '.join(map(_origin, found))}",
            "uninstall all but one of them",
        )
    return found[0]


@cache  # of a process: reading the metadata of every distribution takes some 20 ms
def _installed(group: str) -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points

    return tuple(entry_points(group=group))


def _origin(entry: EntryPoint) -> str:
    """Where a plug-in comes from: its distribution, or its place in this package."""
    return f"{entry.dist.name} {entry.dist.version}" if entry.dist is not None else f"built in: {entry.value}"
