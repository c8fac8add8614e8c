"""The control socket: several clients, clients that hang up or send garbage, permissions, a stale socket, a second daemon."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from example_messages import example
from waiting import wait_until

from edge_oneshot.config import CameraConfig, Config, DecisionConfig, DeviceConfig, ModelConfig, QualityConfig
from edge_oneshot.control import server as server_module
from edge_oneshot.control.client import ask
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.places import MAX_OF_USER
from edge_oneshot.control.protocol import PendingRequest, parse_request
from edge_oneshot.control.requests import AnyRequest, Enroll, Forget, List, Pause, Reload, Show, Status
from edge_oneshot.control.responses import Enrolled, Forgotten, GalleryCounts, Paused, People, Reloaded, StatusReport
from edge_oneshot.control.server import ControlServer, answers
from edge_oneshot.errors import ConfigError, ControlError, GalleryError
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.service.reload import HangUp, plan


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "front.sock"


@pytest.fixture
def server(path: Path) -> Iterator[ControlServer]:
    opened = ControlServer(path)
    yield opened
    opened.close()
    assert not path.exists()


def next_request(server: ControlServer) -> PendingRequest:
    pending: PendingRequest = wait_until(server.next_request, "a request")
    return pending


STATUS = example(StatusReport)
EMPTY = People(identities=[])


class Asker:
    """A client in a thread of its own."""

    def __init__(self, path: Path, request: AnyRequest, timeout_s: float = 60.0) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.progress: list[str] = []
        self._thread = threading.Thread(target=self._run, args=(path, request, timeout_s))
        self._thread.start()

    def _run(self, path: Path, request: AnyRequest, timeout_s: float) -> None:
        try:
            self.result = ask(path, request, self.progress.append, timeout_s)
        except Exception as e:
            self.error = e

    def join(self) -> Any:
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


@pytest.fixture
def connect(path: Path) -> Iterator[Callable[[], socket.socket]]:
    """Raw connections, closed at the end."""
    with ExitStack() as stack:

        def make() -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(30)
            connection.connect(str(path))
            return connection

        yield make


def answer_of(connection: socket.socket) -> dict[str, Any]:
    with connection.makefile("rb") as lines:
        answer: dict[str, Any] = json.loads(lines.readline())
    return answer


def test_a_client_gets_the_progress_and_the_response(server: ControlServer, path: Path) -> None:
    request = Enroll(name="Zoë", image=b"\xff\xd8", timeout_s=5)
    asker = Asker(path, request)
    pending = next_request(server)
    assert pending.request == request
    pending.progress("look at the camera")
    pending.progress("hold still")
    enrolled = example(Enrolled)
    pending.finish(enrolled)
    assert asker.join() == enrolled
    assert asker.progress == ["look at the camera", "hold still"]


def test_a_client_gets_the_error_of_its_request(server: ControlServer, path: Path) -> None:
    asker = Asker(path, Show(name="eve"))
    next_request(server).fail(GalleryError("nobody called 'eve' is enrolled", "see the list"))
    with pytest.raises(GalleryError, match="nobody called 'eve'") as caught:
        asker.join()
    assert caught.value.hint == "see the list"


def test_two_clients_get_each_their_own_answer_in_any_order(server: ControlServer, path: Path) -> None:
    first = Asker(path, Pause())
    pending_a = next_request(server)
    second = Asker(path, Forget(name="bob"))
    pending_b = next_request(server)
    pending_b.finish(Forgotten(identity="bob", name="Bob"))
    assert second.join() == Forgotten(identity="bob", name="Bob")
    pending_a.finish(Paused(paused=True))
    assert first.join() == Paused(paused=True)


def test_a_request_is_finished_with_a_response_of_its_own_class_only() -> None:
    pending = PendingRequest(Pause())
    with pytest.raises(TypeError, match="pause: expected Paused, got dict"):
        pending.finish({"paused": True})
    assert pending.answers.empty()


def test_a_client_that_hangs_up_marks_its_request(server: ControlServer, connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(b'{"verb": "status"}\n')
    pending = next_request(server)
    assert not pending.abandoned
    connection.close()
    wait_until(lambda: pending.abandoned, "the server to notice the closed connection")


def test_more_bytes_behind_the_request_are_not_taken_for_a_closed_connection(
    server: ControlServer, connect: Callable[[], socket.socket]
) -> None:
    connection = connect()
    connection.sendall(b'{"verb": "list"}\nand more')
    pending = next_request(server)
    threading.Event().wait(2 * server_module.POLL_S)
    assert not pending.abandoned
    pending.finish(EMPTY)
    assert answer_of(connection) == {"status": "ok", "data": {"identities": []}}


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"GET / HTTP/1.1\r\n",
        b"[]\n",
        b'{"verb": 5}\n',
        b'{"verb": "a", "arguments": []}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
        b'{"verb": ' + b"1" * 5000 + b"}\n",
        b'{"verb": "dance"}\n',
        b'{"verb": "list", "arguments": []}\n',
        b'{"verb": "enroll"}\n',
        b'{"verb": "\\ud800"}\n',
        b'{"verb": "list", "arguments": {"\\ud800": 1}}\n',
    ],
    ids=[
        *("empty", "http", "list", "number", "arguments", "not utf-8", "nested", "digits", "unknown"),
        *("arguments of a known verb", "missing argument", "surrogate", "surrogate argument"),
    ],
)
def test_garbage_is_answered_and_the_next_client_served(
    server: ControlServer, path: Path, connect: Callable[[], socket.socket], line: bytes
) -> None:
    connection = connect()
    connection.sendall(line)
    answer = answer_of(connection)
    assert (answer["status"], answer["kind"]) == ("error", "ControlError")
    asker = Asker(path, Status())
    next_request(server).finish(STATUS)
    assert asker.join() == STATUS
    assert server.next_request() is None


def test_a_request_without_end_is_refused(
    server: ControlServer, connect: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_REQUEST_BYTES", 1000)
    connection = connect()
    connection.sendall(b"x" * 1001)
    assert "expected at most 1000 bytes" in answer_of(connection)["error"]


def test_too_many_clients_get_an_error_until_one_has_left(
    server: ControlServer, path: Path, connect: Callable[[], socket.socket]
) -> None:
    waiting = [connect() for _ in range(MAX_OF_USER)]
    for connection in waiting:
        connection.sendall(b'{"verb": "list"}\n')
    requests = [next_request(server) for _ in waiting]
    assert answer_of(connect())["error"] == f"more than {MAX_OF_USER} clients at once"
    for pending in requests:
        pending.finish(EMPTY)
    for connection in waiting:
        answer_of(connection)

    def served() -> bool:
        asker = Asker(path, List())
        wait_until(
            lambda: ((p := server.next_request()) and (p.finish(EMPTY), True)) or not asker._thread.is_alive(),
            "an answer",
        )
        try:
            return asker.join() == EMPTY
        except ControlError:
            return False

    wait_until(served, "a free place")


def test_the_socket_is_for_owner_and_group_only(server: ControlServer, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_the_socket_is_closed_to_others_from_the_start_with_any_umask(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between bind and chmod others must not be able to connect."""
    seen: list[int] = []
    chmod = Path.chmod
    monkeypatch.setattr(
        Path, "chmod", lambda self, mode: (seen.append(stat.S_IMODE(self.stat().st_mode)), chmod(self, mode))[1]
    )
    before = os.umask(0)
    try:
        ControlServer(path).close()
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert len(seen) == 1
    assert seen[0] & ~0o660 == 0


