"""What has to happen when the gallery of this device and the fleet's people differ: a pure function.

For each person there are three digests: in the gallery (`local`), in force in the fleet (`fleet`), and of what was last equal in
both (`applied`). Which of the first two differs from the third says on which side the change was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field


@dataclass(slots=True)
class Plan:
    """identity_ids, each in one of the sets. note: those that are equal now; `applied` is to be brought up to date.

    put, drop: change the gallery. publish, remove: change the fleet. undone: those of `put` and `drop` that undo a change of the
    gallery which this device may not make. overruled: those of `put` and `drop` where both sides had changed.
    alone: people of this gallery that the fleet does not know, on a device that may not publish them.
    """

    put: set[str] = field(default_factory=set)
    drop: set[str] = field(default_factory=set)
    publish: set[str] = field(default_factory=set)
    remove: set[str] = field(default_factory=set)
    note: set[str] = field(default_factory=set)
    undone: set[str] = field(default_factory=set)
    overruled: set[str] = field(default_factory=set)
    alone: set[str] = field(default_factory=set)

    @property
    def changes_gallery(self) -> bool:
        return bool(self.put or self.drop)


def plan(
    local: Mapping[str, str],
    fleet: Mapping[str, str],
    applied: Mapping[str, str],
    *,
    removals: Set[str],
    missing: Set[str],
    writes: bool,
) -> Plan:
    """local, fleet, applied: identity_id -> digest.

    removals: people whom a user of this device removed; a person who is only absent from the gallery was not removed.
    missing: people in force without a template of this device's encoder, who are neither put nor dropped.
    writes: whether this device may publish.
    """
    result = Plan()
    for identity in local.keys() | fleet.keys() | applied.keys() | removals:
        here = local.get(identity)
        if identity not in missing:
            _one(result, identity, here, fleet.get(identity), applied.get(identity), removals, writes)
        elif writes and here is not None:  # the first template of this encoder: both are carried for a time
            result.publish.add(identity)
        elif writes and identity in removals:
            result.remove.add(identity)
    return result


def _one(
    result: Plan, identity: str, here: str | None, there: str | None, both: str | None, removals: Set[str], writes: bool
) -> None:
    if here is None and there is not None:
        _absent(result, identity, there, both, removals, writes)
    elif here == there:
        result.note.add(identity)
    elif there is None:
        if both is None:
            (result.publish if writes else result.alone).add(identity)
        else:  # removed in the fleet, which wins over a change of a template or a name
            result.drop.add(identity)
            if here != both:
                result.overruled.add(identity)
    elif here == both:
        result.put.add(identity)
    elif writes and there == both:
        result.publish.add(identity)
    else:
        result.put.add(identity)
        (result.overruled if writes else result.undone).add(identity)


def _absent(result: Plan, identity: str, there: str, both: str | None, removals: Set[str], writes: bool) -> None:
    """The person is in the fleet, and not in the gallery."""
    if identity in removals and both is not None:
        if writes:
            result.remove.add(identity)
            return
        result.undone.add(identity)
    result.put.add(identity)
