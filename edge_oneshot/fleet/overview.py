"""What a person should know of a fleet, as plain data: members and what they have in force, people, the audit log."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edge_oneshot.errors import FleetError
from edge_oneshot.fleet import topics
from edge_oneshot.fleet.fleet import Fleet
from edge_oneshot.fleet.home import AgentState
from edge_oneshot.fleet.members import Member
from edge_oneshot.fleet.watch import Watch

SILENT_S = 1500.0  # an agent reports at least every 10 minutes


def stamp(wall_ms: int) -> str:
    """RFC 3339, UTC."""
    return datetime.fromtimestamp(wall_ms / 1000, UTC).isoformat(timespec="seconds")


def find_member(fleet: Fleet, name_or_id: str) -> Member:
    """The member of this name, or whose id begins with it. Raises FleetError."""
    found = [m for m in fleet.members() if m.name == name_or_id and m.in_force]
    found = found or [m for m in fleet.members() if m.name == name_or_id]
    if len(name_or_id) >= 6:
        found = found or [m for m in fleet.members() if m.device_id.startswith(name_or_id.lower())]
    if len(found) != 1:
        got = "none" if not found else f"{len(found)} of them"
        raise FleetError(
            f"fleet {fleet.name}: expected a member named {name_or_id!r}, got {got}",
            "list them: edge-oneshot fleet list",
        )
    return found[0]


def members(fleet: Fleet) -> list[dict[str, Any]]:
    """Each member: what it is, and what it has in force."""
    ours, states = Watch.total(fleet.digests()), fleet.states()
    return [_member(fleet, m, states.get(m.device_id), ours) for m in fleet.members()]


def _member(fleet: Fleet, m: Member, state: Mapping[str, Any] | None, ours: str) -> dict[str, Any]:
    known = {} if state is None else dict(state)
    at = fleet.state_time(m.device_id)
    if not m.in_force:
        verdict = "revoked"
    elif m.key == fleet.key:
        verdict = "this device"
    elif state is None or at is None:
        verdict = "never seen"
    elif time.time() - at / 1000 > SILENT_S:
        verdict = "silent"
    else:
        verdict = "up to date" if known.get("digest") == ours else "behind"
    return {
        "id": m.device_id,
        "name": m.name,
        "role": m.role,
        "state": verdict,
        "reported": None if at is None else stamp(at),
        **{key: known.get(key) for key in ("people", "missing", "alone", "refused", "encoder", "version", "clock")},
        **({} if m.in_force else {"could_read": len(fleet.readable_by(m.device_id))}),
    }


def status(fleet: Fleet, agent: AgentState | None) -> dict[str, Any]:
    """Everything that `fleet status` shows."""
    people, own = fleet.people(), fleet.member
    names = {m.device_id: m.name for m in fleet.members()}
    role = "not yet a member" if own is None else own.role if own.in_force else "revoked"
    return {
        "fleet": fleet.name,
        "fleet_id": fleet.fleet_id,
        "device_id": fleet.device_id,
        "role": role,
        "agent": None if agent is None else {"online": agent.online, "fault": agent.fault, "slices_left": agent.left},
        "refused_topics": [] if agent is None else list(agent.refused),
        "people": len(people),
        "missing": [] if agent is None else list(agent.missing),
        "alone": [] if agent is None else list(agent.alone),
        "key_number": fleet.epoch.number if fleet.epochs else None,
        "waiting": fleet.held(),
        "unpublished": len(fleet.store.topics("due = 2")),
        "conflicts": [
            {"id": c.identity.identity_id, "name": c.identity.name, "desk": names.get(c.author, c.author)}
            for c in fleet.conflicts()
        ],
        "void": [{"topic": topic, "device": names.get(device, device)} for topic, device, _ in fleet.voided()],
        "members": members(fleet),
    }


def could_read(fleet: Fleet, device_id: str) -> list[str]:
    """The ids of the people in force whose templates a device could read."""
    subjects = fleet.readable_by(device_id)
    return sorted(i for i, person in fleet.people().items() if person.subject in subjects)


def audit(fleet: Fleet) -> dict[str, Any]:
    """All entries in the order of their times, and the faults of the chains."""
    names = {m.device_id: m.name for m in fleet.members()}
    people = {topics.topic_of(topics.PERSON, p.subject): p.identity.identity_id for p in fleet.people().values()}
    entries, faults = [], []
    for report in fleet.audit():
        who = names.get(report.device, "recovery code" if report.device == fleet.fleet_id else report.device)
        faults += [{"device": who, "fault": text} for text in report.faults]
        for entry in report.entries:
            kind, subject = topics.kind_of(entry.topic), topics.subject_of(entry.topic)
            about = people.get(entry.topic) or names.get(subject) or subject[:12]
            entries.append((entry.hlc, who, kind, about, entry))
    entries.sort(key=lambda e: (e[0], e[1], e[4].seq))
    return {
        "entries": [
            {
                "time": stamp(hlc.wall),
                "device": who,
                "number": entry.seq,
                "what": "removed" if entry.removed else kind,
                "about": about,
                "record": entry.id,
            }
            for hlc, who, kind, about, entry in entries
        ],
        "faults": faults,
    }


def export(fleet: Fleet) -> dict[str, Any]:
    """Members, people without templates, and the audit log."""
    return {
        "fleet": fleet.name,
        "fleet_id": fleet.fleet_id,
        "exported": stamp(time.time_ns() // 1_000_000),
        "members": [
            {"id": m.device_id, "name": m.name, "role": m.role, "key": m.key, "revoked": not m.in_force}
            for m in fleet.members()
        ],
        "people": [
            {
                "id": identity_id,
                "name": p.identity.name,
                "access": p.rules or {},
                "changed": stamp(p.changed_ms),
                "device": p.author,
                "encoders": {encoder: len(listed) for encoder, listed in p.templates.items()},
            }
            for identity_id, p in sorted(fleet.people().items())
        ],
        "audit": audit(fleet),
    }
