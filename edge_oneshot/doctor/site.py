"""The parts of a support report. Each is taken by name from a structured source, so that it holds no text of this site."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import stat
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edge_oneshot import __version__, installation
from edge_oneshot.config import SECTIONS, Config, section_keys
from edge_oneshot.control.client import ask
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.requests import Explain, Status
from edge_oneshot.doctor import daemon
from edge_oneshot.errors import ConfigError, EdgeOneshotError, ModelError
from edge_oneshot.events.explain import TrackRecord
from edge_oneshot.events.journal import read_journal
from edge_oneshot.model import trusted
from edge_oneshot.model.bundle import FACE_ENCODERS, SHIPPED, Role, find_bundle, read_bundle
from edge_oneshot.storage.disk import disk_of
from edge_oneshot.storage.keys import Keys

PACKAGES = (
    "numpy",
    "ai-edge-litert",
    "tflite-runtime",
    "pillow",
    "paho-mqtt",
    "click",
    "av",
    "cryptography",
    "picamera2",
)
LOG_LINES, JOURNALCTL_LIMIT_S = 500, 20.0
DAYS = 14  # of which the events are counted one by one
WORDS = frozenset(
    {"state", "version", "encoder_id", "ts", "broker", "against"}
)  # texts of `status` that are words of the program
_FILE = re.compile(
    r"(gallery|outbox|explain|door|adaptation|seen|labels|pictures)(?:-.+?)?(\.sqlite)(-wal|-shm|-journal)?(?:\.(damaged|newer|foreign|sealed|plain)-.*)?$"
)


# ---- the program and its configuration


def versions() -> dict[str, Any]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "edge-oneshot": __version__,
        "installed_by": installation.installed_by(),
        "written_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "packages": found,
        "system": _lines(Path("/etc/os-release")).get("PRETTY_NAME", "").strip('"'),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "model": _text(Path("/proc/device-tree/model")),
        "processors": os.cpu_count(),
        "memory": _lines(Path("/proc/meminfo"), ":").get("MemTotal", "").strip(),
        "systemd": (_output("systemctl", "--version").splitlines() or [""])[0],
    }


def settings(config: Config) -> dict[str, dict[str, Any]]:
    """Each section with its keys. A text is given only if it is the default, or one of the choices of the key."""
    return {
        section: {key.name: _setting(f"{section}.{key.name}", key, getattr(getattr(config, section), key.name))
                  for key in section_keys(section)}
        for section in SECTIONS
    }  # fmt: skip


def _setting(name: str, key: Any, value: object) -> object:
    if not isinstance(value, str) or value == key.default or key.metadata["choices"]:
        return value
    if name.startswith("model.") and value in {*FACE_ENCODERS, *SHIPPED.values()}:
        return value
    if name == "camera.uri":
        return f"{value.partition(':')[0]}:…" if ":" in value else "…"
    return "…"


def faulty_keys(faults: ConfigError) -> list[str]:
    """The keys with a fault, as far as they are keys of this program."""
    known = {f"{section}.{key.name}" for section in SECTIONS for key in section_keys(section)} | {*SECTIONS}
    found = [text.partition(":")[0].strip("[]") for text in faults.faults]
    return [name if name in known else "…" for name in found] or [type(faults).__name__]


def models(config: Config) -> list[dict[str, Any]]:
    """The bundles in use, without loading a model."""
    named: dict[Role, str] = {role: getattr(config.model, role) for role in SHIPPED}
    found: list[dict[str, Any]] = []
    for role, name in named.items():
        try:
            path = find_bundle(name, role)
            bundle = read_bundle(path)
        except ModelError:
            found.append({"role": role, "failed": "ModelError"})
            continue
        shipped = trusted.is_shipped(path.resolve())
        about = {"name": bundle.card.name, "version": bundle.card.version} if shipped else {}
        found.append({"role": role, "shipped": shipped, **about, "model": bundle.card.model_digest})
        if bundle.card.kind == "encoder":
            found[-1]["encoder_id"] = bundle.encoder_id
    return found


# ---- the daemon


def health(config: Config) -> dict[str, Any]:
    """What the running daemon reports: numbers, and words of the program."""
    try:
        state = ask(config.socket_path, Status(), lambda text: None, daemon.ANSWER_LIMIT_S)
    except EdgeOneshotError as e:
        return {"failed": type(e).__name__}
    return {"failed": "no daemon runs"} if state is None else _harmless(to_json(state))


def _harmless(value: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, v in value.items():
        if isinstance(v, Mapping):
            found[key] = _harmless(v)
        elif isinstance(v, list):
            found[key] = len(v)
        elif not isinstance(v, str) or key in WORDS or not v:
            found[key] = v
        else:
            found[key] = "…"
    return found


def tracks(config: Config) -> dict[str, Any]:
    """Counts of the tracks that `explain` keeps."""
    try:
        answer = ask(config.socket_path, Explain(), lambda text: None, daemon.ANSWER_LIMIT_S)
    except EdgeOneshotError as e:
        return {"failed": type(e).__name__}
    return count_tracks(read_journal(config.explain_path, Keys(config.key_path)) if answer is None else answer.tracks)


def count_tracks(records: list[TrackRecord]) -> dict[str, Any]:
    """Events by day, gates that refused, and the scores at the best frame in tenths, of tracks with a match and of the others."""
    days: dict[str, Counter[str]] = {}
    gates: Counter[str] = Counter()
    scores: dict[str, Counter[str]] = {"match": Counter(), "other": Counter()}
    for record in records:
        kinds = [event["event_type"] for event in record["events"]] or ["nothing"]
        days.setdefault(record["last_at"][:10], Counter()).update(kinds)
        gates.update(dict.fromkeys(record["refused"], 1))
        if record["best"] is not None:
            scores["match" if {"match", "denied"} & set(kinds) else "other"][f"{record['best']['score']:.1f}"] += 1
    return {
        "tracks": len(records),
        "frames": sum(record["frames"] for record in records),
        "compared": sum(record["compared"] for record in records),
        "events": {day: dict(days[day]) for day in sorted(days)[-DAYS:]},
        "refused": dict(gates),
        "scores": {kind: dict(sorted(found.items())) for kind, found in scores.items()},
    }


def log() -> dict[str, Any]:
    """The last records of the service in systemd's journal, as far as this user may read it."""
    text = _output("journalctl", "--unit=edge-oneshot*", f"--lines={LOG_LINES}", "--output=json", "--no-pager")
    return read_log(text.splitlines())


