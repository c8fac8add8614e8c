"""One run of `edge-oneshot evaluate conditions`: render, keep, measure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from edge_oneshot import __version__
from edge_oneshot.evaluation.conditions import kept, trials
from edge_oneshot.evaluation.conditions.catalogue import Condition
from edge_oneshot.evaluation.conditions.rates import measure
from edge_oneshot.evaluation.conditions.results import ConditionsResult, TestedThreshold
from edge_oneshot.evaluation.conditions.trials import REFERENCE, Look
from edge_oneshot.evaluation.dataset import LabelledImage
from edge_oneshot.evaluation.labels import Labels
from edge_oneshot.evaluation.under_test import UnderTest
from edge_oneshot.matching.threshold import Target, Threshold
from edge_oneshot.model.bundle import find_bundle, read_bundle
from edge_oneshot.recognition.compose import build_pipeline
from edge_oneshot.recognition.reach import settings_of

SAVE_EVERY = 25  # people


class Session:
    """tasks: one for each person.

    frames_file: what an earlier run measured, and where to keep the rest; None: nowhere. Raises EdgeOneshotError for a
    file of another run, and ModelError.
    """

    def __init__(
        self,
        under_test: UnderTest,
        images: Sequence[LabelledImage],
        conditions: Sequence[Condition],
        *,
        people: int | None = None,
        seed: int = 0,
        frames_file: Path | None = None,
    ) -> None:
        self._under_test, self._conditions, self._file = under_test, conditions, frames_file
        self.tasks = trials.draw(images, people, seed)
        settings = settings_of(under_test.config)
        self._key: dict[str, object] = {
            "version": __version__,
            "encoder": read_bundle(find_bundle(under_test.config.model.encoder, "encoder")).encoder_id,
            **{name: value for name, value in settings.items() if name != "decision"},
            "conditions": [c.name for c in conditions],
            "people": people,
            "seed": seed,
            "images": len(images),
        }
        self._done, self._looks = (
            (set[str](), list[Look]()) if frames_file is None else kept.load(frames_file, self._key)
        )

    def run(self, workers: int, on_done: Callable[[int], None]) -> None:
        """Render and look at what is missing. An interrupt keeps what is complete. on_done: called with the people done."""
        config = replace(self._under_test.config, model=replace(self._under_test.config.model, threads=1))
        left = [t for t in self.tasks if t.person not in self._done]
        on_done(len(self.tasks) - len(left))
        try:
            found = trials.run(left, self._conditions, lambda: build_pipeline(config), workers, on_done)
            for number, (task, looks) in enumerate(zip(left, found, strict=True), 1):
                self._looks += looks
                self._done.add(task.person)
                if number % SAVE_EVERY == 0:
                    self._keep()
        finally:
            self._keep()

    def measure(self, threshold: float | None, field_of_view_deg: float, labels: Labels | None) -> ConditionsResult:
        """At the threshold in force, and at `threshold`, if it is not None."""
        tested = [_tested("in force", self._under_test.threshold)]
        if threshold is not None:
            rule = replace(self._under_test.rule, target=Target(score=threshold))
            tested.append(_tested("set by hand", rule([1])))
        left_out = len(self.tasks) - sum(k.condition == REFERENCE for k in self._looks)
        return measure(
            self._looks, self._conditions, self._under_test, tested, field_of_view_deg, left_out=left_out, labels=labels
        )

    def _keep(self) -> None:
        if self._file is not None:
            kept.save(self._file, self._key, sorted(self._done), self._looks)


def _tested(name: str, threshold: Threshold) -> TestedThreshold:
    rate = threshold.rate
    return TestedThreshold(
        name=name,
        threshold=round(threshold.value, 5),
        fmr_everybody=rate.everybody_fmr,
        fmr_matched=rate.fmr if rate.against == "matched" else None,
    )
