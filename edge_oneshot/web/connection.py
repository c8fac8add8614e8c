"""The connections of the server: none keeps its place without sending a request, and no address takes all places."""

from __future__ import annotations

import asyncio
from typing import cast

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # for the head of a request; uvicorn limits the time between two requests alone
MOST = 64  # connections
MOST_OF_ADDRESS = 32  # other than this device's own, from which a proxy passes the requests on


class Connection(H11Protocol):
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        host = self.client[0] if self.client else ""
        others = [c for c in self.connections if cast(H11Protocol, c).client and cast(H11Protocol, c).client[0] == host]  # type: ignore[index]
        if len(others) > MOST_OF_ADDRESS and host not in ("127.0.0.1", "::1"):
            transport.abort()
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Start the time for a head; more of it does not prolong the time, its end stops it."""
        if self.conn.their_state is not h11.IDLE:
            self._forget()
        elif self._deadline is None:
            self._deadline = self.loop.call_later(HEAD_S, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if self.conn.their_state is h11.IDLE and not self.transport.is_closing():
            self.transport.abort()

    def _forget(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
