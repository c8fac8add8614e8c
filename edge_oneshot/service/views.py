"""The live view: a frame with its recognition results for each waiting request. Without a request it costs nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.control.parts import ViewedFace
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.responses import Viewed
from edge_oneshot.errors import ControlError
from edge_oneshot.service.answers import denied_person
from edge_oneshot.types import DecisionKind, Frame, Observation, Refusal
from edge_oneshot.vision.hints import hint

WIDTH_PX = 800
QUALITY = 70


class Views:
    """Belongs to the loop's thread. All requests that wait get the same frame."""

    def __init__(self) -> None:
        self._waiting: list[tuple[PendingRequest, float, int]] = []  # request, timeout in s, deadline in ns

    @property
    def wanted(self) -> bool:
        """Whether a request waits for a frame."""
        return bool(self._waiting)

    def begin(self, pending: PendingRequest, timeout_s: float) -> None:
        """Let a request wait for the next frame."""
        self._waiting.append((pending, timeout_s, time.monotonic_ns() + round(timeout_s * 1e9)))

    def show(
        self,
        frame: Frame | None,
        observations: Sequence[Observation],
        refusal: Callable[[str], Refusal | None],
        names: Mapping[str, str],
        state: str,
        said: str = "",
    ) -> None:
        """Answer the requests that wait. frame: None, if there is no new one. names: identity -> name.

        refusal: why a person is not allowed, by identity.
        said: the hint of the enrollment that uses the camera.
        """
        waiting = [] if frame is None else [pending for pending, _, _ in self._waiting if not pending.abandoned]
        if frame is None or not waiting:
            return
        self._waiting.clear()
        faces = [_face(o, refusal, names) for o in observations if o.sample.face is not None]
        jpeg = to_jpeg(frame.pixels, QUALITY, WIDTH_PX)
        viewed = Viewed(size=list(frame.size), state=state, faces=faces, jpeg=jpeg, hint=said)
        for pending in waiting:
            pending.finish(viewed)

    def tick(self, now_ns: int) -> None:
        """Fail the requests whose time is over, and drop those whose client has gone. now_ns: time.monotonic_ns."""
        for pending, timeout_s, deadline_ns in self._waiting:
            if now_ns > deadline_ns:
                message = f"no frame from the camera within {timeout_s:g} s"
                pending.fail(ControlError(message, "check its cable and power; run `edge-oneshot doctor`"))
        self._waiting = [w for w in self._waiting if now_ns <= w[2] and not w[0].abandoned]

    def stop(self) -> None:
        """Fail all requests, since the daemon stops."""
        for pending, _, _ in self._waiting:
            pending.fail(ControlError("the daemon is stopping", "try again when it runs"))
        self._waiting.clear()


def _face(observation: Observation, refusal: Callable[[str], Refusal | None], names: Mapping[str, str]) -> ViewedFace:
    """Only a match is named, or in `denied` a person who is not allowed."""
    sample, decision = observation.sample, observation.decision
    assert sample.face is not None
    box, candidate = sample.face.box, decision.candidate
    matched = candidate.identity_id if decision.kind is DecisionKind.MATCH and candidate is not None else None
    denied = None if matched is None else refusal(matched)
    if denied is not None:
        matched = None
    return ViewedFace(
        box=[round(v, 1) for v in (box.x0, box.y0, box.x1, box.y1)],
        inter_eye_px=round(sample.quality.inter_eye_px, 1),
        decision=decision.kind.value if denied is None else "denied",
        denied=None if denied is None else denied_person(denied),
        identity=matched,
        name=None if matched is None else names.get(matched, matched),
        score=None if decision.score is None else round(decision.score, 4),
        threshold=round(decision.threshold, 4),
        faults=[f.message for f in sample.faults],
        to_enroll=[f.message for f in sample.reference_faults],
        hint=hint(sample.faults or sample.reference_faults),
    )
