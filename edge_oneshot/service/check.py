"""The response of `gallery check`: look-alike pairs and error rates of the gallery, for each encoder in use."""

from __future__ import annotations

from edge_oneshot.control import responses as rs
from edge_oneshot.matching.forecast import growth
from edge_oneshot.recognition.matcher import Matcher
from edge_oneshot.recognition.recognizer import Recognizer


def checked(recognizer: Recognizer, identities: int, needs_enrollment: list[str]) -> rs.Checked:
    """identities: number of enrolled people. needs_enrollment: those whose templates cannot be compared.

    People with templates of different encoders are not compared with each other.
    """
    current, *older = recognizer.matchers
    pairs = [pair for m in recognizer.matchers for pair in m.references.alike(m.threshold.value)]
    return rs.Checked(
        identities=identities,
        templates=recognizer.people.templates,
        threshold=round(current.threshold.value, 4),
        needs_enrollment=needs_enrollment,
        look_alikes=[rs.AlikePair(identities=(a, b), score=round(s, 4)) for a, b, s in pairs],
        growth=_growth(current),
        old_encoders=[_old(m) for m in older],
    )


def _old(matcher: Matcher) -> rs.OldEncoder:
    states = _growth(matcher)
    return rs.OldEncoder(
        encoder=matcher.encoder.card.name,
        encoder_id=matcher.encoder.encoder_id,
        identities=matcher.references.identity_ids,
        threshold=round(matcher.threshold.value, 4),
        growth=states[0] if states else None,
    )


def _growth(matcher: Matcher) -> list[rs.GrowthState] | None:
    states = growth(matcher.rule, matcher.references.template_counts, matcher.others)
    return None if states is None else [rs.GrowthState(**state) for state in states]
