"""Decisions on single frames -> track results: match, unknown, rejected and gone. Pure, no clock of its own.

A track is one person (or thing) that stays in sight. It is reported as a match when the evidence of its last frames for
one identity reaches the threshold (matching/evidence.py), and as unknown after `unknown_frames` compared frames in a row
that reach the threshold neither alone nor together. A track that ends as neither is reported as rejected if it was seen
in at least `unknown_frames` frames: no frame was usable, or the usable ones were undecided. A match or an unknown is
reported as gone when it has been out of sight for `gone_after_s`. The identity of a track never changes: a face that
stops matching it starts a new track.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from edge_oneshot.config import DecisionConfig
from edge_oneshot.matching import attention
from edge_oneshot.matching.attention import MIN_IOU, Task
from edge_oneshot.matching.evidence import Evidence, Score
from edge_oneshot.matching.track_result import ResultKind, Track, TrackResult, agrees, as_decided_now, rank, result_of
from edge_oneshot.types import DecisionKind, Embedding, Observation, Sample, Withheld

__all__ = ["ResultKind", "TrackResult", "Tracker"]

# The weight of a frame that is too poor for a template against a known person: an approaching resident is seen poorly first.
# Chosen, not measured.
POOR = 0.25


class Tracker:
    """Keeps the tracks of one camera.

    alike: whether two embeddings show the same person or thing, for whole frames, which have no box. unlike: whether two
    embeddings of good frames show different people, so that one track never runs over both. score, unit: for Evidence.
    measured: encoder_id of the visits of unknown people; None: they are not wanted. One thread may use it.
    """

    def __init__(
        self,
        config: DecisionConfig,
        alike: Callable[[Embedding, Embedding], bool],
        score: Score,
        *,
        unlike: Callable[[Embedding, Embedding], bool] = lambda a, b: False,
        unit: bool = True,
        measured: str | None = None,
    ) -> None:
        self._unlike = unlike
        self._config, self._alike, self._score, self._unit, self._measured = config, alike, score, unit, measured
        self._tracks: list[Track] = []
        self._count = 0
        self._frame_ns = 0  # of the newest frame

    @property
    def present(self) -> tuple[list[str], int]:
        """(ids of the identities in sight, sorted; number of unknown people in sight)."""
        known = sorted({t.identity_id for t in self._tracks if t.identity_id is not None})
        return known, sum(t.result is ResultKind.UNKNOWN for t in self._tracks)

    @property
    def numbers(self) -> list[int]:
        """The numbers of the tracks that are not over."""
        return [t.number for t in self._tracks]

    def seen_at(self, now_ns: int) -> list[tuple[int, Observation, Withheld | None]]:
        """(track number, observation, why it is not reported as a match) for the frame captured at now_ns."""
        return [(t.number, t.last, t.withheld) for t in self._tracks if t.last is not None and t.last_ns == now_ns]

    def known_of(self, observations: Sequence[Observation]) -> list[Observation]:
        """The observations of the newest frame, after `update` got them. A face that was not encoded has the last decision on its track."""
        checked = {id(t.last): t.checked for t in self._tracks if t.last_ns == self._frame_ns}
        return [
            replace(o, decision=before.decision)
            if o.embedding is None and not o.sample.faults and (before := checked.get(id(o))) is not None
            else o
            for o in observations
        ]

    def reconfigure(self, config: DecisionConfig) -> None:
        """Use these limits from now on. Existing tracks keep their results, so nothing is reported twice."""
        self._config = config
        for track in self._tracks:
            track.evidence.keep(config.window_frames)

    def forget(self, identity_id: str) -> None:
        """Drop the tracks of an identity that was removed from the gallery, without a result."""
        self._tracks = [t for t in self._tracks if t.identity_id != identity_id]

    def report_again(self, identity_id: str) -> None:
        """Report the tracks of this identity as a match once more, as soon as a frame shows it: what follows from it has changed."""
        for track in self._tracks:
            track.again |= track.identity_id == identity_id

    def plan(self, samples: Sequence[Sample], now_ns: int) -> list[Task]:
        """What to do with each sample of the frame captured at now_ns, before `update` gets its observations."""
        return attention.plan(self._tracks, samples, now_ns, self._frame_ns, self._config.unknown_frames)

    def looks(self, now_ns: int) -> list[Sample] | None:
        """The faces of the frame before that are to be looked at anew in the one captured at now_ns; None: search for all of them."""
        return attention.looks(self._tracks, now_ns, self._frame_ns)

    def update(self, observations: Sequence[Observation], now_ns: int) -> list[TrackResult]:
        """Process the observations of one frame, captured at now_ns (monotonic). Returns the results of this frame."""
        results, self._frame_ns = self.expire(now_ns), now_ns
        free = list(self._tracks)
        # Assign each face to at most one track, in order of certainty. First come pairs whose face matches the identity of
        # the track: people who pass each other have overlapping boxes, but different faces. Such a pair needs no overlap,
        # so a quick step causes neither `gone` nor a second match. Then pairs in falling order of overlap.
        # A face that is unlike the last one of a track is another person, as after a cut in a video.
        pairs = (
            (agrees(t, o), 0.0 if self._unlike_last(t, o) else self._overlap(t, o), i, t)
            for i, o in enumerate(observations)
            for t in free
        )
        taken: dict[int, Track] = {}
        for _, _, i, track in sorted((p for p in pairs if p[0] or p[1] >= MIN_IOU), key=lambda p: (-p[0], -p[1])):
            if i not in taken and all(track is not t for t in taken.values()):
                taken[i] = track
        for i, observation in enumerate(observations):
            track = taken.get(i) or self._begin(observation, now_ns)
            results += self._extend(track, observation, now_ns)
        # `gone` first: an identity that is gone and matched in one frame is in sight.
        return sorted(results, key=lambda f: f.kind is not ResultKind.GONE)

    def expire(self, now_ns: int) -> list[TrackResult]:
        """End the tracks that have been out of sight for gone_after_s at now_ns. Also call it when there is no frame."""
        limit_ns = now_ns - round(self._config.gone_after_s * 1e9)
        old = [t for t in self._tracks if t.last_ns <= limit_ns]
        self._tracks = [t for t in self._tracks if t.last_ns > limit_ns]
        return [f for t in old for f in self._end(t)]

    def _overlap(self, track: Track, observation: Observation) -> float:
        face = observation.sample.face
        if face is None or track.box is None:
            last = None if track.last is None else track.last.embedding
            if last is None or observation.embedding is None:
                # poor frames form one track, so that it can be reported as rejected
                return float(last is observation.embedding)
            now = observation.by(last.encoder_id)
            return float(now is not None and self._alike(last, now.embedding))
        return track.box.iou(face.box)

    def _unlike_last(self, track: Track, observation: Observation) -> bool:
        """Whether the last good frame of the track and this one show different people."""
        good = track.good
        if good is None or good.embedding is None or observation.sample.reference_faults:
            return False
        now = observation.by(good.embedding.encoder_id)
        return now is not None and self._unlike(good.embedding, now.embedding)

    def _begin(self, observation: Observation, now_ns: int) -> Track:
        self._count += 1
        face = observation.sample.face
        track = Track(
            number=self._count,
            box=None if face is None else face.box,
            first_ns=now_ns,
            last_ns=now_ns,
            evidence=Evidence(self._config.window_frames, self._score, unit=self._unit),
        )
        self._tracks.append(track)
        return track

    def _extend(self, track: Track, observation: Observation, now_ns: int) -> list[TrackResult]:
        face = observation.sample.face
        track.box, track.last, track.last_ns = None if face is None else face.box, observation, now_ns
        track.seen, track.withheld = track.seen + 1, None
        if track.best is None or rank(observation) > rank(track.best):
            track.best = observation
        if observation.decision.kind is DecisionKind.NOT_COMPARED:
            return []
        track.compared += 1
        track.checked, track.checked_ns = observation, now_ns
        if not observation.sample.reference_faults:
            track.good = observation
        measured = None if self._measured is None else observation.by(self._measured)
        if measured is not None and not observation.sample.reference_faults:  # a poor frame has a lower rate of its own
            vector = measured.embedding.vector.astype(np.float64)
            track.summed, track.total = track.summed + 1, vector if track.total is None else track.total + vector
        track.evidence.add(observation)
        if track.result is ResultKind.MATCH:
            return self._watch(track, observation, now_ns)
        return self._judge(track, observation)

    def _judge(self, track: Track, observation: Observation) -> list[TrackResult]:
        decision = observation.decision
        evidence = track.evidence.judge(self._config.confirm_frames)
        if evidence.identity_id is not None:
            track.result, track.identity_id = ResultKind.MATCH, evidence.identity_id
            best = max((as_decided_now(frame, observation) for frame in evidence.frames), key=rank)
            return [result_of(track, ResultKind.MATCH, best)]
        track.withheld = evidence.withheld
        known = evidence.together or decision.kind is DecisionKind.MATCH
        track.strangers = 0.0 if known else track.strangers + (POOR if observation.sample.reference_faults else 1.0)
        if track.result is None and track.strangers >= self._config.unknown_frames:
            best = max(track.evidence.newest(self._config.unknown_frames), key=rank)
            # With one view, the plan took the face for one of another track; the next comparison is a whole one.
            if not best.one_view:
                track.result = ResultKind.UNKNOWN
                return [result_of(track, ResultKind.UNKNOWN, best)]
        return []

    def _watch(self, track: Track, observation: Observation, now_ns: int) -> list[TrackResult]:
        """After a match: if another person has taken the place, end this track and begin a new one."""
        if agrees(track, observation):
            track.unlike = []
            if track.again and not observation.one_view:
                track.again = False
                return [result_of(track, ResultKind.MATCH, observation)]
        elif not observation.sample.reference_faults:  # a person who walks away is seen poorly
            track.unlike.append(observation)
        if len(track.unlike) < self._config.unknown_frames:
            return []
        self._tracks.remove(track)
        results = self._end(track)
        successor = self._begin(observation, now_ns)
        for earlier in track.unlike:
            results += self._extend(successor, earlier, now_ns)
        return results

    def _end(self, track: Track) -> list[TrackResult]:
        if track.best is None:
            return []
        if track.result in (ResultKind.MATCH, ResultKind.UNKNOWN):
            return [self._with_visit(result_of(track, ResultKind.GONE, track.best), track)]
        if track.seen >= self._config.unknown_frames:
            return [result_of(track, ResultKind.REJECTED, track.best)]
        return []  # too few frames for any result, even for rejected

    def _with_visit(self, result: TrackResult, track: Track) -> TrackResult:
        """The result with the visit of an unknown person."""
        if track.result is not ResultKind.UNKNOWN or track.total is None or self._measured is None:
            return result
        length = max(float(np.linalg.norm(track.total)), 1e-9)
        visit = Embedding(vector=(track.total / length).astype(np.float32), encoder_id=self._measured)
        return replace(result, visit=visit, views=max(1.0, (track.summed / length) ** 2))
