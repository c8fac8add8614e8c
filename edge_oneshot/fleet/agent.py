"""The fleet's agent: what arrives at the broker goes to the fleet, what the fleet has to say goes to the broker.

One thread, one step after the other. Without a broker every device goes on with what it has; after any interruption the
state records of the devices that enroll say which slices differ, and only those are fetched again.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from edge_oneshot.fleet import topics
from edge_oneshot.fleet.attempts import Attempts, each
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.joins import Joins
from edge_oneshot.fleet.link import Link
from edge_oneshot.fleet.members import ADMIN, DOOR
from edge_oneshot.fleet.renewal import Renewal
from edge_oneshot.fleet.slices import ALL, Slices
from edge_oneshot.fleet.store import REPAIR, Topic
from edge_oneshot.fleet.upkeep import Upkeep
from edge_oneshot.fleet.watch import Watch

log = logging.getLogger(__name__)

BATCH = 500  # messages of one transaction
REPAIR_WITHIN_S = 3.0  # the first of the devices that could repair a topic does so after a random part of this
RETRY_S = 60.0  # a record that the broker's access list refuses
REPORT_EVERY_S = 600.0
# What the broker's access list lets a role write (deploy/examples/fleet.acl).
_DESK_WRITES = {topics.PERSON, topics.TEMPLATE, topics.AUDIT, topics.STATE}
# A revocation must be in force before anything else, then who belongs to the fleet, then people.
_ORDER = {
    kind: n
    for n, kind in enumerate(
        (topics.REVOKED, topics.KEY, topics.MEMBER, topics.PERSON, topics.TEMPLATE, topics.AUDIT, topics.STATE)
    )
}


class People(Protocol):
    """The gallery's side (fleet/apply.py). A simulated door has none."""

    def sync(self, fleet: Fleet, *, writes: bool) -> bool: ...

    def report(self) -> Mapping[str, Any]: ...


