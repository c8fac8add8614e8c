"""Video files, network cameras (RTSP) and USB cameras (V4L2), through FFmpeg's libraries as PyAV ships them."""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from edge_oneshot import installation
from edge_oneshot.cameras.base import WAIT_SLICE_S, Adapter, EndOfStream, MediaClock, Pacer, Shot, Thinner, upright
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError
from edge_oneshot.types import UInt8Array

try:
    import av
except ImportError as e:
    raise CameraError(f"PyAV is needed for videos, RTSP and USB cameras: {e}", installation.how_to_add("av>=14")) from e

log = logging.getLogger(__name__)

# AVFMT_NOTIMESTAMPS | AVFMT_TS_DISCONT of libavformat/avformat.h: no timestamps, or timestamps that may jump
GUESSED = 0x80 | 0x200
MAX_SENSOR_AGE_S = 10.0  # an older or a future device timestamp belongs to another clock, or is invalid


class FileCamera(Adapter):
    """A video file, shown once, at most at config.fps. The rotation tag of the file is applied."""

    def __init__(self, path: Path, config: CameraConfig, stop: threading.Event | None = None) -> None:
        """Raises CameraError for a file that is missing, unreadable or not a video."""
        super().__init__(f"file:{path}", rotation=config.rotation, mirror=config.mirror, stop=stop)
        self.live = config.pace == "camera"
        try:
            self._container = av.open(str(path), metadata_errors="replace")
        except FileNotFoundError:
            raise CameraError(f"no video at {path}", "check the path") from None
        except (av.FFmpegError, OSError) as e:
            raise CameraError(
                f"cannot open video {path}: {_reason(e)}", "name a video file that FFmpeg can read"
            ) from None
        self._stream = _video_stream(self._container, self.source)
        # For GUESSED formats the duration is FFmpeg's estimate (from bit rate or timestamps), and too short for some files.
        if self._container.duration is not None and not self._container.format.flags & GUESSED:
            self.length_s = self._container.duration / av.time_base
        self._shots = self._play(Pacer(config.pace, self.stop), Thinner(config.fps))

    def grab(self, timeout_s: float) -> Shot:
        try:
            return next(self._shots)
        except StopIteration:
            raise EndOfStream("end of the video") from None

    def _play(self, pacer: Pacer, thinner: Thinner) -> Iterator[Shot]:
        clock = MediaClock(float(self._stream.average_rate or 0))
        shown = 0
        for frame in self._decoded():
            if self.stop.is_set():
                raise EndOfStream("stopped")
            media_s = clock.at(None if frame.pts is None or not frame.time_base else float(frame.pts * frame.time_base))
            if not thinner.wanted(media_s):
                continue
            pixels = _displayed(frame)
            shown += 1
            yield Shot(pixels=pixels, captured_ns=pacer.release(media_s))
        if shown == 0:
            raise CameraError(f"{self.source}: cannot decode any picture", "record or export the video again")

    def _decoded(self) -> Iterator[av.VideoFrame]:
        """Decoded frames. Damaged parts are skipped and reported once, in the log."""
        damaged = 0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                break
            except av.InvalidDataError:
                damaged += 1
                break  # the container is truncated here
            except (av.FFmpegError, OSError) as e:
                raise CameraError(f"{self.source}: cannot read: {_reason(e)}", "check the disk of the file") from None
            try:
                yield from packet.decode()
            except av.FFmpegError:  # also: this FFmpeg has no such decoder
                damaged += 1
        if damaged:
            log.warning("%s: skipped %d damaged parts", self.source, damaged)

    def close(self) -> None:
        self._shots = iter(())
        self._container.close()


