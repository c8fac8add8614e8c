"""A folder of images as a camera: each image once, or again and again, in name order, `fps` a second."""

from __future__ import annotations

import itertools
import logging
import math
import threading
from pathlib import Path

from edge_oneshot.cameras.base import Adapter, EndOfStream, Pacer, Shot
from edge_oneshot.cameras.decoder import read_file
from edge_oneshot.cameras.images import SUFFIXES
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError

log = logging.getLogger(__name__)


class FolderCamera(Adapter):
    """The images of one folder (not of its subfolders), sorted by name. A broken image is skipped, with a warning."""

    def __init__(
        self, directory: Path, config: CameraConfig, stop: threading.Event | None = None, *, loop: bool = False
    ) -> None:
        """loop: begin again after the last image. Raises CameraError for a folder that is missing, unreadable or has no image."""
        super().__init__(f"folder:{directory}", rotation=config.rotation, mirror=config.mirror, stop=stop)
        self.live = config.pace == "camera"
        self._directory = directory
        paths = image_paths(directory)
        self._paths = itertools.cycle(paths) if loop else iter(paths)
        self._period_s = 1.0 / config.fps
        self.length_s = math.inf if loop else (len(paths) - 1) * self._period_s
        self._tries = len(paths)  # images in a row that may be broken
        self._pacer = Pacer(config.pace, self.stop)
        self._shown = 0

    # A folder that loops ends only if no image can be read in a whole round.
    def grab(self, timeout_s: float) -> Shot:
        for path in itertools.islice(self._paths, self._tries):
            if self.stop.is_set():
                raise EndOfStream("stopped")
            try:
                pixels = read_file(path)
            except CameraError as e:
                if not self._directory.is_dir():
                    raise CameraError(f"folder {self._directory} has disappeared", "restore or mount it") from e
                log.warning("skipped an image: %s", e)
                continue
            captured_ns = self._pacer.release(self._shown * self._period_s)
            self._shown += 1
            return Shot(pixels=pixels, captured_ns=captured_ns)
        if self._shown == 0:
            raise CameraError(f"cannot read any image in {self._directory}", "the log has a warning for each image")
        raise EndOfStream(f"{self._shown} images shown")

    def close(self) -> None:
        self._paths = iter(())
        self._shown = max(self._shown, 1)  # a read after close is the end, not an empty folder


def image_paths(directory: Path) -> list[Path]:
    """The images of a folder in name order, without hidden files. Raises CameraError if there are none."""
    try:
        paths = sorted(p for p in directory.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith("."))
    except OSError as e:
        raise CameraError(
            f"cannot read folder {directory}: {e.strerror}", "check the path and its permissions"
        ) from None
    if not paths:
        raise CameraError(
            f"no image in {directory}: expected files named {' '.join('*' + s for s in sorted(SUFFIXES))}",
            "name a folder that contains images itself; subfolders are not searched",
        )
    return paths
