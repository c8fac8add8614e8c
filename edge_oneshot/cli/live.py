"""The table of `listen --live`: one row per device, updated with each message."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from edge_oneshot.shown import plain

_COLUMNS = (
    ("device", 16),
    ("state", 12),
    ("in sight", 30),
    ("events", 7),
    ("waiting", 8),
    ("fps", 6),
    ("last event", 44),
)
_MOST_ROWS = 200  # any client may publish below any name
_CLEAR = "\x1b[H\x1b[J"  # cursor to the upper left corner, clear below it


class LiveTable:
    """Called with each message of `<prefix>/+/+`."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, str]] = {}
        self._seen: dict[str, None] = {}
        self.different = 0
        self._changed = True

    def __call__(self, message: Any) -> None:
        _, device, leaf = message.topic.rsplit("/", 2)
        if device not in self._rows and len(self._rows) >= _MOST_ROWS:
            return
        row = self._rows.setdefault(device, {"device": device, "events": "0"})
        self._changed = True
        if leaf == "availability":
            row["state"] = message.payload.decode("utf-8", "replace")
            return
        from edge_oneshot.mqtt.payloads import decode

        try:
            value = decode(message.payload) or {}
            take = {"presence": self._presence, "health": self._health, "event": self._event}.get(leaf)
            if take is not None and not (leaf == "event" and message.retain):
                take(row, value)
        except (ValueError, KeyError, TypeError, AttributeError):
            row["last event"] = f"invalid message on {leaf}"

    def _presence(self, row: dict[str, str], value: dict[str, Any]) -> None:
        unknown = [f"{value['unknown']} unknown"] if value["unknown"] else []
        denied = [f"{identity} denied" for identity in value.get("denied", [])]
        row["in sight"] = ", ".join([*map(str, value["identities"]), *denied, *unknown]) or "no person"

    def _health(self, row: dict[str, str], value: dict[str, Any]) -> None:
        row["state"] = str(value["state"]) if row.get("state") != "offline" else "offline"
        row["waiting"], row["fps"] = (
            str(value["outbox"]["depth"]),
            "" if value["fps"] is None else f"{value['fps']:.1f}",
        )

    def _event(self, row: dict[str, str], value: dict[str, Any]) -> None:
        if value["event_id"] in self._seen:
            return
        self._seen[value["event_id"]] = None
        if len(self._seen) > 1000:
            del self._seen[next(iter(self._seen))]
        self.different += 1
        row["events"] = str(int(row["events"]) + 1)
        score = f" {value['score']:.2f}" if isinstance(value.get("score"), int | float) else ""
        late = " late" if value["late"] else ""
        row["last event"] = (
            f"{str(value['ts'])[11:19]} {value['event_type']} {value.get('identity') or ''}{score}{late}"
        )

    def draw(self) -> None:
        """Print the table if something has changed."""
        if not self._changed:
            return
        self._changed = False
        lines = [
            f"{datetime.now(UTC):%H:%M:%S} UTC, Ctrl-C to end",
            "  ".join(f"{name:{width}}" for name, width in _COLUMNS),
        ]
        for _, row in sorted(self._rows.items()):
            lines.append("  ".join(f"{plain(row.get(name, ''))[:width]:{width}}" for name, width in _COLUMNS))
        click.echo(_CLEAR + "\n".join(line.rstrip() for line in lines))