class RtspCamera(Adapter):
    """A network camera: RTSP interleaved in TCP. captured_ns is the arrival time of the frame's packet."""

    def __init__(self, url: str, config: CameraConfig, stop: threading.Event | None = None) -> None:
        """Raises CameraError, within twice config.stall_timeout_s, for a camera that cannot be reached or played."""
        super().__init__(without_password(url), rotation=config.rotation, mirror=config.mirror, stop=stop)
        limit_s = config.stall_timeout_s
        options = {
            "rtsp_transport": "tcp",  # UDP loses parts of frames, and a firewall may drop it silently
            "timeout": str(round(limit_s * 1e6)),  # of the socket, in microseconds
            "fflags": "nobuffer",
            "flags": "low_delay",
        }
        try:
            self._container = av.open(
                url, format="rtsp", options=options, timeout=(limit_s, limit_s), metadata_errors="replace"
            )
        except (av.FFmpegError, OSError) as e:
            raise CameraError(f"cannot open {self.source}: {_reason(e)}", _rtsp_hint(e)) from None
        try:
            stream = _video_stream(self._container, self.source)
        except CameraError:
            self._container.close()
            raise
        self._packets = self._container.demux(stream)
        self._thinner = Thinner(config.fps)
        self._arrived: dict[int | None, int] = {}

    def grab(self, timeout_s: float) -> Shot:
        deadline = time.monotonic() + timeout_s
        while not self.stop.is_set():
            try:
                packet = next(self._packets)
                now_ns = time.monotonic_ns()
                self._arrived[packet.pts] = now_ns
                frames = packet.decode() if packet.size else []
            except StopIteration:
                raise CameraError(f"{self.source}: the camera ended the stream", "read the log of the camera") from None
            except av.InvalidDataError:
                frames = []  # a damaged picture: the next key frame repairs it, or the deadline passes
            except (av.FFmpegError, OSError) as e:
                raise CameraError(f"{self.source}: lost the camera: {_reason(e)}", _rtsp_hint(e)) from None
            for frame in frames:
                captured_ns = self._arrived.pop(frame.pts, now_ns)
                if self._thinner.wanted(captured_ns / 1e9):
                    self._arrived.clear()
                    return Shot(pixels=_displayed(frame), captured_ns=captured_ns)
            if time.monotonic() > deadline:
                raise CameraError(
                    f"{self.source}: no picture within {timeout_s:g} s", "check whether another player shows the stream"
                )
        raise EndOfStream("stopped")

    def close(self) -> None:
        self._container.close()


class V4l2Camera(Adapter):
    """A USB camera. captured_ns is the driver's timestamp. If pictures have queued up, only the newest is decoded."""

    def __init__(self, device: str, config: CameraConfig, stop: threading.Event | None = None) -> None:
        """Raises CameraError for a device that is missing, busy, closed to this user, or not a camera."""
        super().__init__(f"v4l2:{device}", rotation=config.rotation, mirror=config.mirror, stop=stop)
        before = _descriptors(device)
        self._container = self._negotiate(device, config)
        opened = _descriptors(device) - before
        stream = _video_stream(self._container, self.source)
        # FFmpeg waits for a picture in a system call without a time limit, so it is called only when one is ready.
        self._descriptor = min(opened) if opened else None
        self._packets = self._container.demux(stream)
        self._thinner = Thinner(config.fps)
        codec = stream.codec_context
        log.info("%s: %dx%d %s at %s/s", self.source, codec.width, codec.height, codec.name, stream.average_rate)

    def _negotiate(self, device: str, config: CameraConfig) -> av.container.InputContainer:
        """Open with the configured size and rate; without them if the driver has no such setting.

        Above VGA, USB 2 carries only a few uncompressed pictures a second, so MJPEG is tried first.
        """
        size = {"video_size": f"{config.width_px}x{config.height_px}"}
        rate = {"framerate": f"{config.fps:g}"}
        tries = [size | rate, size, {}]
        if config.width_px * config.height_px > 640 * 480:
            tries.insert(0, size | rate | {"input_format": "mjpeg"})
        error: Exception | None = None
        for options in tries:
            try:
                return av.open(device, format="v4l2", options=options, timeout=(config.stall_timeout_s, None))
            except (av.FFmpegError, OSError) as e:
                error = e
                if getattr(e, "errno", None) in (errno.ENOENT, errno.EACCES, errno.EBUSY, errno.ENODEV):
                    break
        assert error is not None
        raise CameraError(f"cannot open camera {device}: {_reason(error)}", _v4l2_hint(error)) from None

    def grab(self, timeout_s: float) -> Shot:
        deadline = time.monotonic() + timeout_s
        while not self.stop.is_set():
            if not self._ready(WAIT_SLICE_S):
                if time.monotonic() > deadline:
                    raise CameraError(
                        f"{self.source}: no picture within {timeout_s:g} s", "unplug the camera and plug it in again"
                    )
                continue
            try:
                packet = next(self._packets)
                while self._descriptor is not None and self._ready(0):
                    packet = next(self._packets)
                captured_ns = sensor_time_ns(packet.pts)
                if not self._thinner.wanted(captured_ns / 1e9):
                    continue
                frames = packet.decode()
            except (StopIteration, av.InvalidDataError):
                continue  # an incomplete JPEG; USB cameras send one now and then
            except (av.FFmpegError, OSError) as e:
                raise CameraError(f"{self.source}: lost the camera: {_reason(e)}", _v4l2_hint(e)) from None
            if frames:
                return Shot(pixels=frames[-1].to_ndarray(format="rgb24"), captured_ns=captured_ns)
        raise EndOfStream("stopped")

    def _ready(self, wait_s: float) -> bool:
        """Whether the driver has a picture, or an error, ready."""
        if self._descriptor is None:
            return True
        readable, _, broken = select.select([self._descriptor], [], [self._descriptor], wait_s)
        return bool(readable or broken)

    def close(self) -> None:
        self._descriptor = None
        self._container.close()


