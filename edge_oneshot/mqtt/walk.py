"""`mqtt test`: walk what the daemon will do at this broker, step by step, and find out what its ACL forbids.

Under MQTT 5 a broker answers a forbidden publish with a reason. Under 3.1.1 it acknowledges it and throws it away; that
shows only if somebody who may read sees nothing arrive. So every publish is looked for by a second connection, too.
Nothing here can open a door: the test's own topics end in `mqtt-test`, what goes to `event` and `unknown` says `late`,
and states get the value that they have.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import MQTTProtocolVersion

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
    """ok: True, False, or None where this account cannot find it out. fix: what to change at the broker, or ""."""

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


class _Publisher:
    """A connection with the daemon's will and account, that notes the reason of each acknowledgement."""

    def __init__(self, config: MqttConfig, topics: Topics, protocol: MQTTProtocolVersion) -> None:
        self.connack: Any = None
        self.properties: Any = None
        self.acks: dict[int, Any] = {}
        self.client = broker.make_client(config, f"edge-oneshot-test-{topics.device}", protocol)
        broker.set_will(self.client, topics.availability, protocol, 30)
        self.client.on_connect, self.client.on_publish = self._connected, self._published
        broker.connect(self.client, config, protocol, session_expiry_s=0)
        self.until(lambda: self.connack is not None)

    def _connected(self, client: Client, _: Any, flags: Any, reason: Any, properties: Any) -> None:
        self.connack, self.properties = reason, properties

    def _published(self, client: Client, _: Any, mid: int, reason: Any, properties: Any) -> None:
        self.acks[mid] = reason

    def until(self, done: Callable[[], bool], also: Subscriber | None = None, timeout_s: float = _ANSWER_S) -> bool:
        end = time.monotonic() + timeout_s
        while not done() and time.monotonic() < end and self.client.socket() is not None:
            self.client.loop(0.05)
            if also is not None:
                also.step(0.02)
        return done()


def walk(config: MqttConfig, device: str, watch: MqttConfig | None = None) -> Iterator[Step]:
    """The steps, as they are done. watch: an account that may read below the prefix, if the daemon's own may not."""
    topics = Topics(config.prefix, device)
    where = "{}:{}".format(*broker.address(config))
    publisher = None
    for protocol in broker.protocols(config):
        try:
            publisher = _Publisher(config, topics, protocol)
        except OSError as e:
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
            fix="is it an MQTT broker, and does mqtt.tls fit its port?",
        )
        return
    if publisher.connack.is_failure:
        yield from _refused_connect(config, topics, protocol, str(publisher.connack))
        return
    version = (
        "MQTT 5"
        if protocol == broker.V5
        else "MQTT 3.1.1: a forbidden publish is acknowledged and dropped, so look below"
    )
    yield Step(
        name="connect",
        ok=True,
        detail=f"{where}, {'TLS, ' if config.tls else ''}{version}{_limits(publisher.properties)}",
    )
    # mosquitto holds a will against its ACL only when it sends it: the publish to the same topic below tells more.
    yield Step(name="will", ok=True, detail=f"accepted on {topics.availability}")
    try:
        yield from _publishes(publisher, watch or config, topics, own=watch is None)
    finally:
        publisher.client.disconnect()


def _refused_connect(config: MqttConfig, topics: Topics, protocol: MQTTProtocolVersion, reason: str) -> Iterator[Step]:
    """Was it the account or the will? Connect without a will to tell."""
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


def _limits(properties: Any) -> str:
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

    def hear(message: MQTTMessage) -> None:
        (kept if message.retain else arrived)[message.topic] = bytes(message.payload)

    watcher = Subscriber(watch, [f"{topics.base}/#"], hear, "watch")
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
            detail=f"{account} may not read {topics.base}/# ({e.message}); the daemon need not",
            fix="to look for dropped messages name an account that may: --watch-username and --watch-password-file",
        )
        watcher.close()
    _settle(watcher)
    probe = encode({**_PROBE, "device": topics.device})
    plan = [(topics.match(TEST_IDENTITY), probe), (topics.unknown, probe), (topics.event, probe)]
    plan += [(t, kept.get(t, b"")) for t in (topics.availability, topics.presence, topics.health, topics.info)]
    plan += [(topics.person_state(TEST_IDENTITY), b"OFF")]
    try:
        mids = {topic: publisher.client.publish(topic, payload, qos=1).mid for topic, payload in plan}
        publisher.until(lambda: set(mids.values()) <= publisher.acks.keys(), watcher)
        if watcher.subscribed:
            publisher.until(lambda: mids.keys() <= arrived.keys(), watcher, timeout_s=1.0)
    finally:
        watcher.close()
    for topic, mid in mids.items():
        yield _verdict(
            topic, publisher.acks.get(mid), topic in arrived, bool(arrived), publisher.client.protocol == broker.V5
        )
    if not arrived and publisher.client.protocol != broker.V5:
        yield Step(
            name="publish",
            ok=None,
            detail=f"{account} saw nothing arrive: it may read nothing, or nothing may be published",
            fix="name an account that may read: --watch-username and --watch-password-file",
        )


def _verdict(topic: str, reason: Any, arrived: bool, any_arrived: bool, mqtt5: bool) -> Step:
    """One publish: what the acknowledgement says, held against what was seen to arrive."""
    fix = f"allow: topic write {topic.replace('/' + TEST_IDENTITY, '/+')}"
    if reason is None:
        return Step(name="publish", ok=False, detail=f"{topic}: no acknowledgement", fix="look into the broker's log")
    if reason.is_failure:
        return Step(name="publish", ok=False, detail=f"{topic}: {reason}", fix=fix)
    if arrived:
        return Step(name="publish", ok=True, detail=f"{topic}: acknowledged, and it arrived")
    if any_arrived:
        return Step(name="publish", ok=False, detail=f"{topic}: acknowledged, and dropped without a word", fix=fix)
    return Step(name="publish", ok=True if mqtt5 else None, detail=f"{topic}: acknowledged; nobody saw it arrive")


def _settle(watcher: Subscriber) -> None:
    """Retained values come right after the SUBACK; there is no sign of the last one."""
    end = time.monotonic() + 0.5
    while watcher.subscribed and time.monotonic() < end:
        watcher.step(0.1)
