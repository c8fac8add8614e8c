"""Records for systemd's journal: a real datagram socket stands for its own."""

from __future__ import annotations

import ast
import logging
import socket
from datetime import UTC, datetime
from pathlib import Path

import pytest

import edge_oneshot
from edge_oneshot.config import Config, DeviceConfig, MqttConfig
from edge_oneshot.service import compose
from edge_oneshot.service.journald import JournalHandler, connected, datagram
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import Event


def test_a_record_has_its_fields_and_each_value_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(path))
        handler = JournalHandler(str(path))
        record = logging.makeLogRecord(
            {"name": "a.b", "levelno": logging.WARNING, "msg": "match", "journal": {"EVENT_ID": "x1"}}
        )
        handler.handle(record)
        lines = journal.recv(65536).decode().splitlines()
        handler.close()
    fields = {"MESSAGE=match", "PRIORITY=4", "EVENT_ID=x1", "LOGGER=a.b", "SYSLOG_IDENTIFIER=edge-oneshot"}
    assert {*fields, "MESSAGE_TEMPLATE=…"} == set(lines)


def test_a_value_with_a_newline_cannot_forge_a_field() -> None:
    assert datagram({"A": "b\nEVENT_ID=forged"}) == b"A\n" + (17).to_bytes(8, "little") + b"b\nEVENT_ID=forged\n"


def test_without_a_journal_the_record_goes_to_standard_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    handler = JournalHandler(str(tmp_path / "none"))
    handler.handle(logging.makeLogRecord({"name": "a", "msg": "hello"}))
    handler.close()
    assert capsys.readouterr().err == "hello\n"
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    assert not connected()


def test_every_message_of_the_log_is_a_constant() -> None:
    """MESSAGE_TEMPLATE names no person only if no text is written into the message before it is logged."""
    found = 0
    for path in Path(edge_oneshot.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log.") and node.args:
                level = ast.unparse(node.func) == "log.log"
                message = node.args[1 if level else 0]
                assert isinstance(message, ast.Constant), f"{path}:{node.lineno}"
                found += 1
    assert found > 60


@pytest.mark.parametrize("named", [True, False])
def test_the_journal_names_an_identity_only_if_asked_for(named: bool, caplog: pytest.LogCaptureFixture) -> None:
    event = Event(
        event_id="e1", event_type="match", ts=datetime.now(UTC), captured_ns=1, boot_id="b",
        body={"identity": "alice", "name": "Alice", "score": 0.7},
    )  # fmt: skip
    with caplog.at_level(logging.INFO):
        Reporter(named=named).event(event)
    (record,) = caplog.records
    fields = {"EVENT_ID": "e1", "EVENT_TYPE": "match"} | ({"IDENTITY": "alice"} if named else {})
    assert record.journal == fields  # type: ignore[attr-defined]
    assert ("alice" in record.getMessage().lower()) == named


def test_identities_are_logged_to_the_journal_only_if_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for in_journal, asked, named in ((True, False, False), (True, True, True), (False, False, True)):
        monkeypatch.setattr(compose, "connected", lambda answer=in_journal: answer)
        config = Config(device=DeviceConfig(log_identities=asked), mqtt=MqttConfig(enabled=False))
        with compose.reporter(config) as (report, _):
            assert ("identity" in report._logged) == named
