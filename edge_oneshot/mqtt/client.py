"""The link to the broker, for the life of the daemon: connects, stays, comes back, and says how it is.

link = MqttLink(config.mqtt, config.device_slug, outbox)
link.start()                                 # returns at once; an absent broker is a state, not an error
link.set_state(link.topics.presence, {...})  # retained; told again after every reconnect
outbox.commit(event); link.wake()            # events go through the outbox only
link.status()                                # for health
link.stop()                                  # says `offline`, waits for its PUBACK, at most 2 s
"""

from __future__ import annotations

import contextlib
import logging
import queue
import random
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from edge_oneshot.config import MqttConfig
from edge_oneshot.events import signing
from edge_oneshot.events.clock import Clock, read_clock
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.events.stored import OutboxStatus
from edge_oneshot.mqtt import broker
from edge_oneshot.mqtt.connection import Connection
from edge_oneshot.mqtt.payloads import Signer, encode
from edge_oneshot.mqtt.shared import End, Incoming, Limits, Shared
from edge_oneshot.mqtt.states import RetainedStates
from edge_oneshot.mqtt.topics import Topics

log = logging.getLogger(__name__)

_TRY_OLD_PROTOCOL_AFTER = 3  # connections in a row that ended without a CONNACK
_BRIEF = 3  # connections in a row that ended soon after their CONNACK, before that is called strange


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatus:
    """state: stopped, connecting, online, unreachable, refused. error: the last failure, "" while online.

    protocol: "5" or "3.1.1", "" before the first CONNACK. connects: accepted ones. refused_events: events that the
    broker did not take and that wait to be tried again. refused_topics: topic -> the broker's reason.
    """

    state: str
    error: str
    protocol: str
    connects: int
    refused_events: int
    refused_topics: dict[str, str]
    outbox: OutboxStatus


