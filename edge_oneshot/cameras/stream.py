"""`open_camera`: the frames of a camera for a script, in a for loop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from edge_oneshot.cameras.latest import LatestFrame, State
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError
from edge_oneshot.types import Frame

POLL_S = 0.1  # the longest time until a loss or the end is noticed


def open_camera(source: str | Path | CameraConfig) -> CameraStream:
    """Open a camera, a video file or a folder of images, and wait for its first frame.

        with open_camera("v4l2:/dev/video0") as camera:
            for frame in camera:
                ...

    source: a camera URI (edge_oneshot/cameras/schemes.py lists them) or the path of a file or folder; or a CameraConfig,
    which also sets size, frame rate, rotation and time limits. A live camera gives its newest frame: frames that arrive
    while the loop is busy are dropped. Files and folders give every frame, as fast as the loop takes them; a
    CameraConfig with pace = "camera" shows them like a camera.

    Raises CameraError, with a hint, if the camera cannot be opened or gives no frame within its time limits.
    """
    return CameraStream(source if isinstance(source, CameraConfig) else CameraConfig(uri=str(source), pace="fast"))


class CameraStream(Iterator[Frame]):
    """The frames of one camera: a context manager and an iterator. It ends at the end of a file or folder.

    Iterating raises CameraError when the camera stalls or disappears. The camera is then being reopened in the
    background, so a script may catch the error and iterate again.

    Threads: a thread of its own reads the camera. One thread iterates. `close` may be called from any thread, and ends
    the iteration.
    """

    def __init__(self, config: CameraConfig) -> None:
        self._mailbox = LatestFrame(config)
        while self._mailbox.state is State.RUNNING and not self._mailbox.wait(POLL_S):
            pass
        if self._mailbox.state is State.LOST:
            error = self._lost()
            self.close()
            raise error

    def __next__(self) -> Frame:
        while True:
            if (frame := self._mailbox.get(POLL_S)) is not None:
                return frame
            if self._mailbox.state is State.ENDED:
                raise StopIteration
            if self._mailbox.state is State.LOST:
                raise self._lost()

    def _lost(self) -> CameraError:
        return self._mailbox.last_error or CameraError("the camera is lost", "check its cable and power")

    def close(self) -> None:
        """Release the camera. May be called twice."""
        self._mailbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
