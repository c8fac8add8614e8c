"""`mqtt test`: do each step that the daemon will do at this broker, and find what the broker's ACL forbids.

With MQTT 5 a broker answers a forbidden publish with a reason. With 3.1.1 it acknowledges the message and drops it, which
only a subscriber can notice. So a second connection checks that each message arrives. The test cannot open a door: its
own topics end in `mqtt-test`, its events on `event`, `denied` and `unknown` are `late`, and states keep their values.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import BrokerError, BrokerUnreachable
from edge_oneshot.mqtt import broker
from edge_oneshot.mqtt.payloads import encode
from edge_oneshot.mqtt.subscriber import Subscriber
from edge_oneshot.mqtt.topics import Topics

TEST_IDENTITY = "mqtt-test"
_ANSWER_S = 5.0
_PROBE = {"schema": 1, "event_type": "test", "late": True, "expires_at": "1970-01-01T00:00:00.000Z"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """ok: True, False, or None if this account cannot tell. fix: what to change at the broker, or ""."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


class _Publisher:
    """A connection with the daemon's will and account, which keeps the reason of each acknowledgement."""

    def __init__(self, config: MqttConfig, topics: Topics, protocol: MQTTProtocolVersion) -> None:
        self.connack: ReasonCode | None = None
        self.properties: Properties | None = None
        self.acks: dict[int, ReasonCode] = {}
        self.client = broker.make_client(config, f"edge-oneshot-test-{topics.device}", protocol)
        broker.set_will(self.client, topics.availability, protocol, 30)
        self.client.on_connect, self.client.on_publish = self._connected, self._published
        broker.connect(self.client, config, protocol, session_expiry_s=0)
        self.until(lambda: self.connack is not None)

    def _connected(
        self, client: Client, _: object, flags: ConnectFlags, reason: ReasonCode, properties: Properties | None
    ) -> None:
        self.connack, self.properties = reason, properties

    def _published(self, client: Client, _: object, mid: int, reason: ReasonCode, _p: Properties | None) -> None:
        self.acks[mid] = reason

    def until(self, done: Callable[[], bool], also: Subscriber | None = None, timeout_s: float = _ANSWER_S) -> bool:
        end = time.monotonic() + timeout_s
        while not done() and time.monotonic() < end and self.client.socket() is not None:
            self.client.loop(0.05)
            if also is not None:
                also.step(0.02)
        return done()


def walk(config: MqttConfig, device: str, watch: MqttConfig | None = None) -> Iterator[Step]:
    """The steps, as they are done. watch: an account that may read below the prefix, if the daemon's account may not."""
    topics = Topics(config.prefix, device)
    where = "{}:{}".format(*broker.address(config))
    publisher = None
    for protocol in broker.protocols(config):
        try:
            publisher = _Publisher(config, topics, protocol)
        except ssl.SSLCertVerificationError as e:
            why, fix = broker.untrusted(e)
            yield Step(name="connect", ok=False, detail=f"{where}: {why}", fix=fix)
            return
        except (OSError, ValueError) as e:  # ValueError: a name that cannot be looked up
            yield Step(
                name="connect",
                ok=False,
                detail=f"{where}: {e}",
                fix="check mqtt.host, mqtt.port, mqtt.tls, mqtt.ca_file",
            )
            return
        if publisher.connack is not None and publisher.connack.value != broker.UNSUPPORTED_PROTOCOL:
            break
    if publisher is None or publisher.connack is None:
        yield Step(
            name="connect",
            ok=False,
            detail=f"{where}: no CONNACK",
            fix="check that it is an MQTT broker, and that mqtt.tls fits its port",
        )
        return
    if publisher.connack.is_failure:
        yield from _refused_connect(config, topics, protocol, str(publisher.connack))
        return
    version = (
        "MQTT 5"
        if protocol == broker.V5
        else "MQTT 3.1.1, where a forbidden publish is acknowledged and dropped: see the steps below"
    )
    yield Step(
        name="connect",
        ok=True,
        detail=f"{where}, {'TLS, ' if config.tls else ''}{version}{_limits(publisher.properties)}",
    )
    # mosquitto checks a will against its ACL only when it publishes it: the publish to the same topic below tests that.
    yield Step(name="will", ok=True, detail=f"accepted on {topics.availability}")
    try:
        yield from _publishes(publisher, watch or config, topics, own=watch is None)
    finally:
        publisher.client.disconnect()


