"""The doors of benchmarks/fleet.py: the real fleet, agent and link of each; one process polls the sockets of many."""

from __future__ import annotations

import random
import resource
import select
import time
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from edge_oneshot.config import MqttConfig
from edge_oneshot.fleet.agent import Agent
from edge_oneshot.fleet.fleet import Fleet, Joining
from edge_oneshot.fleet.link import Link, LinkTimes
from edge_oneshot.storage.database import IN_MEMORY

TICK_S, IDLE_S = 0.1, 1.0  # how often a door works without a message, while it fetches slices and otherwise


class Door:
    def __init__(self, fleet: Fleet, port: int, name: str) -> None:
        self.fleet, self.name, self.port = fleet, name, port
        self.agent = Agent(fleet, "edge-oneshot", spread=random.Random(name))
        self.plug_in(port)

    def plug_in(self, port: int) -> None:
        self.link = Link(MqttConfig(host="127.0.0.1", port=port), self.name, self.agent.receive, times=LinkTimes())
        self.agent.connect(self.link)

    def has(self, subject: str) -> bool:
        row = self.fleet.person_row(subject)
        return row is not None and not row.removed


def worker(joins: list[tuple[str, Joining, bytes]], port: int, pipe: Connection) -> None:
    """joins: the name of each door, its request, and the answer. Serves commands of the parent: (verb, ...)."""
    doors = []
    for name, joining, answer in joins:
        doors.append(Door(joining.finish(IN_MEMORY, answer, name="sim"), port, name))
    watched: dict[tuple[str, bool], dict[str, float]] = {}
    poller = select.epoll()
    fds: dict[int, Door] = {}
    next_tick = {door.name: time.monotonic() + random.uniform(0, TICK_S) for door in doors}
    while True:
        _register(poller, fds, doors)
        ready = {fd for fd, _ in poller.poll(0.02)}
        now = time.monotonic()
        for door in doors:
            fd = door.link.fileno()
            if fd not in ready and now < next_tick[door.name]:
                continue
            next_tick[door.name] = now + (IDLE_S if door.agent.slices.idle else TICK_S)
            door.link.work()
            door.agent.work()
            for (subject, present), seen in watched.items():
                if door.name not in seen and door.has(subject) == present:
                    seen[door.name] = time.monotonic()
        while pipe.poll():
            command = pipe.recv()
            if command[0] == "watch":
                watched = {(command[1], command[2]): {}}
            elif not _obey(command, doors, watched, pipe):
                return


def _obey(
    command: tuple[Any, ...], doors: list[Door], watched: dict[tuple[str, bool], dict[str, float]], pipe: Connection
) -> bool:
    """False: the process ends."""
    if command[0] == "seen":
        pipe.send(next(iter(watched.values()), {}))
    elif command[0] == "state":
        pipe.send(_state(doors))
    elif command[0] == "cut":
        for door in doors[: int(len(doors) * command[1])]:
            door.link.close()
            door.plug_in(command[2])
    elif command[0] == "stop":
        pipe.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    return command[0] != "stop"


def _register(poller: select.epoll, fds: dict[int, Door], doors: list[Door]) -> None:
    for door in doors:
        fd = door.link.fileno()
        if fd >= 0 and fds.get(fd) is not door:
            with suppress(FileExistsError):
                poller.register(fd, select.EPOLLIN)
            fds[fd] = door


def _state(doors: list[Door]) -> dict[str, Any]:
    return {
        "online": sum(d.link.online for d in doors),
        "busy": sum(not d.agent.slices.idle for d in doors),
        "received": sum(d.link.received_bytes for d in doors),
        "sessions": sum(d.link.session for d in doors),
        "digests": sorted({str(d.agent.watch.digests(d.fleet)) for d in doors}),
        "changes": min((d.fleet.store.last_change() for d in doors), default=0),
    }
