"""Adaptation to this site's strangers in the daemon: learning from visits, reset, reload, and what is reported of it.

Each change of what is subtracted changes all scores. So the measurement of the door begins again (service/door.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from edge_oneshot.config import Config
from edge_oneshot.control.parts import AdaptationState
from edge_oneshot.gallery.site import erase
from edge_oneshot.matching.adaptation import NEEDED
from edge_oneshot.matching.track import TrackResult
from edge_oneshot.recognition.compose import open_site
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.door import Door
from edge_oneshot.types import Event


def visited(recognizer: Recognizer, results: Sequence[TrackResult], now: datetime, door: Door | None) -> list[Event]:
    """Learn from the visits of unknown people that have ended, and measure the door by them; the events of a change."""
    events = learn(recognizer, results, now, door)
    return events if door is None else [*events, *door.measure(results, now)]


def learn(recognizer: Recognizer, results: Iterable[TrackResult], now: datetime, door: Door | None) -> list[Event]:
    """Learn from visits; the events of a change."""
    site, day, changed = recognizer.site, now.date().toordinal(), False
    if site is not None:
        for result in results:
            changed |= result.visit is not None and site.learn(result.visit, day)
    if site is None or not changed:
        return []
    recognizer.people.adapt(site.adaptation)
    return _measure_again(door)


def reset(recognizer: Recognizer, door: Door | None) -> tuple[int, list[Event]]:
    """Forget what was learned: the number of visits that were looked at, and the events of the change."""
    before, visits = recognizer.references.version, 0 if recognizer.site is None else recognizer.site.reset()
    recognizer.people.adapt(None)
    return visits, _measure_again(door) if before else []


def reconfigure(recognizer: Recognizer, config: Config, door: Door | None) -> list[Event]:
    """Begin or end the adaptation as `config` says, and erase what was learned at its end; the events of the change."""
    before = recognizer.references.version
    if config.decision.adapt != (recognizer.site is not None):
        recognizer.adapt_to(open_site(config, recognizer.pipeline.encoder))
    if not config.decision.adapt:
        erase(config.adaptation_path)
    return _measure_again(door) if recognizer.references.version != before else []


def state(recognizer: Recognizer) -> AdaptationState | None:
    """None unless decision.adapt."""
    site = recognizer.site
    if site is None:
        return None
    learned = site.adaptation
    return AdaptationState(
        visits=site.visits,
        counted=site.counted,
        needed=NEEDED,
        version=recognizer.references.version,
        before=None if learned is None else round(learned.before, 4),
        after=None if learned is None else round(learned.after, 4),
    )


def _measure_again(door: Door | None) -> list[Event]:
    return [] if door is None else door.reset()[1]
