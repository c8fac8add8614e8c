"""The control socket at its limits: unusual text, oversized, slow and abandoned requests."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from waiting import wait_until

from edge_oneshot.control import client, server
from edge_oneshot.control.client import ask
from edge_oneshot.control.protocol import Request
from edge_oneshot.control.server import ControlServer
from edge_oneshot.errors import ControlError


def test_an_answer_may_contain_a_lone_surrogate(tmp_path: Path) -> None:
    door = ControlServer(tmp_path / "d.sock")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(door.path))
            connection.sendall(b'{"verb": "\\ud800"}\n')
            request = wait_until(door.next_request, "a request")
            request.fail(ControlError(f"no such request: {request.verb}", ""))
            assert json.loads(connection.makefile("rb").readline())["error"] == "no such request: \ud800"
    finally:
        door.close()


def test_an_oversized_request_is_refused_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_REQUEST_BYTES", 1000)
    door = ControlServer(tmp_path / "d.sock")
    try:
        with pytest.raises(ControlError, match="expected at most 1000 bytes, got 20"):
            ask(door.path, "identify", {"image": "x" * 2000}, lambda text: None)
    finally:
        door.close()


def test_a_client_that_sends_single_bytes_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 0.3)
    door = ControlServer(tmp_path / "d.sock")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(door.path))

            def hung_up() -> bool:
                try:
                    connection.sendall(b" ")
                except OSError:
                    return True
                return False

            wait_until(hung_up, "the daemon to hang up")
    finally:
        door.close()


def test_an_abandoned_request_is_not_served(tmp_path: Path) -> None:
    door = ControlServer(tmp_path / "d.sock")
    try:
        for request in (Request(verb="forget", arguments={}, abandoned=True), Request(verb="list", arguments={})):
            door._requests.put(request)
        assert (found := door.next_request()) is not None
        assert found.verb == "list"
    finally:
        door.close()
