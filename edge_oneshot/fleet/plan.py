"""What has to happen when the gallery of this device and the fleet's people differ: a pure function.

For each person there are three digests: in the gallery (`local`), in force in the fleet (`fleet`), and of what was last equal in
both (`applied`). Which of the first two differs from the third says on which side the change was made.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from types import MappingProxyType

NO_ONE: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Plan:
    """identity_ids, each in one of the sets. note: those that are equal now; `applied` is to be brought up to date.

    put, drop: change the gallery. publish, remove: change the fleet; a person who is in both is removed first. undone: those of
    `put` and `drop` that undo a change of the gallery which this device may not make. overruled: those of `put` and `drop` where
    both sides had changed. alone: people of this gallery that the fleet does not know, on a device that may not publish them.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """One person: the arguments of `plan`."""

    here: str | None
    there: str | None
    both: str | None
    gone: str | None
    removed: bool
    missing: bool
    replaced: bool
    writes: bool
    old: bool


def plan(
    local: Mapping[str, str],
    fleet: Mapping[str, str],
    applied: Mapping[str, str],
    *,
    removals: Set[str],
    missing: Set[str],
    writes: bool,
    gone: Mapping[str, str] = NO_ONE,
    replaced: Set[str] = frozenset(),
    old: bool = False,
) -> Plan:
    """local, fleet, applied: identity_id -> digest. gone: the last digest of people who were removed, who are not in `applied`.

    removals: people whom a user of this device removed; a person who is only absent from the gallery was not removed.
    missing: people in force without a template of this device's encoder. replaced: people who were removed since `applied`, and
    enrolled again. writes: whether this device may publish. old: the gallery is an older copy, so the fleet wins.
    """
    result = Plan()
    for identity in local.keys() | fleet.keys() | applied.keys() | removals:
        case = _Case(
            here=local.get(identity),
            there=fleet.get(identity),
            both=applied.get(identity),
            gone=gone.get(identity),
            removed=identity in removals and not old,
            missing=identity in missing,
            replaced=identity in replaced,
            writes=writes,
            old=old,
        )
        for name in _decide(case):
            getattr(result, name).add(identity)
    return result


def _decide(c: _Case) -> tuple[str, ...]:
    """The sets of the plan that name the person."""
    if c.removed and c.writes:  # with `here`: another person was enrolled under the id since
        in_fleet = ("remove",) if c.there is not None or c.missing else ()
        return in_fleet + (() if c.here is None else ("publish",)) or ("note",)
    if c.missing:
        return _missing(c)
    if c.here == c.there:
        return ("note",)
    if c.there is None:
        return _absent_there(c)
    if c.here is None:
        return ("put", "undone") if c.removed else ("put",)
    if c.here == c.both or c.old:
        return ("put",)
    if c.writes and c.there == c.both:
        return ("publish",)
    return ("put", "overruled" if c.writes else "undone")


def _absent_there(c: _Case) -> tuple[str, ...]:
    """The person is in the gallery, and not in the fleet."""
    if c.both is not None:  # removed in the fleet, which wins over a change of a template or a name
        return ("drop",) if c.here == c.both or c.old else ("drop", "overruled")
    if c.gone is not None and (c.here == c.gone or c.old):  # an old copy of someone who was removed
        return ("drop",)
    return ("publish",) if c.writes else ("alone",)


def _missing(c: _Case) -> tuple[str, ...]:
    """The fleet has the person, and no template of this encoder."""
    if c.here is None:
        return ()
    last = c.both if c.both is not None else c.gone
    if last is not None and (
        c.here == last or c.replaced or c.old
    ):  # the templates here are those of an earlier enrollment
        return ("drop",)
    if c.writes:  # the first template of this encoder: both are carried for a time
        return ("publish",)
    return ("alone",) if c.both is None else ("drop", "undone")
