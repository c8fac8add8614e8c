"""The card of a bundle as JSON, from typed parts. docs/bundle.md describes the fields; model/card_reader.py checks them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, Literal

from edge_oneshot.errors import ModelError
from edge_oneshot.model.card import Comparator, EncoderCard, InputSpec
from edge_oneshot.model.card_reader import parse_card

Json = dict[str, Any]
TOOLS = ("ai-edge-quantizer", "ai-edge-litert", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class About:
    """Where a model comes from. `source`: its origin in words."""

    name: str
    source: str
    licence: str
    training_data: str
    version: str = "1.0.0"
    description: str = ""
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """What a network file does not state: how a picture is prepared for it, and how its outputs are compared."""

    input: InputSpec
    regions: Literal["face", "frame"]
    points: Mapping[str, Sequence[float]] = field(default_factory=dict)  # landmark -> (x, y) px in the chip
    comparator: Comparator = field(default_factory=lambda: Comparator(kind="cosine"))
    mirror: bool = False


def pixels(side_px: int, mean: Sequence[float], std: Sequence[float]) -> InputSpec:
    """A square input: RGB for three means, grey for one."""
    return InputSpec(
        width_px=side_px,
        height_px=side_px,
        channels=len(mean),
        colour="RGB" if len(mean) == 3 else "L",
        mean=tuple(mean),
        std=tuple(std),
    )


def card(
    kind: Literal["encoder", "detector", "landmarks"],
    about: About,
    spec: InputSpec,
    digests: Mapping[str, str],
    tools: Sequence[str] = (),
    **fields: object,
) -> Json:
    """The fields that every card has, and `fields`. digests: of the inputs. tools: distributions whose versions count."""
    provenance: Json = {
        "source": about.source,
        "licence": about.licence,
        "training_data": about.training_data,
        "digests": dict(digests),
    }
    if about.notice:
        provenance["notice"] = about.notice
    if tools:
        provenance["tools"] = {name: metadata.version(name) for name in tools}
    return {
        "card": 1,
        "kind": kind,
        "name": about.name,
        "version": about.version,
        "description": about.description,
        "input": {
            "width_px": spec.width_px,
            "height_px": spec.height_px,
            "channels": spec.channels,
            "colour": spec.colour,
            "normalisation": {"mean": list(spec.mean), "std": list(spec.std)},
        },
        "provenance": provenance,
        **fields,
    }


def encoder_card(
    about: About, how: Preparation, dimension: int, digests: Mapping[str, str], tools: Sequence[str] = TOOLS
) -> Json:
    """An encoder's card before anything is measured: no thresholds, no probability map, no certificate."""
    c = how.comparator
    weighted = {} if c.kind == "cosine" else {"weights": list(c.weights), "bias": c.bias}
    points = {name: list(point) for name, point in how.points.items()}
    return card(
        "encoder",
        about,
        how.input,
        digests,
        tools,
        regions=how.regions,
        alignment={"method": "similarity", "points": points} if how.regions == "face" else None,
        output={"dimension": dimension},
        comparator={"kind": c.kind, **weighted},
        thresholds=None,
        probability=None,
        certificate=None,
        **({"mirror": True} if how.mirror else {}),
    )


def parsed(raw: Json, where: str = "the options") -> EncoderCard:
    """The encoder's card as the device reads it, before the model exists. ModelError that names a wrong field."""
    found = parse_card({**raw, "digests": {"model": "not converted yet"}}, where)
    if not isinstance(found, EncoderCard):
        raise ModelError(f"{where} kind: expected an encoder, got {found.kind}", "convert an encoder")
    return found


def measured_fields(
    protocol: str,
    identities: int,
    pairs: tuple[int, int],
    measured_to_fmr: float,
    points: Sequence[Mapping[str, object]],
    platt: tuple[float, float, float],
) -> Json:
    """The card's `thresholds` and `probability`. pairs: mated, non-mated. platt: slope, intercept, log loss."""
    slope, intercept, loss = platt
    return {
        "thresholds": {
            "protocol": protocol,
            "identities": identities,
            "mated_pairs": pairs[0],
            "non_mated_pairs": pairs[1],
            "measured_to_fmr": measured_to_fmr,
            "points": list(points),
        },
        "probability": {
            "kind": "platt",
            "slope": slope,
            "intercept": intercept,
            "log_loss": loss,
            "protocol": f"{protocol}; mated and non-mated pairs weigh the same in sum",
        },
    }
