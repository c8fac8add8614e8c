"""Signed events: valid and invalid signatures, and replays."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from mosquitto import Mosquitto
from mqtt_parts import BODIES, SetClock, event, wait_until

from edge_oneshot.cli.mqtt import mqtt
from edge_oneshot.cli.verify_event import verify_event
from edge_oneshot.config import MqttConfig
from edge_oneshot.errors import ConfigError
from edge_oneshot.events import schema
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.events.signing import Gate, Key, Sealer, SignatureRefused, new_key, read_key, verify, write_key
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.payloads import hand_over
from edge_oneshot.mqtt.subscriber import Subscriber

MakeLink = Callable[..., MqttLink]
HMAC_KEY = Key("hmac-sha256", bytes(range(32)))


@pytest.fixture(params=["hmac", "ed25519"])
def key(request: pytest.FixtureRequest) -> Key:
    if request.param == "ed25519":
        pytest.importorskip("cryptography", reason="Ed25519 needs the extra 'sign'")
    return new_key(request.param)


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def payload(tmp_path: Path, clock: SetClock, key: Key) -> bytes:
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    box.events.commit(clock.event("match", name='Zoë "Ж" \\ \u2028'))
    made = hand_over(box.events.pending(0, 1)[0], "porch", 10.0, clock(), Sealer(key, box.counter.next)).payload
    box.close()
    return made


def test_a_signed_event_fits_the_schema_and_verifies(payload: bytes, key: Key) -> None:
    message = verify(payload, key.public())
    Draft202012Validator(schema.load("event-v1")).validate(message)
    assert message["signature"]["key_id"] == key.key_id == key.public().key_id


def test_every_changed_byte_is_noticed(payload: bytes, key: Key) -> None:
    for place in range(len(payload)):
        before, after = payload[:place], payload[place + 1 :]
        for changed in (
            before + bytes([payload[place] ^ 1]) + after,
            before + bytes([payload[place] ^ 2]) + after,
            before + after,
        ):
            with pytest.raises(SignatureRefused):
                verify(changed, key.public())


def test_nothing_can_be_added_after_the_signature(payload: bytes, key: Key) -> None:
    for tail in (b" ", b"\n", b',"late":false}', payload, b"}"):
        with pytest.raises(SignatureRefused):
            verify(payload + tail, key.public())
    with pytest.raises(SignatureRefused):
        verify(payload[:-1] + b',"late":false}', key.public())


def test_another_key_does_not_verify(payload: bytes, key: Key) -> None:
    with pytest.raises(SignatureRefused, match="by key"):
        verify(payload, new_key("hmac"))


def test_the_hmac_is_rfc_2104_over_the_bytes_before_value() -> None:
    import base64
    import hashlib
    import hmac

    made = Sealer(HMAC_KEY, lambda: 7)({"schema": 1, "name": "Zoë"})
    sealed = '{"schema":1,"name":"Zoë","signature":{"alg":"HMAC-SHA256","key_id":"' + HMAC_KEY.key_id + '","counter":7'
    mac = (
        base64.urlsafe_b64encode(hmac.new(HMAC_KEY.material, sealed.encode(), hashlib.sha256).digest())
        .decode()
        .rstrip("=")
    )
    assert made.decode() == sealed + f',"value":"{mac}"}}}}'


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_refused_and_nothing_else_happens(junk: bytes) -> None:
    for candidate in (junk, b'{"a":1,"value":"' + junk, b'[,"value":"AAAA"}}', junk + b',"value":"AAAA"}}'):
        with pytest.raises(SignatureRefused):
            verify(candidate, HMAC_KEY)


def test_the_gate_admits_once_and_only_fresh(tmp_path: Path, clock: SetClock) -> None:
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    gate, sealer = Gate(HMAC_KEY), Sealer(HMAC_KEY, box.counter.next)

    def payload(**changes: object) -> bytes:
        e = clock.event(rate="none") if changes.get("no_rate") else clock.event()
        box.events.commit(e)
        clock.forward += float(str(changes.get("wait", 0)))
        stored = box.events.pending(0, 1)[0]
        box.events.delete([e.event_id])
        return hand_over(stored, "porch", 10.0, clock(), sealer).payload

    first = payload()
    assert gate.admit(first, clock().wall)["identity"] == "alice"
    with pytest.raises(SignatureRefused, match="replayed"):
        gate.admit(first, clock().wall)
    with pytest.raises(SignatureRefused, match="late"):
        gate.admit(payload(wait=3), clock().wall)
    delayed = payload()
    with pytest.raises(SignatureRefused, match="expired"):
        gate.admit(delayed, clock().wall + timedelta(seconds=10))
    clock.synced = False
    with pytest.raises(SignatureRefused, match="not synchronised"):
        gate.admit(payload(), clock().wall)
    clock.synced = True
    with pytest.raises(SignatureRefused, match="no error rate"):
        gate.admit(payload(no_rate=True), clock().wall)
    older, newer = payload(), payload()
    gate.admit(newer, clock().wall)
    with pytest.raises(SignatureRefused, match="replayed"):
        gate.admit(older, clock().wall)
    box.close()


def test_counters_rise_over_restarts_and_a_lost_file(tmp_path: Path) -> None:
    path, seen = tmp_path / "o.sqlite", []
    for round_ in range(4):
        box = Outbox(path)
        seen += [box.counter.next() for _ in range(2500)]
        box.close()
        if round_ == 2:
            path.write_bytes(b"damaged" * 1000)
    assert seen == sorted(set(seen)) and seen[-1] < 2**53  # exact in JavaScript


def test_key_files(tmp_path: Path) -> None:
    path = tmp_path / "key"
    write_key(path, HMAC_KEY)
    assert path.stat().st_mode & 0o777 == 0o600 and read_key(path) == HMAC_KEY
    assert HMAC_KEY.material.hex() not in repr(HMAC_KEY) and HMAC_KEY.text().strip() not in repr(HMAC_KEY)
    for junk in ("", "hmac-sha256:AAAA", "rsa:" + "A" * 43, "hmac-sha256:!!", "x" * 100):
        path.write_text(junk)
        with pytest.raises(ConfigError):
            read_key(path)
    with pytest.raises(ConfigError):
        read_key(tmp_path / "absent")


def test_a_public_key_cannot_sign() -> None:
    pytest.importorskip("cryptography", reason="Ed25519 needs the extra 'sign'")
    with pytest.raises(ConfigError, match="only verify"):
        Sealer(new_key("ed25519").public(), lambda: 1)


def test_from_the_key_over_the_broker_to_verify_event(
    broker: Mosquitto, outbox: Outbox, make_link: MakeLink, tmp_path: Path, key: Key
) -> None:
    """The real path: the daemon's link signs, a broker delivers, `verify-event` checks. This machine's clock may be
    unsynchronised, so the test of the gate covers freshness."""
    write_key(tmp_path / "key", key)
    write_key(tmp_path / "key.pub", key.public())
    link = make_link(broker.port, sign_key_file=str(tmp_path / "key"))
    got: list[bytes] = []
    config = MqttConfig(host="127.0.0.1", port=broker.port)
    with Subscriber(config, ["edge-oneshot/+/event"], lambda m: got.append(bytes(m.payload)), "t") as s:
        link.start()
        for kind in BODIES:
            outbox.events.commit(event(kind))
        link.wake()
        wait_until(lambda: s.step(0.1) and len(got) == len(BODIES), "the events")
    done = CliRunner().invoke(
        verify_event, ["--key", str(tmp_path / "key.pub"), "--signature-only", "--json"], input=b"\n".join(got)
    )
    assert [json.loads(line)["accepted"] for line in done.output.splitlines()] == [True] * len(BODIES), done.output
    state = str(tmp_path / "state")
    for _ in range(2):
        done = CliRunner().invoke(verify_event, ["--key", str(tmp_path / "key.pub"), "--state", state], input=got[0])
    assert "refused: replayed" in done.output


def test_new_key_makes_files_that_work_and_overwrites_none(tmp_path: Path) -> None:
    pytest.importorskip("cryptography", reason="Ed25519 needs the extra 'sign'")
    for alg in ("hmac", "ed25519"):
        path = tmp_path / alg
        assert CliRunner().invoke(mqtt, ["new-key", str(path), "--alg", alg]).exit_code == 0
        made = Sealer(read_key(path), lambda: 1)({"a": 1})
        verify(made, read_key(tmp_path / "ed25519.pub" if alg == "ed25519" else path))
        before = path.read_text()
        assert (
            CliRunner().invoke(mqtt, ["new-key", str(path), "--alg", alg]).exit_code != 0 and path.read_text() == before
        )


def test_the_reference_consumer_opens_once_and_refuses_a_replay(broker: Mosquitto, tmp_path: Path) -> None:
    write_key(tmp_path / "key", HMAC_KEY)
    clock = SetClock()
    box = Outbox(tmp_path / "o.sqlite", clock=clock)
    made = {}
    for who in ("no rate", "alice", "bob"):  # the signatures count up in this order
        e = clock.event("match", identity="alice", rate="none") if who == "no rate" else clock.event(identity=who)
        box.events.commit(e)
        stored = box.events.pending(0, 1)[0]
        box.events.delete([e.event_id])
        made[who] = hand_over(stored, "porch", 30.0, clock(), Sealer(HMAC_KEY, box.counter.next)).payload
    box.close()
    script = Path(__file__).parents[2] / "docs" / "how-to" / "consumer.py"
    command = [sys.executable, script, f"127.0.0.1:{broker.port}", tmp_path / "key", "porch", "alice"]
    consumer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert consumer.stdout is not None
    try:
        wait_until(lambda: "edge-oneshot/porch/match/alice" in broker.log(), "its subscription")
        said = []
        config = MqttConfig(host="127.0.0.1", port=broker.port)
        with Subscriber(config, ["x"], lambda m: None, "t") as s:
            forged = made["bob"].replace(b'"bob"', b'"alice"')
            for payload in (b"{}", forged, made["no rate"], made["alice"], made["alice"], made["bob"]):
                s.publish("edge-oneshot/porch/match/alice", payload, retain=False)
                s.step(0.1)
                said.append(consumer.stdout.readline().split(":")[0].strip())
        assert said == ["refused", "refused", "refused", "open", "refused", "refused"]
    finally:
        consumer.kill()
        consumer.wait()
        consumer.stdout.close()


def test_verify_event_names_a_fault_in_its_state_file(tmp_path: Path) -> None:
    key, state, event = tmp_path / "key", tmp_path / "state", tmp_path / "event"
    write_key(key, new_key("hmac"))
    state.write_text("no JSON")
    event.write_text("{}")
    result = CliRunner().invoke(verify_event, [str(event), "--key", str(key), "--state", str(state)])
    assert isinstance(result.exception, ConfigError)
    assert "expected the counters of an earlier call" in str(result.exception)
