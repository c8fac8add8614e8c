"""The section `access`: what this device is to the access rules of people."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge_oneshot.config.key import key as _key


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessConfig:
    doors: str = _key(
        "",
        "names by which access rules may name this device, besides its slug: the door and groups of doors, [a-z0-9_-]+, separated "
        "by commas",
        example="gate, north",
    )
    unsynchronised: str = _key(
        "deny",
        "people whose access rules depend on the time, while the clock was not synchronised since the start of the daemon; deny: "
        "refuse them; allow: ignore dates and times; trust: apply the rules by the clock as it is, for a device with a "
        "battery-backed clock and no network",
        choices=("deny", "allow", "trust"),
    )

    @property
    def names(self) -> tuple[str, ...]:
        """Those of `doors`."""
        return tuple(re.split(r"[,\s]+", self.doors.strip(", \t"))) if self.doors.strip(", \t") else ()
