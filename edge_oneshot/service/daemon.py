"""The loop: camera mailbox > recognizer > tracks > outbox. One thread; `step` is a plain call, so that tests need no sleeps.

The watchdog is fed by the loop's progress in a named state, never by a timer of its own: a loop that hangs in a driver or
in an inference stops feeding it, and systemd restarts the daemon.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from edge_oneshot.cameras.exposure import FaceExposure
from edge_oneshot.cameras.latest import LatestFrame
from edge_oneshot.cameras.latest import State as CameraState
from edge_oneshot.config import Config
from edge_oneshot.control.protocol import RequestSource
from edge_oneshot.control.responses import GalleryCounts, Reloaded, StatusReport
from edge_oneshot.errors import CameraError
from edge_oneshot.matching.track import Tracker
from edge_oneshot.mqtt.payloads import Health
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import notices, site, system
from edge_oneshot.service.door import Door
from edge_oneshot.service.pace import Pace
from edge_oneshot.service.records import Records
from edge_oneshot.service.reload import Plan
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.requests import Requests
from edge_oneshot.service.retention import Retention
from edge_oneshot.service.roll import Roll
from edge_oneshot.service.sight import Sight, State
from edge_oneshot.service.statements import Statements
from edge_oneshot.service.vitals import Vitals
from edge_oneshot.shown import plain
from edge_oneshot.types import Event, Frame, Observation
from edge_oneshot.vision.gates import Gates

log = logging.getLogger(__name__)

TICK_S = 0.2  # the longest wait for a frame before the loop looks at requests, the clock and the stop Event
GALLERY_EVERY_NS = 500_000_000  # a change in the gallery is seen within a second
END_NS = 3_600_000_000_000  # after the last frame of a file: longer than any time limit


class Daemon:
    """The daemon of one camera; compose.py wires its parts. All methods belong to one thread."""

    def __init__(
        self,
        config: Config,
        recognizer: Recognizer,
        tracker: Tracker,
        reporter: Reporter,
        records: Records | None = None,
        plan_reload: Callable[[Config], Plan] | None = None,
        door: Door | None = None,
        retention: Retention | None = None,
    ) -> None:
        """records: what is kept of visits; None: nothing. plan_reload: reads the configuration again.

        door: measures this door's own error rates; None: they are not measured. retention: removes people by their last visit.
        """
        self.config, self.recognizer, self.tracker, self.reporter = config, recognizer, tracker, reporter
        self.records, self.door = records or Records(config), door
        self._plan_reload, self._retention = plan_reload, retention or Retention()
        self.statements = Statements(config, recognizer, tracker, reporter, self.records, self._retention)
        self.second_factor = self.statements.second_factor
        self._roll = Roll(recognizer, tracker, reporter, self.records, self.second_factor)
        self._roll.erase_removed()
        self.requests = Requests(
            recognizer,
            self._emit,
            status=self.status,
            set_paused=self._pause,
            records=self.records,
            reload=self._reload if plan_reload else None,
            door=door,
            confirm=self.second_factor.confirm,
            config=lambda: self.config,
        )
        self.vitals, self.state = Vitals(config.state_dir), State.RUNNING
        self._sight, self._exposure, self._pace = Sight(), FaceExposure(), Pace()
        self._gallery_ns, self._health_ns = time.monotonic_ns(), 0

    # ---- one step

    def step(self, frame: Frame | None, now_ns: int) -> list[Event]:
        """Process a frame (None: there is no new one) at now_ns, time.monotonic_ns. Returns the events it caused.

        Tracks go by the frames' capture times; without a frame, by now_ns.
        """
        if now_ns - self._gallery_ns >= GALLERY_EVERY_NS:
            self._gallery_ns = now_ns
            self._read_gallery()
            self.recognizer.access.look()
            self._retention.look(self.recognizer, now_ns, self._emit)
        if frame is not None:
            self._enter(self._sight.look(frame))
        enrolling = self.requests.job is not None
        if frame is not None and enrolling:
            # The person in front of the camera is being enrolled, or the camera aimed: publish no `unknown` meanwhile.
            self._view(frame, [])
            self.requests.offer(frame, self._sight.repeated)
            results = self.tracker.expire(now_ns)
        elif frame is None or self.state in (State.PAUSED, State.CAMERA_FROZEN):
            self._view(frame, [])
            results = self.tracker.expire(now_ns)
        else:
            observations = self._observe(frame)
            results = self.tracker.update(observations, frame.captured_ns)
            self._view(frame, observations)
            self.records.observe(self.tracker.seen_at(frame.captured_ns), frame)
        self.requests.tick(now_ns)
        events = [e for result in results if (e := self.statements.publish(result, self.config)) is not None]
        # The person who is being enrolled is no stranger.
        for event in site.visited(self.recognizer, [] if enrolling else results, datetime.now(UTC), self.door):
            self._emit(event)
            events.append(event)
        self.records.close_tracks(self.tracker.numbers)
        self.statements.follow()
        return events

    def _observe(self, frame: Frame) -> list[Observation]:
        start = time.perf_counter()
        observations = self.recognizer.follow(frame, self.tracker)
        seconds = time.perf_counter() - start
        self._exposure.follow([o.sample.quality.luma for o in observations if o.sample.face], frame.captured_ns)
        stages = {**self.recognizer.pipeline.stage_seconds, "frame": seconds}
        self.vitals.frames += 1
        self.vitals.processed.append((frame.captured_ns, stages))
        return observations

    def _view(self, frame: Frame | None, observations: list[Observation]) -> None:
        if self.requests.views.wanted:
            state = self.state.value if self.requests.job is None else "enrolling"
            known = self.tracker.known_of(observations)
            said = "" if self.requests.job is None else self.requests.job.hint
            self.requests.views.show(frame, known, self.recognizer.refusal, self.recognizer.people.names, state, said)

    # ---- changes of gallery, state and configuration

    def _emit(self, event: Event) -> None:
        self.reporter.event(event)
        system.notify("WATCHDOG=1")  # an import commits one event for each of its people: that is progress
        if self._roll.outdated:
            self._gallery_changed()
        elif event.event_type == "threshold_changed":
            self.reporter.info(self.config, self.recognizer)

    def _read_gallery(self) -> None:
        people = self.recognizer.people
        people.try_refresh()
        # A request may have read the change first, so compare with what was published.
        if self._roll.outdated:
            log.info("the gallery has changed: %d people, %d templates", len(people.names), len(people.references))
            self._gallery_changed()

    def _gallery_changed(self) -> None:
        self._roll.publish()
        self._retention.forget_others(self.recognizer)
        self.reporter.info(self.config, self.recognizer)

    def _pause(self, paused: bool) -> None:
        self.state = State.PAUSED if paused else State.RUNNING
        log.info("%s", self.state.value)
        system.notify(f"STATUS={self.state.value}")
        self._health_ns = 0  # published at once

    def _reload(self) -> Reloaded:
        """Take gallery and configuration as they are now. If it raises, nothing has changed."""
        assert self._plan_reload is not None
        new = self._plan_reload(self.config)
        self.recognizer.people.refresh(force=True)
        self.config, self.recognizer.rule = new.config, new.rule
        self.recognizer.access.reconfigure(new.config.access)
        self.recognizer.pipeline.gates = Gates(probe=new.config.quality, reference=new.config.enrollment)
        if self.door is not None:
            self.door.reconfigure(new.config.decision)
        for event in site.reconfigure(self.recognizer, new.config, self.door):
            self._emit(event)
        self.tracker.reconfigure(new.config.decision)
        self.second_factor.within_s = new.config.decision.second_factor_s
        self.records.reconfigure(new.config)
        self._roll.erase_removed()
        self._gallery_changed()
        notices.of_threshold(self.recognizer, self.config)
        people = self.recognizer.people
        counts = GalleryCounts(identities=len(people.names), templates=people.templates)
        return new.report(self.recognizer.threshold.value, counts)

    # ---- the loop

    def run(self, camera: LatestFrame, sources: Sequence[RequestSource], stop: threading.Event) -> int:
        """Run until `stop` is set or the camera ends; the exit code. Raises CameraError when it is lost for too long."""
        self._announce()
        system.notify(f"READY=1\nSTATUS={self.state.value}")
        try:
            while not stop.is_set():
                self._serve(sources)
                frame = self._pace.take(camera, stop, TICK_S)
                now_ns = time.monotonic_ns()
                self._watch(camera)
                self.step(frame, now_ns)
                if frame is not None:
                    self._pace.done(now_ns, time.monotonic_ns())
                camera.expose(self._exposure.stops if self.config.camera.exposure == "faces" else 0.0)
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
            self.requests.stop()

    def _serve(self, sources: Sequence[RequestSource]) -> None:
        """Serve requests for at most a tick. However many wait, the loop watches the camera and feeds the watchdog between."""
        for source in sources:
            end = time.monotonic() + TICK_S / len(sources)
            while time.monotonic() < end and (pending := source.next_request()) is not None:
                self.requests.start(pending)

    def _watch(self, camera: LatestFrame) -> None:
        """Follow the camera's state, publish a change at once, and give up when it is lost for too long."""
        lost = camera.state is CameraState.LOST
        if lost or self.state is State.CAMERA_LOST:
            self._enter(State.CAMERA_LOST if lost else State.RUNNING, f": {camera.last_error}" if lost else "")
        if camera.lost_for_s > self.config.camera.give_up_s:
            raise CameraError(
                f"no camera for {camera.lost_for_s:.0f} s: {camera.last_error}",
                "check its cable and power; systemd restarts the service",
            )

    def _enter(self, state: State, why: str = "") -> None:
        """Change the state and publish it at once. `paused` stays until `resume`."""
        if self.state in (state, State.PAUSED):
            return
        self.state = state
        log.warning("state: %s%s", state.value, why, extra={"journal": {"STATE": state.value}})
        system.notify(f"STATUS={state.value}{plain(why)}")
        self._health_ns = 0

    def _finish(self) -> None:
        """A file or folder has ended: a job decides on the frames that it got, and no person is in sight any more."""
        now_ns = time.monotonic_ns()
        self.requests.tick(now_ns + END_NS)
        self.step(None, max(now_ns, self.vitals.latest_ns) + round(self.config.decision.gone_after_s * 1e9) + 1)
        log.info("the camera has ended after %d frames", self.vitals.frames)

    def _announce(self) -> None:
        people = self.recognizer.people
        notices.of_model(self.recognizer, self.config)
        self.reporter.info(self.config, self.recognizer)
        self.reporter.people(people.names)
        self.reporter.presence([], 0)
        threshold, name = self.recognizer.threshold.value, self.recognizer.pipeline.encoder.card.name
        log.info("running: %d people, threshold %.3f, %s", len(people.names), threshold, name)
        if self.door is not None and (report := self.door.report()) is not None:
            log.info("%s", self.door.words(report))

    # ---- reports

    def health(self) -> Health:
        door = None if self.door is None else self.door.report()
        aside = self.records.set_aside | ({} if self.door is None else {"door": self.door.set_aside})
        return self.vitals.health(self.state.value, self.recognizer, self.reporter, door, aside)

    def status(self) -> StatusReport:
        """What `edge-oneshot status` shows."""
        present = self.statements.present()
        return self.vitals.status(self.health(), self.config, self.recognizer, self.reporter, present)