def _refused_connect(config: MqttConfig, topics: Topics, protocol: MQTTProtocolVersion, reason: str) -> Iterator[Step]:
    """Find whether the account or the will was refused: connect without a will."""
    same = replace(config, protocol="5" if protocol == broker.V5 else "3.1.1")
    try:
        with Subscriber(same, [topics.request("test")], lambda message: None, "test"):
            pass
    except BrokerError as e:
        if "subscription refused" not in e.message:
            yield Step(
                name="connect",
                ok=False,
                detail=f"refused: {reason}",
                fix="check mqtt.username, mqtt.password_file, mqtt.cert_file",
            )
            return
    yield Step(name="connect", ok=True, detail="accepted without a will")
    yield Step(name="will", ok=False, detail=f"refused: {reason}", fix=f"allow: topic write {topics.availability}")


def _limits(properties: Properties | None) -> str:
    words = {
        "ReceiveMaximum": "receive maximum",
        "MaximumPacketSize": "packets up to",
        "MaximumQoS": "QoS up to",
        "RetainAvailable": "retain",
    }
    found = [f"{word} {getattr(properties, name)}" for name, word in words.items() if hasattr(properties, name)]
    return f"; {', '.join(found)}" if found else ""


def _publishes(publisher: _Publisher, watch: MqttConfig, topics: Topics, own: bool) -> Iterator[Step]:
    arrived: dict[str, bytes] = {}
    kept: dict[str, bytes] = {}

    def on_message(message: MQTTMessage) -> None:
        (kept if message.retain else arrived)[message.topic] = bytes(message.payload)

    watcher = Subscriber(watch, [f"{topics.base}/#"], on_message, "watch")
    account = "this account" if own else f"account {watch.username}"
    try:
        watcher.connect()
        yield Step(name="subscribe", ok=True, detail=f"{account} is subscribed to {topics.base}/#")
    except BrokerUnreachable as e:
        yield Step(name="subscribe", ok=False, detail=e.message, fix=e.hint)
        return
    except BrokerError as e:
        yield Step(
            name="subscribe",
            ok=None,
            detail=f"{account} may not read {topics.base}/# ({e.message}); the daemon does not need to",
            fix="to find dropped messages give an account that may: --watch-username and --watch-password-file",
        )
        watcher.close()
    _settle(watcher)
    probe = encode({**_PROBE, "device": topics.device})
    plan = [(topic, probe) for topic in (topics.match(TEST_IDENTITY), topics.denied, topics.unknown, topics.event)]
    plan += [(t, kept.get(t, b"")) for t in (topics.availability, topics.presence, topics.health, topics.info)]
    plan += [(topic, b"OFF") for topic in topics.of_person(TEST_IDENTITY)]
    try:
        mids = {topic: publisher.client.publish(topic, payload, qos=1).mid for topic, payload in plan}
        publisher.until(lambda: set(mids.values()) <= publisher.acks.keys(), watcher)
        if watcher.subscribed:
            publisher.until(lambda: mids.keys() <= arrived.keys(), watcher, timeout_s=1.0)
    finally:
        watcher.close()
    for topic, mid in mids.items():
        yield _check(
            topic, publisher.acks.get(mid), topic in arrived, bool(arrived), publisher.client.protocol == broker.V5
        )
    if not arrived and publisher.client.protocol != broker.V5:
        yield Step(
            name="publish",
            ok=None,
            detail=f"{account} received nothing: it may read nothing, or nothing may be published",
            fix="give an account that may read: --watch-username and --watch-password-file",
        )


def _check(topic: str, reason: ReasonCode | None, arrived: bool, any_arrived: bool, mqtt5: bool) -> Step:
    """One publish: its acknowledgement, and whether it arrived."""
    fix = f"allow: topic write {topic.replace('/' + TEST_IDENTITY, '/+')}"
    if reason is None:
        return Step(name="publish", ok=False, detail=f"{topic}: no acknowledgement", fix="read the broker's log")
    if reason.is_failure:
        return Step(name="publish", ok=False, detail=f"{topic}: {reason}", fix=fix)
    if arrived:
        return Step(name="publish", ok=True, detail=f"{topic}: acknowledged, and it arrived")
    if any_arrived:
        return Step(name="publish", ok=False, detail=f"{topic}: acknowledged, but dropped", fix=fix)
    return Step(
        name="publish", ok=True if mqtt5 else None, detail=f"{topic}: acknowledged; whether it arrived is unknown"
    )


def _settle(watcher: Subscriber) -> None:
    """Wait for the retained values: they come right after the SUBACK, and nothing marks the last one."""
    end = time.monotonic() + 0.5
    while watcher.subscribed and time.monotonic() < end:
        watcher.step(0.1)
