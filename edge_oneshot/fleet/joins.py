"""Devices that ask an admin device to join, with the code of an invitation."""

from __future__ import annotations

import logging

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.link import Link

log = logging.getLogger(__name__)


class Joins:
    """Of an admin device."""

    def __init__(self, fleet: Fleet, root: str) -> None:
        """root: `<prefix>/fleet`."""
        self._fleet, self._root = fleet, root
        self._places: set[str] = set()  # invitations that are subscribed
        self._answers: dict[str, tuple[bytes, bytes]] = {}  # place -> the last request and its answer

    def reset(self) -> None:
        """A new connection: nothing is subscribed."""
        self._places.clear()

    def follow(self, link: Link) -> None:
        """Subscribe the places of open invitations."""
        for place in self._fleet.invited():
            if place not in self._places:
                self._places.add(place)
                link.subscribe(f"{self._root}/join/{place}/request")

    def take(self, link: Link, topic: str, payload: bytes) -> None:
        """Answer a request."""
        parts = topic.removeprefix(f"{self._root}/").split("/")
        if len(parts) != 3 or parts[0] != "join" or parts[2] != "request" or not payload:
            return
        asked, answer = self._answers.get(parts[1], (b"", b""))
        if asked != payload:  # else the same request again: its answer was lost
            try:
                answer = self._fleet.answer(parts[1], payload)
            except FleetError as e:
                log.warning("fleet: %s", e)
                return
            log.info("fleet: a device has joined")
            self._answers = {parts[1]: (payload, answer)}
        if link.room > 0:
            link.publish(f"{self._root}/join/{parts[1]}/answer", answer, retain=False)
