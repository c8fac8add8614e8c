"""What the connections of one link share, and how a connection ends."""

from __future__ import annotations

import queue
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from edge_oneshot.config import MqttConfig
from edge_oneshot.events.clock import Clock
from edge_oneshot.events.queue import EventQueue
from edge_oneshot.mqtt.link_state import LinkState
from edge_oneshot.mqtt.payloads import Signer
from edge_oneshot.mqtt.sizes import Sizes
from edge_oneshot.mqtt.states import RetainedStates
from edge_oneshot.mqtt.topics import Topics


class End(Enum):
    """Why a connection ended, as far as the next attempt is concerned."""

    STOPPED = "stopped"
    UNREACHABLE = "unreachable"  # try again with back-off
    REFUSED = "refused"  # the configuration must be changed: back off to the maximum at once
    NO_CONNACK = "no_connack"  # unreachable; the broker may not support this version of MQTT
    UNSUPPORTED = "unsupported"  # the broker answers that it does not support this version of MQTT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds. docs/reference/mqtt.md promises these; tests shorten them.

    session_expiry_s: of the session, and the delay of the will. ack_timeout_s: a connection without a PUBACK for so long
    is closed, and its unsent bytes are discarded. refused_retry_s: until a refused event is sent again. too_large_retry_s: until
    a message that ended connections is tried again. stop_s: for the
    last PUBACK. stable_s: a connection that lasted so long resets the back-off. A shorter one does not: two clients with
    one client id would otherwise disconnect each other forever, without a pause.
    """

    connack_s: float = 10.0
    ack_timeout_s: float = 10.0
    refused_retry_s: float = 300.0
    stop_s: float = 2.0
    session_expiry_s: int = 30
    stable_s: float = 5.0
    backoff_base_s: float = 1.0
    backoff_max_s: float = 30.0
    too_large_retry_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message to the device. retained: the broker had stored it."""

    topic: str
    payload: bytes
    retained: bool


Handler = Callable[[Incoming], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What the connections of one link share. No field is assigned again, and the link's thread alone reads `wake`.

    Other threads use these parts at the same time, which is safe: `events`, `states` and `state` hold locks of their own,
    `replies` and `pictures` are thread-safe queues.
    """

    config: MqttConfig
    topics: Topics
    client_id: str
    events: EventQueue
    states: RetainedStates
    state: LinkState
    sizes: Sizes
    clock: Clock
    limits: Limits
    sign: Signer | None
    wake: socket.socket  # readable when there is something to do
    stopping: Callable[[], bool]
    publish_posted: Callable[[], None]
    subscriptions: Mapping[str, Handler]  # topic filter -> what is called, on the link's thread
    replies: queue.SimpleQueue[tuple[str, bytes]]  # responses to requests: neither stored nor repeated
    pictures: deque[tuple[bytes, bytes]]  # JPEG and its event, QoS 0, the newest only: an old picture is of no use
