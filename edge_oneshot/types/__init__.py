"""The values that travel through the house. Frozen, slotted, keyword-only; checked when made.

Sizes are (width, height), arrays (H, W, C). Colour is RGB. Names carry their unit (_px _ns _s _deg).
"""

from __future__ import annotations

from edge_oneshot.types.checks import Float32Array, Float64Array, UInt8Array
from edge_oneshot.types.decision import (
    Candidate,
    Decision,
    DecisionKind,
    Embedding,
    Identity,
    Observation,
    Sample,
    Template,
    Withheld,
)
from edge_oneshot.types.event import EVENT_TYPES, Event
from edge_oneshot.types.image import Box, Chip, Face, Frame
from edge_oneshot.types.quality import Fault, PadDecision, PadResult, Quality

__all__ = [
    "EVENT_TYPES",
    "Box",
    "Candidate",
    "Chip",
    "Decision",
    "DecisionKind",
    "Embedding",
    "Event",
    "Face",
    "Fault",
    "Float32Array",
    "Float64Array",
    "Frame",
    "Identity",
    "Observation",
    "PadDecision",
    "PadResult",
    "Quality",
    "Sample",
    "Template",
    "UInt8Array",
    "Withheld",
]
