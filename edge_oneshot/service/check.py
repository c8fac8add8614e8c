"""The response of `gallery check`: look-alike pairs and error rates of the gallery, for each encoder in use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict

from edge_oneshot.control import responses as rs
from edge_oneshot.control.parts import AlikePair, DoorState, GrowthState, OldEncoder
from edge_oneshot.matching.forecast import growth, missed, too_alike
from edge_oneshot.recognition.matcher import Matcher
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import site
from edge_oneshot.service.answers import stated
from edge_oneshot.service.migrate import candidates, shipped_until
from edge_oneshot.types import DoorReport


def checked(
    recognizer: Recognizer, identities: int, needs_enrollment: list[str], door: DoorReport | None
) -> rs.Checked:
    """identities: number of enrolled people. needs_enrollment: those whose templates cannot be compared. door: its own rates.

    People with templates of different encoders are not compared with each other.
    """
    current, *older = recognizer.matchers
    threshold = current.threshold.value
    pairs = [AlikePair(**pair) for pair in too_alike(current.rule, current.references, threshold)]
    can_migrate = candidates(recognizer)[0] if older else {}
    # No score of the current encoder, which `decision.threshold` takes, separates people whom another encoder compares.
    old_pairs = [pair for m in older for pair in m.references.alike(m.threshold.value)]
    return rs.Checked(
        identities=identities,
        templates=recognizer.people.templates,
        threshold=round(threshold, 4),
        needs_enrollment=needs_enrollment,
        look_alikes=[*pairs, *(AlikePair(identities=(a, b), score=round(s, 4)) for a, b, s in old_pairs)],
        growth=_growth(current),
        no_rate=tuple(sorted(recognizer.people.no_rate)),
        fnmr=missed(current.rule, threshold),
        rate=stated(current.threshold.rate),
        old_encoders=[_old(m, can_migrate) for m in older],
        door=None if door is None else DoorState(**asdict(door)),
        adaptation=site.state(recognizer),
    )


def _old(matcher: Matcher, can_migrate: Collection[str]) -> OldEncoder:
    states = _growth(matcher)
    return OldEncoder(
        encoder=matcher.encoder.card.name,
        encoder_id=matcher.encoder.encoder_id,
        identities=matcher.references.identity_ids,
        threshold=round(matcher.threshold.value, 4),
        growth=states[0] if states else None,
        rate=stated(matcher.threshold.rate),
        until=shipped_until(matcher.encoder.path),
        can_migrate=tuple(i for i in matcher.references.identity_ids if i in can_migrate),
    )


def _growth(matcher: Matcher) -> list[GrowthState] | None:
    states = growth(matcher.rule, matcher.references.template_counts, matcher.others)
    return None if states is None else [GrowthState(**state) for state in states]
