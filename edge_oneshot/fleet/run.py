"""The process of `fleet run`, and what the other commands do on the network: join, and fetch the audit log."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace

from edge_oneshot import __version__
from edge_oneshot.config import Config
from edge_oneshot.errors import BrokerUnreachable, ConfigError, FleetError
from edge_oneshot.events.clock import clock_synced
from edge_oneshot.fleet.agent import Agent
from edge_oneshot.fleet.applied import applied_subjects
from edge_oneshot.fleet.apply import Registry
from edge_oneshot.fleet.fleet import Fleet, Joining
from edge_oneshot.fleet.home import AgentState, fleet_path, turn, write_agent_state
from edge_oneshot.fleet.link import Link
from edge_oneshot.fleet.topics import AUDIT
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.mqtt import broker
from edge_oneshot.storage.keys import Keys

log = logging.getLogger(__name__)

STEP_S = 0.2  # a changed gallery is noticed after at most this
STATE_S = 5.0
ASK_EVERY_S = 3.0
QUIET_S = 1.5


def serve(config: Config, encoder_id: str, stop: threading.Event) -> None:
    """Keep gallery and fleet equal until `stop`. Raises FleetError if this device belongs to no fleet."""
    _check_broker(config)
    keys, folder = Keys(config.key_path), config.state_dir
    with contextlib.ExitStack() as stack:
        with turn(folder):
            fleet = stack.enter_context(contextlib.closing(Fleet.open(fleet_path(config), keys)))
            gallery = stack.enter_context(Gallery(config.gallery_path, keys))
        registry = Registry(gallery, encoder_id)
        agent = Agent(fleet, config.mqtt.prefix, people=registry, about=_about)
        link = stack.enter_context(contextlib.closing(_link(config, agent.receive, "fleet")))
        agent.connect(link)
        log.info("fleet %s: this device is %s, %s", fleet.name, config.device_slug, agent.role or "not a member yet")
        version, written = fleet.store.db.data_version(), 0.0
        while not stop.is_set():
            link.wait(STEP_S)
            with turn(folder):
                if (now_at := fleet.store.db.data_version()) != version:
                    version = now_at
                    agent.refresh()  # a command has changed it
                agent.work()
            if time.monotonic() - written >= STATE_S or not written:
                written = time.monotonic()
                _tell(config, agent, registry, link)


def _about() -> dict[str, object]:
    return {"version": __version__, "clock": "synced" if clock_synced() else "unsynced"}


def _tell(config: Config, agent: Agent, registry: Registry, link: Link) -> None:
    state = AgentState(
        at=time.time(),
        online=link.online,
        fault=link.fault,
        left=agent.slices.left,
        refused=tuple(sorted(link.refused)),
        missing=registry.counts.missing,
        alone=registry.counts.alone,
    )
    try:
        write_agent_state(config.state_dir, state)
    except OSError as e:
        log.warning("fleet: the state of the agent was not written: %s", e)


def join(config: Config, code: str, name: str, timeout_s: float) -> Fleet:
    """Join the fleet whose admin has made the code. name: what this device calls the fleet.

    Raises FleetError, BrokerUnreachable.
    """
    _check_broker(config)
    joining = Joining(code)
    if fleet_path(config).exists():
        raise FleetError(
            f"fleet join: this device belongs to a fleet already ({fleet_path(config)})", "edge-oneshot fleet leave"
        )
    answers: list[bytes] = []
    place = f"{config.mqtt.prefix}/fleet/join/{joining.place}"

    def heard(topic: str, payload: bytes) -> None:
        if topic == f"{place}/answer" and payload:
            answers.append(payload)

    end, asked, session = time.monotonic() + timeout_s, 0.0, 0
    with contextlib.closing(_link(config, heard, "join")) as link:
        while True:
            if answers and (fleet := _finish(config, joining, answers.pop(0), name)) is not None:
                return fleet
            if time.monotonic() > end:
                _give_up(link, timeout_s)
            link.wait(0.1)
            if link.online and link.session != session:
                session, asked = link.session, 0.0
                link.subscribe(f"{place}/answer")
            if f"{place}/answer" in link.granted and link.room and time.monotonic() - asked > ASK_EVERY_S:
                asked = time.monotonic()
                link.publish(f"{place}/request", joining.request, retain=False)


def _finish(config: Config, joining: Joining, answer: bytes, name: str) -> Fleet | None:
    """The fleet; None if the answer is not one, for example from another client of the broker."""
    with turn(config.state_dir):
        try:
            return joining.finish(fleet_path(config), answer, name=name, keys_of_device=Keys(config.key_path))
        except FleetError as e:
            log.warning("%s", e)
            return None


def _give_up(link: Link, timeout_s: float) -> None:
    if not link.session:
        raise BrokerUnreachable(f"fleet: the broker cannot be reached: {link.fault}", "edge-oneshot mqtt test")
    if link.refused:
        refused = ", ".join(f"{topic}: {why}" for topic, why in link.refused.items())
        raise FleetError(f"fleet: the broker's access list refuses {refused}", "allow it: deploy/examples/fleet.acl")
    raise FleetError(
        f"fleet join: no answer within {timeout_s:g} s",
        "check that `edge-oneshot fleet run` runs on the admin device, that both use one broker and mqtt.prefix, and the code's age",
    )


def fetch_audit(config: Config, fleet: Fleet, timeout_s: float = 30.0) -> None:
    """Take the audit log from the broker: a door does not keep it up to date. Call it within `turn`."""
    base, found, last = f"{config.mqtt.prefix}/fleet/{fleet.fleet_id}/", list[tuple[str, bytes]](), 0.0
    end = time.monotonic() + timeout_s
    with contextlib.closing(_link(config, lambda topic, payload: found.append((topic, payload)), "audit")) as link:
        count, session = -1, 0
        while time.monotonic() - last < QUIET_S or count < 0:
            if time.monotonic() > end:
                _give_up(link, timeout_s)
            link.wait(0.1)
            if link.online and link.session != session:
                session = link.session
                link.subscribe(f"{base}{AUDIT}/+/+")
            if link.granted and len(found) != count:
                count, last = len(found), time.monotonic()
    with fleet.batch():
        for topic, payload in found:
            fleet.take(topic.removeprefix(base), payload)


def leave(config: Config, *, remove_people: bool) -> int:
    """End the membership of this device; the number of people who were removed from its gallery."""
    path, keys, removed = fleet_path(config), Keys(config.key_path), 0
    with turn(config.state_dir), Gallery(config.gallery_path, keys) as gallery:
        people: list[str] = []
        try:
            with contextlib.closing(Fleet.open(path, keys)) as fleet:
                known = applied_subjects(fleet.store)
                people = [i.identity_id for i in gallery.identities() if fleet.subject(i.identity_id) in known]
        except FleetError:
            if not path.exists():
                raise
            log.warning("fleet: %s holds no membership; it is deleted", path)
        if remove_people:
            gallery.apply([], people)
            removed = len(people)
        gallery.leave_fleet()
        for file in (path, path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")):
            file.unlink(missing_ok=True)
    return removed


def _link(config: Config, heard: Callable[[str, bytes], None], role: str) -> Link:
    own = config.mqtt.client_id or f"edge-oneshot-{config.device_slug}"
    unique = "" if role == "fleet" else f"-{socket.gethostname()[:20]}-{time.time_ns() % 100000}"
    return Link(replace(config.mqtt, client_id=""), f"{own}-{role}{unique}", heard)


def _check_broker(config: Config) -> None:
    if not config.mqtt.enabled:
        raise ConfigError("fleet: expected a broker, got mqtt.enabled = false", "configure the section [mqtt]")
    broker.read_password(config.mqtt)
    broker.tls_context(config.mqtt)
