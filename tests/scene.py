"""A scene in front of one camera, for tests of the tracker."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from samples import score, seen

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.types import Embedding, Observation

STEP_NS = 100_000_000
CONFIG = DecisionConfig(confirm_frames=3, window_frames=5, unknown_frames=8, gone_after_s=1.0)


def same_direction(a: Embedding, b: Embedding) -> bool:
    return float(a.vector @ b.vector) > 0.5


class Scene:
    """A tracker that gets frames 100 ms apart, and its results."""

    def __init__(
        self, config: DecisionConfig = CONFIG, unlike: Callable[[Embedding, Embedding], bool] = lambda a, b: False
    ) -> None:
        self.tracker = Tracker(config, same_direction, self.score, unlike=unlike)
        self.now_ns = 0
        self.results: list[TrackResult] = []
        self.removed: set[str] = set()

    def score(self, identity_id: str, probe: Embedding) -> float | None:
        return None if identity_id in self.removed else score(identity_id, probe)

    def forget(self, identity_id: str) -> None:
        self.removed.add(identity_id)
        self.tracker.forget(identity_id)

    def frames(self, *frames: Sequence[Observation]) -> list[tuple[ResultKind, str | None]]:
        """One argument for each frame. Returns (kind, identity_id) of the results of these frames."""
        new: list[TrackResult] = []
        for observations in frames:
            self.now_ns += STEP_NS
            new += self.tracker.update(observations, self.now_ns)
        self.results += new
        return [(f.kind, f.identity_id) for f in new]

    def show(self, who: str | None, count: int, x: float = 100.0) -> list[tuple[ResultKind, str | None]]:
        return self.frames(*([seen(who, x)] for _ in range(count)))

    def nobody(self, count: int = 12) -> list[tuple[ResultKind, str | None]]:
        return self.frames(*([] for _ in range(count)))
