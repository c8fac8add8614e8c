"""A fleet without a network: devices, two brokers, and what can go wrong between them, one random step at a time.

The brokers keep the last message of each topic, lose it, or put an old one back. A device may be offline, have a clock that is years
off, repeat old messages, or be stolen: then it signs whatever it likes. `World.heal` connects everybody to one broker and lets them
exchange messages until none has anything to say. `fleet_faults.faults_of` lists what must never be true then.
"""

from __future__ import annotations

import contextlib
import functools
import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from unittest import mock

import numpy as np
from fleet_network import Device, Network

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import records, topics
from edge_oneshot.fleet.fleet import Fleet, Joining
from edge_oneshot.storage.database import IN_MEMORY
from edge_oneshot.types import Embedding, Identity, Quality, Template

ENCODERS = ("sha256:" + "a" * 64, "sha256:" + "b" * 64)
PEOPLE = ("alice", "bob", "carol")
YEAR_MS = 365 * 24 * 3600 * 1000
MAX_ROUNDS = 60  # of the exchange after healing; it ends by itself when the merge is right
_QUALITY = Quality(inter_eye_px=60.0, sharpness=20.0, luma=120.0, contrast=40.0, yaw_deg=2.0)

# A pure function, and every device of a history asks it about the same messages.
records.signed_by = functools.lru_cache(maxsize=20_000)(records.signed_by)


