"""The value types that all parts share: frozen, slotted, keyword-only dataclasses, validated when they are created.

    image.py      Frame, Box, Face, Chip: from a picture to the encoder's input
    quality.py    Quality, Fault, PadResult: why a capture may not be used
    decision.py   Embedding, Template, Candidate, Rate, Decision, Sample, Observation: from an embedding to a decision
    access.py     AccessRules, denial: when and where a person is allowed
    door.py       DoorReport: what a door states about itself
    event.py      Event: what is published

Sizes are (width, height), arrays (H, W, C). Colour is RGB. Names carry their unit (_px _ns _s _deg). A value that
breaks its contract raises ValueError, with what was expected and what was given.
"""

from __future__ import annotations

from edge_oneshot.types.access import AccessRules, Denied, Refusal
from edge_oneshot.types.checks import BoolArray, Float32Array, Float64Array, UInt8Array
from edge_oneshot.types.decision import (
    Candidate,
    Comparison,
    Decision,
    DecisionKind,
    Embedding,
    Identity,
    Observation,
    Rate,
    Sample,
    Template,
    Withheld,
)
from edge_oneshot.types.door import DoorReport
from edge_oneshot.types.event import EVENT_TYPES, Event
from edge_oneshot.types.image import Box, Chip, Face, Frame
from edge_oneshot.types.quality import Fault, PadDecision, PadResult, Quality

__all__ = [
    "EVENT_TYPES",
    "AccessRules",
    "BoolArray",
    "Box",
    "Candidate",
    "Chip",
    "Comparison",
    "Decision",
    "DecisionKind",
    "Denied",
    "DoorReport",
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
    "Rate",
    "Refusal",
    "Sample",
    "Template",
    "UInt8Array",
    "Withheld",
]
