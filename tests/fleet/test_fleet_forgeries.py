"""Members who do not use this program: each signs, with its own key, something that the others must not accept."""

from __future__ import annotations

import pytest
from fleet_parts import exchange, founded, joined, person, template

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import invite, keys, records, topics
from edge_oneshot.fleet.core import Taken
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.members import revocation_content
from edge_oneshot.storage.cipher import Cipher


def forged(author: Fleet, topic: str, content: dict[str, object], **about: object) -> bytes:
    """A message that `author` has signed, encrypted with the right kind of key."""
    record = records.sign(
        author._signer,
        author.fleet_id,
        topic,
        content,
        **{"version": 9, "hlc": author.clock.tick(), **about},  # type: ignore[arg-type]
    )
    life = topics.kind_of(topic) in ("member", "revoked", "key")
    key = author.life if life else Cipher(author.epoch.key)
    return records.seal(record.raw, key, author.fleet_id, topic)


def taken_by(receiver: Fleet, author: Fleet, topic: str, content: dict[str, object], **about: object) -> Taken:
    return receiver.take(topic, forged(author, topic, content, **about))


def test_a_record_about_another_person_or_topic_than_it_says() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    alice, bob = (topics.person_topic(desk.life, name) for name in ("alice", "bob"))
    content = {"identity": "alice", "name": "Alice", "rules": None}
    assert taken_by(door, desk, alice, content, generation=1, lineage="x").state == "new"
    taken = taken_by(door, desk, bob, content, generation=1, lineage="x")
    assert taken.state == "refused" and "another person" in taken.reason
    key = Cipher(desk.epoch.key)
    moved = records.unseal(forged(desk, alice, content, generation=1, lineage="x"), key, desk.fleet_id, alice)
    taken = door.take(bob, records.seal(moved, key, desk.fleet_id, bob))
    assert taken.state == "refused" and "another topic" in taken.reason
    assert set(door.people()) == {"alice"}


def test_a_door_that_writes_about_people_and_a_device_that_speaks_for_another() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    content = {"identity": "mallory", "name": "Mallory", "rules": None}
    taken = taken_by(admin, door, topics.person_topic(door.life, "mallory"), content, generation=1, lineage="x")
    assert taken.state == "refused" and "door" in taken.reason and admin.people() == {}
    taken = taken_by(admin, desk, f"state/{door.device_id}", {"people": 0})
    assert taken.state == "refused" and "own state" in taken.reason and door.device_id not in admin.states()
    about = desk.member.admission if desk.member else None
    assert about is not None
    promoted = {"key": about.key, "exchange": about.exchange, "role": "admin", "name": "desk"}
    assert taken_by(admin, desk, f"member/{desk.device_id}", promoted).state == "refused"
    assert {m.name: m.role for m in admin.members()}["desk"] == "desk"


def test_a_junior_admin_that_revokes_its_senior() -> None:
    admin, _ = founded()
    second, door = joined(admin, "admin", "second"), joined(admin, "door", "gate")
    exchange(admin, second, door)
    message = forged(second, f"revoked/{admin.device_id}", revocation_content([]))
    for fleet in (admin, second, door):
        fleet.take(f"revoked/{admin.device_id}", message)
        assert {m.name: m.in_force for m in fleet.members()}["office"]
    admin.revoke(second.device_id)
    exchange(admin, door)
    assert {m.name: m.in_force for m in door.members()} == {"office": True, "second": False, "gate": True}


def test_a_fleet_key_of_a_revoked_admin_encrypts_nothing_new() -> None:
    admin, _ = founded()
    second, door = joined(admin, "admin", "second"), joined(admin, "door", "gate")
    exchange(admin, second, door)
    with second.batch():
        second._add_epoch(keys.new_epoch(second._signer, second.fleet_id, 1_000_000))
        second.hand_out_keys()
    exchange(admin, second, door)
    assert door.epoch.number == admin.epoch.number == 1_000_000
    admin.revoke(second.device_id)
    exchange(admin, door)
    assert admin.epoch == door.epoch and admin.epoch.author == admin.key and admin.epoch.number == 2


