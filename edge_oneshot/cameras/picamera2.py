"""A Raspberry Pi camera through picamera2 and libcamera."""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from edge_oneshot import installation
from edge_oneshot.cameras.base import WAIT_SLICE_S, Adapter, EndOfStream, Shot, Thinner
from edge_oneshot.cameras.exposure import bounded
from edge_oneshot.cameras.libcamera_pixels import to_rgb
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import CameraError

APT = "sudo apt install python3-picamera2 (Raspberry Pi OS has it), in an environment with --system-site-packages"
NUMPY = "Bookworm's python3-picamera2 and simplejpeg are built against numpy 1: "


def import_hint(error: BaseException) -> str:
    """The fix for a failed import: install the package, or the numpy that its compiled parts were built for."""
    text = str(error)
    return (
        NUMPY + installation.how_to_add("numpy<2")
        if any(sign in text for sign in ("numpy.dtype size changed", "_ARRAY_API", "multiarray", "NumPy 1.x"))
        else APT
    )


try:
    import libcamera
    from picamera2 import Picamera2
except Exception as e:  # besides ImportError: a mismatched numpy gives ValueError, AttributeError or SystemError
    raise CameraError(
        f"cannot import picamera2: {str(e).splitlines()[0] if str(e) else type(e).__name__}", import_hint(e)
    ) from e

log = logging.getLogger(__name__)

LORES_FROM_PX = 800  # a wider main stream gets a second, small stream, which is enough for the detector
# A multiple of 128, which the scalers of Pi 4 and Pi 5 write without padding. Half of it is the width of the shipped finder's
# input, which is all that range = "near" needs; "far" looks for small faces in parts of the picture, too.
LORES_WIDTH_PX = 384
BUFFERS = 4  # one is being copied, the others are in the camera; more would only cost memory


