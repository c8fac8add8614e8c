"""The messages that the daemon sends. docs/reference/mqtt.md explains each field; events/schema/ holds their JSON Schemas."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_oneshot.events.clock import Moment
from edge_oneshot.events.stored import StoredEvent
from edge_oneshot.types.decision import UNSTATED, Rate

SCHEMA_VERSION = 1
LATE_AFTER_S = 2.0
_MOST_TOPICS = 10  # in a health message
ONLINE, OFFLINE = "online", "offline"

# Takes the message without its signature, returns the payload with it (events/signing.py).
Signer = Callable[[Mapping[str, object]], bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandOver:
    """An event as it is handed to the broker now. expires_in_s: until it expires; 0 if it has, or if that is unknown."""

    payload: bytes
    late: bool
    expires_in_s: float


def hand_over(stored: StoredEvent, device: str, ttl_s: float, now: Moment, sign: Signer | None = None) -> HandOver:
    """The payload of `stored` at this moment.

    `late`: more than 2 s after capture (`gone`, `rejected`: after the decision), or from another boot, or from the
    future. The age comes from the clock that
    includes sleep, never from the wall clock. `expires_at` = now + ttl_s - age, so a correction of the wall clock since
    capture does not extend it; from another boot: `ts` + ttl_s, but never later than now.
    """
    event = stored.event
    age_s = stored.age_s(now)
    ttl = timedelta(seconds=ttl_s)
    if age_s is None:
        late, expires_at = True, min(event.ts + ttl, now.wall)
    else:
        late, expires_at = not 0 <= age_s <= LATE_AFTER_S, now.wall + ttl - timedelta(seconds=max(0.0, age_s))
    message: dict[str, object] = {
        "schema": SCHEMA_VERSION,
        "event_id": event.event_id,
        "event_type": event.event_type,
        **event.body,
        "device": device,
        "ts": iso(event.ts),
        "expires_at": iso(expires_at),
        "late": late,
        "clock": "synced" if now.synced and stored.clock_synced else "unsynced",
    }
    payload = encode({**message, "signature": None}) if sign is None else sign(message)
    return HandOver(payload=payload, late=late, expires_in_s=max(0.0, (expires_at - now.wall).total_seconds()))


def message_expiry_s(hand: HandOver, *, trigger: bool, max_age_s: float) -> int:
    """Seconds for which a broker may keep the message for an absent subscriber.

    A trigger (`match/…`, `unknown`) expires with its event, so that a subscriber that returns does not act on an old one.
    `event` is the log: it expires when the outbox would have dropped it.
    """
    return max(1, math.ceil(hand.expires_in_s)) if trigger else max(1, int(max_age_s))


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """The people in sight. identities: slugs. unknown: how many people who are not enrolled. since: of this state.

    denied: slugs of people who are in sight and not allowed; they are not among `identities`.
    """

    identities: tuple[str, ...]
    unknown: int
    since: datetime
    ts: datetime
    denied: tuple[str, ...] = ()

    def message(self) -> dict[str, object]:
        return {
            "schema": SCHEMA_VERSION,
            "identities": sorted(self.identities),
            "unknown": self.unknown,
            "denied": sorted(self.denied),
            "since": iso(self.since),
            "ts": iso(self.ts),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state of the device. An unknown measure is None.

    state: running, paused, camera_lost. stages_ms: stage -> (p50, p95) of the last frames. camera_age_s: since the last
    frame. throttled: the Pi firmware's throttling bits, 0 = fine. rss_bytes: resident memory. refused_topics: topic ->
    why the broker does not take it. gallery_fault: why the gallery cannot be changed. set_aside: file -> rows that could
    not be read. door: this door's own rates, JSON values (service/door.py); None: they cannot be measured. adaptation:
    what was learned of this site's strangers, JSON values; None unless decision.adapt. trends: of the last hours, JSON
    values (service/trends.py).
    """

    state: str
    fps: float | None
    stages_ms: dict[str, tuple[float, float]]
    camera_age_s: float | None
    temperature_c: float | None
    throttled: int | None
    rss_bytes: int | None
    uptime_s: float
    outbox_depth: int
    outbox_oldest_age_s: float | None
    outbox_dropped: int
    outbox_refused: int
    outbox_fault: str
    refused_topics: Mapping[str, str]
    encoder_id: str
    identities: int
    templates: int
    ts: datetime
    door: Mapping[str, object] | None = None
    adaptation: Mapping[str, object] | None = None
    gallery_fault: str = ""
    set_aside: Mapping[str, int] = field(default_factory=dict)
    trends: Mapping[str, object] | None = None

    def message(self) -> dict[str, object]:
        return {
            "schema": SCHEMA_VERSION,
            "state": self.state,
            "fps": self.fps,
            "stages_ms": {name: {"p50": p50, "p95": p95} for name, (p50, p95) in self.stages_ms.items()},
            "camera_age_s": self.camera_age_s,
            "temperature_c": self.temperature_c,
            "throttled": self.throttled,
            "rss_bytes": self.rss_bytes,
            "uptime_s": self.uptime_s,
            "outbox": {
                "depth": self.outbox_depth,
                "oldest_age_s": self.outbox_oldest_age_s,
                "dropped": self.outbox_dropped,
                "refused": self.outbox_refused,
                "fault": self.outbox_fault,
            },
            "refused_topics": [f"{t}: {why}" for t, why in sorted(self.refused_topics.items())[:_MOST_TOPICS]],
            "encoder_id": self.encoder_id,
            "gallery": {"identities": self.identities, "templates": self.templates, "fault": self.gallery_fault},
            "set_aside": {name: self.set_aside.get(name, 0) for name in ("gallery", "outbox", "explain", "door")},
            "door": self.door,
            "adaptation": self.adaptation,
            "trends": self.trends,
            "ts": iso(self.ts),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """The properties of the device. pad: "not_performed", or the method of presentation attack detection."""

    version: str
    encoder_id: str
    target_fmr: float | None
    threshold: float
    pad: str
    gallery_encrypted: bool
    signed_events: bool
    requests: bool
    ts: datetime
    target_fpir: float | None = None
    rate: Rate = UNSTATED

    def message(self) -> dict[str, object]:
        return {
            "schema": SCHEMA_VERSION,
            "version": self.version,
            "encoder_id": self.encoder_id,
            "target_fmr": self.target_fmr,
            "target_fpir": self.target_fpir,
            "rate": self.rate.message(),
            "threshold": self.threshold,
            "capabilities": {
                "pad": self.pad,
                "gallery_encrypted": self.gallery_encrypted,
                "signed_events": self.signed_events,
                "requests": self.requests,
            },
            "ts": iso(self.ts),
        }


def iso(moment: datetime) -> str:
    """RFC 3339 in UTC with milliseconds: 2026-09-30T14:03:22.481Z."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def encode(message: Mapping[str, object]) -> bytes:
    """Compact JSON, UTF-8, keys in the order given. NaN and infinity are refused."""
    return json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def decode(payload: bytes) -> dict[str, Any] | None:
    """The JSON object in a received payload; None for anything else: another encoding than UTF-8, a lone surrogate, NaN,
    a number that does not fit a float, deep nesting."""
    try:
        value = json.loads(
            payload.decode("utf-8"), parse_constant=float, parse_int=_number(int), parse_float=_number(float)
        )
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, OverflowError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _number(kind: type[int] | type[float]) -> Callable[[str], float]:
    def parse(text: str) -> float:
        value = kind(text)
        float(value)  # raises for an integer of hundreds of digits
        return value

    return parse
