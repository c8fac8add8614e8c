"""An example of a camera plug-in: `demo:COUNT` shows COUNT grey pictures, ten a second."""

import time

import numpy as np

from edge_oneshot.cameras import Adapter, EndOfStream, Shot
from edge_oneshot.errors import CameraError


class DemoCamera(Adapter):
    def __init__(self, count, stop):
        super().__init__(f"demo:{count}", stop=stop)
        self.left = count

    def grab(self, timeout_s):
        if self.left == 0 or self.stop.wait(0.1):
            raise EndOfStream
        self.left -= 1
        return Shot(pixels=np.full((120, 160, 3), 128, np.uint8), captured_ns=time.monotonic_ns())

    def close(self):
        pass


def open_demo(address, config):
    if not address.isdecimal():
        raise CameraError(f"camera.uri: expected demo:COUNT, got {config.uri!r}", "write demo:100")
    return lambda stop: DemoCamera(int(address), stop)