class MqttLink:
    """One thread that owns the connection. Every method may be called from any thread."""

    def __init__(
        self,
        config: MqttConfig,
        device_slug: str,
        outbox: Outbox,
        *,
        clock: Clock = read_clock,
        sign: Signer | None = None,
        limits: Limits | None = None,
    ) -> None:
        """Opens nothing yet. Raises ValueError if device_slug or the prefix is no slug."""
        self.topics = Topics(config.prefix, device_slug)
        self._config, self._outbox, self._limits = config, outbox, limits or Limits()
        self._states = RetainedStates()
        self._clearing: set[str] = set()  # emptied, and the broker has not said yes
        self._retained = set(outbox.retained())  # of earlier processes, too
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._state, self._error, self._protocol, self._connects = "stopped", "", "", 0
        self._refused_topics: dict[str, str] = {}
        self._failures = 0
        self._online_at: float | None = None
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._shared = Shared(
            config=config,
            topics=self.topics,
            client_id=config.client_id or f"edge-oneshot-{device_slug}",
            outbox=outbox,
            states=self._states,
            clock=clock,
            limits=self._limits,
            sign=sign,
            wake=self._wake_out,
            stopping=self._stop.is_set,
            on_online=self._on_online,
            on_refusal=self._on_refusal,
            subscriptions={},
            replies=queue.SimpleQueue(),
            pictures=deque(maxlen=1),
        )
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)

    def start(self) -> None:
        """Start connecting; returns at once. Raises ConfigError if a password, certificate or key file cannot be used."""
        broker.read_password(self._config)
        broker.tls_context(self._config)
        if self._config.sign_key_file and self._shared.sign is None:
            key = signing.read_key(broker.credential_path(self._config.sign_key_file))
            self._shared.sign = signing.Sealer(key, self._outbox.next_counter)
        self._clearing.update(self._outbox.clears())
        for topic in self._clearing.difference(self._states.topics()):
            self._states.set(topic, b"")
        self._set(state="connecting")
        self._thread.start()

    def stop(self) -> None:
        """Say `offline`, wait for its PUBACK at most 2 s, and end. What is undelivered stays in the outbox."""
        self._stop.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(self._limits.stop_s + 1.0)
        if self._thread.is_alive():
            log.debug("mqtt: still in connect(); its thread ends with the process")
        else:
            self._wake_in.close()
            self._wake_out.close()
        self._set(state="stopped")

    def wake(self) -> None:
        """Look at the outbox now. Cheap; call it after commit."""
        with contextlib.suppress(OSError):  # full: it will wake anyway; closed: it has stopped
            self._wake_in.send(b"\0")

    def set_state(self, topic: str, payload: bytes | str | dict[str, Any]) -> None:
        """Publish a retained state now and after every reconnect. The same value again costs nothing."""
        data = (
            payload.encode() if isinstance(payload, str) else encode(payload) if isinstance(payload, dict) else payload
        )
        if data and topic in self._clearing:  # in use again
            self._clearing.discard(topic)
            self._outbox.forget_clear(topic, emptied=False)
        if data and topic not in self._retained:
            self._retained.add(topic)
            self._outbox.remember_retained(topic)
        if self._states.set(topic, data):
            self.wake()

    def clear_state(self, topic: str) -> None:
        """Remove a retained topic from the broker: now, or when it is back, also if the daemon restarts before that."""
        self._clearing.add(topic)
        self._outbox.remember_clear(topic)
        self.set_state(topic, "")

    def clear_others(self, below: str, keep: Collection[str]) -> None:
        """Empty the retained topics that begin with `below` and are not in `keep`, those of earlier processes included."""
        for topic in sorted(t for t in self._retained if t.startswith(below) and t not in keep):
            self._retained.discard(topic)
            self.clear_state(topic)

    def note(self, name: str) -> str | None:
        return self._outbox.note(name)

    def keep_note(self, name: str, value: str) -> None:
        """Keep a short text over restarts."""
        self._outbox.keep_note(name, value)

    def republish(self, prefix: str) -> None:
        """Tell the states below a topic prefix again, to somebody who has just come up."""
        self._states.dirty_below(prefix)
        self.wake()

    def subscribe(self, topic_filter: str, handler: Callable[[Incoming], None]) -> None:
        """Call `handler` with what arrives; before start() only. It runs on the link's thread: enqueue, do no work there."""
        self._shared.subscriptions[topic_filter] = handler

    def reply(self, topic: str, payload: dict[str, Any]) -> None:
        """Publish once, QoS 1, not retained; lost if the broker is away, for whoever asked has gone with it."""
        if self.status_now == "online":
            self._shared.replies.put((topic, encode(payload)))
            self.wake()

    def picture(self, jpeg: bytes) -> None:
        """Publish a JPEG once on `snapshot`, QoS 0, never retained; lost if the broker is away or a newer one follows at once."""
        if self.status_now == "online":
            self._shared.pictures.append(jpeg)
            self.wake()

    @property
    def status_now(self) -> str:
        """`status().state` without a look at the disk."""
        with self._lock:
            return self._state

    def status(self) -> LinkStatus:
        outbox = self._outbox.status()
        with self._lock:
            return LinkStatus(
                state=self._state,
                error=self._error,
                protocol=self._protocol,
                connects=self._connects,
                refused_events=self._shared.refused_events,
                refused_topics=dict(self._refused_topics),
                outbox=outbox,
            )

    # ---- the link's thread

    def _run(self) -> None:
        preferred, *others = broker.protocols(self._config)
        protocol, silent, brief = preferred, 0, 0
        while not self._stop.is_set():
            self._online_at = None
            end, why = Connection(self._shared, protocol).run()
            if end is End.STOPPED:
                if why:
                    log.warning("mqtt: %s; the broker's will says it", why)
                break
            if end is End.UNSUPPORTED and others:
                log.info("mqtt: the broker does not speak MQTT 5; going on with 3.1.1")
                protocol = preferred = others.pop()
                continue
            silent = silent + 1 if end is End.NO_CONNACK else 0
            protocol = others[0] if others and silent and silent % _TRY_OLD_PROTOCOL_AFTER == 0 else preferred
            brief = 0 if self._online_at is None else brief + 1
            if self._online_at is not None and time.monotonic() - self._online_at >= self._limits.stable_s:
                self._failures = brief = 0
            if brief >= _BRIEF:
                why += f"; it ended soon after it began, {brief} times in a row: does another client use this mqtt.client_id?"
            self._stop.wait(self._failed(end, why, strange=brief == _BRIEF))

    def _failed(self, end: End, why: str, strange: bool) -> float:
        """Note a failure; seconds until the next attempt. Full jitter; after a refusal at once the upper half of the maximum."""
        loud = self._failures == 0 or strange
        if end in (End.REFUSED, End.UNSUPPORTED):
            delay = random.uniform(0.5, 1.0) * self._limits.backoff_max_s
            if self._error != why:
                log.error(
                    "mqtt: %s; this needs a change by you. Trying again every %g s", why, self._limits.backoff_max_s
                )
            self._set(state="refused", error=why)
        else:
            ceiling = min(self._limits.backoff_max_s, self._limits.backoff_base_s * 2.0 ** min(self._failures, 16))
            delay = random.uniform(0.0, ceiling)
            where = "{}:{}".format(*broker.address(self._config))
            log.log(
                logging.WARNING if loud else logging.DEBUG, "mqtt: broker %s: %s; events wait in the outbox", where, why
            )
            self._set(state="unreachable", error=why)
        self._failures += 1
        return delay

    def _on_online(self, protocol: str) -> None:
        if self._failures or not self._connects:
            log.info("mqtt: online at %s:%s, MQTT %s", *broker.address(self._config), protocol)
        self._online_at = time.monotonic()
        with self._lock:
            self._state, self._error, self._protocol = "online", "", protocol
            self._connects += 1

    def _on_refusal(self, topic: str, reason: str) -> None:
        with self._lock:
            known = self._refused_topics.get(topic, "")
            if reason:
                self._refused_topics[topic] = reason
            elif known:
                del self._refused_topics[topic]
        if reason and not known:
            log.error(
                "mqtt: the broker does not take %s: %s; allow it in the broker's ACL. Events are kept and tried again",
                topic,
                reason,
            )
        elif known and not reason:
            log.info("mqtt: the broker takes %s again", topic)

    def _set(self, *, state: str, error: str | None = None) -> None:
        with self._lock:
            self._state = state
            self._error = self._error if error is None else error
