"""What was last equal in the gallery and in the fleet, and how often the two were brought together.

The number of the last time stands in both files. If the gallery's is lower, an older copy of the gallery was put back: the
people in it are those of then, not changes of this device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edge_oneshot.fleet.store import Store

GONE = "-"  # before the last digest of a person who was removed
NUMBER = "gallery number"


class Applied:
    """The table `applied` as it was read. A value is a digest, and the lineage of the enrollment that had it."""

    def __init__(self, store: Store) -> None:
        self._store, self._rows = store, store.applied()
        values = {subject: value.partition(" ") for subject, value in self._rows.items()}
        self.both: Mapping[str, str] = {
            s: digest for s, (digest, _, _) in values.items() if not digest.startswith(GONE)
        }
        self.gone: Mapping[str, str] = {
            s: digest[1:] for s, (digest, _, _) in values.items() if digest.startswith(GONE)
        }
        self._lineages = {s: lineage for s, (_, _, lineage) in values.items() if lineage}
        number = store.secret(NUMBER)
        self.number = int(number) if number is not None else 0

    def replaced(self, lineages: Mapping[str, str]) -> set[str]:
        """Those of these subjects (subject -> lineage in force) whose enrollment is another one now."""
        return {s for s, lineage in lineages.items() if self._lineages.get(s, lineage) != lineage}

    def differing(self, now: Iterable[tuple[str, str | None, str]]) -> list[tuple[str, str]]:
        """The rows to write for these (subject, digest or None, lineage): of a person who is not there, the last digest stays."""
        found = []
        for subject, digest, lineage in now:
            if digest is not None:
                value = f"{digest} {lineage}"
            elif (last := self.both.get(subject)) is not None:
                value = f"{GONE}{last}"
            else:
                continue
            if self._rows.get(subject) != value:
                found.append((subject, value))
        return found

    def put(self, rows: Iterable[tuple[str, str]]) -> None:
        """Part of a batch."""
        self._store.put_applied(rows)

    def put_number(self, number: int) -> None:
        """Part of a batch."""
        self._store.put_secret(NUMBER, str(number).encode())


def applied_subjects(store: Store) -> set[str]:
    """The subjects of the people of the fleet who are in the gallery."""
    return set(Applied(store).both)
