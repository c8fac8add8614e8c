"""Runs doctor/probe.py in a process of its own, and reports a crash or a hang of it as a finding."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from edge_oneshot.doctor import Finding, fault

if TYPE_CHECKING:
    from edge_oneshot.config import Config

NUMPY_HINT = "compiled packages probably do not fit together: compare the numpy version with docs/how-to/install.md"


def probe(config: Config, *, open_camera: bool, limit_s: float) -> Iterator[Finding]:
    """Check models, runtime and camera of `config` in another process, within limit_s seconds."""
    command = [
        sys.executable,
        "-m",
        "edge_oneshot.doctor.probe",
        str(config.path or ""),
        "open" if open_camera else "",  # not the URI: every user may read the arguments of a process
    ]
    yield from run(command, limit_s)


def run(command: Sequence[str], limit_s: float) -> Iterator[Finding]:
    """The findings that `command` prints, one JSON object a line. {"step": …} names the next check, for a crash or a hang."""
    # Files instead of pipes: a process that hangs in a driver cannot be killed, and must not block this one.
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(list(command), stdin=subprocess.DEVNULL, stdout=out, stderr=err)
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)
        out.seek(0)
        step, done = "start", False
        for line in out.read().decode(errors="replace").splitlines():
            try:
                message = json.loads(line)
            except ValueError:
                continue  # output of a library
            if not isinstance(message, dict):
                continue
            step = message.get("step", step)
            done = done or bool(message.get("done"))
            if "check" in message:
                yield Finding(**message)
        if done:
            return
        err.seek(0)
        last = (err.read().decode(errors="replace").strip().splitlines() or ["no message"])[-1][:200]
    yield _broken(process.returncode, step, last, limit_s)


def _broken(code: int | None, step: str, last: str, limit_s: float) -> Finding:
    if code is None:
        return fault(
            step,
            f"hangs in the kernel and cannot be killed (limit {limit_s:g} s)",
            "check the camera cable, and restart the device",
        )
    if code == -signal.SIGKILL:
        return fault(
            step,
            f"did not end within {limit_s:g} s",
            "try again; if it is the camera, check its cable or restart the device",
        )
    if code < 0:
        return fault(step, f"crashed with {signal.Signals(-code).name}: {last}", NUMPY_HINT)
    return fault(step, f"ended with exit code {code}: {last}", NUMPY_HINT)