def test_a_second_daemon_is_refused_and_the_first_stays(server: ControlServer, path: Path) -> None:
    with pytest.raises(ControlError, match="another daemon answers at"):
        ControlServer(path)
    asker = Asker(path, List())
    next_request(server).finish(EMPTY)
    assert asker.join() == EMPTY


def test_a_socket_left_by_a_killed_daemon_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    assert not answers(path)
    assert ask(path, Status(), print) is None
    server = ControlServer(path)
    assert answers(path)
    server.close()


def test_no_daemon_is_no_error_for_the_client(path: Path) -> None:
    assert ask(path, Status(), print) is None
    (path.parent).write_text("a file where a folder should be")
    assert ask(path, Status(), print) is None


def test_a_path_too_long_for_a_socket(tmp_path: Path) -> None:
    """The system's limit is 108 bytes. A client finds no daemon there; a daemon that should listen there names the key to change."""
    long = tmp_path / ("x" * 120) / "front.sock"
    assert ask(long, Status(), print) is None
    with pytest.raises(ControlError, match="cannot make the socket") as caught:
        ControlServer(long)
    assert "device.socket" in caught.value.hint


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ControlError, match="cannot make the socket"):
        ControlServer(tmp_path / "file" / "front.sock")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"", "closed the connection without an answer"),
        (b"{", "broke: "),
        (b"\xff\n", "broke: "),
        (b"[]\n", "answer to status: expected a JSON object"),
        (b"5\n", "answer to status: expected a JSON object"),
        (b"[" * 100_000 + b"\n", "broke: "),
        (b'{"status": "lost"}\n', "unknown error"),
        (b'{"status": "error", "faults": 5}\n', "unknown error"),
        (b'{"status": "ok"}\n', "answer to status: data: expected a JSON object, got nothing"),
        (b'{"status": "ok", "data": []}\n', "answer to status: data: expected a JSON object, got a list"),
        (b'{"status": "ok", "data": {}}\n', "answer to status: data schema: expected a whole number, got nothing"),
    ],
)
def test_a_daemon_that_dies_or_sends_garbage_is_a_control_error(tmp_path: Path, line: bytes, says: str) -> None:
    path = tmp_path / "d.sock"
    with socket.socket(socket.AF_UNIX) as daemon:
        daemon.bind(str(path))
        daemon.listen()
        asker = Asker(path, Status(), timeout_s=20)
        connection, _ = daemon.accept()
        with connection:
            assert connection.recv(1000) == b'{"verb": "status", "arguments": {}}\n'
            connection.sendall(line)
        with pytest.raises(ControlError, match=re.escape(says)):
            asker.join()


