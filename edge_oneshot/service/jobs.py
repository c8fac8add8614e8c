"""Requests that wait for frames: an enrollment from the camera, and a capture for aiming it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.control.parts import FoundFace
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.responses import Captured, Enrolled
from edge_oneshot.errors import ControlError, EdgeOneshotError
from edge_oneshot.recognition.enrollment import CaptureSession, Enrollment
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Frame


class Job(Protocol):
    """Both calls return True when the request is answered. now_ns: monotonic. repeated: the same picture as before.

    hint: what the person in front of the camera can do; "" for nothing.
    """

    pending: PendingRequest

    @property
    def hint(self) -> str: ...

    def offer(self, frame: Frame, repeated: bool) -> bool: ...

    def tick(self, now_ns: int) -> bool: ...


class EnrollJob:
    """Feeds frames to a capture session, reports its progress, and hands the result to `store`."""

    def __init__(
        self, pending: PendingRequest, session: CaptureSession, store: Callable[[Enrollment], Enrolled]
    ) -> None:
        self.pending = pending
        self._session, self._store = session, store
        self._reported = ""
        self._report()

    def offer(self, frame: Frame, repeated: bool) -> bool:
        return self._advance(lambda: self._session.offer(frame, repeated))

    def tick(self, now_ns: int) -> bool:
        return self.pending.abandoned or self._advance(lambda: self._session.finish_if_due(now_ns))

    def _advance(self, step: Callable[[], Enrollment | None]) -> bool:
        try:
            enrollment = step()
            if enrollment is None:
                self._report()
                return False
            self.pending.finish(self._store(enrollment))
        except EdgeOneshotError as e:
            self.pending.fail(e)
        return True

    @property
    def hint(self) -> str:
        """What the person can do now."""
        return self._session.progress

    def _report(self) -> None:
        if self._session.progress != self._reported:
            self._reported = self._session.progress
            self.pending.progress(self._reported)


class CaptureJob:
    """Returns the next frame as a JPEG with the faces found in it, for a person who aims the camera. Nothing is stored."""

    hint = ""

    def __init__(self, pending: PendingRequest, pipeline: Pipeline, timeout_s: float) -> None:
        self.pending = pending
        self._pipeline = pipeline
        self._start_ns = time.monotonic_ns()
        self._timeout_s = timeout_s

    def offer(self, frame: Frame, repeated: bool) -> bool:
        if frame.captured_ns <= self._start_ns:
            return False
        faces = []
        for sample in self._pipeline.all_samples(frame):
            if sample.face is not None:
                b = sample.face.box
                face = FoundFace(
                    box=[round(v, 1) for v in (b.x0, b.y0, b.x1, b.y1)],
                    landmarks=sample.face.landmarks.round(1).tolist(),
                    detection_score=round(sample.face.detection_score, 3),
                    quality=sample.quality.measures(),
                    faults=[f.message for f in sample.faults],
                    to_enroll=[f.message for f in sample.reference_faults],
                )
                faces.append(face)
        self.pending.finish(Captured(size=list(frame.size), faces=faces, jpeg=to_jpeg(frame.pixels)))
        return True

    def tick(self, now_ns: int) -> bool:
        if now_ns - self._start_ns > self._timeout_s * 1e9:
            message = f"no frame from the camera within {self._timeout_s:g} s"
            self.pending.fail(ControlError(message, "run `edge-oneshot doctor`"))
            return True
        return self.pending.abandoned
