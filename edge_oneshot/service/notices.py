"""What the log says of the model, the templates and the threshold in use."""

from __future__ import annotations

import logging

from edge_oneshot.config import Config
from edge_oneshot.matching.threshold import NO_GROUPS
from edge_oneshot.recognition.recognizer import Recognizer

log = logging.getLogger(__name__)


def of_model(recognizer: Recognizer, config: Config) -> None:
    """Warnings at the start."""
    card, people = recognizer.pipeline.encoder.card, recognizer.people
    if not card.certified:
        log.warning("the model %s is not certified: what quantization cost it was not measured", card.name)
    of_threshold(recognizer, config)
    if people.old:
        log.warning(
            "%d people have an old template and are compared by an encoder of their own, which costs time in each frame: "
            "enroll them again (`edge-oneshot gallery check`)",
            len(people.old),
        )
    if people.references.foreign:
        log.warning(
            "%d templates are of an unknown encoder and are not compared: enroll those people again (`edge-oneshot gallery check`)",
            people.references.foreign,
        )


def of_threshold(recognizer: Recognizer, config: Config) -> None:
    """Warnings at the start and after a reload."""
    threshold = recognizer.threshold
    if threshold.extrapolated and recognizer.rule.counted_to(threshold) is None:
        stated = config.decision.stated
        log.warning("decision.%s is outside the range that the model's card measured: threshold extrapolated", stated)
    if recognizer.rule.falls_back:
        log.warning("%s", NO_GROUPS)
    if threshold.approximated:
        name = recognizer.pipeline.encoder.card.name
        log.warning("the model %s has no cohort: the threshold assumes independent comparisons", name)
