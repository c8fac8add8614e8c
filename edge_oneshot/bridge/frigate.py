"""Names the people in Frigate's events: snapshot of the event > `identify` over the control socket > sub label of the event.

Only a match is written, and never over a sub label that another program has set. Where Frigate recognizes faces itself, its events
are left alone. One picture at a time, at a limited pace: the daemon keeps the time that its camera needs.
"""

from __future__ import annotations

import logging
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_oneshot.bridge.frigate_api import EVENT_ID, Frigate, FrigateError, label_of
from edge_oneshot.control.requests import Identify
from edge_oneshot.control.responses import Identified
from edge_oneshot.errors import AcquisitionError, CameraError, ControlError, EdgeOneshotError

log = logging.getLogger(__name__)

MOST_WAITING = 32  # events; of each the newest message
MOST_KNOWN = 500  # events that are remembered
MOST_TRIES = 6  # pictures of one event
PACE_S = 0.5  # between two pictures
BACKOFF_S = (1.0, 60.0)
ASK_OWN_S = 600.0  # how often Frigate is asked whether it recognizes faces itself

Ask = Callable[[Identify], Identified]  # raises ControlError if the daemon does not answer


@dataclass(slots=True, kw_only=True)
class Seen:
    """What the bridge knows of an event. picture: time of the last snapshot that was compared. name: the written one."""

    picture: float = 0.0
    tries: int = 0
    name: str = ""
    done: bool = False


@dataclass(slots=True, kw_only=True)
class Counts:
    """Of this run. dropped: events that did not fit into the queue."""

    compared: int = 0
    named: int = 0
    unusable: int = 0
    left_alone: int = 0
    dropped: int = 0


