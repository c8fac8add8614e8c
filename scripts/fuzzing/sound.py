"""Sound content that the inputs are made from: the same in each process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from edge_oneshot.events.clock import Moment
from edge_oneshot.types import Embedding, Event, Identity, Quality, Template

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ENCODER = "sha256:" + "3f" * 32


def moment() -> Moment:
    """The clock of all files: nothing expires while they are read."""
    return Moment(wall=AT, monotonic_ns=10**12, boottime_ns=10**12, boot_id="boot", synced=True)


def people() -> list[tuple[Identity, list[Template]]]:
    found = []
    for number, name in enumerate(("Alice", "Bob Ruiz", "Zoë", "علی‌رضا", "Li")):
        identity = Identity(identity_id=f"p{number}", name=name)
        templates = []
        for n in range(1 + number % 2):
            vector = np.random.default_rng(10 * number + n).normal(size=192).astype(np.float32)
            templates.append(
                Template(
                    template_id=f"t{number}{n}",
                    identity_id=identity.identity_id,
                    embedding=Embedding(vector=vector / np.linalg.norm(vector), encoder_id=ENCODER),
                    quality=Quality(inter_eye_px=40.0, sharpness=100.0, luma=120.0, contrast=40.0, yaw_deg=float(n)),
                    created_at=AT + timedelta(days=number),
                    no_rate=number == 3,
                )
            )
        found.append((identity, templates))
    return found


def event(number: int) -> Event:
    body = {"identity": f"p{number % 3}", "name": "Zoë", "score": 0.7, "track": number, "camera": "cam0"}
    return Event(
        event_id=f"0190-{number}",
        event_type="match",
        ts=AT,
        captured_ns=10**12 - number * 10**6,
        boot_id="boot",
        body=body,
    )


def template_of(identity_id: str) -> Template:
    (_, (first, *_)), *_ = people()
    return Template(
        template_id="new",
        identity_id=identity_id,
        embedding=first.embedding,
        quality=first.quality,
        created_at=AT,
        no_rate=False,
    )
