"""What a broker's operator sees: no name, no id, no template; and no changed byte is accepted."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path

import pytest
from fleet_parts import ENCODER, exchange, founded, joined, person, template

from edge_oneshot.fleet import records
from edge_oneshot.fleet.conversion import rewrite
from edge_oneshot.fleet.fleet import Fleet, Joining
from edge_oneshot.fleet.invite import DeviceKeys
from edge_oneshot.fleet.store import SCHEMA
from edge_oneshot.storage.cipher import Cipher, Signer, new_key, read_key, signed_by, write_key
from edge_oneshot.storage.conversion import convert
from edge_oneshot.storage.keys import Keys

NAMES = ("Xanthippe Quartermaine", "Zebulon Featherstonehaugh")
RULES = {"until": "2031-07-19", "doors": ["observatory-vault"]}


def marks() -> dict[str, bytes]:
    """What must not be readable: each at least 8 bytes, so that none is there by chance."""
    found = {
        "rules": b"observatory-vault",
        "date": b"2031-07-19",
        "encoder": ENCODER.encode(),
        "device": b"west-entrance",
        "fleet": b"athenaeum-gym",
    }
    for name in NAMES:
        identity_id = name.lower().replace(" ", "-")
        vector = template(identity_id).embedding.vector.astype("<f4").tobytes()
        found |= {
            f"name {name}": name.encode(),
            f"id {name}": identity_id.encode(),
            f"json {name}": json.dumps(name).encode(),
            f"vector {name}": vector[:16],
            f"vector end {name}": vector[-16:],
            **{f"base64 {name} {i}": base64.b64encode(vector[i:])[8:28] for i in range(3)},
        }
    assert all(len(mark) >= 8 for mark in found.values())
    return found


def leaks(data: bytes) -> list[str]:
    low = data.lower()
    return [about for about, mark in marks().items() if mark in data or mark.lower() in low]


def history(path: Path, keys: Keys) -> list[bytes]:
    """Everything that a broker sees of a fleet with every kind of message."""
    admin, recovery = Fleet.found(path, name="athenaeum-gym", device_name="west-entrance-office", keys_of_device=keys)
    joining = Joining(admin.invite("desk", "west-entrance"))
    answer = admin.answer(joining.place, joining.request)
    seen = [joining.request, answer, joining.place.encode()]
    desk = joining.finish(path.with_name("desk.sqlite"), answer, name="athenaeum-gym", keys_of_device=keys)
    sent = []
    for name in NAMES:
        identity = person(name.replace(" ", "-"))
        identity = type(identity)(identity_id=identity.identity_id, name=name)
        desk.enroll(identity, [template(identity.identity_id)], RULES)
    desk.report({"door": "west-entrance", "people": list(NAMES)})
    sent += exchange(admin, desk)
    admin.rotate(encrypt_anew=True)
    admin.rename(NAMES[0].lower().replace(" ", "-"), NAMES[0] + " II")
    sent += exchange(admin, desk)
    admin.remove(NAMES[1].lower().replace(" ", "-"))
    admin.revoke(desk.device_id, recovery_code=recovery)
    sent += exchange(admin)
    admin.close()
    desk.close()
    assert {topic.split("/")[0] for topic, _ in sent} == {
        "person", "template", "member", "revoked", "key", "state", "audit"
    }  # fmt: skip
    return seen + [topic.encode() + b"\0" + payload for topic, payload in sent]


def test_no_message_and_no_byte_of_a_sealed_store_shows_a_person(tmp_path: Path) -> None:
    write_key(tmp_path / "key", new_key())
    messages = history(tmp_path / "fleet.sqlite", Keys(tmp_path / "key"))
    assert {about for message in messages for about in leaks(message)} == set()
    files = [p for p in tmp_path.iterdir() if p.name.startswith(("fleet.sqlite", "desk.sqlite"))]
    assert files and {(p.name, about) for p in files for about in leaks(p.read_bytes())} == set()


def test_the_search_for_marks_finds_them_in_a_store_that_is_not_sealed(tmp_path: Path) -> None:
    history(tmp_path / "fleet.sqlite", Keys(None))
    found = set(leaks((tmp_path / "desk.sqlite").read_bytes()))
    assert {"rules", "encoder", "fleet"} | {f"name {name}" for name in NAMES} <= found
    assert any(about.startswith("base64") for about in found)


def test_a_forgotten_person_is_no_longer_in_a_store_that_is_not_sealed(tmp_path: Path) -> None:
    fleet, _ = Fleet.found(tmp_path / "fleet.sqlite", name="gym", device_name="office")
    identity = type(person("x"))(identity_id="xanthippe-quartermaine", name=NAMES[0])
    fleet.enroll(identity, [template(identity.identity_id)], RULES)
    exchange(fleet)
    fleet.remove(identity.identity_id)
    exchange(fleet)
    fleet.close()
    found = leaks((tmp_path / "fleet.sqlite").read_bytes())
    assert [about for about in found if NAMES[0] in about or about in ("rules", "date")] == []


def test_a_fleet_is_sealed_given_another_key_and_unsealed(tmp_path: Path) -> None:
    path, old, new = tmp_path / "fleet.sqlite", tmp_path / "old", tmp_path / "new"
    fleet, _ = Fleet.found(path, name="gym", device_name="office")
    fleet.enroll(person("Alice"), [template("alice")])
    fleet.invite("door", "gate")
    before = fleet.digests(), fleet.epoch, fleet.invited()
    fleet.close()
    plain = Keys(None)
    for at in (old, new):
        write_key(at, new_key())
    for keys, key in ((plain, read_key(old)), (Keys(old), read_key(new)), (Keys(new), None)):
        convert(path, SCHEMA, keys, None if key is None else Cipher(key), rewrite)
        after = plain if key is None else Keys(old if key == read_key(old) else new)
        again = Fleet.open(path, after)
        assert (again.digests(), again.epoch, again.invited()) == before
        assert again.people()["alice"].identity == person("Alice")
        again.close()
        assert (b'"Alice"' in path.read_bytes()) == (key is None)


def test_messages_have_no_length_of_a_name() -> None:
    admin, _ = founded()
    sizes = set()
    for name in ("Al", "Bartholomew Cholmondeley-Warner"):
        admin.enroll(person(name.replace(" ", "-")))
        sizes.update(len(m.payload) for m in admin.outgoing() if m.topic.startswith("person"))
    assert len(sizes) == 1


def test_every_changed_byte_of_a_message_is_refused_with_a_reason() -> None:
    admin, _ = founded()
    door = joined(admin, "door", "gate")
    admin.enroll(person("Alice"), [template("alice")])
    admin.report({"people": 1})
    messages = {m.topic.split("/")[0]: m for m in admin.outgoing()}
    assert set(messages) == {"person", "template", "member", "key", "state", "audit"}
    rng = random.Random(1)
    for kind, message in messages.items():
        size = len(message.payload)
        places = [*range(50), size - 1, *(rng.randrange(size) for _ in range(60))]
        for place in places:
            changed = bytearray(message.payload)
            changed[place] ^= 1 << rng.randrange(8)
            taken = door.take(message.topic, bytes(changed))
            assert taken.state in ("refused", "held") and taken.reason, (kind, place, taken)
            assert taken.state == "refused" or 1 <= place < 9, (kind, place)  # another key id: perhaps a key to come
        for cut in (1, 8, 30, size // 2, size - 1):
            assert door.take(message.topic, message.payload[:cut]).state == "refused"
        other = message.topic[:-1] + ("0" if message.topic[-1] != "0" else "1")
        assert door.take(other, message.payload).state == "refused"
    assert door.people() == {} and door.take("no/topic", b"x").reason


def test_a_member_cannot_sign_for_another_or_change_what_another_signed() -> None:
    admin, _ = founded()
    desk, door = joined(admin, "desk", "desk"), joined(admin, "door", "gate")
    exchange(admin, desk, door)
    desk.enroll(person("Alice"), [template("alice")])
    message = next(m for m in desk.outgoing() if m.topic.startswith("person"))
    key = Cipher(desk.epoch.key)
    raw = records.unseal(message.payload, key, desk.fleet_id, message.topic)
    for changed in (
        raw.replace(b"Alice", b"Eve!!"),
        raw[:10] + b"x" + raw[11:],
        raw.replace(b'"version":1', b'"version":9'),
    ):
        taken = door.take(message.topic, records.seal(changed, key, desk.fleet_id, message.topic))
        assert taken.state == "refused" and "signature" in taken.reason
    wrong_use = records.seal(raw, desk.life, desk.fleet_id, message.topic)  # which a revoked device could read for ever
    assert "another use" in door.take(message.topic, wrong_use).reason
    assert door.take(message.topic, message.payload).state == "new"


def test_signatures() -> None:
    signer, other = Signer(bytes(range(32))), Signer(bytes(32))
    # RFC 8032, section 7.1, test 1
    known = Signer(bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"))
    assert known.public.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert known.sign(b"").hex().startswith("e5564300c360ac729086e2cc806e828a84877f1eb8e5d974")
    signature = signer.sign(b"data")
    assert signed_by(signer.public, signature, b"data")
    assert not signed_by(signer.public, signature, b"date")
    assert not signed_by(other.public, signature, b"data")
    assert not signed_by(b"short", signature, b"data") and not signed_by(signer.public, b"short", b"data")
    assert "Signer(" in repr(signer) and bytes(range(32)).hex() not in repr(signer)


@pytest.mark.parametrize("text", ["", "abc", "0" * 19, "u" * 20])
def test_a_code_that_was_mistyped_is_refused(text: str) -> None:
    with pytest.raises(Exception, match="fleet code"):
        Joining(text)
    assert DeviceKeys().sign.hex() not in repr(DeviceKeys())
