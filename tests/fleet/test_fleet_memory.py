"""What a broker's operator or a member sends that is too much."""

from __future__ import annotations

import os

from fleet_parts import exchange, founded, joined, person
from test_fleet_forgeries import forged

from edge_oneshot.fleet import core, records
from edge_oneshot.storage.cipher import Cipher


def test_messages_that_cannot_be_judged_take_little_memory() -> None:
    admin, _ = founded()
    longest = records.FORMAT + bytes(records.MAX_PAYLOAD - 1)
    for number in range(20):
        admin.take(f"template/{number:02x}/{number:02x}{os.urandom(15).hex()}", longest)
    assert sum(len(payload) for payload, _ in admin._held.values()) == admin._held_bytes <= core.MAX_HELD_BYTES
    assert admin.lost_held
    for topic in list(admin._held):
        admin.take(topic, b"")
    assert admin._held_bytes == 0
    for _ in range(200):  # any device may write below state/, unless the broker prevents it
        admin.take(f"state/{os.urandom(16).hex()}", records.FORMAT + bytes(200_000))
    assert 0 < admin._held_bytes <= core.MAX_HELD_BYTES // 8


def test_a_flood_of_states_displaces_no_message_about_people() -> None:
    admin, _ = founded()
    desk = joined(admin, "desk", "desk")
    gate = joined(admin, "door", "gate")
    desk.enroll(person("Alice"))
    sent = exchange(desk)
    for topic, payload in sent:
        assert gate.take(topic, payload).state == "held"
    for _ in range(2000):
        gate.take(f"state/{os.urandom(16).hex()}", records.FORMAT + bytes(10_000))
    exchange(admin, gate)
    assert set(gate.people()) == {"alice"} and not gate.lost_held


def test_a_record_that_fits_only_without_padding_is_refused() -> None:
    admin, _ = founded()
    desk = joined(admin, "desk", "desk")
    exchange(admin, desk)
    topic, key = f"state/{desk.device_id}", Cipher(desk.epoch.key)
    most = records.most(topic)
    part = records.unseal(forged(desk, topic, {"x": "y" * 100}), key, desk.fleet_id, topic)
    spare = most - len(part) - 38  # a message has 38 bytes besides the record
    for more, state in ((spare - 256, "new"), (spare, "refused"), (spare + 1, "refused")):
        version = 9 if more < spare else 10
        body = records.canonical({"x": "y" * (100 + more)})
        record = records.read(part)
        wanted = part[64:].replace(records.canonical(record.content), body)
        wanted = wanted.replace(b'"version":9', f'"version":{version}'.encode())
        raw = desk._signer.sign(records._context(desk.fleet_id) + wanted) + wanted
        payload = records.FORMAT + bytes.fromhex(key.key_id) + key.encrypt(raw, "fleet", desk.fleet_id, topic)
        taken = admin.take(topic, payload)
        assert taken.state == state, (more, taken)
    admin.take(topic, b"")  # the broker has lost it
    for message in list(admin.outgoing()):
        admin.acknowledged(message.topic, message.payload)
    assert list(admin.outgoing()) == []
