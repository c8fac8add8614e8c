"""One encoder and the people whom it compares. A gallery has one, and another one while people have old templates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.compare import References, decide
from edge_oneshot.matching.threshold import Rule, Target, Threshold
from edge_oneshot.recognition.enrollment import Enrollment
from edge_oneshot.types import Candidate, Comparison, Embedding

if TYPE_CHECKING:
    from edge_oneshot.model.card import EncoderCard
    from edge_oneshot.model.encoder import TwinEncoder

UNLIKE_FMR = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Matcher:
    """references: the templates of this encoder. rule, threshold: for its scores. others: identities of other encoders.

    unlike_below: the score that 1 in 100 pairs of people reach; None without a cohort.
    """

    encoder: TwinEncoder
    references: References
    rule: Rule
    threshold: Threshold
    others: int
    unlike_below: float | None

    def compare(self, probe: Embedding) -> Comparison:
        decision = decide(probe, self.references, self.threshold, self.encoder.card)
        return Comparison(embedding=probe, decision=decision)

    def alike(self, a: Embedding, b: Embedding) -> bool:
        """Whether two embeddings of this encoder would match at the threshold."""
        return self.references.between(a, b) >= self.threshold.value

    def unlike(self, a: Embedding, b: Embedding) -> bool:
        """Whether two embeddings of this encoder show different people; False without a cohort."""
        return self.unlike_below is not None and self.references.between(a, b) < self.unlike_below


def build_matchers(encoders: Sequence[TwinEncoder], parts: Sequence[References], rule: Rule) -> tuple[Matcher, ...]:
    """One for each encoder, in their order. rule: of the first one; the others keep the same accepted error."""
    people = [len(part.identity_ids) for part in parts]
    made = []
    for encoder, part, own in zip(encoders, parts, people, strict=True):
        mine, others = rule if encoder is encoders[0] else rule_for(encoder.card, rule), sum(people) - own
        threshold = mine(part.template_counts, others)
        unlike = None if mine.cohort is None else rates.score_at_fmr(mine.cohort, UNLIKE_FMR)[0]
        made.append(
            Matcher(
                encoder=encoder, references=part, rule=mine, threshold=threshold, others=others, unlike_below=unlike
            )
        )
    return tuple(made)


def rule_for(card: EncoderCard, current: Rule) -> Rule:
    """The rule of the encoder of old templates: the accepted error of the current rule, by the measurements of `card`.

    A threshold that was set by hand is a score of the current encoder. It becomes the score of the same false match rate
    per comparison, where both cards have a cohort; else the same score is used. Raises ValueError if the card gives no
    threshold.
    """
    target = current.target
    if target.score is not None and current.cohort is not None and card.cohort is not None:
        fmr = rates.fmr_at(current.cohort, target.score)
        target = Target(score=rates.score_at_fmr(card.cohort, fmr)[0])
    return Rule(target=target, thresholds=card.thresholds, cohort=card.cohort, strangers=current.strangers)


def look_alike(enrollment: Enrollment, matchers: Sequence[Matcher]) -> tuple[Candidate, Matcher] | None:
    """The other person who is most like a new one, by any encoder, and the matcher that gave the score.

    matchers: the current encoder's first. The highest margin over the threshold decides. enrollment.look_alike is that of
    the current encoder alone.
    """
    own = enrollment.identity.identity_id
    found = [] if enrollment.look_alike is None else [(enrollment.look_alike, matchers[0])]
    for matcher in matchers[1:]:
        for probe in enrollment.older:
            if probe.encoder_id == matcher.references.encoder_id:
                others = (c for c in matcher.references.rank(probe) if c.identity_id != own)
                found += [(c, matcher) for c in others]
    return max(found, key=lambda f: f[0].score - f[1].threshold.value, default=None)
