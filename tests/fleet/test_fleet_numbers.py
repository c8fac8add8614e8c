"""Numbers and keys with which a stolen device tries to stop the others."""

from __future__ import annotations

import pytest
from fleet_parts import ENCODER, exchange, founded, joined, person, template
from test_fleet_forgeries import forged

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import records, topics
from edge_oneshot.fleet.invite import DeviceKeys
from edge_oneshot.fleet.members import revocation_content

LAST = records.MAX_NUMBER


def test_a_key_record_with_the_last_number_stops_no_rotation() -> None:
    admin, _ = founded()
    second, gate = joined(admin, "admin", "second"), joined(admin, "door", "gate")
    exchange(admin, second, gate)
    for topic, content in (
        (f"key/{gate.device_id}", {"epochs": [], "sealed": ""}),
        (f"revoked/{second.device_id}", revocation_content([])),  # its own, so that nobody else can
    ):
        message = forged(second, topic, content, version=LAST, hlc=records.Hlc(records.MAX_WALL, 0))
        admin.take(topic, message)
    admin.rotate()  # the door gets no key from it, and the others do
    admin.revoke(second.device_id, rotate=False)
    assert not next(m for m in admin.members() if m.name == "second").in_force
    admin.rotate()
    exchange(admin, gate)
    assert gate.epoch == admin.epoch and gate.epochs == admin.epochs


def test_a_device_with_a_key_of_a_low_order_is_not_admitted() -> None:
    admin, _ = founded()
    second = joined(admin, "admin", "second")
    exchange(admin, second)
    key = DeviceKeys().public[0]
    for exchange_key in ("00" * 32, "01" + "00" * 31, "ec" + "ff" * 30 + "7f"):
        content = {"key": key, "exchange": exchange_key, "role": "door", "name": "gate"}
        topic = f"member/{topics.device_id(key)}"
        assert admin.take(topic, forged(second, topic, content)).state == "refused"
    admin.rotate()


@pytest.mark.parametrize("about", ["version", "generation"])
def test_a_person_with_the_last_number_can_be_changed_when_its_author_is_revoked(about: str) -> None:
    admin, _ = founded()
    honest, stolen = joined(admin, "desk", "honest"), joined(admin, "desk", "stolen")
    exchange(admin, honest, stolen)
    honest.enroll(person("Alice"), [template("alice")])
    exchange(admin, honest, stolen)
    row = honest.person_row(honest.subject("alice"))
    assert row is not None
    number = {"version": 9, "generation": row.generation, "lineage": row.lineage} | {about: LAST}
    topic, hlc = row.topic, records.Hlc(records.MAX_WALL, 0)
    message = forged(stolen, topic, {"identity": "alice", "name": "Alice", "rules": None}, hlc=hlc, **number)
    for fleet in (admin, honest):
        assert fleet.take(topic, message).state == "new"
    with pytest.raises(FleetError, match="last number"):
        honest.rename("alice", "Alicia")
    admin.revoke(stolen.device_id)
    exchange(admin, honest)
    honest.enroll(person("Alice"), [template("alice", 2)])
    honest.rename("alice", "Alicia")
    exchange(admin, honest)
    assert honest.digests() == admin.digests()
    got = admin.people()["alice"]
    assert got.identity.name == "Alicia" and [t.template_id for t in got.templates[ENCODER]] == ["alice-2-a"]
    assert got.generation < LAST
