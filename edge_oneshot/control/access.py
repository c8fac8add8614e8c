"""The request that sets the access rules of a person, and its response."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.control.codec import Json, arg, out
from edge_oneshot.control.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessSet:
    identity: str
    name: str
    access: dict[str, Json] | None = out("the rules in force from now on; null: none")
    denied: str | None = out("why the person is not allowed here now, else null")


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAccess(Request[AccessSet]):
    """Replace the access rules of a person: where and when the person is reported as a match. In force at once."""

    verb = "set-access"
    response = AccessSet
    name: str = arg("name or identity")
    access: dict[str, Json] = arg("`from`, `until`, `doors`, `times` (docs/how-to/access-rules.md); empty: no rules")
