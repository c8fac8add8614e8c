"""The loop: mailbox > pipeline > track > outbox. One thread; `step` is a plain call, so that tests need no sleeps.

The watchdog is fed by the loop's progress in a named state, never by a timer of its own: a loop that hangs in a driver or
an inference stops feeding it, and systemd starts the daemon afresh.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from edge_oneshot import __version__
from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.cameras.latest import LatestFrame
from edge_oneshot.cameras.latest import State as CameraState
from edge_oneshot.config import Config
from edge_oneshot.control.protocol import Door
from edge_oneshot.errors import CameraError
from edge_oneshot.events.build import fold
from edge_oneshot.events.journal import Journal
from edge_oneshot.gallery.people import People
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.mqtt.payloads import Health, Info
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service import system
from edge_oneshot.service.reload import Plan
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.requests import Handler
from edge_oneshot.service.stage_times import StageTimes
from edge_oneshot.types import Event, Frame, Observation

log = logging.getLogger(__name__)

TICK_S = 0.2  # the longest wait for a frame before requests, the clock and the stop Event are looked at
GALLERY_EVERY_NS = 500_000_000  # a change in the gallery is seen within a second
FPS_WINDOW = 100


class State(Enum):
    RUNNING = "running"
    PAUSED = "paused"
    CAMERA_LOST = "camera_lost"


class Daemon:
    """One camera's daemon; its parts come wired from compose.py. All methods belong to one thread."""

    def __init__(
        self,
        config: Config,
        pipeline: Pipeline,
        people: People,
        tracker: Tracker,
        reporter: Reporter,
        journal: Journal | None = None,
        plan_reload: Callable[[Config], Plan] | None = None,
    ) -> None:
        """journal: what `explain` answers from; None: nothing is kept. plan_reload: reads the configuration again."""
        self.config, self.pipeline, self.people, self.tracker, self.reporter = (
            config,
            pipeline,
            people,
            tracker,
            reporter,
        )
        self.journal = journal
        if journal is not None:
            journal.keep_only(people.names)
        self._plan_reload = plan_reload
        self.handler = Handler(
            pipeline, people, self._emit, self.describe, self._pause, journal, plan_reload and self._reload
        )
        self.times = StageTimes()
        self.state = State.RUNNING
        self.frames = 0
        self._enrolled = frozenset(people.names)
        self._told_of = people.references
        self._arrivals: deque[int] = deque(maxlen=FPS_WINDOW)
        self._started_ns = self._gallery_ns = time.monotonic_ns()
        self._health_ns = 0

    # ---- one step

    def step(self, frame: Frame | None, now_ns: int) -> list[Event]:
        """Process a frame (None: there is no new one) at now_ns, time.monotonic_ns. Returns the events it caused.

        Tracks live by the frames' capture times; without a frame, by now_ns.
        """
        if now_ns - self._gallery_ns >= GALLERY_EVERY_NS:
            self._gallery_ns = now_ns
            self._read_gallery()
        if frame is not None and self.handler.job is not None:
            # The person before the camera is being enrolled, or the camera aimed: nobody is to be told as unknown now.
            self.handler.offer(frame)
            results = self.tracker.expire(now_ns)
        elif frame is None or self.state is State.PAUSED:
            results = self.tracker.expire(now_ns)
        else:
            results = self.tracker.update(self._observe(frame), frame.captured_ns)
            if self.journal is not None:
                self.journal.observe(self.tracker.seen_at(frame.captured_ns), frame.captured_at)
        self.handler.tick(now_ns)
        events = [self._fold(result) for result in results]
        for event in events:
            self.reporter.event(event)
            if self.journal is not None:
                self.journal.add_event(event)
        if self.config.mqtt.snapshot:
            for result in (f for f in results if f.kind in (ResultKind.MATCH, ResultKind.UNKNOWN)):
                self.reporter.picture(to_jpeg(result.observation.sample.chip.pixels))
        if self.journal is not None:
            self.journal.close_tracks(self.tracker.numbers)
        self.reporter.presence(*self.tracker.present)
        return events

    def _observe(self, frame: Frame) -> list[Observation]:
        self.frames += 1
        self._arrivals.append(frame.captured_ns)
        start = time.perf_counter()
        observations = self.pipeline.observe(frame, self.people.references)
        self.times.add(self.pipeline.stopwatch.seconds | {"frame": time.perf_counter() - start})
        return observations

    def _fold(self, result: TrackResult) -> Event:
        encoder_id = self.pipeline.encoder.encoder_id
        return fold(
            result, self.people.names, self.config.camera.name, encoder_id, time.monotonic_ns(), datetime.now(UTC)
        )

    def _emit(self, event: Event) -> None:
        self.reporter.event(event)
        system.notify(
            "WATCHDOG=1"
        )  # an import tells an event for each of its people, each written to the disk: that is progress
        if self.people.references is not self._told_of:
            self._gallery_changed()

    def _read_gallery(self) -> None:
        self.people.refresh()
        # A request may have read the change first, so what counts is what the world was told of.
        if self.people.references is not self._told_of:
            log.info(
                "the gallery has changed: %d people, %d comparable templates",
                len(self.people.names),
                len(self.people.references),
            )
            self._gallery_changed()

    def _gallery_changed(self) -> None:
        self._told_of = self.people.references
        now = frozenset(self.people.names)
        for identity_id in self._enrolled - now:
            self.tracker.forget(identity_id)
            if self.journal is not None:
                self.journal.forget(identity_id)
        self._enrolled = now
        self.reporter.people(self.people.names)
        self._tell_info()

    def _pause(self, paused: bool) -> None:
        self.state = State.PAUSED if paused else State.RUNNING
        log.info("%s", self.state.value)

    def _reload(self) -> dict[str, Any]:
        """Take gallery and configuration as they are now. When it raises, nothing has changed."""
        assert self._plan_reload is not None
        new = self._plan_reload(self.config)
        self.people.refresh(force=True)
        self.config, self.pipeline.gates, self.pipeline.rule = new.config, new.config.quality, new.rule
        self.pipeline.follow(self.people.references)
        self.tracker.reconfigure(new.config.decision)
        if self.journal is not None:
            self.journal.reconfigure(new.config.decision)
            self.journal.keep_only(self.people.names)  # its file may be one from before somebody was removed
        self._gallery_changed()
        self._warn_of_threshold()
        references = self.people.references
        return new.answer(self.pipeline.threshold.value, len(self.people.names), len(references) + references.foreign)

    # ---- the loop

    def run(self, camera: LatestFrame, doors: Sequence[Door], stop: threading.Event) -> int:
        """Run until `stop` is set or the camera ends; the exit code. Raises CameraError when it is lost for too long."""
        self._announce()
        system.notify("READY=1")
        try:
            while not stop.is_set():
                self._serve(doors)
                frame = camera.get(TICK_S)
                now_ns = time.monotonic_ns()
                self._watch(camera)
                self.step(frame, now_ns)
                if now_ns - self._health_ns >= self.config.mqtt.health_every_s * 1e9:
                    self._health_ns = now_ns
                    self.reporter.health(self.health())
                system.notify("WATCHDOG=1")
                if frame is None and camera.state is CameraState.ENDED:
                    self._finish()
                    return 0
            return 0
        finally:
            system.notify("STOPPING=1")
            self.handler.stop()

    def _serve(self, doors: Sequence[Door]) -> None:
        """Answer requests for a moment. However many wait, the camera is watched between them, and the watchdog fed."""
        for door in doors:
            end = time.monotonic() + TICK_S / len(doors)
            while time.monotonic() < end and (request := door.next_request()) is not None:
                self.handler.start(request)

    def _watch(self, camera: LatestFrame) -> None:
        """Follow the camera's state; tell it at once, and give up when it was lost for too long."""
        lost = camera.state is CameraState.LOST
        if self.state is not State.PAUSED and lost != (self.state is State.CAMERA_LOST):
            self.state = State.CAMERA_LOST if lost else State.RUNNING
            log.warning("state: %s%s", self.state.value, f": {camera.last_error}" if lost else "")
            system.notify(f"STATUS={self.state.value}")
            self._health_ns = 0
        if camera.lost_for_s > self.config.camera.give_up_s:
            raise CameraError(
                f"no camera for {camera.lost_for_s:.0f} s: {camera.last_error}",
                "check its cable and power; the service starts afresh",
            )

    def _finish(self) -> None:
        """A file or folder has ended: nobody is in sight any more."""
        later_ns = max([time.monotonic_ns(), *self._arrivals]) + round(self.config.decision.gone_after_s * 1e9) + 1
        self.step(None, later_ns)
        log.info("the camera has ended after %d frames", self.frames)

    def _announce(self) -> None:
        card = self.pipeline.encoder.card
        if not card.certified:
            log.warning("the model %s is not certified: nobody has measured what quantization cost it", card.name)
        self._warn_of_threshold()
        if self.people.references.foreign:
            log.warning(
                "%d templates are of another encoder and are not compared: enroll those people again (`edge-oneshot gallery check`)",
                self.people.references.foreign,
            )
        self._tell_info()
        self.reporter.people(self.people.names)
        self.reporter.presence([], 0)
        log.info(
            "running: %d people, threshold %.3f, %s", len(self.people.names), self.pipeline.threshold.value, card.name
        )

    def _warn_of_threshold(self) -> None:
        threshold = self.pipeline.threshold
        if threshold.extrapolated:
            stated = self.config.decision.stated
            log.warning(
                "decision.%s is beyond what the model's card has measured; the threshold is extrapolated", stated
            )
        if threshold.approximated:
            name = self.pipeline.encoder.card.name
            log.warning(
                "the model %s has measured no galleries; the threshold assumes that comparisons are independent", name
            )

    def _tell_info(self) -> None:
        """The threshold moves with the gallery when it is chosen by target_fpir."""
        threshold = self.pipeline.threshold
        self.reporter.info(
            Info(
                version=__version__,
                encoder_id=self.pipeline.encoder.encoder_id,
                target_fmr=threshold.target_fmr,
                target_fpir=threshold.target_fpir,
                threshold=round(threshold.value, 4),
                pad=self.pipeline.pad_method,
                gallery_encrypted=False,
                signed_events=bool(self.config.mqtt.sign_key_file),
                requests=self.config.mqtt.requests,
                ts=datetime.now(UTC),
            )
        )

    # ---- how it is

    def health(self) -> Health:
        outbox = None if self.reporter.outbox is None else self.reporter.outbox.status()
        last_ns = self._arrivals[-1] if self._arrivals else None
        span_ns = self._arrivals[-1] - self._arrivals[0] if len(self._arrivals) > 1 else 0
        now_ns = time.monotonic_ns()
        return Health(
            state=self.state.value,
            fps=round((len(self._arrivals) - 1) / span_ns * 1e9, 2) if span_ns else None,
            stages_ms=self.times.percentiles_ms(),
            camera_age_s=None if last_ns is None else round(max(0, now_ns - last_ns) / 1e9, 2),
            temperature_c=system.temperature_c(),
            throttled=system.throttled(),
            rss_bytes=system.resident_bytes(),
            uptime_s=round((now_ns - self._started_ns) / 1e9, 1),
            outbox_depth=0 if outbox is None else outbox.depth,
            outbox_oldest_age_s=None if outbox is None else outbox.oldest_age_s,
            outbox_dropped=0 if outbox is None else outbox.dropped_overflow + outbox.dropped_age,
            outbox_refused=0 if self.reporter.link is None else self.reporter.link.status().refused_events,
            outbox_fault="" if outbox is None else outbox.fault,
            encoder_id=self.pipeline.encoder.encoder_id,
            identities=len(self.people.names),
            templates=len(self.people.references) + self.people.references.foreign,
            ts=datetime.now(UTC),
        )

    def describe(self) -> dict[str, Any]:
        """What `edge-oneshot status` shows."""
        known, unknown = self.tracker.present
        broker = None if self.reporter.link is None else str(self.reporter.link.status().state)
        return self.health().message() | {
            "version": __version__,
            "instance": self.config.instance,
            "device": self.config.device_slug,
            "frames": self.frames,
            "events": self.reporter.events,
            "present": {"identities": known, "unknown": unknown},
            "broker": broker,
            "threshold": round(self.pipeline.threshold.value, 4),
            "accepted": self.config.decision.stated,
            "target_fmr": self.pipeline.threshold.target_fmr,
            "target_fpir": self.pipeline.threshold.target_fpir,
            "threshold_extrapolated": self.pipeline.threshold.extrapolated,
        }
