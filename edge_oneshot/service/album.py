"""Pictures of visits. The loop hands over the best crop of each track; a thread encodes, encrypts, writes and erases.

The loop never waits for that thread: it puts a job into a queue, and drops a picture while too many wait.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.config import Config, VisitsConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.review import PicturesErased, PicturesState, VisitJpeg
from edge_oneshot.errors import ConfigError, ControlError, StorageError
from edge_oneshot.events.pictures import Pictures, erase_pictures
from edge_oneshot.events.visits import PAUSE, key_of
from edge_oneshot.recognition.enrollment import merit
from edge_oneshot.service.key import pictures_cipher
from edge_oneshot.types import Event, Face, Frame, Observation, Sample, UInt8Array, Withheld

log = logging.getLogger(__name__)

MARGIN = 2.2  # side of the crop, in sides of the face's box: enough to find the face again
WIDTH_PX, QUALITY = 480, 85
MOST_OPEN = 16  # tracks whose crop is in memory
MOST_WAITING = 32  # jobs
EXPIRE_EVERY_S = 600.0
RESULTS = ("match", "denied", "unknown", "rejected")


@dataclass(slots=True, kw_only=True)
class _Track:
    first_at: datetime
    last_at: datetime
    merit: tuple[bool, bool, float]
    pixels: UInt8Array
    result: str = ""
    identity: str | None = None


class Album:
    """Its methods belong to the loop's thread, and none of them waits."""

    def __init__(self, pictures: Pictures, config: VisitsConfig) -> None:
        self._pictures, self._config = pictures, config
        self._open: dict[int, _Track] = {}
        self._matched: dict[str, datetime] = {}  # identity -> end of the last track with a picture
        self._kept = pictures.kept()  # replaced as a whole by the thread
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._run, name="visit pictures", daemon=True)
        self._jobs.put(self._expire)
        self._thread.start()

    @property
    def kept(self) -> dict[str, int]:
        """Key of a track -> bytes of its picture. Do not change it."""
        return self._kept

    @property
    def state(self) -> PicturesState:
        days, megabytes = self._config.picture_days, self._config.picture_mb
        size = sum(self._kept.values())
        fault = self._pictures.fault
        return PicturesState(kept=len(self._kept), size_bytes=size, days=days, megabytes=megabytes, fault=fault)

    def reconfigure(self, config: VisitsConfig) -> None:
        self._config = config
        self._pictures.limit(config.picture_days, config.picture_mb)
        self._jobs.put(self._expire)

    # ---- what the loop sees

    def observe(self, tracks: Sequence[tuple[int, Observation, Withheld | None]], frame: Frame) -> None:
        """Add one frame, as Tracker.seen_at gives it."""
        for number, observation, _ in tracks:
            sample, track = observation.sample, self._open.get(number)
            if track is not None:
                track.last_at = frame.captured_at
            value = _merit(sample)
            if track is None and len(self._open) < MOST_OPEN:
                pixels = crop(frame.pixels, sample.face)
                at = frame.captured_at
                self._open[number] = _Track(first_at=at, last_at=at, merit=value, pixels=pixels)
            elif track is not None and value > track.merit:
                track.merit, track.pixels = value, crop(frame.pixels, sample.face)

    def add_event(self, event: Event) -> None:
        """Add an event that was published, to the track that caused it."""
        track = self._open.get(int(event.body.get("track", -1)))
        if track is not None and event.event_type in RESULTS:
            track.result, track.identity = event.event_type, event.body.get("identity")

    def close_tracks(self, in_sight: Iterable[int]) -> None:
        """Keep the pictures of the tracks that have left, if something was reported of them."""
        stay = set(in_sight)
        for number in [n for n in self._open if n not in stay]:
            self._end(number, self._open.pop(number))

    def _end(self, number: int, track: _Track) -> None:
        if not track.result:
            return
        if track.identity is not None:
            before = self._matched.get(track.identity)
            self._matched[track.identity] = track.last_at
            if before is not None and timedelta(0) <= track.first_at - before <= PAUSE:
                return  # the same visit, which has its picture
        if self._jobs.qsize() >= MOST_WAITING:
            self._dropped += 1
            if self._dropped == 1:
                log.warning("the disk is too slow for the pictures of visits: one was dropped")
            return
        key = key_of(track.first_at.isoformat(timespec="milliseconds"), number)
        at, identity, pixels = track.first_at.timestamp(), track.identity, track.pixels

        def store() -> None:
            self._pictures.add(key, at, identity, to_jpeg(pixels, QUALITY, WIDTH_PX))
            self._pictures.expire(time.time())

        self._jobs.put(store)

    # ---- requests

    def read(self, pending: PendingRequest, key: str) -> None:
        """Answer with a picture."""

        def answer() -> None:
            jpeg = self._pictures.find(key)
            if jpeg is None:
                pending.fail(ControlError("this picture is no longer kept", "see visits.picture_days"))
            else:
                pending.finish(VisitJpeg(visit=key, jpeg=jpeg))

        self._jobs.put(answer)

    def erase(self, pending: PendingRequest) -> None:
        """Erase all pictures and answer."""

        def answer() -> None:
            count = len(self._pictures.kept())
            self._pictures.erase()
            if self._pictures.kept() or self._pictures.fault:
                pending.fail(
                    StorageError(f"cannot erase the pictures: {self._pictures.fault}", "free space, then try again")
                )
            else:
                pending.finish(PicturesErased(erased=count))

        self._jobs.put(answer)

    def name(self, keys: Sequence[str], identity: str | None) -> None:
        """Note who is in these pictures, so that they are erased with the person."""
        self._jobs.put(lambda: self._pictures.name(keys, identity))

    def forget(self, identity: str) -> None:
        """Erase the pictures of a person who was removed from the gallery."""
        for number in [n for n, t in self._open.items() if t.identity == identity]:
            del self._open[number]
        self._matched.pop(identity, None)
        self._jobs.put(lambda: self._pictures.forget(identity))

    def keep_only(self, identities: Iterable[str]) -> None:
        kept = list(identities)
        self._jobs.put(lambda: self._pictures.keep_only(kept))

    # ---- the thread

    def close(self, *, erase: bool = False) -> None:
        """End the thread after what waits. erase: all pictures, and do not wait for it."""
        if erase:
            self._jobs.put(self._pictures.erase)
        else:
            self.close_tracks(())
        self._jobs.put(None)
        if not erase:
            self._thread.join(5.0)

    def _run(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=EXPIRE_EVERY_S)
            except queue.Empty:
                job = self._expire
            if job is None:
                self._pictures.close()
                return
            try:
                job()
                self._kept = self._pictures.kept()
            except Exception:  # a defect here must not end the thread: requests would wait for ever
                log.exception("a job on pictures of visits failed")

    def _expire(self) -> None:
        self._pictures.expire(time.time())


