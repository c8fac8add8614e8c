"""Presentation attack detection (PAD, ISO/IEC 30107-3): the plug-in point for a method. The package ships none.

Without a method nothing distinguishes a face from a photograph of it: a photograph of an enrolled person matches.

A method runs after the quality gates and before the encoder, so live frames, enrollment, `verify` and `identify` all
pass through it. Events, `explain`, `info` and `doctor` report its result. A distribution provides a method as an entry
point of the group `edge_oneshot.pad` (edge_oneshot/config/plugins.py), and `model.pad` names it. Before you rely on a method,
measure its error rates (APCER for each kind of attack instrument, BPCER) on real recaptures, and state the protocol.
"""

from __future__ import annotations

from typing import Protocol, cast

from edge_oneshot.config import plugins
from edge_oneshot.errors import ConfigError
from edge_oneshot.types import Chip, Face, Frame, PadResult


class PadMethod(Protocol):
    """One method. Only the thread of its pipeline calls it, so it may keep state between calls.

    name: with its version; events report it.
    """

    @property
    def name(self) -> str: ...

    def judge(self, frame: Frame, face: Face | None, chip: Chip) -> PadResult:
        """Judge one capture that passed the quality gates: BONA_FIDE or ATTACK, with the method's score.

        frame.pixels: uint8 (H, W, 3) RGB. face: in px of the frame; None if the bundle's regions are whole frames.
        chip.pixels: uint8 (h, w, C), as the encoder takes it. An attack is neither compared nor enrolled. A method that
        cannot decide must not return BONA_FIDE.
        """
        ...


def find_pad(name: str) -> PadMethod | None:
    """The method that `model.pad` names; "": None. The plug-in's factory is called without arguments.

    Raises ConfigError for a name that is unknown or ambiguous, and for a plug-in that cannot be imported or whose
    factory returns something else.
    """
    if not name:
        return None
    method = plugins.load(plugins.PAD, name, "model.pad", ConfigError)()
    if not isinstance(getattr(method, "name", None), str) or not callable(getattr(method, "judge", None)):
        raise ConfigError(
            f"model.pad: the plug-in {name!r}: expected a PAD method with `name` and `judge`, got {type(method).__name__}",
            "upgrade or uninstall the plug-in",
        )
    return cast(PadMethod, method)