def read_log(lines: list[str]) -> dict[str, Any]:
    """lines: JSON objects of `journalctl --output=json`. `others` counts the records of other programs, and of older releases."""
    records, others = [], 0
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        text = entry.get("MESSAGE_TEMPLATE")
        if entry.get("_PID") == "1":  # systemd: a start, an end, a restart
            text = re.sub(r"edge-oneshot@\S+?(?=\.service)", "edge-oneshot@…", str(entry.get("MESSAGE", "")))
        if not isinstance(text, str):
            others += 1
            continue
        known = {"EVENT_TYPE": "event", "STATE": "state", "LOGGER": "logger"}
        at = datetime.fromtimestamp(int(entry.get("__REALTIME_TIMESTAMP", 0)) / 1e6, UTC)
        records.append({"at": at.isoformat(timespec="milliseconds"), "priority": entry.get("PRIORITY"), "text": text}
                       | {name: entry[field] for field, name in known.items() if field in entry})  # fmt: skip
    return {"records": records, "others": others}


# ---- files


def files(config: Config) -> dict[str, Any]:
    """The disk of the state folder, and each file there: what it is, its size, mode, age, and whose it is."""
    folder = config.state_dir
    disk = disk_of(folder / "x")
    about = os.statvfs(disk.mount)
    return {
        "disk": {
            "free_bytes": disk.free_bytes,
            "size_bytes": about.f_blocks * about.f_frsize,
            "read_only": disk.read_only,
            "free_inodes": about.f_favail,
            "file_system": _file_system(disk.mount),
        },
        "folder": _about(folder, folder) if folder.exists() else None,
        "files": list(_entries(folder)),
        "configuration": None if config.path is None else _about(config.path, folder),
    }


def _entries(folder: Path) -> Iterator[dict[str, Any]]:
    if not folder.exists():
        return
    if not os.access(folder, os.R_OK | os.X_OK):
        yield {"failed": "not permitted: run it with sudo"}
        return
    for path in sorted(folder.iterdir()):
        match = _FILE.match(path.name)
        kind = (
            f"{match[1]}{match[2]}{match[3] or ''}"
            if match
            else path.suffix
            if path.suffix in (".sock", ".lock")
            else "other"
        )
        yield {"kind": kind, **({"moved_aside": match[4]} if match and match[4] else {}), **_about(path, folder)}


def _about(path: Path, folder: Path) -> dict[str, Any]:
    """The owner is `this user`, `root` or `another`, seen from this process."""
    try:
        found = path.stat()
        same = folder.stat().st_uid == found.st_uid
    except OSError as e:
        return {"failed": type(e).__name__}
    owner = "root" if found.st_uid == 0 else "this user" if found.st_uid == os.geteuid() else "another"
    return {
        "mode": f"{stat.S_IMODE(found.st_mode):04o}",
        "bytes": found.st_size,
        "owner": owner,
        "owner_of_folder": same,
        "age_s": round(time.time() - found.st_mtime),
    }


def _file_system(mount: Path) -> str:
    words = [line.split() for line in _text(Path("/proc/mounts")).splitlines()]
    return next((w[2] for w in reversed(words) if len(w) > 2 and w[1] == str(mount)), "")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _lines(path: Path, separator: str = "=") -> dict[str, str]:
    return dict(line.split(separator, 1) for line in _text(path).splitlines() if separator in line)


def _output(*command: str) -> str:
    """Standard output of a program; empty if there is none, if it fails or does not end."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=JOURNALCTL_LIMIT_S, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