class Bridge:
    """Belongs to one thread. `take` gets each message; `work` does at most one comparison, when it is due.

    cameras: names in Frigate; empty: all. clock: seconds, monotonic.
    """

    def __init__(
        self,
        frigate: Frigate,
        ask: Ask,
        cameras: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._frigate, self._ask, self._cameras, self._clock = frigate, ask, cameras, clock
        self._waiting: OrderedDict[str, Mapping[str, Any]] = OrderedDict()
        self._seen: OrderedDict[str, Seen] = OrderedDict()
        self._own: set[str] = set()
        self._own_at = -ASK_OWN_S
        self._due, self._failures = 0.0, 0
        self.counts = Counts()

    def check(self) -> None:
        """Ask Frigate for its cameras, before the first event. Raises FrigateError if the address or the token is wrong.

        A Frigate that does not run yet is a warning, and is asked again with the first event.
        """
        try:
            self._ask_own()
        except FrigateError as e:
            if not e.unreachable:
                raise
            log.warning("%s; it is asked again. Fix: %s", e.message, e.hint)
        else:
            if absent := sorted(self._cameras - self._frigate.cameras):
                raise FrigateError(
                    f"--camera: expected cameras of Frigate ({', '.join(sorted(self._frigate.cameras))}), got {', '.join(absent)}",
                    "use the names in Frigate's configuration",
                )

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def take(self, message: Mapping[str, Any]) -> None:
        """A message of `frigate/events`. Never raises, and never waits."""
        after = message.get("after")
        if not isinstance(after, dict) or not self._wanted(after):
            return
        event_id = after["id"]
        self._waiting.pop(event_id, None)  # only the newest message of an event counts
        self._waiting[event_id] = after
        if len(self._waiting) > MOST_WAITING:
            self._waiting.popitem(last=False)
            self.counts.dropped += 1
            if self.counts.dropped == 1 or self.counts.dropped % 100 == 0:
                log.warning("%d events dropped: more than %d wait", self.counts.dropped, MOST_WAITING)

    def _wanted(self, after: Mapping[str, Any]) -> bool:
        event_id, camera = after.get("id"), after.get("camera")
        if not (isinstance(event_id, str) and EVENT_ID.fullmatch(event_id) and isinstance(camera, str)):
            return False
        if after.get("label") != "person" or after.get("false_positive") or not after.get("has_snapshot"):
            return False
        if self._cameras and camera not in self._cameras:
            return False
        seen = self._seen.get(event_id)
        return seen is None or (not seen.done and seen.picture != _picture_time(after))

    def work(self) -> bool:
        """Serve the oldest waiting event, if the pace and the back-off allow it. True if there was one."""
        if not self._waiting or self._clock() < self._due:
            return False
        event_id, after = next(iter(self._waiting.items()))
        try:
            self._ask_own()
            self._serve(event_id, after)
        except EdgeOneshotError as e:
            if isinstance(e, FrigateError | ControlError) and not getattr(e, "gone", False):
                self._waiting.move_to_end(event_id)  # it waits behind the others, unless newer ones push it out
                self._fail(e)
                return True
            self._note(event_id).done = True
            log.info("event %s: %s", event_id, e.message)
        self._waiting.pop(event_id, None)
        self._failures, self._due = 0, self._clock() + PACE_S
        return True

    def _fail(self, e: EdgeOneshotError) -> None:
        """Full jitter up to a doubling limit. The first failure is a warning, the others are not."""
        limit = min(BACKOFF_S[1], BACKOFF_S[0] * 2.0 ** min(20, self._failures))
        self._due = self._clock() + random.uniform(0.5 * BACKOFF_S[0], limit)
        log.log(logging.WARNING if self._failures == 0 else logging.DEBUG, "%s; events wait", e)
        self._failures += 1

    def _ask_own(self) -> None:
        """For which cameras does Frigate recognize faces itself? It is said when it changes."""
        if self._clock() - self._own_at < ASK_OWN_S:
            return
        own = self._frigate.own_faces()
        self._own_at = self._clock()
        if both := sorted(own - self._own):
            log.warning(
                "Frigate recognizes faces itself for %s: the bridge skips their events. Fix: turn one of the two off "
                "(face_recognition.enabled: false in Frigate's configuration, or --camera)",
                ", ".join(both),
            )
        self._own = own

    def _note(self, event_id: str) -> Seen:
        seen = self._seen.setdefault(event_id, Seen())
        self._seen.move_to_end(event_id)
        while len(self._seen) > MOST_KNOWN:
            self._seen.popitem(last=False)
        return seen

    def _serve(self, event_id: str, after: Mapping[str, Any]) -> None:
        seen = self._note(event_id)
        if after["camera"] in self._own or label_of(after.get("sub_label")):
            self.counts.left_alone += 1
            seen.done = True
            return
        picture = self._frigate.snapshot(event_id)
        try:
            found = self._ask(Identify(image=picture, source=f"event {event_id}"))
        except (
            AcquisitionError,
            CameraError,
        ):  # no face in it, or not one that can be compared: a better picture may follow
            self.counts.unusable += 1
            found = None
        seen.picture, seen.tries = _picture_time(after), seen.tries + 1
        seen.done = seen.tries >= MOST_TRIES
        if found is None:
            return
        self.counts.compared += 1
        if found.decision == "match" and found.name is not None:
            self._name(event_id, seen, found.name, found)

    def _name(self, event_id: str, seen: Seen, name: str, found: Identified) -> None:
        """Write the name, unless the event got a sub label meanwhile."""
        seen.done = True
        if self._frigate.sub_label(event_id):
            self.counts.left_alone += 1
            return
        score = found.same_probability if found.same_probability is not None else found.score
        self._frigate.label(event_id, name, 1.0 if score is None else score)
        seen.name = name
        self.counts.named += 1
        log.info("event %s: %s", event_id, found.identity)


def _picture_time(after: Mapping[str, Any]) -> float:
    """When the snapshot of an event was taken; it changes with each better one."""
    snapshot = after.get("snapshot")
    found = snapshot.get("frame_time") if isinstance(snapshot, dict) else after.get("snapshot_time")
    return float(found) if isinstance(found, int | float) and not isinstance(found, bool) else -1.0
