"""The control socket under many, slow and large requests: who keeps a place, and how much memory the requests need."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_until

from edge_oneshot.control import places, server
from edge_oneshot.control.client import ask
from edge_oneshot.control.places import MAX_CLIENTS, MAX_OF_USER
from edge_oneshot.control.protocol import PendingRequest, request_line
from edge_oneshot.control.requests import Export, Identify, List
from edge_oneshot.control.responses import Exported, People
from edge_oneshot.control.server import SMALL_BYTES, ControlServer
from edge_oneshot.errors import ControlError

EMPTY = People(identities=[])


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[ControlServer]:
    control = ControlServer(tmp_path / "d.sock")
    yield control
    control.close()


@pytest.fixture
def connect(opened: ControlServer) -> Iterator[Callable[[bytes], socket.socket]]:
    """connect(data): a client that has sent `data`, closed at the end."""
    with ExitStack() as stack:

        def make(data: bytes) -> socket.socket:
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.settimeout(30)
            connection.connect(str(opened.path))
            if data:  # a refused client may be cut off before it sends even nothing
                connection.sendall(data)
            return connection

        yield make


def serve(control: ControlServer) -> PendingRequest | None:
    pending = control.next_request()
    if pending is not None:
        pending.finish(EMPTY)
    return pending


def gone(connection: socket.socket) -> bool:
    connection.settimeout(0.05)
    try:
        return not connection.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def listed(control: ControlServer, connection: socket.socket) -> dict[str, Any]:
    wait_until(lambda: serve(control), "the request")
    answer: dict[str, Any] = json.loads(connection.makefile("rb").readline())
    return answer


def test_eight_slow_clients_do_not_lock_out_the_ninth(
    opened: ControlServer, connect: Callable[[bytes], socket.socket]
) -> None:
    slow = [connect(b"{") for _ in range(MAX_OF_USER)]
    wait_until(lambda: len(opened._server.places._taken) == MAX_OF_USER, "all places are taken")
    time.sleep(places.SLOW_S)
    assert listed(opened, connect(b'{"verb": "list"}\n'))["status"] == "ok"
    assert gone(slow[0]) and not gone(slow[-1]), "only the slowest client lost its place"


def test_a_client_that_waits_for_its_answer_keeps_its_place(
    opened: ControlServer, connect: Callable[[bytes], socket.socket]
) -> None:
    waiting = [connect(b'{"verb": "list"}\n') for _ in range(MAX_OF_USER)]
    pending = [wait_until(opened.next_request, "a request") for _ in waiting]
    time.sleep(places.SLOW_S)
    # It may be closed before it can send anything.
    refused = json.loads(connect(b"").makefile("rb").readline())
    assert refused["error"] == f"more than {MAX_OF_USER} clients at once"
    for request in pending:
        request.finish(EMPTY)
    assert all(json.loads(c.makefile("rb").readline())["status"] == "ok" for c in waiting)


def test_the_places_of_a_user_are_no_one_elses(
    opened: ControlServer, connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = opened._server.places._taken

    def fill(user: int, data: bytes) -> None:
        before = len(taken)
        monkeypatch.setattr(places, "user_of", lambda _: user)
        for _ in range(MAX_OF_USER):
            connect(data)
        wait_until(lambda: len(taken) == before + MAX_OF_USER, "the places are taken")

    fill(1000, b'{"verb": "list"}\n')
    monkeypatch.setattr(places, "user_of", lambda _: 1001)
    other = connect(b'{"verb": "list"}\n')
    wait_until(lambda: len(taken) == MAX_OF_USER + 1, "another user gets a place")
    other.close()
    wait_until(lambda: len(taken) == MAX_OF_USER, "the place is free")
    fill(1001, b"{")
    assert len(taken) == MAX_CLIENTS
    time.sleep(places.SLOW_S)
    monkeypatch.setattr(places, "user_of", lambda _: 1002)
    connect(b"{")
    wait_until(lambda: [p.user for p in taken].count(1002) == 1, "the third user gets the place of a slow client")
    assert [p.user for p in taken].count(1001) == MAX_OF_USER - 1


def test_the_kernel_states_the_user(opened: ControlServer, connect: Callable[[bytes], socket.socket]) -> None:
    connect(b"{")
    wait_until(lambda: opened._server.places._taken, "a client")
    assert opened._server.places._taken[0].user == os.geteuid()


def test_a_slow_large_request_does_not_keep_the_lane(
    opened: ControlServer, connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LANE_GRACE_S", 0.3)
    slow = connect(b" " * (SMALL_BYTES + 1))
    wait_until(lambda: [p for p in opened._server.places._taken if p.in_lane], "it is in the lane")
    answers: list[People | None] = []
    image = Identify(image=bytes(4 * SMALL_BYTES))
    second = threading.Thread(target=lambda: answers.append(ask(opened.path, List(), print)))
    second.start()
    wait_until(lambda: serve(opened), "a small request is served meanwhile")
    second.join()
    failed: list[ControlError] = []

    def large() -> None:
        try:
            ask(opened.path, image, print)
        except ControlError as e:
            failed.append(e)

    third = threading.Thread(target=large)
    third.start()
    pending = wait_until(opened.next_request, "the next large request")
    assert pending.request == image and gone(slow)
    pending.fail(ControlError("no picture", ""))
    third.join()
    assert answers == [EMPTY] and failed[0].message == "no picture"


def test_one_large_request_at_a_time_until_it_is_answered(
    opened: ControlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small picture may unfold, and an export is a large answer: they wait for each other."""
    monkeypatch.setattr(places, "LANE_WAIT_S", 0.3)
    first = threading.Thread(target=lambda: ask(opened.path, Export(), print))
    first.start()
    pending = wait_until(opened.next_request, "the export")
    with pytest.raises(ControlError, match="other large requests are still being served"):
        ask(opened.path, Identify(image=bytes(4 * SMALL_BYTES)), print)
    pending.finish(Exported(document={}))
    first.join()


