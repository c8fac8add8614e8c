"""How the daemon is: counts and times of its frames, for health messages and `edge-oneshot status`."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from edge_oneshot import __version__
from edge_oneshot.config import Config
from edge_oneshot.control.codec import from_json
from edge_oneshot.control.responses import Present, StatusReport
from edge_oneshot.mqtt.payloads import Health
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import site, system
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.trends import Trends, measure
from edge_oneshot.types import DoorReport

FPS_WINDOW = 100  # frames
KEPT = 300  # frames whose stages are timed


class StageTimes:
    """Times of the last frames per stage."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._seconds: dict[str, deque[float]] = {}

    def add(self, seconds: Mapping[str, float]) -> None:
        for name, value in seconds.items():
            self._seconds.setdefault(name, deque(maxlen=self._kept)).append(value)

    def percentiles_ms(self) -> dict[str, tuple[float, float]]:
        """stage -> (p50, p95) in ms, over the last frames in which the stage ran."""
        return {
            name: (round(float(np.percentile(v, 50)) * 1e3, 2), round(float(np.percentile(v, 95)) * 1e3, 2))
            for name, v in self._seconds.items()
        }


class Vitals:
    """Belongs to the loop's thread."""

    def __init__(self, state_dir: Path) -> None:
        self._trends = Trends(lambda: measure(state_dir))
        # The loop counts its frames here, and appends the capture time (ns) and the seconds per stage of each.
        self.frames = 0
        self.processed: deque[tuple[int, dict[str, float]]] = deque(maxlen=KEPT)
        self._stages = StageTimes()
        self._arrivals: deque[int] = deque(maxlen=FPS_WINDOW)  # capture times, ns
        self._started_ns = time.monotonic_ns()

    def _take(self) -> None:
        """Read the frames that the loop has appended to `processed`."""
        while self.processed:
            captured_ns, seconds = self.processed.popleft()
            self._arrivals.append(captured_ns)
            self._stages.add(seconds)

    @property
    def latest_ns(self) -> int:
        """The latest capture time; 0 before the first frame."""
        self._take()
        return max(self._arrivals, default=0)

    def health(
        self,
        state: str,
        recognizer: Recognizer,
        reporter: Reporter,
        door: DoorReport | None,
        set_aside: Mapping[str, int],
    ) -> Health:
        """set_aside: file -> rows that could not be read, of journal and door record."""
        self._take()
        arrivals = self._arrivals
        span_ns = arrivals[-1] - arrivals[0] if len(arrivals) > 1 else 0
        now_ns = time.monotonic_ns()
        outbox = None if reporter.outbox is None else reporter.outbox.status()
        link = None if reporter.link is None else reporter.link.status()
        return Health(
            state=state,
            fps=round((len(arrivals) - 1) / span_ns * 1e9, 2) if span_ns else None,
            stages_ms=self._stages.percentiles_ms(),
            camera_age_s=round(max(0, now_ns - arrivals[-1]) / 1e9, 2) if arrivals else None,
            temperature_c=system.temperature_c(),
            throttled=system.throttled(),
            rss_bytes=system.resident_bytes(),
            uptime_s=round((now_ns - self._started_ns) / 1e9, 1),
            outbox_depth=0 if outbox is None else outbox.depth,
            outbox_oldest_age_s=None if outbox is None else outbox.oldest_age_s,
            outbox_dropped=0 if outbox is None else outbox.dropped_overflow + outbox.dropped_age,
            outbox_refused=0 if link is None else link.refused_events,
            outbox_fault="" if outbox is None else outbox.fault,
            refused_topics={} if link is None else link.refused_topics,
            encoder_id=recognizer.encoder_id,
            identities=len(recognizer.people.names),
            templates=recognizer.people.templates,
            ts=datetime.now(UTC),
            door=None if door is None else asdict(door),
            adaptation=None if (adapted := site.state(recognizer)) is None else asdict(adapted),
            gallery_fault=recognizer.people.unchangeable,
            set_aside={
                "gallery": recognizer.people.skipped,
                "outbox": 0 if outbox is None else outbox.set_aside,
                **set_aside,
            },
            trends=self._trends.update(now_ns, 0 if outbox is None else outbox.depth),
        )

    def status(
        self, health: Health, config: Config, recognizer: Recognizer, reporter: Reporter, present: Present
    ) -> StatusReport:
        threshold = recognizer.threshold
        fields = health.message() | {
            "version": __version__,
            "instance": config.instance,
            "device": config.device_slug,
            "frames": self.frames,
            "events": reporter.events,
            "present": asdict(present),
            "broker": None if reporter.link is None else str(reporter.link.status().state),
            "threshold": round(threshold.value, 4),
            "accepted": config.decision.stated,
            "target_fmr": threshold.target_fmr,
            "target_fpir": threshold.target_fpir,
            "rate": threshold.rate.message(),
            "threshold_extrapolated": threshold.extrapolated,
            "sealed": recognizer.people.gallery.sealed,
            "old_templates": len(recognizer.people.old),
        }
        return from_json(StatusReport, fields, "status", strict=False)
