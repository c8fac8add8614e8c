"""A second factor for a door: a match and a confirmation of the same person, close in time, make one `confirmed` event.

A photograph of a person can match, so a match alone should not open a lock. The confirmation comes from something that the
person has: a phone that has come home, a tag, a button with a code. It is the request `confirm`, over the socket or MQTT.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import UTC, datetime

from edge_oneshot.control.responses import Confirmed
from edge_oneshot.errors import ControlError
from edge_oneshot.events.build import confirmed_event
from edge_oneshot.types import Event, Identity, Refusal

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Match:
    event: Event
    seen_ns: int  # when the person was last in sight


@dataclass(frozen=True, slots=True)
class _Confirmation:
    by: str
    at_ns: int


class SecondFactor:
    """Pairs matches with confirmations, in memory: a restart forgets both.

    A match is valid while the person is in sight and for `within_s` afterwards, a confirmation for `within_s`. A
    confirmation causes at most one event.
    """

    def __init__(
        self,
        within_s: float,
        publish: Callable[[Event], object],
        clock: Callable[[], int] = time.monotonic_ns,
        refusal: Callable[[str], Refusal | None] = lambda identity_id: None,
    ) -> None:
        """within_s: 0 switches it off. publish: takes the event. clock: ns. refusal: why a person is not allowed now, or None."""
        self._refusal = refusal
        self.within_s = within_s
        self._publish, self._clock = publish, clock
        self._matches: dict[str, _Match] = {}  # by identity_id, as the next
        self._confirmations: dict[str, _Confirmation] = {}

    def matched(self, event: Event) -> None:
        """Take a match event that was published just now."""
        if not self.within_s:
            return
        identity_id, now_ns = str(event.body["identity"]), self._clock()
        self._matches[identity_id] = _Match(event, now_ns)
        waiting = self._confirmations.pop(identity_id, None)
        if waiting is not None and self._valid(waiting.at_ns, now_ns):
            self._confirmed(event, waiting.by, now_ns)

    def confirm(self, identity: Identity, by: str) -> Confirmed:
        """Take a confirmation. It waits if the person was not matched yet, but not for a person who is not allowed.

        Raises ControlError if it is switched off.
        """
        if not self.within_s:
            raise ControlError(
                "no second factor is configured: decision.second_factor_s is 0",
                "set it to the longest time in seconds between a match and its confirmation",
            )
        now_ns = self._clock()
        if (refusal := self._refusal(identity.identity_id)) is not None:  # a rule may have ended since the match
            self.forget(identity.identity_id)
            return Confirmed(
                identity=identity.identity_id,
                name=identity.name,
                confirmed=False,
                within_s=float(self.within_s),
                denied=refusal.reason.value,
            )
        match = self._matches.get(identity.identity_id)
        found = match is not None and self._valid(match.seen_ns, now_ns)
        if match is not None and found:
            self._confirmed(match.event, by, now_ns)
        else:
            self._confirmations[identity.identity_id] = _Confirmation(by, now_ns)
        return Confirmed(
            identity=identity.identity_id, name=identity.name, confirmed=found, within_s=float(self.within_s)
        )

    def in_sight(self, identity_ids: Collection[str]) -> None:
        """Keep the matches of these people valid, and drop what is no longer valid. Call it in each turn of the loop."""
        if not self._matches and not self._confirmations:
            return
        now_ns = self._clock()
        for identity_id in identity_ids:
            if (match := self._matches.get(identity_id)) is not None:
                match.seen_ns = now_ns
        self._matches = {i: m for i, m in self._matches.items() if self._valid(m.seen_ns, now_ns)}
        self._confirmations = {i: c for i, c in self._confirmations.items() if self._valid(c.at_ns, now_ns)}

    def forget(self, identity_id: str) -> None:
        """Drop what is known of a person who was removed, or is not allowed."""
        self._matches.pop(identity_id, None)
        self._confirmations.pop(identity_id, None)

    def _confirmed(self, match: Event, by: str, now_ns: int) -> None:
        log.info("match %s was confirmed by %s", match.event_id, by)
        self._publish(confirmed_event(match, by, now_ns, datetime.now(UTC)))

    def _valid(self, at_ns: int, now_ns: int) -> bool:
        return now_ns - at_ns <= self.within_s * 1e9