def test_a_fleet_key_that_another_is_said_to_have_made() -> None:
    admin, _ = founded()
    door = joined(admin, "door", "gate")
    epoch = keys.new_epoch(door._signer, admin.fleet_id, 5)
    assert door.member is not None
    exchange_key, private = door.member.admission.exchange, door._device.exchange
    right = keys.seal_for(exchange_key, [epoch], admin.fleet_id, door.device_id)
    assert keys.open_sealed(right, private, admin.fleet_id, door.device_id) == [epoch]
    wrong = keys.Epoch(epoch.number, epoch.key, admin.key, epoch.signature)
    sealed = keys.seal_for(exchange_key, [wrong], admin.fleet_id, door.device_id)
    with pytest.raises(ValueError, match="not signed"):
        keys.open_sealed(sealed, private, admin.fleet_id, door.device_id)
    with pytest.raises(ValueError, match="seal is broken"):
        keys.open_sealed(right, private, admin.fleet_id, admin.device_id)


def test_a_request_with_the_public_key_of_another() -> None:
    admin, _ = founded()
    code = admin.invite("door", "gate")
    secret, victim, thief = invite.secret_of(code), invite.DeviceKeys(), invite.DeviceKeys()
    key, exchange_key = victim.public
    proof = thief.signer.sign(invite._proof(secret, key, exchange_key)).hex()
    about = {"key": key, "exchange": exchange_key, "proof": proof}
    payload = invite._code_key(secret).encrypt(records.canonical(about), "request")
    with pytest.raises(FleetError, match="does not own its keys"):
        admin.answer(invite.place_of(secret), payload)
    assert len(admin.members()) == 1


def test_an_older_record_that_stays_replaces_a_newer_one_that_became_void() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    desk.enroll(person("Alice"), [template("alice")])
    first = exchange(admin, desk)
    desk.rename("alice", "Mallory")  # reaches the door only
    exchange(desk, door)
    assert door.people()["alice"].identity.name == "Mallory"
    admin.revoke(desk.device_id)
    exchange(admin, door)
    for topic, payload in first:
        door.take(topic, payload)
    assert door.people()["alice"].identity.name == "Alice" == admin.people()["alice"].identity.name


@pytest.mark.parametrize("again", [False, True])
def test_a_revocation_that_lets_stay_what_nobody_has_seen(again: bool) -> None:
    """A stolen admin admits a device, hides what that device has signed, and revokes it with these records in `kept`."""
    admin, _ = founded()
    second, gate = joined(admin, "admin", "second"), joined(admin, "door", "gate")
    exchange(admin, second, gate)
    tablet = joined(second, "desk", "tablet")
    exchange(admin, second, gate, tablet)
    tablet.enroll(person("Alice"), [template("alice")])
    exchange(admin, second, gate, tablet)
    tablet.enroll(person("Mallory"), [template("mallory")])
    hidden = [(m.topic, m.payload) for m in tablet.outgoing()]
    kept = [row.id for row in tablet.store.rows("author = ?", tablet.key)]
    topic = f"revoked/{tablet.device_id}"
    for fleet in (admin, gate):
        fleet.take(topic, forged(second, topic, revocation_content(kept)))
    if again:  # over the junior's revocation, while it is in force
        admin.revoke(tablet.device_id)
        with pytest.raises(FleetError, match="revoked before"):
            admin.revoke(tablet.device_id)
    else:
        admin.revoke(second.device_id)
    exchange(admin, gate)
    for message in hidden:
        for fleet in (admin, gate):
            fleet.take(*message)
    assert set(admin.people()) == set(gate.people()) == {"alice"}
    assert not {m.name: m.in_force for m in gate.members()}["tablet"]
