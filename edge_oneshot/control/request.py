"""What every request is."""

from __future__ import annotations

from typing import Any, ClassVar, Generic, TypeVar

R = TypeVar("R")


class Request(Generic[R]):
    """A request. verb: its name. response: the dataclass of its answer. waits_s: longest time that it waits for frames."""

    __slots__ = ()
    verb: ClassVar[str]
    response: ClassVar[type[Any]]

    @property
    def waits_s(self) -> float:
        return 0.0
