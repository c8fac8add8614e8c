"""Load only bundle files that ship with the package, or that are trusted and were checked in a separate process."""

from __future__ import annotations

import contextlib
import json
import logging
import signal
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from edge_oneshot.config import Config, data_home
from edge_oneshot.errors import ConfigError, ModelError, ModelUnchecked, StorageError
from edge_oneshot.model import trusted
from edge_oneshot.model.bundle import Bundle, digest, parse_bundle, read_bundle, read_file
from edge_oneshot.model.runtime import installed
from edge_oneshot.model.trusted import Trusted
from edge_oneshot.recognition import check_child
from edge_oneshot.recognition.check_child import LATER, MAX_S, OTHER

log = logging.getLogger(__name__)

WAIT_S = 160.0  # for one check: a busy device is slow, and systemd waits 180 s for the start of the daemon


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """A bundle that loads, runs and agrees with its card. digest: of the file. result: description of the model's output."""

    digest: str
    kind: str
    name: str
    result: str


def load_bundle(path: Path, config: Config) -> Bundle:
    """Read a bundle whose model may be loaded here. Raises ModelError: a faulty file, or one that is not trusted."""
    if trusted.is_shipped(real := path.resolve()):  # the path itself may lead elsewhere by the time it is read
        return read_bundle(real)
    data = read_file(path)
    found = digest(data)
    if trusted.is_shipped(path, found):
        return parse_bundle(data, path)
    known = trusted.find(found, state_dirs(config))
    if known is None:
        raise ModelError(
            f"{path}: expected a shipped bundle or one that you trust, got an unknown file ({found[:19]}…)",
            f"if you know where it comes from, run: edge-oneshot model trust {path}",
        )
    if known.runtime != installed(config.model.runtime):
        log.info("checking %s, since the runtime has changed", path)
        with contextlib.suppress(StorageError):  # then it is checked at the next start, too
            _record(check(path, config, expected=found), path, config)
    return parse_bundle(data, path)


def trust(path: Path, config: Config) -> tuple[Verdict, Path]:
    """Check a bundle and record that it is trusted. Returns the result and the record. Raises ModelError, StorageError."""
    verdict = check(path, config)
    return verdict, _record(verdict, path, config)


def trust_made_here(path: Path) -> None:
    """Trust a bundle that this user's tools have just written. Raises ModelError if it does not load and run."""
    if trusted.is_shipped(path):
        return
    try:
        trust(path, Config())
    except (ConfigError, StorageError) as e:
        log.warning("%s; run `edge-oneshot model trust %s` before its first use", e.message, path)


def check(path: Path, config: Config, *, expected: str | None = None) -> Verdict:
    """Load a bundle and run it in a process with limits on time and memory. expected: its digest. Raises ModelError."""
    paths = [str(Path(p).absolute()) for p in sys.path]
    request = json.dumps({"path": str(path.absolute()), "runtime": config.model.runtime})
    try:
        child = subprocess.Popen(
            [sys.executable, "-I", check_child.__file__, *paths],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the runtime writes there
        )
    except OSError as e:  # no memory, or too many processes
        raise ModelUnchecked(f"{path}: cannot start the process that checks the model: {e.strerror}", LATER) from e
    with child as process:
        try:
            out, _ = process.communicate(request.encode(), WAIT_S)
        except subprocess.TimeoutExpired:
            raise ModelUnchecked(f"{path}: the model did not load and run within {WAIT_S:g} s", LATER) from None
        finally:
            process.kill()
    if process.returncode == -signal.SIGKILL:
        raise ModelUnchecked(f"{path}: the process that checks the model was killed, perhaps for want of memory", LATER)
    try:
        answer = dict(json.loads(out.splitlines()[-1]))
        if "error" in answer:
            raise ModelError(str(answer["error"]), str(answer["hint"]))
        verdict = Verdict(**answer)
    except (ValueError, TypeError, IndexError):
        raise ModelError(f"{path}: {_ended(process.returncode)}", OTHER) from None
    if expected not in (None, verdict.digest):
        raise ModelError(f"{path} changed during the check", "try again")
    return verdict


def state_dirs(config: Config) -> list[Path]:
    """The state folders whose records are valid: the folder of the configuration, and this user's own."""
    folders = [config.state_dir]
    with contextlib.suppress(ConfigError):  # a user without a home folder
        folders.append(data_home() / "edge-oneshot")
    return list(dict.fromkeys(folders))


def _record(verdict: Verdict, path: Path, config: Config) -> Path:
    model = Trusted(
        digest=verdict.digest,
        kind=verdict.kind,
        name=verdict.name,
        path=str(path.absolute()),
        trusted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        runtime=installed(config.model.runtime),
    )
    first, *others = state_dirs(config)
    try:
        return trusted.record(model, first)
    except StorageError:
        if not others:
            raise
        return trusted.record(model, others[0])


def _ended(code: int) -> str:
    if code == -signal.SIGXCPU:
        return f"the model did not load and run within {MAX_S} s of processor time"
    how = f"exit code {code}" if code >= 0 else signal.Signals(-code).name
    return f"the model crashed the process that checked it ({how}): it is damaged or malicious"
