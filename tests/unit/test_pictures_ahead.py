"""The loop takes a request only when its picture is decoded: meanwhile it takes other requests and frames."""

from __future__ import annotations

import io
import time
from collections import deque
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image
from waiting import wait_until

from edge_oneshot.control import requests as rq
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.errors import CameraError
from edge_oneshot.service import pictures
from edge_oneshot.service.pictures import ahead_of_loop, picture_of
from edge_oneshot.types import Frame


class Waiting:
    def __init__(self, *requests: PendingRequest) -> None:
        self._requests = deque(requests)

    def next_request(self) -> PendingRequest | None:
        return self._requests.popleft() if self._requests else None


def png(width: int, height: int) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, "PNG")
    return out.getvalue()


def test_a_request_with_a_picture_does_not_keep_the_loop() -> None:
    picture = PendingRequest(rq.Identify(image=png(60, 40)))
    broken = PendingRequest(rq.Verify(name="A", image=b"no picture"))
    plain = PendingRequest(rq.List())
    source, decoded = ahead_of_loop([Waiting(picture, broken, plain)])
    start = time.perf_counter()
    assert source.next_request() is plain and source.next_request() is None
    assert decoded.next_request() is None
    assert time.perf_counter() - start < 0.05, "the loop waited for the decoder"
    served: list[PendingRequest] = []

    def both() -> bool:
        if (pending := decoded.next_request()) is not None:
            served.append(pending)
        return len(served) == 2

    wait_until(both, "both pictures are decoded")
    assert served == [picture, broken]
    assert isinstance(picture.picture, Frame) and picture_of(picture).size == (60, 40)
    assert isinstance(broken.picture, CameraError)


def test_a_request_whose_client_has_gone_is_not_decoded() -> None:
    gone, next_one = PendingRequest(rq.Identify(image=b"x")), PendingRequest(rq.Identify(image=png(6, 4)))
    gone.abandoned = True
    source, decoded = ahead_of_loop([Waiting(gone, next_one)])
    source.next_request()
    served: list[PendingRequest | None] = []

    def one() -> bool:
        served.append(decoded.next_request())
        return served[-1] is not None

    wait_until(one, "the picture is decoded")
    assert served[-1] is next_one and gone.picture is None


def test_one_decoded_picture_is_in_memory_and_its_file_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoded here by a function without a process, so that a picture that is decoded too early is there at once."""
    pixels = np.zeros((40, 60, 3), np.uint8)
    frame = Frame(pixels=pixels, seq=0, captured_ns=0, captured_at=datetime.now(UTC), source="x")

    def decode(data: bytes, source: str) -> Frame:
        if data == b"no picture":
            raise CameraError("broken")
        return frame

    monkeypatch.setattr(pictures, "decode_image", decode)
    requests = [PendingRequest(rq.Identify(image=png(60, 40))) for _ in range(3)]
    requests.append(PendingRequest(rq.Identify(image=b"no picture")))
    source, decoded = ahead_of_loop([Waiting(*requests)])
    source.next_request()
    for at, pending in enumerate(requests):
        assert wait_until(decoded.next_request, "the picture is decoded") is pending
        time.sleep(0.3)
        assert pending.picture is not None and pending.request == rq.Identify(image=b"")
        assert all(later.picture is None for later in requests[at + 1 :]), "decoded before the loop asked for it"
        if at < 3:
            assert picture_of(pending).size == (60, 40)
            assert pending.picture is None
    error = requests[-1].picture
    assert isinstance(error, CameraError) and error.__traceback__ is None and error.__context__ is None
