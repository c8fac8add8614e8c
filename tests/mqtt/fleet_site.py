"""Devices of a fleet in this process: real fleet, gallery, agent and link, a real broker; only the daemons are absent."""

from __future__ import annotations

import random
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from samples import ENCODER, person, random_unit, template

from edge_oneshot.config import MqttConfig
from edge_oneshot.fleet import slices
from edge_oneshot.fleet.agent import Agent
from edge_oneshot.fleet.apply import Registry
from edge_oneshot.fleet.fleet import Fleet, Joining
from edge_oneshot.fleet.link import Link, LinkTimes
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.types import AccessRules, Template

QUICK = LinkTimes(base=0.05, max=0.3, refused=0.3, connack=1.0, ack=10.0)
slices.QUIET_S = 0.05  # the broker is on this machine


class Device:
    """One device. Its methods do not wait; `together` lets all of them work."""

    def __init__(
        self, folder: Path, port: int, name: str, fleet: Fleet, *, protocol: str = "5", encoder_id: str = ENCODER
    ) -> None:
        self.name, self.fleet, self.port = name, fleet, port
        self.gallery = Gallery(folder / f"{name}.gallery.sqlite")
        self.registry = Registry(self.gallery, encoder_id)
        self.agent = Agent(fleet, "edge-oneshot", people=self.registry, spread=random.Random(name))
        self._config = MqttConfig(host="127.0.0.1", port=port, protocol=protocol)
        self.plug_in()

    def plug_in(self, port: int = 0) -> None:
        """Connect, to another broker perhaps."""
        config = MqttConfig(host="127.0.0.1", port=port or self.port, protocol=self._config.protocol)
        self.link = Link(config, f"client-{zlib.crc32(self.name.encode())}", self.agent.receive, times=QUICK)
        self.agent.connect(self.link)

    def pull_out(self) -> None:
        """No network from now on."""
        self.link.close()
        self.link = Link(MqttConfig(host="127.0.0.1", port=1), self.name, self.agent.receive, times=QUICK)
        self.agent.connect(self.link)

    def work(self) -> None:
        self.link.wait(0.002)
        self.agent.work()

    def enroll(self, identity_id: str, name: str = "", templates: Sequence[Template] = ()) -> None:
        listed = list(templates) or [template(identity_id, random_unit(abs(hash((self.name, identity_id))) % 2**31))]
        self.gallery.add(person(identity_id, name), listed, replace=True)
        self._notice()

    def remove(self, identity_id: str) -> None:
        self.gallery.remove(identity_id)
        self._notice()

    def set_access(self, identity_id: str, rules: AccessRules) -> None:
        self.gallery.set_access(identity_id, rules)
        self._notice()

    def _notice(self) -> None:
        """In a real device another process has made the change, and the version of the file says so."""
        self.registry.look_again()

    @property
    def people(self) -> set[str]:
        return {i.identity_id for i in self.gallery.identities()}

    def close(self) -> None:
        self.link.close()
        self.gallery.close()
        self.fleet.close()


class Broker(Protocol):
    port: int


B = TypeVar("B", bound=Broker)


class Site(Generic[B]):
    """A broker and its devices. The first one, office, has founded the fleet."""

    def __init__(self, folder: Path, broker: B, *, protocol: str = "5") -> None:
        self.folder, self.broker = folder, broker
        fleet, self.recovery_code = Fleet.found(folder / "office.sqlite", name="gym", device_name="office")
        self.office = Device(folder, broker.port, "office", fleet, protocol=protocol)
        self.devices = [self.office]

    def join(self, name: str, role: str = "door", **options: str) -> Device:
        """A further device, which has joined over the broker."""
        joining = Joining(self.office.fleet.invite(role, name))
        answers: list[bytes] = []
        config = MqttConfig(host="127.0.0.1", port=self.broker.port, protocol=options.get("protocol", "5"))
        root = f"edge-oneshot/fleet/join/{joining.place}"
        link = Link(
            config,
            f"join-{joining.place}",
            lambda topic, payload: answers.append(payload) if topic.endswith("/answer") else None,
            times=QUICK,
        )

        def ask() -> bool:
            link.wait(0.002)
            if link.online and not link.granted:
                link.subscribe(f"{root}/answer")
            if link.granted and link.room and not answers:
                link.publish(f"{root}/request", joining.request, retain=False)
            return bool(answers)

        self.until(ask, f"{name} joins")
        link.close()
        fleet = joining.finish(self.folder / f"{name}.sqlite", answers[0], name="gym")
        self.devices.append(Device(self.folder, self.broker.port, name, fleet, **options))
        return self.devices[-1]

    def work(self) -> None:
        for device in self.devices:
            device.work()

    def until(self, condition: Callable[[], object], what: str, timeout_s: float = 60.0) -> None:
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, (
                f"waited for: {what}; {[(d.name, d.people, d.link.fault) for d in self.devices]}"
            )
            self.work()

    def settle(self, *devices: Device, timeout_s: float = 60.0) -> None:
        """Until all of them have the same in force, and have said so."""
        some = devices or tuple(self.devices)

        def equal() -> bool:
            return len({str(d.fleet.digests()) for d in some}) == 1 and not any(
                d.agent.slices.left or d.fleet.store.topics("due = 2") for d in some
            )

        self.until(equal, "the same in force everywhere", timeout_s)

    def close(self) -> None:
        for device in self.devices:
            device.close()
