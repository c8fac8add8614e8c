"""Events of every type, a clock that a test sets, and waiting."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from edge_oneshot.events.clock import Moment, boot_id, new_event_id, read_clock
from edge_oneshot.mqtt.shared import Limits
from edge_oneshot.types import Event

QUICK = Limits(
    backoff_base_s=0.05, backoff_max_s=0.2, refused_retry_s=0.3, ack_timeout_s=1.0, session_expiry_s=1, stable_s=0.2
)

ENCODER = "sha256:" + "3f" * 32
QUALITY = {"inter_eye_px": 41.0, "sharpness": 181.2, "luma": 118.0, "contrast": 40.0, "yaw_deg": -6.1}
TRACK = {"frames": 4, "track": 17, "camera": "cam0", "pad": "not_performed", "encoder_id": ENCODER}
SCORES = {
    "score": 0.71,
    "same_probability": 0.9993,
    "threshold": 0.52,
    "target_fmr": 1e-4,
    "margin": 0.19,
    "runner_up_score": 0.33,
    "quality": QUALITY,
}
BODIES: dict[str, dict[str, Any]] = {
    "match": {"identity": "alice", "name": "Alice", **SCORES, **TRACK},
    "confirmed": {
        **{"identity": "alice", "name": "Alice", **SCORES, **TRACK},
        "match_event_id": "0190a5f0-0000-7000-8000-000000000000",
        "confirmed_by": "phone",
    },
    "denied": {"identity": "alice", "name": "Alice", "reason": "expired", **SCORES, **TRACK},
    "unknown": {**SCORES, "score": 0.3, "margin": -0.22, **TRACK},
    "rejected": {"faults": ["too_small"], "seconds": 1.5, **TRACK},
    "gone": {"identity": "alice", "name": "Alice", "seconds": 3.2, **TRACK},
    "enrolled": {"identity": "zoe", "name": "Zoë", "encoder_id": ENCODER},
    "forgotten": {"identity": "zoe", "name": "Zoë", "encoder_id": ENCODER},
    "threshold_changed": {
        "from": 0.52,
        "to": 0.54,
        "raised": 0.02,
        "target_fmr": 1e-4,
        "target_fpir": None,
        "rate": {"against": "matched", "group": "a", "fmr": 1e-4, "fpir": None, "everybody_fmr": 1e-5},
        **{"fmr": 6e-4, "fmr_low": 2e-4, "fmr_high": 2e-3, "fpir": 6e-3, "fpir_low": 2e-3, "fpir_high": 2e-2},
        "visits": 120,
        "camera": "cam0",
        "encoder_id": ENCODER,
    },
}


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = 30.0) -> Any:
    """The first true value of `condition()`. The limit only ends a broken test."""
    end = time.monotonic() + timeout_s
    while not (value := condition()):
        assert time.monotonic() < end, f"waited {timeout_s:g} s for: {what}"
        time.sleep(0.01)
    return value


def event(event_type: str = "match", ago_s: float = 0.0, boot: str = "", **body: Any) -> Event:
    """An event captured `ago_s` seconds ago."""
    return Event(
        event_id=new_event_id(),
        event_type=event_type,
        ts=datetime.now(UTC) - timedelta(seconds=ago_s),
        captured_ns=time.monotonic_ns() - int(ago_s * 1e9),
        boot_id=boot or boot_id(),
        body={**BODIES[event_type], **body},
    )


class SetClock:
    """The real clock, moved: `forward` seconds have passed, `asleep` of them in suspend, and the wall stepped by `wall`."""

    def __init__(self) -> None:
        self.forward = self.asleep = self.wall = 0.0
        self.boot = boot_id()
        self.synced = True
        self._base = read_clock()

    def __call__(self) -> Moment:
        awake_ns, asleep_ns = int((self.forward - self.asleep) * 1e9), int(self.asleep * 1e9)
        return replace(
            self._base,
            monotonic_ns=self._base.monotonic_ns + awake_ns,
            boottime_ns=self._base.boottime_ns + awake_ns + asleep_ns,
            wall=self._base.wall + timedelta(seconds=self.forward + self.wall),
            synced=self.synced,
            boot_id=self.boot,
        )

    def event(self, event_type: str = "match", **body: Any) -> Event:
        """An event captured at this clock's moment."""
        now = self()
        return Event(
            event_id=new_event_id(),
            event_type=event_type,
            ts=now.wall,
            captured_ns=now.monotonic_ns,
            boot_id=now.boot_id,
            body={**BODIES[event_type], **body},
        )
