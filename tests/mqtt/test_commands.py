"""Requests over MQTT: how they arrive and are answered. What they do is tested in unit/test_enrollment.py."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from example_messages import example
from hypothesis import given, settings
from hypothesis import strategies as st
from mosquitto import Mosquitto, Subscriber
from mqtt_parts import wait_until

from edge_oneshot.config import MqttConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import REQUESTS, Forget, List, Rename
from edge_oneshot.control.responses import Forgotten, People
from edge_oneshot.errors import ControlError
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.mqtt import commands
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.commands import MAX_BYTES, VERBS, MqttRequests, acl_lines
from edge_oneshot.mqtt.shared import Incoming
from edge_oneshot.mqtt.subscriber import Subscriber as Client

B = "edge-oneshot/porch"
House = tuple["Loop", Subscriber, Callable[..., None]]


class Loop:
    """The daemon's loop for requests only: its thread polls the source, and answers with example responses."""

    def __init__(self, source: MqttRequests) -> None:
        self.served: list[PendingRequest] = []
        self.answer_at_once = True
        self._source, self._stop = source, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def verbs(self) -> list[str]:
        return [p.request.verb for p in self.served]

    def _run(self) -> None:
        while not self._stop.wait(0.005):
            pending = self._source.next_request()
            if pending is not None:
                self.served.append(pending)
                if self.answer_at_once or pending.request.verb == "cancel":
                    pending.finish(response_to(pending))

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()


def response_to(pending: PendingRequest) -> Any:
    """An example response; of `forget` and `list`, one that shows the number of the call."""
    if isinstance(pending.request, Forget):
        return Forgotten(identity=pending.request.name, name=str(next(calls)))
    if isinstance(pending.request, List):
        return People(identities=[])
    return example(pending.request.response)


calls = itertools.count()


@pytest.fixture
def house(broker: Mosquitto, make_link: Callable[..., MqttLink]) -> Iterator[House]:
    link = make_link(broker.port)
    loop = Loop(MqttRequests(link))
    config = MqttConfig(host="127.0.0.1", port=broker.port)
    with (
        Subscriber(broker.port, f"{B}/response/#") as listener,
        Client(config, ["x"], lambda m: None, "asker") as client,
    ):
        link.start()
        wait_until(
            lambda: f"{B}/request/+ (QoS 1)" in broker.log() or f"{B}/request/+" in broker.log(), "the subscription"
        )

        def ask(verb: str, payload: Any = b"", retain: bool = False) -> None:
            data = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
            sent = client.publish(f"{B}/request/{verb}", data, retain=retain)
            wait_until(lambda: client.step(0.01) and sent.is_published(), "the acknowledgement")

        yield loop, listener, ask
    loop.stop()


def test_a_request_is_served_and_answered_with_its_transaction(house: House) -> None:
    loop, listener, ask = house
    ask("rename", {"name": "Zoë", "to": "Zoe", "transaction": "t-1", "ts": datetime.now(UTC).isoformat()})
    answer = listener.wait("/response/rename")[0]
    assert loop.served[0].request == Rename(name="Zoë", to="Zoe")
    assert answer.json == {
        "status": "ok",
        "data": {"identity": "Zoë", "name": "Zoë", "before": "Zoë"},
        "transaction": "t-1",
    }
    assert not answer.retain
    ask("list", {})
    assert listener.wait("/response/list")[0].json == {"status": "ok", "data": {"identities": []}}


def test_wrong_arguments_are_answered_and_not_served(house: House) -> None:
    loop, listener, ask = house
    ask("rename", {"name": "Zoë", "to": 5, "transaction": "t-1"})
    assert listener.wait("/response/rename")[0].json == {
        "status": "error",
        "error": "rename to: expected text of 1 to 1000 characters, got '5'",
        "hint": "see docs/reference/requests.md",
        "transaction": "t-1",
    }
    ask("list", {"all": True})
    assert listener.wait("/response/list")[0].json["error"] == "list: unknown argument 'all': expected no arguments"
    assert loop.served == []


def test_a_repeated_transaction_gets_the_same_answer_and_is_not_served_again(house: House) -> None:
    loop, listener, ask = house
    for _ in range(3):
        ask("forget", {"name": "alice", "transaction": 7})
    answers = [h.json for h in listener.wait("/response/forget", 3)]
    assert answers == [answers[0]] * 3 and len(loop.served) == 1
    ask("forget", {"name": "alice", "transaction": 8})
    assert listener.wait("/response/forget", 4)[-1].json["data"] != answers[0]["data"]
    assert len(loop.served) == 2


def test_one_request_at_a_time_with_progress_and_cancel_passes_the_queue(house: House) -> None:
    loop, listener, ask = house
    loop.answer_at_once = False
    ask("enroll", {"name": "alice", "transaction": "e"})
    wait_until(lambda: loop.served, "the enrollment")
    loop.served[0].progress("come closer")
    assert listener.wait("/response/enroll")[0].json == {
        "status": "progress",
        "data": {"progress": "come closer"},
        "transaction": "e",
    }
    ask("enroll", {"name": "alice", "transaction": "e"})  # again, while it runs: ignored
    ask("rename", {"name": "a", "to": "b"})
    ask("cancel", {"transaction": "c"})
    listener.wait("/response/cancel")
    assert loop.verbs == ["enroll", "cancel"]  # the rename still waits
    loop.answer_at_once = True
    loop.served[0].fail(ControlError("the enrollment was cancelled", "start it again"))
    assert listener.wait("/response/rename")[0].json["status"] == "ok"
    last = listener.wait("/response/enroll", 2)[-1].json
    assert last == {
        "status": "error",
        "error": "the enrollment was cancelled",
        "hint": "start it again",
        "transaction": "e",
    }


