"""Picture files -> pixels, by a process of its own (decode_child.py) with limits on memory and time.

A picture from a request gets a process that ends with it, so that no picture can affect the next one. Files of this device
(folders, `evaluate`) share processes that stay, since the start of a process costs more than a small picture.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

from edge_oneshot.cameras import decode_child
from edge_oneshot.cameras.decode_child import MAX_RESULT_PX, MAX_S, READY, SMALLER
from edge_oneshot.errors import CameraError
from edge_oneshot.types import UInt8Array

_PROGRAM = decode_child.__file__
WAIT_S = 30.0  # for a picture, processor time and all
_START_S = 30.0  # for Python and Pillow to be read from a slow disk
_MOST_IDLE = os.cpu_count() or 1  # more threads than that decode no faster
_MAX_ANSWER = 65536  # bytes of the line before the pixels
_one = threading.Lock()  # one picture from outside at a time: the limit on memory is one for all of them


def read_data(data: bytes, name: str) -> UInt8Array:
    """The upright pixels of a picture file's bytes: uint8 (H, W, 3) RGB. `name` is for messages. Raises CameraError."""
    with _one:
        worker = _Worker()
        try:
            return worker.decode(Path(name), data)
        finally:
            worker.end()


def read_file(path: Path) -> UInt8Array:
    """`read_data` for a file of this device."""
    try:
        worker = _idle.pop()
    except IndexError:
        worker = _Worker()
    try:
        pixels = worker.decode(path, None)
    except _Ended:
        worker.end()
        raise
    except CameraError:
        _keep(worker)
        raise
    except BaseException:
        worker.end()
        raise
    _keep(worker)
    return pixels


class _Ended(CameraError):
    """The process has ended, or must be ended."""


class _Worker:
    def __init__(self) -> None:
        paths = [str(Path(p).absolute()) for p in sys.path]
        self._process = subprocess.Popen(
            [sys.executable, "-I", _PROGRAM, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # codecs write warnings there
            bufsize=0,
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self._ready = False

    def decode(self, path: Path, data: bytes | None) -> UInt8Array:
        """Raises CameraError for a picture that cannot be decoded; then, unless it is _Ended, the worker can go on."""
        deadline = time.monotonic() + WAIT_S
        request = {"path": str(path), "bytes": None if data is None else len(data), "seconds": MAX_S}
        try:
            if not self._ready:
                self._start(path)
                deadline = time.monotonic() + WAIT_S
            self._send(json.dumps(request).encode() + b"\n", deadline)
            self._send(data or b"", deadline)
            head, rest = self._line(deadline)
            if "error" in head:
                raise CameraError(str(head["error"]), str(head["hint"]))
            width, height = map(int, head["size"])
            if min(width, height) < 1 or width * height > MAX_RESULT_PX:
                raise _Ended(f"image {path}: the decoder's answer is malformed", "take or export it again")
            pixels = np.empty((height, width, 3), np.uint8)
            self._fill(pixels.data.cast("B"), rest, deadline)
            return pixels
        except TimeoutError:
            raise _Ended(f"image {path}: no answer from the decoder within {WAIT_S:g} s", SMALLER) from None
        except (EOFError, BrokenPipeError, ValueError, KeyError, TypeError):
            raise _Ended(*self._died(path)) from None

    def _start(self, path: Path) -> None:
        try:
            first = self._read(len(READY), time.monotonic() + _START_S)
        except (TimeoutError, EOFError):
            first = b""
        if first != READY:
            message = f"image {path}: the process that decodes pictures does not start"
            raise _Ended(message, "free memory, and run `edge-oneshot doctor`")
        self._ready = True

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _send(self, data: bytes, deadline: float) -> None:
        view = memoryview(data)
        while view:
            _wait(self._to, select.POLLOUT, deadline)
            view = view[os.write(self._to, view) :]

    def _line(self, deadline: float) -> tuple[dict[str, Any], bytes]:
        """The first line of the answer, and the bytes that were read behind it."""
        got = b""
        while b"\n" not in got:
            if len(got) > _MAX_ANSWER:
                raise ValueError("no line")
            got += self._read(_MAX_ANSWER, deadline)
        line, _, rest = got.partition(b"\n")
        return dict(json.loads(line)), rest

    def _fill(self, view: memoryview, first: bytes, deadline: float) -> None:
        view[: len(first)] = first
        done = len(first)
        while done < len(view):
            _wait(self._from, select.POLLIN, deadline)
            count = os.readv(self._from, [view[done:]])
            if count == 0:
                raise EOFError
            done += count

    def _read(self, most: int, deadline: float) -> bytes:
        _wait(self._from, select.POLLIN, deadline)
        if not (got := os.read(self._from, most)):
            raise EOFError
        return got

    def _died(self, path: Path) -> tuple[str, str]:
        try:
            code = self._process.wait(1.0)
        except subprocess.TimeoutExpired:
            return f"image {path}: the decoder's answer is malformed", "take or export it again"
        if code == -signal.SIGXCPU:
            return f"image {path}: decoding takes more than {MAX_S} s of processor time", SMALLER
        how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
        return f"image {path}: the decoder has ended ({how}); the picture is broken", "take or export it again"


_idle: list[_Worker] = []  # append and pop are atomic


def _keep(worker: _Worker) -> None:
    if len(_idle) < _MOST_IDLE:
        _idle.append(worker)
    else:
        worker.end()


@atexit.register
def close_idle() -> None:
    """End the processes that wait for the next file."""
    while _idle:
        _idle.pop().end()


def _wait(descriptor: int, events: int, deadline: float) -> None:
    poll = select.poll()
    poll.register(descriptor, events)
    if not poll.poll(max(0.0, deadline - time.monotonic()) * 1e3):
        raise TimeoutError