class Picamera2Camera(Adapter):
    """One libcamera camera. The pictures of each completed request are copied at once, and the request is returned.

    captured_ns is libcamera's SensorTimestamp: the time at which the first row was read out. The sensor rotates by 180
    degrees and mirrors if it can; the rest is done in software.
    """

    def __init__(self, number: int, config: CameraConfig, stop: threading.Event | None = None) -> None:
        """Raises CameraError for a camera that is missing, busy or cannot be configured."""
        super().__init__(f"picamera2:{number}", rotation=config.rotation, mirror=config.mirror, stop=stop)
        self._thinner, self._half_lores = Thinner(config.fps), config.range == "near"
        self._camera: Any = None
        self._job: Any = None
        try:
            self._camera = Picamera2(number)
            self._configure(config)
            self._camera.start()
        except Exception as e:  # picamera2 raises RuntimeError, IndexError and errors of libcamera
            self.close()
            raise CameraError(
                f"cannot open {self.source}: {_chain(e)}",
                "check the cable and the output of `rpicam-hello --list-cameras`; only one program can use a camera at a time",
            ) from e

    def _configure(self, config: CameraConfig) -> None:
        camera = self._camera
        size = (config.width_px // 2 * 2, config.height_px // 2 * 2)
        lores = None
        if size[0] > LORES_FROM_PX:  # YUV420, because the second output of the Pi 4 has no RGB
            lores = {"format": "YUV420", "size": (LORES_WIDTH_PX, round(LORES_WIDTH_PX * size[1] / size[0] / 2) * 2)}
        controls = {}
        if "FrameDurationLimits" in camera.camera_controls:
            least_us, most_us, _ = camera.camera_controls["FrameDurationLimits"]
            period_us = round(min(max(1e6 / config.fps, least_us), most_us or 1e6 / config.fps))
            controls["FrameDurationLimits"] = (period_us, period_us)
        asked = camera.create_video_configuration(
            main={"format": "BGR888", "size": size},  # libcamera names formats as words: BGR888 is R, G, B in memory
            lores=lores,
            raw=None,
            display=None,
            encode=None,
            buffer_count=BUFFERS,
            controls=controls,
            queue=False,  # always the next request that completes, never an earlier one
            colour_space=libcamera.ColorSpace.Sycc(),  # full range: YUV as in JPEG
            transform=self._transform(config),
        )
        camera.configure(asked)
        got = camera.camera_configuration()
        if (got["transform"].hflip, got["transform"].vflip) != (asked["transform"].hflip, asked["transform"].vflip):
            asked["transform"] = libcamera.Transform()  # the sensor cannot do it: rotate and mirror in software
            self._rotation, self._mirror = config.rotation, config.mirror
            camera.configure(asked)
            got = camera.camera_configuration()
        self._streams = {name: dict(got[name]) for name in ("main", "lores") if got[name]}
        self._limited_range = got["colour_space"].range == libcamera.ColorSpace.Range.Limited
        log.info("%s: %s, transform %s", self.source, self._streams, got["transform"])

    def _transform(self, config: CameraConfig) -> libcamera.Transform:
        """The flips for the sensor; `_rotation` and `_mirror` keep what is left for software, such as a quarter turn.

        Only sensors that libcamera drives itself (they have a colour filter) get a transform. Another pipeline may
        accept it and not apply it; the virtual one of libcamera 0.4 does so.
        """
        if config.rotation in (90, 270) or "ColorFilterArrangement" not in self._camera.camera_properties:
            return libcamera.Transform()
        self._rotation, self._mirror = 0, False
        half = config.rotation == 180
        return libcamera.Transform(hflip=half != config.mirror, vflip=half)

    def grab(self, timeout_s: float) -> Shot:
        deadline = time.monotonic() + timeout_s
        while True:
            request = self._next_request(deadline, timeout_s)
            try:
                captured_ns = boottime_to_monotonic_ns(request.get_metadata().get("SensorTimestamp"))
                if self._thinner.wanted(captured_ns / 1e9):  # for cameras without FrameDurationLimits
                    pictures = {
                        name: to_rgb(
                            request.make_array(name),
                            s["format"],
                            s["size"],
                            limited_range=self._limited_range,
                            half=name == "lores" and self._half_lores,
                        )
                        for name, s in self._streams.items()
                    }
                    return Shot(pixels=pictures["main"], lores=pictures.get("lores"), captured_ns=captured_ns)
            finally:
                request.release()

    def expose(self, stops: float) -> None:
        """By compensation of the automatic exposure, as far as the camera offers it. It has no effect beyond the longest
        exposure and the highest gain."""
        if "ExposureValue" in self._camera.camera_controls:
            self._camera.set_controls({"ExposureValue": bounded(stops, self._camera.camera_controls["ExposureValue"])})

    def _next_request(self, deadline: float, timeout_s: float) -> Any:
        """The next request that completes; the caller releases it. Waits in slices, to notice `stop`."""
        if self._job is None:  # a job that timed out is kept: otherwise its request would never be returned
            self._job = self._camera.capture_request(wait=False)
        while not self.stop.is_set():
            try:
                request = self._job.get_result(timeout=WAIT_SLICE_S)
                self._job = None
                return request
            except TimeoutError:
                if time.monotonic() > deadline:
                    raise CameraError(
                        f"{self.source}: no picture within {timeout_s:g} s",
                        "check the cable; if `dmesg` shows camera timeouts, restart the device",
                    ) from None
            except Exception as e:  # the event loop of picamera2 may raise anything
                raise CameraError(f"{self.source}: lost the camera: {_chain(e)}", "check the cable") from e
        raise EndOfStream("stopped")

    def close(self) -> None:
        camera, self._camera, self._job = self._camera, None, None
        if camera is None:
            return
        try:
            camera.close()
        except Exception as e:  # a camera that has disappeared cannot be stopped; reopening it reports the fault
            log.warning("%s did not close cleanly: %s", self.source, _chain(e))


def boottime_to_monotonic_ns(stamp_ns: int | None) -> int:
    """A CLOCK_BOOTTIME value, as libcamera gives it, on the time.monotonic_ns clock, which stops during suspend. None: now."""
    now_ns = time.monotonic_ns()
    if not stamp_ns:
        return now_ns
    return min(now_ns, stamp_ns - (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - now_ns))


def _chain(error: BaseException) -> str:
    """The message of an error and of its causes: picamera2 gives the reason in the last one."""
    parts = []
    cause: BaseException | None = error
    while cause is not None:
        parts.append(str(cause).strip() or type(cause).__name__)
        cause = cause.__cause__ or cause.__context__
    return "; ".join(dict.fromkeys(parts))