def test_a_request_that_waited_too_long_is_refused(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    loop, listener, ask = house
    loop.answer_at_once = False
    ask("enroll", {"name": "alice"})
    wait_until(lambda: loop.served, "the enrollment")
    monkeypatch.setattr(commands, "MAX_AGE_S", 0.05)
    ask("list", {"transaction": "x"})
    assert listener.wait("/response/list")[0].json["error"] == "waited too long" and len(loop.served) == 1


def test_retained_old_and_unknown_requests_are_not_served(
    house: House, broker: Mosquitto, make_link: Callable[..., MqttLink], tmp_path: Any
) -> None:
    loop, listener, ask = house
    for ts in (datetime.now(UTC) - timedelta(seconds=11), datetime.now(UTC) + timedelta(seconds=60)):
        ask("pause", {"ts": ts.isoformat(), "transaction": "old"})
    ask("pause", {"ts": "yesterday"})
    assert all("ts: expected" in h.json["error"] for h in listener.wait("/response/pause", 3))
    for verb in ("export", "import", "Enroll", "x" * 200, "…"):
        ask(verb, {})
    ask("resume", {}, retain=True)  # served: a connected subscriber receives it without the retain flag
    listener.wait("/response/resume")
    other = Outbox(tmp_path / "other.sqlite")
    link = make_link(broker.port, box=other, client_id="another")
    source = MqttRequests(link)
    link.start()
    wait_until(lambda: "SUBACK to another" in broker.log(), "its subscription")
    ask("list", {})
    wait_until(
        lambda: (p := source.next_request()) is not None and p.request.verb == "list",
        "the list, and no retained resume before it",
    )
    link.stop()
    other.close()
    ask("resume", b"", retain=True)
    ask("status", {})
    listener.wait("/response/status")
    assert loop.verbs == ["resume", "list", "status"]  # an empty retained message is no request


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MqttRequests]:
    """A source whose link is never started; its replies stay in the queue."""
    box = Outbox(tmp_path_factory.mktemp("source") / "o.sqlite")
    link = MqttLink(MqttConfig(), "porch", box)
    link._state.set("online")  # replies are dropped while offline
    yield MqttRequests(link)
    link.stop()
    box.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
KEYS = st.sampled_from(["name", "transaction", "ts", "to", "image", "timeout_s", "#", "+/x"])
hostile = st.one_of(
    st.binary(max_size=200),
    json_values.map(lambda v: json.dumps(v).encode()),
    st.dictionaries(KEYS, json_values).map(lambda v: json.dumps(v).encode()),
    st.sampled_from(
        [
            b"[" * 100_000,
            b'{"a":' * 50_000,
            b'{"a":"\\ud800"}',
            b"\xff\xfe{}",
            b"{" + b" " * MAX_BYTES + b"}",
            b'{"a":NaN}',
            b"1e999",
            b'{"transaction":"\\u0000"}',
            b'{"transaction":"' + b"x" * 65 + b'"}',
            b'{"transaction":{}}',
            b"9" * 10_000,
        ]
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.sampled_from(VERBS), st.text(max_size=20)), hostile, st.booleans())
def test_hostile_messages_raise_nothing_and_choose_no_topic(
    source: MqttRequests, verb: str, payload: bytes, retained: bool
) -> None:
    source.take(Incoming(topic=f"{B}/request/{verb}", payload=payload, retained=retained))
    for _ in range(3):
        pending = source.next_request()
        if pending is not None:
            assert pending.request.verb in VERBS and not retained
            pending.finish(People(identities=[]) if verb == "list" else example(pending.request.response))
        source.next_request()
    replies = source._link._replies
    while not replies.empty():
        topic, response = replies.get()
        assert topic in {f"{B}/response/{v}" for v in VERBS}
        assert (status := json.loads(response)["status"]) in ("ok", "error")
        assert status == "ok" or len(response) < 1000


def test_every_verb_over_mqtt_is_a_request_and_none_moves_templates() -> None:
    assert set(VERBS) < set(REQUESTS)
    assert not {"export", "import"} & set(VERBS)


def test_a_flood_is_dropped_and_logged_once(tmp_path: Any, caplog: pytest.LogCaptureFixture) -> None:
    box = Outbox(tmp_path / "o.sqlite")
    link = MqttLink(MqttConfig(), "porch", box)
    flooded = MqttRequests(link)
    for n in range(10_000):
        flooded.take(Incoming(topic=f"{B}/request/list", payload=b'{"transaction":%d}' % n, retained=False))
    assert sum("further ones are dropped" in r.message for r in caplog.records) == 1
    served = 0
    while (pending := flooded.next_request()) is not None:
        pending.finish(People(identities=[]))
        served += 1
    assert served == 16
    link.stop()
    box.close()


def test_the_acl_lines_name_both_sides() -> None:
    from edge_oneshot.mqtt.topics import Topics

    assert acl_lines(Topics("edge-oneshot", "porch"), "porch") == [
        "user porch",
        f"topic read {B}/request/#",
        f"topic write {B}/response/#",
        "user <the requester>",
        f"topic write {B}/request/#",
        f"topic read {B}/response/#",
    ]