class Agent:
    """Call the link's `wait` and `work` again and again. about: what the state record says besides."""

    def __init__(
        self,
        fleet: Fleet,
        prefix: str,
        *,
        people: People | None = None,
        about: Callable[[], Mapping[str, Any]] = dict,
        spread: random.Random | None = None,
    ) -> None:
        self.fleet, self._people = fleet, people
        self._about = about
        self._random = spread or random.Random()
        self._root = f"{prefix}/fleet"
        self.base = f"{self._root}/{fleet.fleet_id}"
        self.slices = Slices(self.base, self._random)
        self.watch, self.renewal = Watch(self._random), Renewal(self._random)
        self._joins, self._attempts = Joins(fleet, self._root), Attempts()
        self.upkeep = Upkeep(fleet, self._random)
        self._link: Link | None = None
        self._inbox: list[tuple[str, bytes]] = []
        self._session, self._begun_as = 0, ""
        self._flying: dict[str, bytes] = {}
        self._not_before: dict[str, float] = {}  # topic -> when it may be repaired or tried again
        self._states: set[str] = set()  # devices whose state is subscribed
        self._members_changed = self.renewal.look = True
        self._refused: set[str] = set()  # topics whose message was refused, and logged
        self._reported: Mapping[str, Any] = {}
        self._report_at, self._change = 0.0, -1
        self._last_report = -REPORT_EVERY_S
        self._full_at: float | None = None  # when to fetch everything

    def connect(self, link: Link) -> None:
        """Use this link, which calls `receive`."""
        self._link, self._session = link, 0

    def receive(self, topic: str, payload: bytes) -> None:
        """Within the link's `work`."""
        self._inbox.append((topic, payload))
        self.slices.arrived(topic, time.monotonic())

    @property
    def role(self) -> str:
        """This device's role; "": it was revoked."""
        member = self.fleet.member
        return member.role if member is not None and member.in_force else ""

    @property
    def writes(self) -> bool:
        return self.role not in ("", DOOR)

    def work(self) -> None:
        """Everything but the network, which is the link's `work`. Raises StorageError if a file fails, and nothing else."""
        assert self._link is not None
        link, now, attempt = self._link, time.monotonic(), self._attempts.run
        # Another role has other subscriptions: `fleet recover` makes an admin while the agent runs.
        if link.online and (link.session, self.role) != (self._session, self._begun_as):
            self._begin(link, now)
        self._take(link, now)
        if link.online:
            attempt("following members", now, self._follow, link)
            if self.role == ADMIN:
                attempt("a new fleet key", now, self.renewal.step, self.fleet, now)
            attempt("fetching", now, self._fetch, link, now)
        self._settle(link, now)
        if self.writes:
            attempt("the daily expiry", now, self.upkeep.expire, now)
        # A device that publishes waits until it knows what the others have: its gallery may be an old one.
        if self._people is not None and (self.upkeep.complete or not self.writes):
            attempt("bringing gallery and fleet together", now, self._people.sync, self.fleet, writes=self.writes)
        if link.online:
            self._send(link, now)
            attempt("the report of this device", now, self._report, link, now)

    # ---- a new connection

    def _begin(self, link: Link, now: float) -> None:
        self._session, self._begun_as = link.session, self.role
        self._flying.clear()
        self._not_before.clear()
        self._states.clear()
        self._members_changed = self.renewal.look = True
        self._joins.reset()
        self.slices.reset()
        self.upkeep.began(False)
        self.watch.reset()
        self._last_report = -REPORT_EVERY_S
        self._subscribe_members(link)
        if link.retain_handling:
            link.subscribe(f"{self.base}/person/+/+", retained=False)
            link.subscribe(f"{self.base}/template/+/+", retained=False)
        if self.writes:
            link.subscribe(f"{self.base}/audit/+/+")
            link.subscribe(f"{self.base}/state/+")
        # A device that enrolls looks at everything, since it repairs what a restored broker has lost. A door looks at
        # everything once; after that the states of the others say what it has missed.
        if self.writes or not link.retain_handling or not self.fleet.store.last_change():
            self._full_at = now + self._random.uniform(0.0, 1.0)

    def _subscribe_members(self, link: Link) -> None:
        # An admin also looks at which keys the others have: those of a device that is revoked are to be replaced.
        keys = "key/+" if self.role == ADMIN else f"key/{self.fleet.device_id}"
        for about in ("member/+", "revoked/+", keys):
            link.subscribe(f"{self.base}/{about}")

    def _follow(self, link: Link) -> None:
        """Subscribe the states of the devices that enroll, and requests to join."""
        if not self.writes and self._members_changed:
            self._members_changed = False
            for member in self.fleet.members():
                if member.role != DOOR and member.in_force and member.device_id not in self._states:
                    self._states.add(member.device_id)
                    link.subscribe(f"{self.base}/state/{member.device_id}")
        if self.role == ADMIN:
            self._joins.follow(link)

    def refresh(self) -> None:
        """A command has changed the fleet's file."""
        self.fleet.refresh()
        self._members_changed = self.renewal.look = True

    def _fetch(self, link: Link, now: float) -> None:
        if self.upkeep.again(now):
            self._full_at = now
            self._subscribe_members(link)
        if self._full_at is not None and now >= self._full_at:
            self._full_at = None
            self.slices.want(ALL)
            self.upkeep.began(True)
        elif self._full_at is None:
            self.slices.want(self.watch.differing(self.fleet, now))
        for name, present in self.slices.step(link, now):
            if self.writes:
                relative = {t.removeprefix(f"{self.base}/") for t in present}
                with self.fleet.batch():
                    for kind in (topics.PERSON, topics.TEMPLATE):
                        self.fleet.absent(f"{kind}/{name}/", relative)
        if self.slices.idle and self._full_at is None:
            self.upkeep.fetched()

    # ---- messages in

    def _take(self, link: Link, now: float) -> None:
        """Apply what has arrived."""
        while self._inbox:
            some, self._inbox = self._inbox[:BATCH], self._inbox[BATCH:]
            records = [(topic, payload) for topic, payload in some if topic.startswith(f"{self.base}/")]
            each(self.fleet, records, self._take_one, lambda at, e: self._attempts.failed(f"the record at {at[0]}", e))
            for topic, payload in some:
                if not topic.startswith(f"{self.base}/"):
                    self._attempts.run(topic, now, self._joins.take, link, topic, payload)

    def _take_one(self, message: tuple[str, bytes]) -> None:
        topic, payload = message
        relative = topic.removeprefix(f"{self.base}/")
        taken = self.fleet.take(relative, payload)
        if taken.state == "refused" and relative not in self._refused:
            self._refused.add(relative)
            log.warning("fleet: refused a record at %s: %s", relative, taken.reason)
        if relative.startswith((f"{topics.MEMBER}/", f"{topics.REVOKED}/")):
            self._members_changed = self.renewal.look = True
        if relative.startswith(f"{topics.STATE}/"):
            self.watch.changed()

    # ---- messages out

    def _may_publish(self, topic: str) -> bool:
        kind, role = topics.kind_of(topic), self.role
        if role == ADMIN:
            return True
        if kind == topics.STATE:
            return topic == f"{topics.STATE}/{self.fleet.device_id}"
        return bool(role) and role != DOOR and kind in _DESK_WRITES

    def _settle(self, link: Link, now: float) -> None:
        """What the broker has taken, and what it has refused."""
        done, link.acknowledged = link.acknowledged, []
        taken = [(topic.removeprefix(f"{self.base}/"), payload) for topic, payload in done]
        taken = [(relative, payload) for relative, payload in taken if self._flying.pop(relative, None) is not None]
        if taken:
            each(self.fleet, taken, lambda at: self.fleet.acknowledged(*at), lambda at, e: self._put_off(at[0], now, e))
        for topic in list(link.refused):
            relative = topic.removeprefix(f"{self.base}/")
            if self._flying.pop(relative, None) is not None:
                log.error("fleet: the broker's access list refuses %s", topic)
                self._not_before[relative] = now + RETRY_S

    def _put_off(self, relative: str, now: float, error: Exception) -> None:
        self._not_before[relative] = now + RETRY_S
        self._attempts.failed(f"publishing {relative}", error)

    def _send(self, link: Link, now: float) -> None:
        if link.room <= 0:
            return
        due = self.fleet.store.topics("due > 0 ORDER BY due DESC LIMIT 1000")
        for at in sorted(due, key=lambda at: (-at.due, _ORDER[topics.kind_of(at.topic)])):
            if link.room <= 0:
                return
            if at.topic in self._flying or not self._may_publish(at.topic):
                continue
            wait = self._not_before.get(at.topic)
            if wait is None and at.due == REPAIR:  # a repair: another device may do it
                self._not_before[at.topic] = now + self._random.uniform(0.0, REPAIR_WITHIN_S)
                continue
            if wait is not None and now < wait:
                continue
            self._not_before.pop(at.topic, None)
            self._attempts.run(at.topic, now, self._publish, link, at)

    def _publish(self, link: Link, at: Topic) -> None:
        message = self.fleet.message(at)
        if message is not None:
            self._flying[at.topic] = message.payload
            link.publish(f"{self.base}/{at.topic}", message.payload)

    # ---- the state of this device

    def _report(self, link: Link, now: float) -> None:
        change = self.fleet.store.last_change()
        if change != self._change or now - self._last_report > REPORT_EVERY_S:
            latest = now + (self._random.uniform(0.2, 0.5) if self.writes else self._random.uniform(0.5, 4.0))
            self._report_at, self._change = min(self._report_at or latest, latest), change
        if not self._report_at or now < self._report_at or not self.role:
            return
        if not self.slices.idle or self._full_at is not None or any(not t.startswith("state/") for t in self._flying):
            return
        self._report_at = 0.0
        state = self.state()
        if state != self._reported or now - self._last_report > REPORT_EVERY_S:
            self._reported, self._last_report = state, now
            self.fleet.report(state)

    def state(self) -> dict[str, Any]:
        """What this device has in force."""
        digests = self.watch.digests(self.fleet)
        state: dict[str, Any] = {"digest": self.watch.total(digests), **self._about()}
        if self.writes:
            state["slices"] = dict(digests)
        if self._people is not None:
            state |= self._people.report()
        return state
