"""The link to the broker for the life of the daemon: it connects, reconnects, and reports its state.

link = MqttLink(config.mqtt, config.device_slug, outbox)
link.start()                                 # returns at once; an absent broker is a state, not an error
link.post(Presence(...))                     # for the publisher, which sets retained states; sent again after every reconnect
outbox.events.commit(event); link.wake()     # events go through the outbox only
link.status()                                # for health
link.stop()                                  # sends `offline` and waits at most 2 s for its PUBACK
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
from collections.abc import Callable, Collection, Mapping

from edge_oneshot.config import MqttConfig
from edge_oneshot.events import signing
from edge_oneshot.events.clock import Clock, read_clock
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt import broker
from edge_oneshot.mqtt.connection import Connection
from edge_oneshot.mqtt.link_state import LinkState, LinkStatus
from edge_oneshot.mqtt.payloads import Signer, encode
from edge_oneshot.mqtt.shared import End, Handler, Limits, Shared
from edge_oneshot.mqtt.sizes import Sizes
from edge_oneshot.mqtt.states import RetainedStates
from edge_oneshot.mqtt.topics import Topics

log = logging.getLogger(__name__)

_TRY_OLD_PROTOCOL_AFTER = 3  # connections in a row that ended without a CONNACK
_BRIEF = 3  # connections in a row that ended soon after their CONNACK, until that is logged as unusual


class MqttLink:
    """One thread owns the connection. Call subscribe() and publish_with() before start(), and start() once.

    Every other method may be called from any thread at any time: each hands its value to a part that holds its own lock
    (`RetainedStates`, `LinkState`, the outbox) or to a thread-safe queue.
    """

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
        """Opens nothing yet. Topics of an earlier slug, prefix or discovery prefix will be emptied at the broker.

        Raises ValueError if device_slug or the prefix is no slug.
        """
        self.topics = Topics(config.prefix, device_slug)
        self._config, self._outbox, self._limits, self._clock = config, outbox, limits or Limits(), clock
        self._client_id = config.client_id or f"edge-oneshot-{device_slug}"
        self._sign = sign
        self._states, self._state = RetainedStates(outbox.topics), LinkState()
        own = [f"{self.topics.base}/"] + [f"{config.discovery_prefix}/"] * (config.discovery != "off")
        self._states.keep_only(own, self.topics.availability)
        self._replies: queue.SimpleQueue[tuple[str, bytes]] = queue.SimpleQueue()
        self._pictures: deque[tuple[bytes, bytes]] = deque(maxlen=1)
        self._subscriptions: dict[str, Handler] = {}
        self._posted: dict[type, object] = {}
        self._posted_lock = threading.Lock()
        self._stop = threading.Event()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="mqtt", daemon=True)
        # Used by the link's thread alone:
        self._failures = 0
        self._publisher: Callable[[object], None] | None = None

    def publish_with(self, publisher: Callable[[object], None]) -> None:
        """Call `publisher`, on the link's thread, with what is posted. Call this before start()."""
        self._publisher = publisher

    def subscribe(self, topic_filter: str, handler: Handler) -> None:
        """Call `handler` with the messages that arrive, on the link's thread: it must only put them into a queue."""
        self._subscriptions[topic_filter] = handler

    def start(self) -> None:
        """Start to connect; returns at once. Raises ConfigError if a password, certificate or key file cannot be used."""
        broker.read_password(self._config)
        broker.tls_context(self._config)
        if self._config.sign_key_file and self._sign is None:
            key = signing.read_key(broker.credential_path(self._config.sign_key_file))
            self._sign = signing.Sealer(key, self._outbox.counter.next)
        self._state.set("connecting")
        self._thread.start()

    def stop(self) -> None:
        """Send `offline`, wait at most 2 s for its PUBACK, and end. Undelivered events stay in the outbox."""
        self._stop.set()
        self.wake()
        if self._thread.is_alive():
            self._thread.join(self._limits.stop_s + 1.0)
        if self._thread.is_alive():
            log.debug("mqtt: the thread is still in connect(); it ends with the process")
        else:
            self._publish_posted()  # the outbox then knows which topics to clear at the next start
            self._wake_in.close()
            self._wake_out.close()
        self._state.set("stopped")

    def wake(self) -> None:
        """Send what waits in the outbox now. Call it after a commit; it costs little."""
        with contextlib.suppress(OSError):  # full: the thread will wake anyway; closed: it has stopped
            self._wake_in.send(b"\0")

    def post(self, state: object) -> None:
        """Hand a value to the publisher on the link's thread. Of each type only the newest value waits."""
        with self._posted_lock:
            self._posted[type(state)] = state
        self.wake()

    def set_state(self, topic: str, payload: bytes | str | Mapping[str, object]) -> None:
        """Publish a retained state now and after every reconnect. An unchanged value is not sent again; "" empties it."""
        if isinstance(payload, str):
            payload = payload.encode()
        if self._states.set(topic, payload if isinstance(payload, bytes) else encode(payload)):
            self.wake()

    def clear_state(self, topic: str) -> None:
        """Empty a retained topic at the broker: now, or after the next connection, by a later process if necessary."""
        self.set_state(topic, b"")

    def clear_others(self, below: str, keep: Collection[str]) -> None:
        """Empty the retained topics that begin with `below` and are not in `keep`, those of earlier processes included."""
        if self._states.empty_others(below, keep):
            self.wake()

    def republish(self, prefix: str) -> None:
        """Send the states below a topic prefix again, for a subscriber that has just started."""
        self._states.send_below(prefix)
        self.wake()

    def reply(self, topic: str, payload: Mapping[str, object]) -> None:
        """Publish once, QoS 1, not retained. Dropped while the broker is away: the requester is away, too."""
        if self.status_now == "online":
            self._replies.put((topic, encode(payload)))
            self.wake()

    def picture(self, jpeg: bytes, about: Mapping[str, object] | None = None) -> None:
        """Publish a picture once, QoS 0, not retained, when the connection is idle. Dropped while the broker is away.

        about: the event that it shows, published before it.
        """
        self._pictures.append((jpeg, b"" if about is None else encode(about)))
        self.wake()

    @property
    def status_now(self) -> str:
        """`status().state`, without reading the outbox."""
        return self._state.state

    def status(self) -> LinkStatus:
        return self._state.status(self._outbox.events.status())

    # ---- the link's thread

    def _publish_posted(self) -> None:
        """Pass on what was posted. It changes the states, whether the broker is there or not."""
        with self._posted_lock:
            posted, self._posted = self._posted, {}
        for state in posted.values():
            try:
                if self._publisher is not None:
                    self._publisher(state)
            except Exception:  # one state must not end the link
                log.exception("mqtt: a state could not be published")

    def _run(self) -> None:
        shared = self._share()
        preferred, *others = broker.protocols(self._config)
        protocol, silent, brief = preferred, 0, 0
        while not self._stop.is_set():
            self._publish_posted()
            connection = Connection(shared, protocol)
            end, why = connection.run()
            online_at = connection.online_at
            if end is End.STOPPED:
                if why:
                    log.warning("mqtt: %s; the broker publishes the `offline` will", why)
                break
            if end is End.UNSUPPORTED and others:
                log.info("mqtt: the broker does not support MQTT 5; using 3.1.1")
                protocol = preferred = others.pop()
                continue
            silent = silent + 1 if end is End.NO_CONNACK else 0
            protocol = others[0] if others and silent and silent % _TRY_OLD_PROTOCOL_AFTER == 0 else preferred
            brief = 0 if online_at is None else brief + 1
            if online_at is not None and time.monotonic() - online_at >= self._limits.stable_s:
                self._failures = brief = 0
            if brief >= _BRIEF and not shared.sizes.careful:
                why += f"; {brief} connections in a row ended soon: does another client use this mqtt.client_id?"
            self._stop.wait(self._failed(end, why, unusual=brief == _BRIEF))

    def _share(self) -> Shared:
        return Shared(
            config=self._config,
            topics=self.topics,
            client_id=self._client_id,
            events=self._outbox.events,
            states=self._states,
            state=self._state,
            sizes=Sizes(self._state, soon_s=self._limits.stable_s, retry_s=self._limits.too_large_retry_s),
            clock=self._clock,
            limits=self._limits,
            sign=self._sign,
            wake=self._wake_out,
            stopping=self._stop.is_set,
            publish_posted=self._publish_posted,
            subscriptions=self._subscriptions,
            replies=self._replies,
            pictures=self._pictures,
        )

    def _failed(self, end: End, why: str, unusual: bool) -> float:
        """Record a failure; returns the seconds until the next attempt.

        Full jitter up to the back-off; after a refusal between half the maximum and the maximum at once.
        """
        loud = self._failures == 0 or unusual
        if end in (End.REFUSED, End.UNSUPPORTED):
            delay = random.uniform(0.5, 1.0) * self._limits.backoff_max_s
            if self._state.error != why:
                log.error(
                    "mqtt: %s. Fix: correct the [mqtt] configuration or the broker. Retrying every %g s",
                    why,
                    self._limits.backoff_max_s,
                )
            self._state.set("refused", why)
        else:
            ceiling = min(self._limits.backoff_max_s, self._limits.backoff_base_s * 2.0 ** min(self._failures, 16))
            delay = random.uniform(0.0, ceiling)
            where = "{}:{}".format(*broker.address(self._config))
            log.log(
                logging.WARNING if loud else logging.DEBUG, "mqtt: broker %s: %s; events wait in the outbox", where, why
            )
            self._state.set("unreachable", why)
        self._failures += 1
        return delay