def test_a_daemon_that_dies_while_it_serves_a_request(path: Path) -> None:
    server = ControlServer(path)
    asker = Asker(path, Status(), timeout_s=20)
    pending = next_request(server)
    server._server.socket.close()
    pending.answers.put(object())  # type: ignore[arg-type] # the client's thread fails on it and closes the connection
    with pytest.raises(ControlError, match="closed the connection without an answer"):
        asker.join()
    server.close()


def test_the_client_does_not_wait_for_ever(server: ControlServer, path: Path) -> None:
    asker = Asker(path, Status(), timeout_s=0.2)
    with pytest.raises(ControlError, match=r"has not answered for 0\.2 s"):
        asker.join()


def test_closing_lets_no_client_wait_for_ever(path: Path, connect: Callable[[], socket.socket]) -> None:
    server = ControlServer(path)
    connection = connect()
    connection.sendall(b'{"verb": "pause"}\n')
    pending = next_request(server)
    server.close()
    pending.finish(Paused(paused=True))
    assert answer_of(connection)["data"] == {"paused": True}
    assert not path.exists()


def test_a_request_without_arguments_and_with_another_key() -> None:
    assert parse_request(b'{"verb": "list", "more": 1}') == List()


# ---- reload


def test_sighup_asks_for_one_reload_at_a_time_and_the_log_gets_the_refusal(caplog: pytest.LogCaptureFixture) -> None:
    source = HangUp()
    assert source.next_request() is None
    source.ask(signal.SIGHUP, None)
    source.ask(signal.SIGHUP, None)
    pending = source.next_request()
    assert pending is not None and pending.request == Reload()
    source.ask(signal.SIGHUP, None)
    assert source.next_request() is None  # one after the other
    pending.fail(ConfigError("front.toml has 1 fault", faults=("camera.fps: expected a number, got 'x'",)))
    second = source.next_request()
    assert second is not None and second is not pending
    assert "nothing has changed: front.toml has 1 fault\n  camera.fps: expected a number, got 'x'" in caplog.text
    second.finish(example(Reloaded))
    assert source.next_request() is None


def test_a_plan_takes_live_keys_and_names_those_that_need_a_restart(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    def rule_of(config: Config) -> Rule:
        return Rule(target=Target(score=config.decision.threshold or 0.5), thresholds=None, cohort=None)

    running = Config(device=DeviceConfig(slug="front"), camera=CameraConfig(uri="folder:x"), instance="front")
    wanted = Config(
        camera=CameraConfig(uri="rtsp://user:secret@camera"),
        decision=DecisionConfig(threshold=0.7),
        quality=QualityConfig(min_luma=1.0),
        model=ModelConfig(cohort="other.json", threads=1),
    )
    made = plan(running, wanted, rule_of)
    assert set(made.changed) == {"decision.threshold", "quality.min_luma", "model.cohort"}
    assert made.restart_needed == ("device.slug", "camera.uri", "model.threads")
    report = made.report(0.7, GalleryCounts(identities=1, templates=1))
    assert "secret" not in json.dumps(to_json(report)) + caplog.text
    config = made.config
    assert (config.device, config.camera, config.instance) == (running.device, running.camera, "front")
    assert (config.decision, config.quality, config.model.cohort) == (wanted.decision, wanted.quality, "other.json")
    assert config.model.threads == 2 and made.rule(()).value == 0.7
    assert plan(config, config, rule_of).changed == {}


@pytest.mark.parametrize("at", ["door.sock", "door.lock"])
def test_only_a_socket_is_ever_removed(tmp_path: Path, at: str) -> None:
    (precious := tmp_path / at).write_text("precious")
    with pytest.raises(ControlError, match="which is left as it is"):
        ControlServer(tmp_path / "door.sock")
    assert precious.read_text() == "precious"


def test_a_link_at_the_socket_and_a_file_that_replaced_it_stay(tmp_path: Path) -> None:
    (precious := tmp_path / "precious").write_text("precious")
    (path := tmp_path / "door.sock").symlink_to(precious)
    with pytest.raises(ControlError, match="expected a socket"):
        ControlServer(path)
    path.unlink()
    server = ControlServer(path)
    path.unlink()
    path.write_text("new")
    server.close()
    assert path.read_text() == "new" and precious.read_text() == "precious"
