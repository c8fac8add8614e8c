"""What must never be true of a fleet after its devices have exchanged their messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge_oneshot.fleet import topics
from edge_oneshot.fleet.fleet import Fleet

if TYPE_CHECKING:
    from fleet_world import World


def faults_of(world: World) -> list[str]:
    devices = world.in_force()
    if not devices:
        return []
    found = []
    first = devices[0].fleet
    for device in devices:
        fleet = device.fleet
        who = f"d{world.devices.index(device)}"
        if standing(fleet) != standing(first):
            found.append(f"{who} has other members")
        if fleet.digests() != first.digests() or people(fleet) != people(first):
            found.append(f"{who} has other people")
        if fleet.held():
            found.append(
                f"{who} cannot judge {[topic for topic, (_, state) in fleet._held.items() if state == 'held']}"
            )
        found += [f"{who}: {fault}" for fault in void_in_force(world, fleet) + removed_in_force(world, fleet)]
        found += [f"{who}: template of a removed person at {row.topic}" for row in stray_templates(fleet)]
        for chain in fleet.audit():
            author = fleet._by_device.get(chain.device)
            if author is not None and author.in_force and chain.faults:
                found.append(f"{who}: log of {author.name}: {chain.faults}")
    found += broker_faults(world, first)
    return found


def standing(fleet: Fleet) -> dict[str, object]:
    return {m.device_id: (m.role, m.in_force, m.seniority, m.kept) for m in fleet.members()}


def people(fleet: Fleet) -> dict[str, object]:
    return {
        p.identity.identity_id: (
            p.identity.name,
            p.rules,
            p.generation,
            p.lineage,
            {e: [t.template_id for t in listed] for e, listed in p.templates.items()},
        )
        for p in fleet.people().values()
    }


def void_in_force(world: World, fleet: Fleet) -> list[str]:
    """Records of doors, or of revoked devices after their revocation."""
    found = []
    for at in fleet.store.topics("best <> '' AND (topic GLOB 'person/*' OR topic GLOB 'template/*')"):
        author = fleet._members[at.best]
        signed = world.written.get(at.best_id, 0)
        if signed < 0 and author.role == "door":  # the root key may have made it an admin since
            found.append(f"a door has written {at.topic}")
        if author.revocation is not None and signed > world.revoked_at.get(author.revocation.id, 10**9):
            found.append(f"{author.name} has written {at.topic} after it was revoked")
    return found


def removed_in_force(world: World, fleet: Fleet) -> list[str]:
    """People who were removed by a device whose word counts."""
    found = []
    for topic, generation, author, record_id in world.removals:
        member = fleet._members.get(author)
        if member is None or not member.counts(record_id) or member.role == "door":
            continue
        row = fleet.person_row(topics.subject_of(topic))
        if row is None or (not row.removed and row.generation <= generation):
            found.append(f"removed person {topic} is in force")
    return found


def stray_templates(fleet: Fleet) -> list[object]:
    return [
        row
        for row in fleet.store.rows("topic GLOB 'template/*'")
        if (person := fleet.person_row(row.person)) is not None and row.generation < person.generation + person.removed
    ]


def broker_faults(world: World, fleet: Fleet) -> list[str]:
    """The broker holds what is in force, and no template of a person who was removed."""
    found = []
    for at in fleet.store.topics("topic GLOB 'person/*' OR topic GLOB 'template/*'"):
        held = world.brokers[0].get(at.topic)
        if at.best and held is None:
            row = fleet.store.best(at)
            if row is not None and not row.removed:
                found.append(f"the broker lacks {at.topic}")
        elif at.best and fleet.take(at.topic, held).state != "known":
            found.append(f"the broker holds something else at {at.topic}: {fleet.take(at.topic, held)}")
        elif not at.best and held is not None and at.topic.startswith("template"):
            taken = fleet.take(at.topic, held)
            if taken.state != "refused" and fleet.store.topic(at.topic).due:
                found.append(f"the broker holds a template that is not in force: {at.topic} {taken}")
    return found
