"""Records that a member has signed and that no other program can use: each is refused, and nothing else happens."""

from __future__ import annotations

import json

import pytest
from fleet_parts import exchange, founded, joined

from edge_oneshot.fleet import records, topics
from edge_oneshot.fleet.fleet import Fleet
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