class World(Network):
    """One history. Equal sources of random numbers give equal histories, within `repeatable`."""

    def __init__(self, source: random.Random) -> None:
        super().__init__(source)
        self.now_ms = 1_800_000_000_000
        self.saved: list[dict[str, bytes]] = []  # copies of retained stores
        self.step_number = 0
        self.removals: list[tuple[str, int, str, bytes]] = []  # (person topic, generation, author, record id)
        self.written: dict[bytes, int] = {}  # record id -> the step in which it was signed
        self.revoked_at: dict[bytes, int] = {}  # id of a revocation -> the step
        self.log: list[str] = []
        fleet, self.recovery = Fleet.found(IN_MEMORY, name="gym", device_name="d0", now_ms=self._clock())
        self.devices = [Device(fleet, 0)]
        self._flush(self.devices[0])
        for role in ("admin", "desk", "desk", "door"):
            self.join(self.devices[0], role)

    def _clock(self) -> Callable[[], int]:
        offset = self.random.choice((0, 0, 0, -3, 7, 30)) * YEAR_MS + self.random.randrange(100_000)
        return lambda: self.now_ms + offset

    def join(self, admin: Device, role: str) -> None:
        joining = Joining(admin.fleet.invite(role, f"d{len(self.devices)}"))
        answer = admin.fleet.answer(joining.place, joining.request)
        fleet = joining.finish(IN_MEMORY, answer, name="gym", now_ms=self._clock())
        self.devices.append(Device(fleet, admin.side))
        self._flush(admin)
        self._connect(self.devices[-1])

    # ---- one step

    def step(self) -> None:
        self.do(self.random.choice(ACTIONS), self.random.choice(self.devices))

    def do(self, action: Callable[[World, Device], None], device: Device) -> None:
        """One action of one device. What the fleet refuses is no fault."""
        self.step_number += 1
        self.now_ms += self.random.choice((0, 1, 1000))
        self.log.append(f"{self.step_number} {action.__name__} d{self.devices.index(device)}")
        try:
            action(self, device)
        except FleetError as e:
            self.log.append(f"   {e.message}")
        self._note_written()

    def _note_written(self) -> None:
        for device in self.devices:
            for row in device.fleet.store.rows("author = ?", device.fleet.key):
                if row.id not in self.written:
                    self.written[row.id] = self.step_number
                    if row.removed:
                        self.removals.append((row.topic, row.generation, row.author, row.id))

    def enroll(self, device: Device) -> None:
        name = self.random.choice(PEOPLE)
        encoders = self.random.sample(ENCODERS, self.random.choice((0, 1, 1, 2)))
        rules = self.random.choice((None, {"until": f"2027-01-{self.random.randrange(1, 29):02}"}))
        templates = [self._template(name, encoder) for encoder in encoders]
        device.fleet.enroll(Identity(identity_id=name, name=name.title()), templates, rules)

    def _template(self, identity_id: str, encoder_id: str) -> Template:
        vector = np.array([self.random.gauss(0, 1) for _ in range(8)], dtype=np.float32)
        return Template(
            template_id=f"{self.random.getrandbits(64):016x}",
            identity_id=identity_id,
            embedding=Embedding(vector=vector / np.linalg.norm(vector), encoder_id=encoder_id),
            quality=_QUALITY,
            created_at=datetime.now(UTC),
        )

    def remove(self, device: Device) -> None:
        device.fleet.remove(self.random.choice(PEOPLE))

    def rename(self, device: Device) -> None:
        device.fleet.rename(self.random.choice(PEOPLE), f"Name {self.random.randrange(100)}")

    def revoke(self, device: Device) -> None:
        victim = self.random.choice(self.devices[1:])
        code = self.recovery if self.random.random() < 0.2 else ""
        device.fleet.revoke(victim.fleet.device_id, recovery_code=code)
        for row in device.fleet.store.rows("topic = ?", f"revoked/{victim.fleet.device_id}"):
            self.revoked_at.setdefault(row.id, self.step_number)

    def rotate(self, device: Device) -> None:
        device.fleet.rotate(encrypt_anew=self.random.random() < 0.3)

    def invite(self, device: Device) -> None:
        if len(self.devices) < 8:
            self.join(device, self.random.choice(("admin", "desk", "door")))

    def read(self, device: Device) -> None:
        self._read(device, self.random.randrange(1, 30))

    def flush(self, device: Device) -> None:
        self._flush(device)

    def move(self, device: Device) -> None:
        """Go offline, come back, or find oneself on the other side."""
        device.side = self.random.choice((None, 0, 1 if self.partitioned else 0))
        self._connect(device)

    def partition(self, _: Device) -> None:
        self.partitioned = not self.partitioned
        if self.partitioned:
            self.brokers[1] = dict(self.brokers[0])
        else:
            self._bridge()
        for device in self.devices:
            if device.side is not None:
                device.side = self.random.randrange(2) if self.partitioned else 0
                self._connect(device)

    def replay(self, _: Device) -> None:
        """The broker's operator, or a bridge loop, repeats old messages."""
        for _ in range(self.random.randrange(1, 8)):
            self.publish(self.random.randrange(2), *self.random.choice(self.sent))

    def save(self, _: Device) -> None:
        self.saved.append(dict(self.brokers[0]))

    def restore(self, _: Device) -> None:
        """A backup of the broker is restored, or its store is lost."""
        self.brokers[0] = dict(self.random.choice([*self.saved, {}]))
        for device in self.devices:
            if device.side == 0:
                self._connect(device)

    def forge(self, device: Device) -> None:
        """A door, or a device that was revoked, signs what it may not write, with any clock."""
        fleet = device.fleet
        name = self.random.choice(PEOPLE)
        person = fleet.person_row(fleet.subject(name))
        generation = self.random.choice((1, 2, 50))
        removed = self.random.random() < 0.3
        record = records.sign(
            fleet._signer,
            fleet.fleet_id,
            topics.person_topic(fleet.life, name),
            {} if removed else {"identity": name, "name": f"Forged {name}", "rules": None},
            version=self.random.choice((1, 1000)),
            hlc=fleet.clock.tick(),
            generation=generation,
            removed=removed,
            lineage=person.lineage if person and self.random.random() < 0.5 else f"{self.random.getrandbits(64):016x}",
        )
        member = fleet.member
        door = member is not None and member.role == "door"
        self.written[record.id] = -1 if door else self.step_number  # what a door has written is never in force
        payload = records.seal(record.raw, fleet._ciphers[fleet.epoch.key_id], fleet.fleet_id, record.topic)
        self.publish(device.side or 0, record.topic, payload)

    def recover(self, device: Device) -> None:
        if self.random.random() < 0.2:
            device.fleet.recover(self.recovery)

    # ---- the end of a history

    def heal(self) -> None:
        """Connect everybody to one broker, and let them speak until they are silent."""
        if self.partitioned:
            self._bridge()
            self.partitioned = False
        for device in self.devices:
            device.side = 0
            self._connect(device)
        for _ in range(MAX_ROUNDS):
            spoken = 0
            order = list(self.devices)
            self.random.shuffle(order)
            for device in order:
                self._read(device, len(device.inbox))
                with contextlib.suppress(FleetError):  # no admin, or revoked
                    spoken += device.fleet.hand_out_keys()
                if device.fleet.member is not None and device.fleet.member.in_force:
                    spoken += self._flush(device)
            if not spoken and not any(device.inbox for device in self.devices):
                return
        self.log.append("the exchange does not end")
        raise AssertionError("the exchange does not end")

    def in_force(self) -> list[Device]:
        return [d for d in self.devices if d.fleet.member is not None and d.fleet.member.in_force]


@contextmanager
def repeatable(seed: int) -> Iterator[random.Random]:
    """A source of random numbers, which gives the keys and nonces, too, within the `with` block."""
    source, secret = random.Random(seed), random.Random(seed + 1)
    with mock.patch.multiple(
        secrets,
        token_bytes=secret.randbytes,
        token_hex=lambda count: secret.randbytes(count).hex(),
        choice=secret.choice,
    ):
        yield source


def history(seed: int, most: int = 40) -> World:
    """A history of 5 to `most` steps, healed."""
    with repeatable(seed) as source:
        world = World(source)
        for _ in range(source.randrange(5, most)):
            world.step()
        world.heal()
    return world


ACTIONS = (
    *[World.enroll] * 5,
    *[World.remove] * 3,
    *[World.rename] * 2,
    World.revoke,
    World.rotate,
    World.invite,
    *[World.read] * 6,
    *[World.flush] * 6,
    *[World.move] * 2,
    World.partition,
    *[World.replay] * 2,
    World.save,
    World.restore,
    *[World.forge] * 2,
    World.recover,
)
