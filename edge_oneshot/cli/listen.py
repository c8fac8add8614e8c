"""`listen`: a subscriber that prints the events that arrive at the broker."""

from __future__ import annotations

import dataclasses
import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from edge_oneshot.cli.common import find_config
from edge_oneshot.shown import plain, plain_json, redact

if TYPE_CHECKING:
    from edge_oneshot.config import MqttConfig

_REMEMBERED = 10_000  # event_ids kept to recognize a repeated event


@click.command()
@click.option("--device", metavar="SLUG", help="Only this device. Default: every device below the prefix.")
@click.option("--host", metavar="NAME", help="Broker. Default: from the configuration.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port of the broker.")
@click.option("--username", metavar="NAME", help="User name at the broker.")
@click.option("--password-file", metavar="FILE", help="File whose first line is the password.")
@click.option("--ca-file", metavar="FILE", help="PEM file of the broker's certificate authority; enables TLS.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object per line, as received.")
@click.option("--live", is_flag=True, help="Show a table of the devices and update it.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after N different events.")
@click.option(
    "--timeout",
    type=click.FloatRange(0, min_open=True),
    metavar="S",
    help="End after S seconds; exit code 1 if --count was not reached.",
)
@click.pass_context
def listen(
    ctx: click.Context,
    /,
    device: str | None,
    as_json: bool,
    live: bool,
    count: int | None,
    timeout: float | None,
    **options: Any,
) -> None:
    """Print the events that arrive at the broker, one line each, until Ctrl-C.

    A line holds time, device, event type, identity and comparison score. The time of `gone` is when the person was last in sight, so
    it may be before that of the line above. A `denied` event, and events marked "late", "expired", "unsynced" or "repeated",
    must not open a door. docs/reference/mqtt.md explains the fields.
    """
    from edge_oneshot.cli.live import LiveTable
    from edge_oneshot.errors import BrokerError, BrokerUnreachable
    from edge_oneshot.mqtt.subscriber import Subscriber
    from edge_oneshot.mqtt.topics import slug

    config = broker_options(find_config(ctx).mqtt, **options)
    if live and as_json:
        raise click.UsageError("--live and --json exclude each other; give one of them")
    printer = LiveTable() if live else _Printer(as_json)
    try:
        level = slug("--device", device) if device else "+"
    except ValueError as e:
        raise click.UsageError(str(e)) from None
    end = None if timeout is None else time.monotonic() + timeout
    subscriber = Subscriber(config, [f"{config.prefix}/{level}/{'+' if live else 'event'}"], printer, "listen")
    try:
        subscriber.connect()
        while (count is None or printer.different < count) and (end is None or time.monotonic() < end):
            if isinstance(printer, LiveTable):
                printer.draw()
            if subscriber.step(0.2):
                continue
            click.echo("connection lost; retrying every second", err=True)
            while end is None or time.monotonic() < end:
                time.sleep(1.0)
                try:
                    subscriber.connect()
                except BrokerUnreachable:
                    continue
                break
    except KeyboardInterrupt:
        return
    finally:
        subscriber.close()
    if isinstance(printer, LiveTable):
        printer.draw()
    if count is not None and printer.different < count:
        message = f"listen: expected {count} events within {timeout:g} s, got {printer.different}"
        raise BrokerError(message, "check that the daemon is running and uses this broker")


def broker_options(
    config: MqttConfig,
    *,
    host: str | None,
    port: int | None,
    username: str | None,
    password_file: str | None,
    ca_file: str | None,
) -> MqttConfig:
    """The configured broker with the options of the command line."""
    from edge_oneshot.config import host_fault

    given = {"host": host, "port": port, "username": username, "password_file": password_file, "ca_file": ca_file}
    changes: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if ca_file:
        changes["tls"] = True
    if host is not None and (fault := host_fault("--host", host)):
        raise click.UsageError(redact(fault))
    return dataclasses.replace(config, **changes)


class _Printer:
    """Called with each message."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._seen: dict[str, None] = {}
        self.different = 0

    def __call__(self, message: Any) -> None:
        from edge_oneshot.mqtt.payloads import decode

        if (event := decode(message.payload)) is None:
            click.echo(f"ignored: no JSON object on {plain(message.topic)}", err=True)
            return
        marks = []
        if message.retain:
            marks.append("retained by another client: ignore it")  # the daemon never retains an event
        event_id = _word(event.get("event_id"))
        if event_id in self._seen:
            marks.append("repeated")
        else:
            self.different += 1
            self._seen[event_id] = None
            if len(self._seen) > _REMEMBERED:
                del self._seen[next(iter(self._seen))]
        text = message.payload.decode()
        if plain(text) != text:  # from another sender: the daemon sends one line without control characters
            text = plain_json(json.dumps(event, ensure_ascii=False))
        click.echo(text if self._as_json else _line(event, marks))


def _line(event: dict[str, Any], marks: list[str]) -> str:
    """2026-09-30T14:03:22.481Z porch match alice "Alice" score 0.71 margin +0.19"""
    words = [_word(event.get(key)) for key in ("ts", "device", "event_type")]
    if event.get("identity"):
        words += [_word(event["identity"]), f'"{_word(event.get("name", ""))}"']
    if isinstance(event.get("score"), int | float):
        words.append(f"score {event['score']:.2f}")
    if isinstance(event.get("margin"), int | float):
        words.append(f"margin {event['margin']:+.2f}")
    if event.get("faults"):
        faults = event["faults"] if isinstance(event["faults"], list) else [None]
        words.append(", ".join(map(_word, faults)))
    if event.get("event_type") == "denied":
        marks = [*marks, f"{_word(event.get('reason', ''))}: open nothing"]
    if event.get("rate") == "none":
        marks = [*marks, "no rate: open nothing"]
    if event.get("late"):
        marks = [*marks, "late"]
    if _word(event.get("expires_at")) < datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"):
        marks = [*marks, "expired"]
    if event.get("clock") != "synced":
        marks = [*marks, "unsynced"]
    return plain(" ".join(words) + (f" ({', '.join(marks)})" if marks else ""))


def _word(value: object) -> str:
    """A value that should be a word. Another client may send a structure of any depth."""
    return str(value) if isinstance(value, str | int | float) else "?"
