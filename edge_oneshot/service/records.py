"""What the daemon keeps of visits: the journal, the labels, and the pictures if they are on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from edge_oneshot.config import Config
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.labels import Labels
from edge_oneshot.service.album import Album, open_album
from edge_oneshot.types import Event, Frame, Observation, Withheld


class Records:
    """Belongs to the loop's thread. A part that is None is not kept."""

    def __init__(
        self, config: Config, journal: Journal | None = None, labels: Labels | None = None, album: Album | None = None
    ) -> None:
        self.config, self.journal, self.labels, self.album = config, journal, labels, album

    def observe(self, tracks: Sequence[tuple[int, Observation, Withheld | None]], frame: Frame) -> None:
        """Add one frame, as Tracker.seen_at gives it."""
        if self.journal is not None:
            self.journal.observe(tracks, frame.captured_at)
        if self.album is not None:
            self.album.observe(tracks, frame)

    def add_event(self, event: Event) -> None:
        """Add an event that was published, to the track that caused it."""
        for part in (self.journal, self.album):
            if part is not None:
                part.add_event(event)

    def close_tracks(self, in_sight: Iterable[int]) -> None:
        """Write the tracks that have left."""
        stay = set(in_sight)
        for part in (self.journal, self.album):
            if part is not None:
                part.close_tracks(stay)

    def forget(self, identity_id: str) -> None:
        """Remove a person, who was removed from the gallery."""
        for part in (self.journal, self.labels, self.album):
            if part is not None:
                part.forget(identity_id)

    def keep_only(self, identity_ids: Iterable[str]) -> None:
        """Forget all other people: those who were removed from the gallery while the daemon did not run."""
        kept = list(identity_ids)
        for part in (self.journal, self.labels, self.album):
            if part is not None:
                part.keep_only(kept)

    def reconfigure(self, config: Config) -> None:
        """Take the sections decision and visits. The key of pictures must have been checked."""
        self.config = config
        if self.journal is not None:
            self.journal.reconfigure(config.decision)
        if self.album is None:
            self.album = open_album(config) if config.visits.pictures else None
        elif config.visits.pictures:
            self.album.reconfigure(config.visits)
        else:
            self.album.close(erase=True)
            self.album = None

    @property
    def ignored(self) -> frozenset[str]:
        """The identities whose events are not published."""
        return frozenset() if self.labels is None else self.labels.ignored

    @property
    def set_aside(self) -> dict[str, int]:
        """File -> rows that could not be read."""
        parts = {"explain": self.journal, "labels": self.labels}
        return {name: part.set_aside for name, part in parts.items() if part is not None}

    def close(self) -> None:
        if self.album is not None:
            self.album.close()
