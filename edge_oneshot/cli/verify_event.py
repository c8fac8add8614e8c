"""`edge-oneshot verify-event`: check the signature and the age of events."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import json_option
from edge_oneshot.errors import ConfigError, StorageError
from edge_oneshot.shown import plain
from edge_oneshot.text_file import parse_json, read_text

if TYPE_CHECKING:
    from edge_oneshot.events.signing import Gate


@click.command("verify-event")
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--key", "key_file", required=True, type=click.Path(path_type=Path), help="Key file of `edge-oneshot mqtt new-key`."
)
@click.option(
    "--state",
    type=click.Path(path_type=Path),
    help="File that keeps the counters seen, so that a replay is refused. Default: one file for each key in "
    "$XDG_STATE_HOME/edge-oneshot.",
)
@click.option("--no-state", is_flag=True, help="Keep nothing: a replay is accepted once in each call.")
@click.option("--signature-only", is_flag=True, help="Check the signature only: for old events, not for doors.")
@json_option
def verify_event(
    file: IO[bytes], key_file: Path, state: Path | None, no_state: bool, signature_only: bool, as_json: bool
) -> int:
    """Check signed events, one payload per line, as received from the broker.

    An event is accepted if it is signed by this key, not late and not expired, if the clock of its device is synchronized,
    and if its counter is higher than every counter before, those of earlier calls included. Exit code 1 if an event was
    refused. `edge-oneshot listen --json` prints payloads as received.
    """
    from edge_oneshot.events.signing import Gate, SignatureRefused, read_key, verify

    if no_state and state is not None:
        raise click.UsageError("--state and --no-state exclude each other; give one of them")
    gate = Gate(read_key(key_file))
    if not (no_state or signature_only):
        state = state or _default_state(gate.key.key_id)
    refused = 0
    with _Counters(None if signature_only else state) as counters:
        for line in file:
            payload = line.strip(b"\r\n")
            if not payload:
                continue
            try:
                if signature_only:
                    event = verify(payload, gate.key)
                else:
                    with counters.of(gate):
                        event = gate.admit(payload, datetime.now(UTC))
                reason = ""
            except SignatureRefused as e:
                event, reason = {}, str(e)
                refused += 1
            if as_json:
                click.echo(json.dumps({"accepted": not reason, "reason": reason, "event_id": event.get("event_id")}))
            else:
                what = " ".join(str(event.get(k, "")) for k in ("ts", "device", "event_type", "identity")).rstrip()
                click.echo(plain(f"refused: {reason}" if reason else f"accepted: {what}"))
    return 1 if refused else 0


def _default_state(key_id: str) -> Path:
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "edge-oneshot"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except (OSError, RuntimeError) as e:  # RuntimeError: this user has no home
        raise StorageError(
            f"verify-event: expected a folder for the counters seen, got: {e}", "name a file with --state"
        ) from None
    return folder / f"verify-event-{key_id}.json"


class _Counters:
    """The counters seen, in a file that several calls may use at the same time. path: None keeps them in the gate alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> _Counters:
        if self._path is not None:
            try:
                self._lock = self._path.with_name(self._path.name + ".lock").open("ab")
            except OSError as e:
                raise self._failed(e) from None
        return self

    def __exit__(self, *exc: object) -> None:
        if self._lock is not None:
            self._lock.close()

    @contextmanager
    def of(self, gate: Gate) -> Iterator[None]:
        """Read the counters, let the gate judge one event, and store them before anything acts on it."""
        if self._path is None or self._lock is None:
            yield
            return
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            gate.counters = self._read(self._path)
            try:
                yield
            finally:
                self._write(self._path, gate.counters)
        except OSError as e:
            raise self._failed(e) from None
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    @staticmethod
    def _read(path: Path) -> dict[str, int]:
        try:
            counters: Any = parse_json(read_text(path))
            return {str(k): int(v) for k, v in counters.items()}
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, AttributeError) as e:
            raise ConfigError(
                f"--state {path}: expected the counters of an earlier call, got: {e}",
                "restore the file, or name a new one: replays of older events are accepted once then",
            ) from None

    @staticmethod
    def _write(path: Path, counters: dict[str, int]) -> None:
        temporary = path.with_name(path.name + ".new")
        with temporary.open("w") as f:
            json.dump(counters, f)
            f.flush()
            os.fsync(f.fileno())
        temporary.replace(path)

    def _failed(self, e: OSError) -> StorageError:
        return StorageError(
            f"verify-event: cannot keep the counters seen in {self._path}: {e.strerror}",
            "name a file that you may write with --state; without it a replay would be accepted",
        )