def sensor_time_ns(stamp_us: int | None) -> int:
    """A V4L2 timestamp (us) on the time.monotonic_ns clock. Most drivers use that clock, a few the wall clock or none."""
    now_ns = time.monotonic_ns()
    if stamp_us is not None:
        for clock_now_ns in (now_ns, time.time_ns()):
            age_ns = clock_now_ns - stamp_us * 1000
            if 0 <= age_ns < MAX_SENSOR_AGE_S * 1e9:
                return now_ns - age_ns
    return now_ns


def without_password(url: str) -> str:
    """The URL without user and password, for logs and events."""
    return re.sub(r"//[^/]*@", "//", url)


def _video_stream(container: av.container.InputContainer, source: str) -> av.VideoStream:
    if not container.streams.video:
        container.close()
        raise CameraError(f"{source}: expected a video stream, got none", "name a source that has video")
    return container.streams.video[0]


def _displayed(frame: av.VideoFrame) -> UInt8Array:
    """uint8 (H, W, 3) RGB, rotated by the display matrix (PyAV gives degrees counter-clockwise)."""
    return upright(frame.to_ndarray(format="rgb24"), -round(frame.rotation / 90) * 90 % 360, False)


def _descriptors(device: str) -> set[int]:
    """This process's open file descriptors of `device`."""
    real, found = os.path.realpath(device), set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            if os.path.realpath(link) == real:
                found.add(int(link.name))
        except OSError:  # was closed in the meantime
            continue
    return found


def _reason(error: Exception) -> str:
    """The text of the error without the URL, which may contain a password."""
    return getattr(error, "strerror", None) or type(error).__name__


def _rtsp_hint(error: Exception) -> str:
    if isinstance(error, (av.HTTPUnauthorizedError, av.HTTPForbiddenError)):
        return "check user and password: rtsp://USER:PASSWORD@HOST/PATH, special characters as %XX"
    if isinstance(error, av.HTTPNotFoundError):
        return "check the path after the host; each manufacturer has its own"
    return "check address, port and path, and that the camera is on and supports RTSP over TCP"


def _v4l2_hint(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number == errno.EACCES:
        return "add the user to the group video: sudo usermod -aG video USER, then log in again"
    if number == errno.EBUSY:
        return "another program uses the camera; `fuser -v /dev/video*` lists it"
    have = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
    return f"plug the camera in and name its device; devices found: {have}"
