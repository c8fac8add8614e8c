"""Devices of a fleet without a network, and templates for them."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from edge_oneshot.fleet.fleet import Fleet, Joining
from edge_oneshot.storage.database import IN_MEMORY
from edge_oneshot.types import Embedding, Identity, Quality, Template

ENCODER, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def template(identity_id: str, number: int = 1, encoder: str = ENCODER) -> Template:
    """A template whose vector depends on the arguments only."""
    seed = sum(map(ord, identity_id)) * 1000 + number
    vector = np.random.default_rng(seed).normal(size=192).astype(np.float32)
    return Template(
        template_id=f"{identity_id}-{number}-{encoder[7]}",
        identity_id=identity_id,
        embedding=Embedding(vector=vector / np.linalg.norm(vector), encoder_id=encoder),
        quality=Quality(inter_eye_px=60.0, sharpness=20.0, luma=120.0, contrast=40.0, yaw_deg=2.0),
        created_at=datetime(2026, 5, 1, tzinfo=UTC),
    )


def person(name: str) -> Identity:
    return Identity(identity_id=name.lower(), name=name)


def founded() -> tuple[Fleet, str]:
    """(an admin, the recovery code)."""
    return Fleet.found(IN_MEMORY, name="gym", device_name="office")


def joined(admin: Fleet, role: str, name: str) -> Fleet:
    joining = Joining(admin.invite(role, name))
    return joining.finish(IN_MEMORY, admin.answer(joining.place, joining.request), name="gym")


def exchange(*fleets: Fleet) -> list[tuple[str, bytes]]:
    """Deliver what each has to say to the others until all are silent; all messages."""
    sent: list[tuple[str, bytes]] = []
    for _ in range(20):
        said = 0
        for fleet in fleets:
            for message in list(fleet.outgoing()):
                said += 1
                sent.append((message.topic, message.payload))
                fleet.acknowledged(message.topic, message.payload)
                for other in fleets:
                    other.take(message.topic, message.payload)
        if not said:
            return sent
    raise AssertionError("the exchange does not end")