def _merit(sample: Sample) -> tuple[bool, bool, float]:
    """Frames that may become a template first."""
    return not sample.faults, not sample.reference_faults, merit(sample)


def crop(pixels: UInt8Array, face: Face | None) -> UInt8Array:
    """A copy of the face with its surroundings, of uint8 (H, W, 3) RGB; of the whole frame without a face."""
    if face is None:
        return pixels.copy()
    height, width = pixels.shape[:2]
    box, half = face.box, MARGIN * max(face.box.width, face.box.height) / 2
    cx, cy = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    x0, x1 = (int(np.clip(v, 0, width)) for v in (cx - half, cx + half))
    y0, y1 = (int(np.clip(v, 0, height)) for v in (cy - half, cy + half))
    return pixels[y0:y1, x0:x1].copy() if x1 > x0 and y1 > y0 else pixels.copy()


def open_album(config: Config) -> Album | None:
    """The pictures of visits; None if they are off, and then all pictures are erased. Raises ConfigError without a key."""
    visits = config.visits
    if not visits.pictures:
        erase_pictures(config.pictures_path)
        return None
    cipher = pictures_cipher(config)
    return Album(Pictures(config.pictures_path, cipher, visits.picture_days, visits.picture_mb), visits)


def forget_in_pictures(config: Config, identity: str) -> None:
    """Erase a person's pictures of every instance while no daemon runs; all pictures where the key is absent."""
    for path in sorted(config.state_dir.glob("pictures-*.sqlite")):
        try:
            pictures = Pictures(path, pictures_cipher(config), 365, 10000)
        except ConfigError as e:
            log.warning(
                "erased all pictures in %s, since without the key those of one person cannot be found: %s", path, e
            )
            erase_pictures(path)
            continue
        pictures.forget(identity)
        pictures.close()
