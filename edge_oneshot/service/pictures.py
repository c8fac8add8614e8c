"""The pictures of requests are decoded before the loop takes the request, so that no picture keeps the loop from its frames."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from dataclasses import replace

from edge_oneshot.cameras.images import decode_image
from edge_oneshot.control import requests as rq
from edge_oneshot.control.protocol import PendingRequest, RequestSource
from edge_oneshot.control.requests import AnyRequest
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.types import Frame


def picture_of(pending: PendingRequest) -> Frame:
    """The picture of an Enroll, Verify or Identify request, decoded here unless it was decoded ahead. Raises CameraError."""
    request = pending.request
    assert isinstance(request, (rq.Enroll, rq.Verify, rq.Identify)) and request.image is not None
    picture, pending.picture = pending.picture or decode_image(request.image, request.source), None
    if isinstance(picture, EdgeOneshotError):
        raise picture
    return picture


def ahead_of_loop(sources: Iterable[RequestSource]) -> list[RequestSource]:
    """The same requests, those with a picture once it is decoded. One thread decodes, one picture at a time."""
    decoding = _Decoding()
    return [*(_Source(source, decoding) for source in sources), decoding]


class _Source:
    """Requests without a picture. The others go to `decoding`."""

    def __init__(self, source: RequestSource, decoding: _Decoding) -> None:
        self._source, self._decoding = source, decoding

    def next_request(self) -> PendingRequest | None:
        while (pending := self._source.next_request()) is not None:
            if getattr(pending.request, "image", None) is None:
                return pending
            self._decoding.todo.put(pending)
        return None


class _Decoding:
    """Requests whose picture is decoded, or is known to be no picture. Decoded pictures are large, so there is one at a time."""

    def __init__(self) -> None:
        self.todo: queue.SimpleQueue[PendingRequest] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[PendingRequest] = queue.SimpleQueue()
        self._room, self._given = threading.Semaphore(1), False
        threading.Thread(target=self._run, name="pictures", daemon=True).start()

    def next_request(self) -> PendingRequest | None:
        if self._given:  # the loop asks again, so it has served that one
            self._given = False
            self._room.release()
        try:
            pending = self._done.get_nowait()
        except queue.Empty:
            return None
        self._given = True
        return None if pending.abandoned else pending

    def _run(self) -> None:
        while True:
            self._decode(self.todo.get())

    def _decode(self, pending: PendingRequest) -> None:
        self._room.acquire()
        if pending.abandoned:
            self._room.release()
            return
        try:
            pending.picture = picture_of(pending)
        except EdgeOneshotError as e:
            e.__context__ = None  # the frames of a traceback hold the bytes of the picture
            pending.picture = e.with_traceback(None)
        except Exception as e:  # a defect here must not end the thread: every later picture would wait for ever
            pending.picture = EdgeOneshotError(f"internal error: {type(e).__name__}: {e}", "report it")
        pending.request = without_file(pending.request)
        self._done.put(pending)


def without_file(request: AnyRequest) -> AnyRequest:
    """The request without the bytes of its picture, which are not needed once it is decoded."""
    assert isinstance(request, (rq.Enroll, rq.Verify, rq.Identify))
    return replace(request, image=b"")
