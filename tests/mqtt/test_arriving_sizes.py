"""Messages to the device that are too large: memory is bounded, and events leave all the same."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from link_parts import MakeLink, empty, until
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import QUICK, event, wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.control.responses import People
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt import commands
from edge_oneshot.mqtt.broker import MAX_PACKET_BYTES
from edge_oneshot.mqtt.commands import MAX_BYTES, MqttRequests
from edge_oneshot.mqtt.shared import Incoming
from edge_oneshot.mqtt.subscriber import Subscriber as Client

B = "edge-oneshot/porch"


def publish(broker: Mosquitto, verb: str, payload: bytes, *, retain: bool = False) -> None:
    with Client(MqttConfig(host="127.0.0.1", port=broker.port), ["x"], lambda m: None, "asker") as client:
        sent = client.publish(f"{B}/request/{verb}", payload, retain=retain)
        wait_until(lambda: client.step(0.01) and sent.is_published(), "the acknowledgement")


def test_a_broker_with_mqtt_5_does_not_send_a_large_message(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink
) -> None:
    publish(broker, "enroll", bytes(MAX_PACKET_BYTES + 1), retain=True)
    link = make_link(broker.port)
    source = MqttRequests(link)
    link.start()
    until(link, "online")
    wait_until(lambda: f"{B}/request/+" in broker.log(), "the subscription")
    with Subscriber(broker.port, f"{B}/response/#") as listener:
        publish(broker, "enroll", bytes(MAX_PACKET_BYTES + 1))
        publish(broker, "list", b"{}")
        wait_until(source.next_request, "the next request").finish(People(identities=[]))
        wait_until(lambda: source.next_request() or listener.heard, "its response")
    assert [h.topic for h in listener.heard] == [f"{B}/response/list"], "the large one was received and refused"
    assert link.status().connects == 1


def test_a_large_retained_message_does_not_hold_up_events_with_mqtt_3(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink, caplog: pytest.LogCaptureFixture
) -> None:
    """MQTT 3.1.1 has no limit of the receiver. The broker sends the message again on each connection that subscribes."""
    publish(broker, "enroll", bytes(8 * MAX_PACKET_BYTES), retain=True)
    link = make_link(broker.port, protocol="3.1.1")
    MqttRequests(link)
    with Subscriber(broker.port, f"{B}/#") as listener:
        link.start()
        wait_until(lambda: "subscribes to nothing" in caplog.text, "the report")
        assert f"a message of {8 * MAX_PACKET_BYTES + 2 + len(f'{B}/request/enroll') + 2} bytes arrived" in caplog.text
        # Two connections have ended; the third one lasts.
        wait_until(lambda: link.status().connects == 3 and link.status().state == "online", "the third connection")
        connects = link.status().connects
        sent = event("match")
        outbox.events.commit(sent)
        link.wake()
        empty(outbox)
        assert sent.event_id in {h.json["event_id"] for h in listener.on("/event")}
        assert link.status().connects == connects


def test_the_device_subscribes_again_after_that_time(
    broker: Mosquitto, make_link: MakeLink, caplog: pytest.LogCaptureFixture
) -> None:
    publish(broker, "enroll", bytes(8 * MAX_PACKET_BYTES), retain=True)
    link = make_link(broker.port, protocol="3.1.1", limits=replace(QUICK, too_large_retry_s=3.0))
    source = MqttRequests(link)
    link.start()
    wait_until(lambda: "subscribes to nothing" in caplog.text, "the report")
    publish(broker, "enroll", b"", retain=True)
    until(link, "online")
    connects = link.status().connects

    def answered() -> bool:
        if (request := source.next_request()) is None:
            publish(broker, "list", b"{}")
            return False
        request.finish(People(identities=[]))
        return True

    wait_until(answered, "a request on the connection without subscriptions", 15)
    assert link.status().connects == connects, "it did not take another connection"


def test_the_payloads_of_waiting_requests_are_bounded(
    broker: Mosquitto, make_link: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    source = MqttRequests(make_link(broker.port))
    image = base64.b64encode(os.urandom(MAX_BYTES // 4 * 3 - 1000)).decode()
    payload = json.dumps({"name": "A", "image": image}).encode()
    assert MAX_BYTES - 2000 < len(payload) <= MAX_BYTES
    for _ in range(8):
        source.take(Incoming(topic=f"{B}/request/enroll", payload=payload, retained=False))
    source.take(Incoming(topic=f"{B}/request/cancel", payload=b"{}", retained=False))
    assert source._waiting.qsize() == commands._MAX_WAITING_BYTES // MAX_BYTES + (len(payload) < MAX_BYTES)
    assert "further ones are dropped" in caplog.text
