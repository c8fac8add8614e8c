"""What the connections of one link have in common, and how they end."""

from __future__ import annotations

import queue
import socket
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from edge_oneshot.config import MqttConfig
from edge_oneshot.events.clock import Clock
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt.payloads import Signer
from edge_oneshot.mqtt.states import RetainedStates
from edge_oneshot.mqtt.topics import Topics


class End(Enum):
    """Why a connection ended, as far as the next attempt is concerned."""

    STOPPED = "stopped"
    UNREACHABLE = "unreachable"  # try again with back-off
    REFUSED = "refused"  # a person must change something: back off at once to the maximum
    NO_CONNACK = "no_connack"  # unreachable, and perhaps because the broker does not speak this version of MQTT
    UNSUPPORTED = "unsupported"  # the broker says that it does not speak this version of MQTT


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Times in seconds. They are the contract's; tests shorten them.

    session_expiry_s: of the session, and the delay of the will. ack_timeout_s: without a PUBACK the connection is cut,
    and its unsent bytes with it. refused_retry_s: until a refused event is tried again. stop_s: for the last PUBACK.
    stable_s: a connection that lasted so long starts the back-off anew; a shorter one does not, or two clients with one
    id would throw each other out for ever, without a pause.
    """

    connack_s: float = 10.0
    ack_timeout_s: float = 10.0
    refused_retry_s: float = 300.0
    stop_s: float = 2.0
    session_expiry_s: int = 30
    stable_s: float = 5.0
    backoff_base_s: float = 1.0
    backoff_max_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """A message that somebody sent to the device. retained: the broker had kept it."""

    topic: str
    payload: bytes
    retained: bool


@dataclass(slots=True)
class Shared:
    """What the connections of a link have in common. Only the link's thread writes it, except `stopping`."""

    config: MqttConfig
    topics: Topics
    client_id: str
    outbox: Outbox
    states: RetainedStates
    clock: Clock
    limits: Limits
    sign: Signer | None
    wake: socket.socket  # readable when there is something to do
    stopping: Callable[[], bool]
    on_online: Callable[[str], None]
    on_refusal: Callable[[str, str], None]  # topic, reason; ("topic", "") when it is taken again
    subscriptions: dict[str, Callable[[Incoming], None]]  # topic filter -> who is called, on the link's thread
    replies: queue.SimpleQueue[tuple[str, bytes]]  # answers to requests: neither kept nor repeated
    pictures: deque[bytes]  # JPEG, the newest only, QoS 0: a picture of a moment ago is worth nothing later
    refused_events: int = 0
