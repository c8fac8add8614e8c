"""The request `reload`: what the configuration says now, as far as it can change without a restart.

Everything is read and checked before anything changes: a faulty file is refused, and the daemon goes on as it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from edge_oneshot.config import SECTIONS, Config, contradictions, section_keys
from edge_oneshot.control.protocol import Request
from edge_oneshot.errors import ConfigError
from edge_oneshot.matching.threshold import Rule

log = logging.getLogger(__name__)

LIVE_SECTIONS = ("quality", "decision")
LIVE_KEYS = ("model.cohort",)  # its file is read again, too: `edge-oneshot calibrate` writes it anew


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a reload will do. config: what is true from then on. changed: key -> (before, now). restart_needed: keys."""

    config: Config
    rule: Rule
    changed: dict[str, tuple[Any, Any]]
    restart_needed: tuple[str, ...]

    def answer(self, threshold: float, identities: int, templates: int) -> dict[str, Any]:
        """It was done: for the log, and for whoever asked. Values are of live keys only; others may hold a password."""
        changes = (
            ", ".join(f"{key} = {now} (was {before})" for key, (before, now) in self.changed.items())
            or "no key changed"
        )
        needs = f"; a restart is needed for {', '.join(self.restart_needed)}" if self.restart_needed else ""
        log.info("reloaded: %d people, threshold %.3f, %s%s", identities, threshold, changes, needs)
        return {
            "changed": {key: {"before": before, "now": now} for key, (before, now) in self.changed.items()},
            "restart_needed": list(self.restart_needed),
            "threshold": round(threshold, 4),
            "gallery": {"identities": identities, "templates": templates},
        }


def plan(running: Config, wanted: Config, rule_of: Callable[[Config], Rule]) -> Plan:
    """Raises ConfigError where what can change now contradicts what cannot, ModelError if no threshold follows from it."""
    different = {
        f"{section}.{key.name}": (before, now)
        for section in SECTIONS
        for key in section_keys(section)
        if (before := getattr(getattr(running, section), key.name))
        != (now := getattr(getattr(wanted, section), key.name))
    }
    live = {k for k in different if k in LIVE_KEYS or k.split(".")[0] in LIVE_SECTIONS}
    config = replace(
        running,
        quality=wanted.quality,
        decision=wanted.decision,
        model=replace(running.model, cohort=wanted.model.cohort),
    )
    if faults := contradictions(config):
        raise ConfigError(
            f"{running.path or 'the configuration'} has {len(faults)} fault{'s' * (len(faults) != 1)} until a restart",
            f"restart the daemon: these need it: {', '.join(k for k in different if k not in live)}",
            tuple(faults),
        )
    return Plan(
        config=config,
        rule=rule_of(config),
        changed={k: v for k, v in different.items() if k in live},
        restart_needed=tuple(k for k in different if k not in live),
    )


class HangUp:
    """The third door: SIGHUP asks for a reload, and the log gets the answer."""

    def __init__(self) -> None:
        self._asked = False
        self._running: Request | None = None

    def ask(self, *_: object) -> None:
        """A signal handler: it may interrupt anything, so it only remembers."""
        self._asked = True

    def next_request(self) -> Request | None:
        if self._running is not None and not self._running.answers.empty():
            self._log(self._running.answers.get())
            self._running = None
        if not self._asked or self._running is not None:
            return None
        self._asked, self._running = False, Request(verb="reload", arguments={})
        return self._running

    @staticmethod
    def _log(answer: dict[str, Any]) -> None:
        if answer["status"] == "error":
            told = "\n  ".join([answer["error"], *answer["faults"], *([answer["hint"]] if answer["hint"] else [])])
            log.error("reload refused, and nothing has changed: %s", told)
