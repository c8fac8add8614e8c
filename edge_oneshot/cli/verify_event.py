"""`edge-oneshot verify-event`: check the signature and the age of events."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

import click

from edge_oneshot.cli.common import json_option


@click.command("verify-event")
@click.argument("file", type=click.File("rb"), default="-")
@click.option(
    "--key", "key_file", required=True, type=click.Path(path_type=Path), help="Key file of `edge-oneshot mqtt new-key`."
)
@click.option(
    "--state", type=click.Path(path_type=Path), help="File that keeps the counters seen, so that a replay is refused."
)
@click.option("--signature-only", is_flag=True, help="Check the signature only: for old events, not for doors.")
@json_option
def verify_event(file: IO[bytes], key_file: Path, state: Path | None, signature_only: bool, as_json: bool) -> int:
    """Check signed events, one payload per line, as received from the broker.

    An event is accepted if it is signed by this key, not late and not expired, if the clock of its device is synchronized,
    and if its counter is higher than every counter before. Exit code 1 if an event was refused. `edge-oneshot listen
    --json` prints payloads as received.
    """
    from edge_oneshot.errors import ConfigError
    from edge_oneshot.events.signing import Gate, SignatureRefused, read_key, verify

    gate = Gate(read_key(key_file))
    if state is not None and state.exists():
        try:
            gate.counters = {str(k): int(v) for k, v in json.loads(state.read_text()).items()}
        except (OSError, ValueError, TypeError, AttributeError) as e:
            raise ConfigError(
                f"--state {state}: expected the counters of an earlier call, got: {e}",
                "restore the file, or name a new one: replays of older events are accepted once then",
            ) from None
    refused = 0
    for line in file:
        payload = line.strip(b"\r\n")
        if not payload:
            continue
        try:
            event = verify(payload, gate.key) if signature_only else gate.admit(payload, datetime.now(UTC))
            reason = ""
        except SignatureRefused as e:
            event, reason = {}, str(e)
            refused += 1
        if as_json:
            click.echo(json.dumps({"accepted": not reason, "reason": reason, "event_id": event.get("event_id")}))
        else:
            what = " ".join(str(event.get(k, "")) for k in ("ts", "device", "event_type", "identity")).rstrip()
            click.echo(f"refused: {reason}" if reason else f"accepted: {what}")
        if state is not None:
            temporary = state.with_name(state.name + ".new")
            temporary.write_text(json.dumps(gate.counters))
            temporary.replace(state)
    return 1 if refused else 0
