"""Records that a member has signed and that no other program can use: each is refused, and nothing else happens."""

from __future__ import annotations

import json

import pytest
from fleet_parts import exchange, founded, joined
from test_fleet_forgeries import taken_by

from edge_oneshot.fleet import managing, overview, records, topics
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.members import revocation_content
from edge_oneshot.storage.cipher import Cipher


def signed(author: Fleet, topic: str, content: str) -> bytes:
    """A message of `author` with this JSON as its content, whatever it is."""
    about = {
        "author": author.key,
        "content": "@@",
        "generation": 1,
        "hlc": list(author.clock.tick()),
        "lineage": "x",
        "person": "",
        "removed": False,
        "seq": 0,
        "topic": topic,
        "version": 1,
    }
    body = records.canonical(about).replace(b'"@@"', content.encode())
    raw = author._signer.sign(records._context(author.fleet_id) + body) + body
    return records.seal(raw, Cipher(author.epoch.key), author.fleet_id, topic)


@pytest.mark.parametrize(
    "content",
    [
        r'{"identity":"alice","name":"A\ud800","rules":null}',  # a lone surrogate: no UTF-8 has it
        r'{"identity":"alice","name":"A","rules":{"x":"\udfff"}}',
        '{"identity":"alice","name":"A","rules":{"x":NaN}}',
        '{"identity":"alice","name":"A","rules":{"x":1E400}}',
        '{"identity":"alice", "name":"A","rules":null}',
        '{"identity":"alice","identity":"alice","name":"A","rules":null}',
        '{"identity":"alice","name":"A","rules":{"x":' + "[" * 60 + "]" * 60 + "}}",
        '{"identity":"alice","name":"A","rules":{"x":' + "[" * 20000 + "]" * 20000 + "}}",
    ],
)
def test_a_body_that_is_not_in_the_canonical_form(content: str) -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    topic = topics.person_topic(desk.life, "alice")
    assert door.take(topic, signed(desk, topic, content)).state == "refused"
    assert door.people() == {}
    plain = json.dumps({"identity": "alice", "name": "A", "rules": None}, separators=(",", ":"))
    assert door.take(topic, signed(desk, topic, plain)).state == "new"


@pytest.mark.parametrize(
    ("prev", "entry"),
    [
        ("zz" * 32, []),
        ("00" * 31, []),
        (5, []),
        ("00" * 32, [1, 1, 0, "nonsense", False, "ab" * records.ID_BYTES]),
        ("00" * 32, [1, 1, 0, 7, False, "ab" * records.ID_BYTES]),
        ("00" * 32, [1, 10**18, 0, "member/" + "a" * 32, False, "ab" * records.ID_BYTES]),
        ("00" * 32, [1, -1, 0, "member/" + "a" * 32, False, "ab" * records.ID_BYTES]),
        ("00" * 32, [1, 1, 0, "member/" + "a" * 32, False, "zz" * records.ID_BYTES]),
        ("00" * 32, [1, 1, 0, "member/" + "a" * 32, False, ["a"] * 2 * records.ID_BYTES]),
    ],
)
def test_a_log_that_nobody_could_check(prev: object, entry: list[object]) -> None:
    admin, _ = founded()
    door = joined(admin, "door", "gate")
    exchange(admin, door)
    entry = entry or [1, 1, 0, "member/" + "a" * 32, False, "ab" * records.ID_BYTES]
    topic = f"audit/{door.device_id}/0"
    assert taken_by(admin, door, topic, {"prev": prev, "entries": [entry]}, version=1).state == "refused"
    good = [1, 1, 0, "member/" + "a" * 32, False, "ab" * records.ID_BYTES]
    assert taken_by(admin, door, topic, {"prev": "00" * 32, "entries": [good]}, version=1).state == "new"
    assert overview.audit(admin)["faults"]


def test_the_id_of_a_record_is_a_whole_hash_and_a_revocation_with_most_ids_fits() -> None:
    """Shorter ids would let a thief search two records with one id: one to be kept, one to be used."""
    admin, _ = founded()
    desk = joined(admin, "desk", "desk")
    assert len(records.id_of(b"x")) == 32
    kept = [number.to_bytes(32, "big") for number in range(managing.MAX_KEPT)]
    admin._write(f"revoked/{desk.device_id}", revocation_content(kept))
    message = next(m for m in admin.outgoing() if m.topic.startswith("revoked"))
    assert len(message.payload) < 1_000_000
