"""The place of presentation attack detection (PAD, ISO/IEC 30107-3). No method ships: a photograph of an enrolled person passes.

A method enters in two steps: it implements `PadMethod`, and `build_pad` in compose.py returns it. It stands behind the
quality gates and before the encoder, so that live frames, enrollment, `verify` and `identify` all pass through it, and
events, `explain`, `info` and `doctor` tell what it said. Before one ships, its error rates (APCER for each kind of attack
instrument, BPCER) are measured on real recaptures and stated with their protocol.
"""

from __future__ import annotations

from typing import Protocol

from edge_oneshot.types import Chip, Face, Frame, PadResult


class PadMethod(Protocol):
    """Belongs to the thread of its pipeline, and may keep what it saw before. name: with version, as events tell it."""

    @property
    def name(self) -> str: ...

    def judge(self, frame: Frame, face: Face | None, chip: Chip) -> PadResult:
        """One capture that passed the quality gates; face is None for whole frames. BONA_FIDE or ATTACK, with its score.

        What it calls an attack is neither compared nor enrolled. Where it cannot tell, it must not say BONA_FIDE.
        """
        ...
