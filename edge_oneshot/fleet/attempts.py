"""Steps that may fail for one message, row or person: the failure is logged, everything else goes on.

A StorageError is not one of these: the file or the disk fails, and the process ends with its exit code.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from edge_oneshot.errors import StorageError
from edge_oneshot.fleet.core import Core

log = logging.getLogger(__name__)

AGAIN_S = 10.0  # a step that has failed
P = ParamSpec("P")
T = TypeVar("T")


class Attempts:
    """Steps by name. One that has failed is tried again after AGAIN_S; an error is logged once until it changes."""

    def __init__(self) -> None:
        self._not_before: dict[str, float] = {}
        self._said: dict[str, str] = {}

    def run(self, name: str, now: float, step: Callable[P, object], *args: P.args, **named: P.kwargs) -> None:
        """Do the step, unless it has failed a short time ago. now: of time.monotonic(). Raises StorageError only."""
        if now < self._not_before.get(name, now):
            return
        try:
            step(*args, **named)
        except StorageError:
            raise
        except Exception as e:
            self._not_before[name] = now + AGAIN_S
            self.failed(name, e)
        else:
            self._not_before.pop(name, None)
            self._said.pop(name, None)

    def failed(self, name: str, error: Exception) -> None:
        """Log this error, unless it is the last one of this name."""
        said = f"{type(error).__name__}: {error}"
        if self._said.get(name) != said:
            self._said[name] = said
            log.error("fleet: %s failed and is skipped for now: %s", name, said)
            log.debug("fleet: %s", name, exc_info=error)


def each(
    fleet: Core, items: Iterable[T], step: Callable[[T], object], failed: Callable[[T, Exception], object]
) -> None:
    """Do `step` for all items in one transaction of the fleet's file. If one fails, each has a transaction of its own.

    failed: is called for each that fails. Raises StorageError only.
    """
    listed = list(items)
    if not listed:
        return
    try:
        with fleet.batch():
            for item in listed:
                step(item)
        return
    except StorageError:
        raise
    except Exception as e:
        if len(listed) == 1:
            failed(listed[0], e)
            return
    for item in listed:
        each(fleet, [item], step, failed)
