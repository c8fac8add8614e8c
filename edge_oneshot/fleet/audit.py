"""The audit log: for each author a chain of entries, in segments of 50, which any member can verify.

An entry names a record. The hash of each entry includes that of the one before, across segments, and the author signs the segments.
So an author cannot drop or change an entry that another member has seen without being noticed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from edge_oneshot.fleet.hlc import MAX_COUNT, MAX_WALL, Hlc
from edge_oneshot.fleet.records import ID_BYTES, MAX_NUMBER, Record, canonical, number_of
from edge_oneshot.fleet.topics import kind_of

SEGMENT = 50  # entries
START = hashlib.sha256(b"edge-oneshot fleet audit 1").hexdigest()


class Entry(NamedTuple):
    """One change. id: of the record, hex."""

    seq: int
    hlc: Hlc
    topic: str
    removed: bool
    id: str


@dataclass(frozen=True, slots=True)
class Segment:
    """Entries number*50+1 to at most number*50+50 of an author. prev: the hash of the entry before the first one."""

    number: int
    prev: str
    entries: tuple[Entry, ...]

    @staticmethod
    def of(record: Record) -> Segment:
        """Raises ValueError if the record is no segment."""
        number = int(record.topic.rpartition("/")[2])
        try:
            prev, listed = record.content["prev"], record.content["entries"]
            entries = tuple(
                Entry(
                    number_of(seq, MAX_NUMBER),
                    Hlc(number_of(wall, MAX_WALL), number_of(count, MAX_COUNT)),
                    topic,
                    bool(removed),
                    id,
                )
                for seq, wall, count, topic, removed, id in listed
            )
            for entry in entries:
                kind_of(entry.topic)
        except (KeyError, TypeError, ValueError):
            raise ValueError("it is no segment of an audit log") from None
        first = number * SEGMENT + 1
        if not 0 < len(entries) <= SEGMENT or record.version != len(entries):
            raise ValueError("it is no segment of an audit log")
        if [e.seq for e in entries] != list(range(first, first + len(entries))):
            raise ValueError("its entries are not in order")
        if not _is_hex(prev, 32) or any(not _is_hex(e.id, ID_BYTES) for e in entries):
            raise ValueError("its entries name no records")
        return Segment(number, prev, entries)

    @property
    def content(self) -> dict[str, object]:
        return {"prev": self.prev, "entries": [[e.seq, *e.hlc, e.topic, e.removed, e.id] for e in self.entries]}

    @property
    def head(self) -> str:
        """The hash of the last entry."""
        head = self.prev
        for entry in self.entries:
            head = hashlib.sha256(bytes.fromhex(head) + canonical([entry.seq, *entry.hlc, *entry[2:]])).hexdigest()
        return head


def _is_hex(text: object, size: int) -> bool:
    return isinstance(text, str) and len(text) == 2 * size and not set(text) - set("0123456789abcdef")


class ChainReport(NamedTuple):
    """What the check of one author's log has found. device: its id. faults: empty: the log is whole."""

    device: str
    entries: tuple[Entry, ...]
    faults: tuple[str, ...]


def extend(last: Segment | None, entries: Sequence[Entry]) -> list[Segment]:
    """The segments that change when `entries` follow `last`, the newest segment of the author."""
    changed: dict[int, Segment] = {}
    for entry in entries:
        if last is None or len(last.entries) == SEGMENT:
            last = Segment(0 if last is None else last.number + 1, START if last is None else last.head, (entry,))
        else:
            last = Segment(last.number, last.prev, (*last.entries, entry))
        changed[last.number] = last
    return list(changed.values())


def verify(device: str, segments: Iterable[Segment], in_force: Mapping[int, tuple[str, str]]) -> ChainReport:
    """in_force: seq -> (topic, record id, hex) of the author's records that are in force."""
    faults: list[str] = []
    entries: list[Entry] = []
    head = START
    for number, segment in enumerate(sorted(segments, key=lambda s: s.number)):
        if segment.number != number or len(entries) != segment.number * SEGMENT:
            faults.append(f"entries between {len(entries)} and {segment.number * SEGMENT + 1} are missing")
            head = segment.prev
        if segment.prev != head:
            faults.append(f"entry {segment.entries[0].seq} does not follow the one before it")
        entries += segment.entries
        head = segment.head
    named = {entry.seq: (entry.topic, entry.id) for entry in entries}
    for seq, record in sorted(in_force.items()):
        if named.get(seq) != record:
            faults.append(f"the record at {record[0]} is not entry {seq} of the log")
    return ChainReport(device, tuple(entries), tuple(faults))
