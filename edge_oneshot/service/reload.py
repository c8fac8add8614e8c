"""The request `reload`: take from the configuration what can change without a restart.

Everything is read and checked before anything changes: a configuration with a fault is refused, and nothing changes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from edge_oneshot.config import SECTIONS, Config, contradictions, section_keys
from edge_oneshot.control.parts import Change
from edge_oneshot.control.protocol import Answer, Failed, PendingRequest, Progress
from edge_oneshot.control.requests import Reload
from edge_oneshot.control.responses import GalleryCounts, Reloaded
from edge_oneshot.errors import ConfigError
from edge_oneshot.matching.threshold import Rule

log = logging.getLogger(__name__)

LIVE_SECTIONS = ("quality", "enrollment", "decision", "access", "visits")
LIVE_KEYS = ("model.cohort",)  # its file is read again as well, since `edge-oneshot calibrate` rewrites it


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a reload will do. config: in force from then on. changed: key -> before and now. restart_needed: keys."""

    config: Config
    rule: Rule
    changed: dict[str, Change]
    restart_needed: tuple[str, ...]

    def report(self, threshold: float, gallery: GalleryCounts) -> Reloaded:
        """The response, also logged. It holds values of live keys only; others may be a password."""
        changes = ", ".join(f"{key} = {c.now} (was {c.before})" for key, c in self.changed.items()) or "no key changed"
        needs = f"; a restart is needed for {', '.join(self.restart_needed)}" if self.restart_needed else ""
        log.info("reloaded: %d people, threshold %.3f, %s%s", gallery.identities, threshold, changes, needs)
        return Reloaded(
            changed=self.changed,
            restart_needed=list(self.restart_needed),
            threshold=round(threshold, 4),
            gallery=gallery,
        )


def plan(running: Config, wanted: Config, rule_of: Callable[[Config], Rule]) -> Plan:
    """Raises ConfigError if a live key contradicts one that needs a restart, ModelError if no threshold follows from it."""
    different = {
        f"{section}.{key.name}": Change(before=before, now=now)
        for section in SECTIONS
        for key in section_keys(section)
        if (before := getattr(getattr(running, section), key.name))
        != (now := getattr(getattr(wanted, section), key.name))
    }
    live = {k for k in different if k in LIVE_KEYS or k.split(".")[0] in LIVE_SECTIONS}
    config = replace(
        running,
        quality=wanted.quality,
        enrollment=wanted.enrollment,
        decision=wanted.decision,
        access=wanted.access,
        visits=wanted.visits,
        model=replace(running.model, cohort=wanted.model.cohort),
    )
    if faults := contradictions(config):
        raise ConfigError(
            f"{running.path or 'the configuration'} has {len(faults)} fault{'s' * (len(faults) != 1)} until a restart",
            f"restart the daemon: these keys need it: {', '.join(k for k in different if k not in live)}",
            tuple(faults),
        )
    return Plan(
        config=config,
        rule=rule_of(config),
        changed={k: v for k, v in different.items() if k in live},
        restart_needed=tuple(k for k in different if k not in live),
    )


class HangUp:
    """SIGHUP as a source of requests: it asks for a reload, and the log gets the answer."""

    def __init__(self) -> None:
        self._asked = False
        self._running: PendingRequest | None = None

    def ask(self, *_: object) -> None:
        """A signal handler. It may interrupt any code, so it only sets a flag."""
        self._asked = True

    def next_request(self) -> PendingRequest | None:
        if self._running is not None and not self._running.answers.empty():
            self._log(self._running.answers.get())
            self._running = None
        if not self._asked or self._running is not None:
            return None
        self._asked, self._running = False, PendingRequest(Reload())
        return self._running

    @staticmethod
    def _log(answer: Answer) -> None:
        if isinstance(answer, Failed):
            e = answer.error
            lines = [e.message, *map(str, getattr(e, "faults", ())), *([e.hint] if e.hint else [])]
            log.error("reload refused; nothing has changed: %s", "\n  ".join(lines))
        else:
            assert not isinstance(answer, Progress)
