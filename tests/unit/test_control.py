"""The local door: several clients, those who hang up or send garbage, permissions, a stale socket, a second daemon."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from edge_oneshot.control.arguments import Arguments
from waiting import wait_until

from edge_oneshot.config import CameraConfig, Config, DecisionConfig, DeviceConfig, ModelConfig, QualityConfig
from edge_oneshot.control import server as server_module
from edge_oneshot.control.client import ask
from edge_oneshot.control.protocol import Request
from edge_oneshot.control.server import MAX_CLIENTS, ControlServer, answers, parse_request
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


def next_request(server: ControlServer) -> Request:
    request: Request = wait_until(server.next_request, "a request")
    return request


class Asker:
    """A client in a thread of its own."""

    def __init__(self, path: Path, verb: str, timeout_s: float = 60.0, **arguments: Any) -> None:
        self.result: Any = None
        self.error: Exception | None = None
        self.progress: list[str] = []
        self._thread = threading.Thread(target=self._run, args=(path, verb, arguments, timeout_s))
        self._thread.start()

    def _run(self, path: Path, verb: str, arguments: dict[str, Any], timeout_s: float) -> None:
        try:
            self.result = ask(path, verb, arguments, self.progress.append, timeout_s)
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


def test_a_request_its_progress_and_its_answer(server: ControlServer, path: Path) -> None:
    asker = Asker(path, "enroll", name="Zoë")
    request = next_request(server)
    assert (request.verb, request.arguments) == ("enroll", {"name": "Zoë"})
    request.progress("look at the camera")
    request.progress("hold still")
    request.finish({"identity": "zoe"})
    assert asker.join() == {"identity": "zoe"}
    assert asker.progress == ["look at the camera", "hold still"]


def test_an_error_arrives_as_itself(server: ControlServer, path: Path) -> None:
    asker = Asker(path, "show", name="eve")
    next_request(server).fail(GalleryError("nobody called 'eve' is enrolled", "see the list"))
    with pytest.raises(GalleryError, match="nobody called 'eve'") as caught:
        asker.join()
    assert caught.value.hint == "see the list"


def test_two_clients_get_each_their_own_answer_in_any_order(server: ControlServer, path: Path) -> None:
    first = Asker(path, "a")
    request_a = next_request(server)
    second = Asker(path, "b")
    request_b = next_request(server)
    request_b.finish({"for": "b"})
    assert second.join() == {"for": "b"}
    request_a.finish({"for": "a"})
    assert first.join() == {"for": "a"}


def test_a_client_that_hangs_up_marks_its_request(server: ControlServer, connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(b'{"verb": "enroll"}\n')
    request = next_request(server)
    assert not request.abandoned
    connection.close()
    wait_until(lambda: request.abandoned, "the hang-up to be noticed")


def test_more_bytes_behind_the_request_are_no_hang_up(
    server: ControlServer, connect: Callable[[], socket.socket]
) -> None:
    connection = connect()
    connection.sendall(b'{"verb": "status"}\nand more')
    request = next_request(server)
    threading.Event().wait(2 * server_module.POLL_S)
    assert not request.abandoned
    request.finish({})
    assert answer_of(connection) == {"status": "ok", "data": {}}


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
    ],
    ids=["empty", "http", "list", "number", "arguments", "not utf-8", "nested", "digits"],
)
def test_garbage_is_answered_and_the_next_client_served(
    server: ControlServer, path: Path, connect: Callable[[], socket.socket], line: bytes
) -> None:
    connection = connect()
    connection.sendall(line)
    answer = answer_of(connection)
    assert (answer["status"], answer["kind"]) == ("error", "ControlError")
    asker = Asker(path, "status")
    next_request(server).finish({"fine": True})
    assert asker.join() == {"fine": True}
    assert server.next_request() is None


def test_a_request_without_end_is_refused(
    server: ControlServer, connect: Callable[[], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "MAX_REQUEST_BYTES", 1000)
    connection = connect()
    connection.sendall(b"x" * 1001)
    assert "expected at most 1000 bytes" in answer_of(connection)["error"]


def test_too_many_clients_are_told_and_places_become_free(
    server: ControlServer, path: Path, connect: Callable[[], socket.socket]
) -> None:
    waiting = [connect() for _ in range(MAX_CLIENTS)]
    for connection in waiting:
        connection.sendall(b'{"verb": "wait"}\n')
    requests = [next_request(server) for _ in waiting]
    assert answer_of(connect())["error"] == "too many clients"
    for request in requests:
        request.finish({})
    for connection in waiting:
        answer_of(connection)

    def served() -> bool:
        asker = Asker(path, "status")
        wait_until(
            lambda: ((r := server.next_request()) and (r.finish({}), True)) or not asker._thread.is_alive(), "an answer"
        )
        try:
            return asker.join() == {}
        except ControlError:
            return False

    wait_until(served, "a free place")


def test_the_socket_is_for_owner_and_group_only(server: ControlServer, path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert stat.S_ISSOCK(path.stat().st_mode)


def test_the_socket_is_never_wider_open_whatever_the_umask(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    asker = Asker(path, "status")
    next_request(server).finish({})
    assert asker.join() == {}


def test_a_socket_left_by_a_killed_daemon_is_replaced(path: Path) -> None:
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert path.exists()
    assert not answers(path)
    assert ask(path, "status", {}, print) is None
    server = ControlServer(path)
    assert answers(path)
    server.close()


def test_no_daemon_is_no_error_for_the_client(path: Path) -> None:
    assert ask(path, "status", {}, print) is None
    (path.parent).write_text("a file where a folder should be")
    assert ask(path, "status", {}, print) is None


def test_a_path_that_no_socket_can_have(tmp_path: Path) -> None:
    """108 bytes are the limit of the system. A client cannot meet a daemon there, and a daemon must say how to mend it."""
    long = tmp_path / ("x" * 120) / "front.sock"
    assert ask(long, "status", {}, print) is None
    with pytest.raises(ControlError, match="cannot make the socket") as caught:
        ControlServer(long)
    assert "device.socket" in caught.value.hint


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ControlError, match="cannot make the socket"):
        ControlServer(tmp_path / "file" / "front.sock")


def test_a_daemon_that_dies_before_its_answer(path: Path) -> None:
    server = ControlServer(path)
    asker = Asker(path, "status", timeout_s=20)
    request = next_request(server)
    server._server.socket.close()
    request.answers.put({"status": "lost"})  # neither ok nor error: what a broken answer looks like
    with pytest.raises(ControlError):
        asker.join()
    server.close()


def test_a_silent_daemon_ends_the_wait(server: ControlServer, path: Path) -> None:
    asker = Asker(path, "status", timeout_s=0.2)
    with pytest.raises(ControlError, match=r"fell silent for 0\.2 s"):
        asker.join()


def test_closing_lets_no_client_wait_for_ever(path: Path, connect: Callable[[], socket.socket]) -> None:
    server = ControlServer(path)
    connection = connect()
    connection.sendall(b'{"verb": "enroll"}\n')
    request = next_request(server)
    server.close()
    request.finish({"late": True})
    assert answer_of(connection)["data"] == {"late": True}
    assert not path.exists()


def test_parse_request_takes_what_it_should() -> None:
    request = parse_request(b'{"verb": "list", "more": 1}')
    assert (request.verb, request.arguments) == ("list", {})


# ---- arguments


def arguments(**values: Any) -> Arguments:
    return Arguments(Request(verb="enroll", arguments=values))


@pytest.mark.parametrize(
    ("call", "value"),
    [
        *(("text", v) for v in (None, 5, "", "x" * 1001, ["a"])),
        *(("flag", v) for v in (0, "true", None)),
        *(("seconds", v) for v in (0, -1, 601, float("nan"), True, "5", 10**400)),
        *(("binary", v) for v in ("!", 5, "é", [1], "AAA")),
        *(("document", v) for v in (None, [], "x")),
    ],
    ids=lambda v: str(v)[:20],
)
def test_a_wrong_argument_is_named(call: str, value: Any) -> None:
    given = arguments(key=value)
    with pytest.raises(ControlError, match="enroll key: expected "):
        given.seconds("key", 1.0) if call == "seconds" else getattr(given, call)("key")


def test_right_arguments() -> None:
    given = arguments(t="x", f=True, s=600, b="AAEC", d={})
    assert (given.text("t"), given.flag("f"), given.seconds("s", 1)) == ("x", True, 600.0)
    assert (given.binary("b"), given.document("d")) == (b"\0\1\2", {})
    assert (given.flag("absent"), given.seconds("absent", 3), given.text("absent", "y"), given.has("absent")) == (
        False,
        3.0,
        "y",
        False,
    )


def test_sighup_asks_once_and_the_log_gets_the_refusal(caplog: pytest.LogCaptureFixture) -> None:
    door = HangUp()
    assert door.next_request() is None
    door.ask(signal.SIGHUP, None)
    door.ask(signal.SIGHUP, None)
    request = door.next_request()
    assert request is not None and request.verb == "reload"
    door.ask(signal.SIGHUP, None)
    assert door.next_request() is None  # one after the other
    request.fail(ConfigError("front.toml has 1 fault", faults=("camera.fps: expected a number, got 'x'",)))
    second = door.next_request()
    assert second is not None and second is not request
    assert "nothing has changed: front.toml has 1 fault\n  camera.fps: expected a number, got 'x'" in caplog.text
    second.finish({})
    assert door.next_request() is None


def test_a_plan_takes_what_can_change_and_names_the_rest() -> None:
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
    assert "secret" not in str(made.answer(0.7, 1, 1))
    config = made.config
    assert (config.device, config.camera, config.instance) == (running.device, running.camera, "front")
    assert (config.decision, config.quality, config.model.cohort) == (wanted.decision, wanted.quality, "other.json")
    assert config.model.threads == 2 and made.rule(()).value == 0.7
    assert plan(config, config, rule_of).changed == {}
