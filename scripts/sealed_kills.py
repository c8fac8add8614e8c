"""Kills at every step of sealing, unsealing and changing the key (scripts/sealed_check.py)."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sealed_parts import State, device, enroll, state_of

from edge_oneshot.config import Config
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.service import sealing
from edge_oneshot.storage.database import Database
from edge_oneshot.storage.keys import Keys
from edge_oneshot.storage.sealed import is_sealed
from edge_oneshot.types import Event


def kills(most: int, seed: int = 1) -> Counter[str]:
    """Kill at the calls of SQLite and of the file system in turn, at most `most` times, while files change their key."""
    found: Counter[str] = Counter()
    for command in (sealing.seal, sealing.rotate, sealing.unseal, sealing.seal_new):
        with tempfile.TemporaryDirectory() as name:
            base = Path(name) / "base"
            if command is sealing.seal_new:
                (base / "state").mkdir(parents=True)
            else:
                fill(base, sealed=command is not sealing.seal)
            calls = _calls(base, Path(name) / "count", command)
            chosen = sorted(random.Random(seed).sample(range(calls), min(calls, max(1, most // 4))))
            for number in chosen:
                work = Path(name) / "work"
                shutil.copytree(base, work)
                found[_kill(work, command, number)] += 1
                shutil.rmtree(work)
    return found


def fill(folder: Path, sealed: bool) -> None:
    config = device(folder)
    if sealed:
        sealing.seal(config)
    with Gallery(config.gallery_path, Keys(config.key_path)) as gallery:
        for n in range(4):
            enroll(gallery, f"p{n}", n)
    box = Outbox(config.outbox_path, keys=Keys(config.key_path))
    event = Event(
        event_id="e", event_type="match", ts=datetime.now(UTC), captured_ns=1, boot_id="b", body={"identity": "p1"}
    )
    box.events.commit(event)
    box.close()


def everything(folder: Path) -> tuple[State, int, list[object]]:
    config = device(folder)
    people, aside = state_of(config)
    box = Outbox(config.outbox_path, keys=Keys(config.key_path))
    try:
        return people, aside, [s.event.body for s in box.events.pending(0, 9)]
    finally:
        box.close()


def _calls(base: Path, work: Path, command: Callable[[Config], object]) -> int:
    """How many places there are for a kill."""
    shutil.copytree(base, work)
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        count = _at_each_call(lambda n: None)
        command(device(work))
        os.write(write, str(count()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(write)
    with os.fdopen(read) as file:
        return int(file.read())


def _kill(work: Path, command: Callable[[Config], object], number: int) -> str:
    new = command is sealing.seal_new
    expected = None if new else everything(work)  # of a copy that was closed: reading changes nothing
    if (child := os.fork()) == 0:
        _at_each_call(lambda n: os.kill(os.getpid(), signal.SIGKILL) if n == number else None)
        command(device(work))
        os._exit(0)
    os.waitpid(child, 0)
    try:
        if new:
            return _sealed_after(work)
        if everything(work) != expected:
            return "other content"
        command(device(work))
        if everything(work) != expected:
            return "other content after the second run"
    except EdgeOneshotError as e:
        if "nothing is sealed here" in e.message and command is sealing.unseal:
            return "survived"  # the kill came after the last step
        print(f"{command.__name__}, kill {number}: {e}", file=sys.stderr)
        return "failed"
    return "survived"


def _sealed_after(work: Path) -> str:
    """What an installer that was killed leaves to its next run: nothing is stored yet, and everything that will be is sealed."""
    config = device(work)
    sealing.seal_new(config)
    if sealing.seal_new(config) is not None:
        return "sealed again by each upgrade"
    keys = Keys(config.key_path)
    if not is_sealed(config.gallery_path) or keys.current() is None or keys.pending() is not None:
        return "not sealed"
    with Gallery(config.gallery_path, keys) as gallery:
        enroll(gallery, "p0", 0)
        return "survived" if gallery.sealed and not gallery.set_aside else "other content"


def _at_each_call(act: Callable[[int], object]) -> Callable[[], int]:
    """Call `act` with a number before and after each statement and each change of a file's name."""
    count = 0

    def step() -> None:
        nonlocal count
        act(count)
        count += 1

    def wrapped(function: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            step()
            result = function(*args, **kwargs)
            step()
            return result

        return call

    for owner, names in (
        (Database, ("execute", "truncate_log", "close")),
        (os, ("fsync", "open")),
        (Path, ("replace", "mkdir")),
    ):
        for name in names:
            setattr(owner, name, wrapped(getattr(owner, name)))
    return lambda: count
