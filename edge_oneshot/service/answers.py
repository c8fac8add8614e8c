"""Responses that are made of the recognizer's results."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from edge_oneshot.config import Config
from edge_oneshot.control import responses as rs
from edge_oneshot.control.parts import DeniedPerson, LookAlike, Nearest, StatedRate, TemplateDetails
from edge_oneshot.gallery.people import People
from edge_oneshot.gallery.store import Enrolled as Person
from edge_oneshot.matching.forecast import nearest
from edge_oneshot.recognition.enrollment import Enrollment
from edge_oneshot.recognition.matcher import look_alike
from edge_oneshot.recognition.recognition import Recognition
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.forecast import forecast
from edge_oneshot.types import Rate, Refusal


def enrolled_response(
    enrollment: Enrollment, recognizer: Recognizer, config: Config | None = None, width_px: int | None = None
) -> rs.Enrolled:
    """The response to a stored enrollment, with the most similar other person and the threshold now in force.

    config: for the forecast; None: without one. width_px: of the camera's frames, as for `forecast`.
    """
    threshold, self_score = recognizer.threshold.value, enrollment.self_score
    alike = near = matcher = None
    if (found := look_alike(enrollment, recognizer.matchers)) is not None:
        like, matcher = found
        near = nearest(matcher.rule.against(matcher.threshold.rate), like, matcher.threshold.value)
        if like.score >= matcher.threshold.value:
            alike = LookAlike(identity=like.identity_id, score=near["score"], threshold=near["threshold"])
    name, stated_near = enrollment.identity.name, None if near is None else Nearest(**near)
    current = matcher is None or matcher is recognizer.matchers[0]
    expected = None if config is None else forecast(config, recognizer, name, stated_near, current, width_px)
    return rs.Enrolled(
        identity=enrollment.identity.identity_id,
        name=name,
        encoder_id=enrollment.template.encoder_id,
        quality=enrollment.template.quality.measures(),
        look_alike=alike,
        frames=enrollment.frames,
        self_score=None if self_score is None else round(self_score, 4),
        weak=self_score is not None and self_score < threshold,
        nearest=stated_near,
        no_rate=enrollment.template.no_rate,
        own_score=None if enrollment.own_score is None else round(enrollment.own_score, 4),
        unlike=enrollment.own_score is not None and enrollment.own_score < threshold,
        forecast=expected,
    )


def template_details(people: People, person: Person) -> list[TemplateDetails]:
    """The templates of one person."""
    return [
        TemplateDetails(
            template_id=t.template_id,
            created_at=t.created_at.isoformat(),
            encoder_id=t.encoder_id,
            comparable=people.comparable(t),
            quality=t.quality.measures(),
        )
        for t in person.templates
    ]


def denied_person(refusal: Refusal) -> DeniedPerson:
    return DeniedPerson(identity=refusal.identity_id, name=refusal.name, reason=refusal.reason.value)


def stated(rate: Rate) -> StatedRate:
    return StatedRate(**asdict(rate))


def comparison(found: Recognition) -> dict[str, Any]:
    """The fields of `Compared`: scores, and never the name of a person who did not match."""
    decision = found.decision

    def rounded(value: float | None, digits: int = 4) -> float | None:
        return None if value is None else round(value, digits)

    return {
        "identity": found.identity,
        "name": found.name,
        "decision": decision.kind.value if found.denied is None else "denied",
        "denied": None if found.denied is None else denied_person(found.denied),
        "score": rounded(decision.score),
        "threshold": round(decision.threshold, 4),
        "target_fmr": decision.target_fmr,
        "margin": rounded(decision.margin),
        "same_probability": rounded(decision.same_probability, 6),
        "runner_up_score": rounded(None if decision.runner_up is None else decision.runner_up.score),
        "quality": found.sample.quality.measures(),
        "pad": found.sample.pad.decision.value,
        "encoder_id": decision.encoder_id,
        "no_rate": found.no_rate,
        "rate": None if found.no_rate or decision.rate is None else stated(decision.rate),
    }
