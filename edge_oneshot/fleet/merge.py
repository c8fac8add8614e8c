"""Which of the records of a topic is in force: pure rules, the same on every device.

Person: the greatest (generation, removed, version, time, author). A removal has the generation that it removes, so it wins over every
change of that generation that its author did not know of, whatever the clocks say; an enrollment after it has the next one.
Template: the greatest of those with the generation and lineage of the person record in force, so that one person's templates are
never given to another whom a second desk has enrolled under the same id. A record of an author who may not write it is void.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from edge_oneshot.fleet.members import ADMIN, DESK, Member
from edge_oneshot.fleet.store import Row
from edge_oneshot.fleet.topics import AUDIT, KEY, MEMBER, PERSON, REVOKED, STATE, TEMPLATE

_MAY_WRITE = {PERSON: {DESK, ADMIN}, TEMPLATE: {DESK, ADMIN}, MEMBER: {ADMIN}, REVOKED: {ADMIN}, KEY: {ADMIN}}
_OF_ITSELF = {STATE, AUDIT}  # a device writes only its own


def refusal(kind: str, subject: str, record_id: bytes, author: Member) -> str:
    """Why a record is void; "" if it counts."""
    if not author.counts(record_id):
        return "its author was revoked"
    if kind in _OF_ITSELF:
        return "" if subject == author.device_id else "a device writes only its own state and log"
    if author.admitted is None and kind not in (MEMBER, REVOKED):
        return "the root key only admits and revokes"
    return "" if author.role in _MAY_WRITE[kind] else f"its author is a {author.role}, which may not write it"


def counts(kind: str, subject: str, row: Row, members: Mapping[str, Member]) -> bool:
    author = members.get(row.author)
    return author is not None and not refusal(kind, subject, row.id, author)


def best(rows: Iterable[Row]) -> Row | None:
    return max(rows, key=lambda row: row.rank, default=None)


def best_template(rows: Iterable[Row], person: Row | None) -> Row | None:
    if person is None or person.removed:
        return None
    return best(r for r in rows if (r.generation, r.lineage) == (person.generation, person.lineage))


def outlived(rows: Iterable[Row], person: Row) -> list[Row]:
    """Person records that name a person who was removed, or an earlier enrollment."""
    last = person.generation + person.removed
    return [r for r in rows if not r.removed and r.generation < last]


def outlived_templates(rows: Iterable[Row], person: Row | None) -> list[Row]:
    """Templates of a person who was removed, or of an earlier enrollment."""
    return [] if person is None else [r for r in rows if r.generation < person.generation + person.removed]


def obsolete(rows: Sequence[Row], person: Row | None) -> bool:
    """Whether all templates of a topic are to be forgotten, at the broker, too."""
    return len(outlived_templates(rows, person)) == len(rows)


def conflicts(rows: Iterable[Row], person: Row) -> list[Row]:
    """Other people who were enrolled under the same id and generation, without one desk knowing of the other."""
    return [r for r in rows if not r.removed and r.generation == person.generation and r.lineage != person.lineage]
