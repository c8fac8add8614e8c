"""The control socket at its limits: unusual text, oversized, slow and abandoned requests."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from waiting import wait_until

from edge_oneshot.control import client, server
from edge_oneshot.control.client import ask
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Forget, Identify, List, Show
from edge_oneshot.control.server import ControlServer
from edge_oneshot.errors import ControlError


def test_a_request_with_a_lone_surrogate_is_answered(tmp_path: Path) -> None:
    socket_server = ControlServer(tmp_path / "d.sock")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(socket_server.path))
            connection.sendall(b'{"verb": "show", "arguments": {"name": "\\ud800"}}\n')
            pending = wait_until(socket_server.next_request, "a request")
            assert isinstance(pending.request, Show)
            pending.fail(ControlError(f"not enrolled: {pending.request.name}", ""))
            assert json.loads(connection.makefile("rb").readline())["error"] == "not enrolled: \ufffd"
    finally:
        socket_server.close()


def test_an_oversized_request_is_refused_with_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_REQUEST_BYTES", 1000)
    socket_server = ControlServer(tmp_path / "d.sock")
    try:
        with pytest.raises(ControlError, match="expected at most 1000 bytes, got 20"):
            ask(socket_server.path, Identify(image=b"x" * 1500), lambda text: None)
    finally:
        socket_server.close()


def test_a_client_that_sends_single_bytes_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "READ_TIMEOUT_S", 0.3)
    socket_server = ControlServer(tmp_path / "d.sock")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(socket_server.path))

            def disconnected() -> bool:
                try:
                    connection.sendall(b" ")
                except OSError:
                    return True
                return False

            wait_until(disconnected, "the daemon to close the connection")
    finally:
        socket_server.close()


def test_an_abandoned_request_is_not_served(tmp_path: Path) -> None:
    socket_server = ControlServer(tmp_path / "d.sock")
    try:
        for pending in (PendingRequest(Forget(name="alice"), abandoned=True), PendingRequest(List())):
            socket_server._requests.put(pending)
        assert (found := socket_server.next_request()) is not None
        assert found.request == List()
    finally:
        socket_server.close()
