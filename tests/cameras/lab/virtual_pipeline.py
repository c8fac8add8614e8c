"""Patches that let picamera2 drive libcamera's virtual cameras."""

from __future__ import annotations

import mmap

from picamera2 import Picamera2
from picamera2.allocators import LibcameraAllocator
from picamera2.allocators.allocator import Sync

# picamera2 expects a Raspberry Pi in four places; patch them for the virtual pipeline. The adapter runs unchanged.
Picamera2._get_raw_modes = lambda self: [{"format": "NV12", "size": (640, 480)}]  # there is no raw stream
_original_init, _original_start = Picamera2.__init__, Picamera2.start_


def _init(self: Picamera2, *args: object, **keys: object) -> None:
    _original_init(self, *args, **keys)
    self.allocator = LibcameraAllocator(self.camera)  # the pipeline needs separate planes for luma and chroma


def _map(self: Sync) -> mmap.mmap:
    buffer = self._Sync__fb
    length = sum(plane.length for plane in buffer.planes)  # bytes_used stays 0
    self._Sync__mm = mmap.mmap(buffer.planes[0].fd, length, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    return self._Sync__mm


def _start(self: Picamera2) -> None:
    # A request completes at once; before `started` is set, picamera2 would not return it.
    with self._requestslock:
        _original_start(self)


Picamera2.__init__, Picamera2.start_, Sync.__enter__ = _init, _start, _map
