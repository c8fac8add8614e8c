"""What is wrong with a copy of the disk of a virtual machine whose power was cut (scripts/vm)."""

from __future__ import annotations

import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

CONFIG = """[device]
slug = "porch"
[camera]
uri = "folder:/opt/seen"
fps = 0.5
pace = "camera"
[mqtt]
enabled = true
host = "127.0.0.1"
[decision]
gone_after_s = 10
"""


@dataclass(frozen=True)
class State:
    """What was acknowledged. people: identity -> name. events: at least so many wait in the outbox."""

    people: dict[str, str] = field(default_factory=dict)
    events: int = 0


def judge(copy: Path, before: State, after: State) -> list[str]:
    """What is wrong with a copy of the disk, which is kept then. before, after: without the operation in flight, and with it."""
    from edge_oneshot.errors import EdgeOneshotError

    try:
        faults = look(copy, before, after)
    except (EdgeOneshotError, OSError, ValueError, subprocess.CalledProcessError) as e:
        faults = [f"{type(e).__name__}: {e}"]
    if faults:
        copy.rename(copy.with_name(f"fault-{time.time():.0f}.img"))
    return faults


def look(copy: Path, before: State, after: State) -> list[str]:
    """What is wrong with what is stored in a copy of the disk. Raises what the reading raises."""
    from edge_oneshot.events.outbox import Outbox
    from edge_oneshot.gallery.store import Gallery
    from edge_oneshot.storage.keys import Keys

    checked = subprocess.run(["e2fsck", "-fy", str(copy)], capture_output=True, text=True, check=False)
    if checked.returncode not in (0, 1):
        return [f"file system: {checked.stdout[-300:]}"]
    faults = []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["debugfs", "-R", f"rdump / {folder}", str(copy)], capture_output=True, check=True)
        config = Path(folder, "etc", "default.toml").read_text()
        if config != CONFIG:
            faults.append(f"configuration: got {config[:100]!r}")
        state = Path(folder, "state")
        keys = Keys(Path(folder, "etc", "keys", "gallery.key"))
        with Gallery(state / "gallery.sqlite", keys) as gallery:
            people = {p.identity.identity_id: p.identity.name for p in gallery.people()}
            if people not in (before.people, after.people):
                faults.append(f"people: expected {before.people} or {after.people}, got {people}")
            if gallery.fault or gallery.set_aside or any(len(p.templates) != 1 for p in gallery.people()):
                faults.append(f"gallery: {gallery.fault}, {gallery.set_aside} set aside, or not one template for each")
        outbox = Outbox(state / "outbox-default.sqlite", max_age_s=1e9, keys=keys)
        status = outbox.events.status()
        if status.fault or status.depth < min(before.events, after.events):
            faults.append(f"outbox: expected {before.events} events, got {status}")
        outbox.close()
    return faults
