"""Records for systemd's journal: a real datagram socket stands for its own."""

from __future__ import annotations

import logging
import socket
from pathlib import Path

import pytest

from edge_oneshot.service.journald import JournalHandler, connected, datagram


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
    assert {"MESSAGE=match", "PRIORITY=4", "EVENT_ID=x1", "LOGGER=a.b", "SYSLOG_IDENTIFIER=edge-oneshot"} == set(lines)


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