def test_a_flood_of_connections_starts_a_bounded_number_of_threads(
    opened: ControlServer, connect: Callable[[bytes], socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, before = threading.Event(), threading.active_count()

    def wait(self: object, connection: socket.socket) -> object:
        holding.wait(30)
        raise ControlError("full", "")

    monkeypatch.setattr(places.Places, "taken", wait)
    flood = [connect(b"") for _ in range(2 * server.MAX_THREADS)]
    wait_until(lambda: gone(flood[-1]), "the last one is refused")
    assert threading.active_count() - before <= server.MAX_THREADS
    holding.set()
    monkeypatch.undo()
    wait_until(lambda: threading.active_count() <= before, "the end of the threads")
    assert listed(opened, connect(b'{"verb": "list"}\n'))["status"] == "ok"


MEMORY = """
import sys, time
from pathlib import Path
from edge_oneshot.control.server import ControlServer
from edge_oneshot.errors import ControlError

def mb(field):
    return int(Path("/proc/self/status").read_text().partition(field + ":")[2].split()[0]) / 1000

control = ControlServer(Path(sys.argv[1]))
print(mb("VmRSS"), flush=True)
served = 0
while served < int(sys.argv[2]):
    if (pending := control.next_request()) is not None:
        pending.fail(ControlError("no picture", ""))
        served += 1
        pending = None
    time.sleep(0.005)
print(mb("VmHWM"), flush=True)
control.close()
"""


def test_large_requests_at_once_need_the_memory_of_one(tmp_path: Path) -> None:
    """Six of 16 MB. Before, each was in memory up to four times, and all at once."""
    paths = os.pathsep.join(p for p in sys.path if p)
    command = [sys.executable, "-c", MEMORY, str(tmp_path / "d.sock"), "6"]
    with subprocess.Popen(command, env={"PYTHONPATH": paths}, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        before = float(daemon.stdout.readline())
        line, answers = request_line(Identify(image=os.urandom(12_000_000))), []

        def send() -> None:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(60)
                connection.connect(str(tmp_path / "d.sock"))
                connection.sendall(line[:-1])
                time.sleep(0.5)  # the daemon has all of it, and those of the others if it reads them at the same time
                connection.sendall(line[-1:])
                answers.append(json.loads(connection.makefile("rb").readline() or b"{}").get("error"))
                if answers[-1] != "no picture":
                    daemon.kill()

        clients = [threading.Thread(target=send) for _ in range(6)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        peak = float(daemon.stdout.readline())
    assert answers == ["no picture"] * 6
    assert peak - before < 4 * 16, f"{before:.0f} -> {peak:.0f} MB"
