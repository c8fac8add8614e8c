"""Requests that wait for frames: an enrollment from the camera, and a snapshot for aiming it."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from typing import Any, Protocol

from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.control.protocol import Request
from edge_oneshot.errors import ControlError, EdgeOneshotError
from edge_oneshot.recognition.enrollment import CaptureSession, Enrollment
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Frame


class Job(Protocol):
    """Both calls return True when the request is answered. now_ns: monotonic."""

    request: Request

    def offer(self, frame: Frame) -> bool: ...

    def tick(self, now_ns: int) -> bool: ...


class EnrollJob:
    """Feeds frames to a capture session, tells its progress, and hands the result to `store`."""

    def __init__(
        self, request: Request, session: CaptureSession, store: Callable[[Enrollment], dict[str, Any]]
    ) -> None:
        self.request = request
        self._session, self._store = session, store
        self._told = ""
        self._tell()

    def offer(self, frame: Frame) -> bool:
        return self._advance(lambda: self._session.offer(frame))

    def tick(self, now_ns: int) -> bool:
        return self.request.abandoned or self._advance(lambda: self._session.finish_if_due(now_ns))

    def _advance(self, step: Callable[[], Enrollment | None]) -> bool:
        try:
            enrollment = step()
            if enrollment is None:
                self._tell()
                return False
            self.request.finish(self._store(enrollment))
        except EdgeOneshotError as e:
            self.request.fail(e)
        return True

    def _tell(self) -> None:
        if self._session.progress != self._told:
            self._told = self._session.progress
            self.request.progress(self._told)


class SnapshotJob:
    """The next frame as JPEG, with what was found in it. For a person who aims the camera; nothing is stored."""

    def __init__(self, request: Request, pipeline: Pipeline, timeout_s: float) -> None:
        self.request = request
        self._pipeline = pipeline
        self._start_ns = time.monotonic_ns()
        self._timeout_s = timeout_s

    def offer(self, frame: Frame) -> bool:
        if frame.captured_ns <= self._start_ns:
            return False
        faces = []
        for sample in self._pipeline.samples(frame):
            if sample.face is not None:
                b = sample.face.box
                faces.append(
                    {
                        "box": [round(v, 1) for v in (b.x0, b.y0, b.x1, b.y1)],
                        "landmarks": sample.face.landmarks.round(1).tolist(),
                        "detection_score": round(sample.face.detection_score, 3),
                        "quality": sample.quality.measures(),
                        "faults": [f.message for f in sample.faults],
                    }
                )
        self.request.finish(
            {"size": list(frame.size), "faces": faces, "jpeg": base64.b64encode(to_jpeg(frame.pixels)).decode("ascii")}
        )
        return True

    def tick(self, now_ns: int) -> bool:
        if now_ns - self._start_ns > self._timeout_s * 1e9:
            self.request.fail(
                ControlError(f"no frame from the camera within {self._timeout_s:g} s", "run `edge-oneshot doctor`")
            )
            return True
        return self.request.abandoned
