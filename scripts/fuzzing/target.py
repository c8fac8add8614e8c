"""What a parser under test looks like, and what it may answer."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import ClassVar

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.shown import plain
from fuzzing.mutate import mutate_bytes

READ, REFUSED, REPORTED = "read", "refused", "reported"  # REPORTED: read, and what is damaged was counted
LONGEST_MESSAGE = 20_000


class Silent(Exception):
    """Changed content was accepted, and nothing was reported."""


class Unclean(Exception):
    """A message that a terminal or a log must not get."""


class Target(ABC):
    """A parser: it makes inputs from its seeds, and reads one. Created once in each worker process.

    share: of the inputs, in relation to the others. limit_s: processor time for one input. folder: its own, empty.
    """

    name: ClassVar[str]
    share: ClassVar[float] = 1.0
    limit_s: ClassVar[float] = 5.0

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seeds: Sequence[bytes] = self.make_seeds()

    @abstractmethod
    def make_seeds(self) -> Sequence[bytes]:
        """The sound inputs: the same in each process."""

    @abstractmethod
    def read(self, seed: int, data: bytes) -> str:
        """READ, REFUSED or REPORTED. Raises what the parser raises, Silent, Unclean. seed: which seed `data` was made of."""

    def make(self, rng: Random) -> tuple[int, bytes]:
        """(number of the seed, input)."""
        seed = rng.randrange(len(self.seeds))
        try:
            return seed, self.mutate(seed, rng)
        except (UnicodeError, RecursionError):  # no text of this encoding, or of any depth
            return seed, mutate_bytes(self.seeds[seed], rng, self.seeds)

    def mutate(self, seed: int, rng: Random) -> bytes:
        return mutate_bytes(self.seeds[seed], rng, self.seeds)

    def close(self) -> None:  # noqa: B027 - most targets start nothing
        """End what the target has started."""

    def file(self, data: bytes, name: str) -> Path:
        """A file with `data`, replaced by each input."""
        path = self.folder / name
        path.write_bytes(data)
        return path


class LoggedErrors(logging.Handler):
    """Collects tracebacks that were logged instead of raised."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.tracebacks: list[BaseException] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.tracebacks.append(record.exc_info[1])


def check_message(error: EdgeOneshotError) -> None:
    """Raises Unclean for a message with control characters, or an endless one."""
    text = str(error)
    if len(text) > LONGEST_MESSAGE:
        raise Unclean(f"{len(text)} characters: {text[:100]!r}…") from error
    for line in text.split("\n"):
        if plain(line) != line:
            raise Unclean(f"control characters in {line[:200]!r}") from error
