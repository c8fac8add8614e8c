"""Which faces of a live frame are encoded, and how many of them. Pure, no clock of its own.

A person in front of the camera is decided within about a second. Each later embedding would give the same result. It is skipped while
cheap cues show the same face: its box stays in place, no new face is near it, its size and pose stay the same, and its aligned
picture resembles the one that was encoded last. The face is encoded again every RECHECK_NS in any case. All faces of a frame share
one budget: undecided faces go first, new ones before known ones, and the known one that has waited longest before the others.
docs/explanation/attention.md has the measurements behind the constants.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from edge_oneshot.matching.track_result import ResultKind, Track, agrees
from edge_oneshot.types import Box, Chip, Float32Array, Sample

BUDGET = 3  # faces that are encoded in one frame
RECHECKS = 1  # of decided faces in one frame, if nothing but the time asks for it
RECHECK_NS = 1_000_000_000
# A face that was due for so long has the rank of an undecided one.
OVERDUE_NS = 2 * RECHECK_NS
PATIENCE_NS = 500_000_000  # after so long an undecided face goes before new ones
MIN_IOU = 0.2  # of the boxes of one person in two frames some 100 ms apart
STEADY_IOU = 0.5  # of the boxes of a face that stays in place
# Distance between the boxes of a face and of one that has just come, as a share of the larger side, at which the new one may hide the
# other or take its place. A face that was reported and stays in sight does so only after its box has overlapped or jumped.
NEAR = 0.5
SIZE = 1.25  # factor between the inter-eye distances at which the face is another picture
TURN_DEG = 12.0
# Correlation of two aligned faces, in cells of SIGN_PX. Of the consecutive frames of a walking person 99 % have more than 0.96; of pairs
# of people in the same light and pose 0.2 % do, in different pictures 1 in 7 million (docs/explanation/attention.md).
ALIKE = 0.96
SIGN_PX, RIM = 4, 8
# A non-match this far below the threshold, or further, is certain enough to wait for the next re-check.
CERTAIN = 0.15


@dataclass(frozen=True, slots=True)
class Task:
    """What to do with one face of a frame.

    encode: whether to encode it. brief: one view is enough, without the mirror image, if its result is clear: no person
    matches, or `identity_id` matches, as which the track was reported.
    """

    encode: bool
    brief: bool = False
    identity_id: str | None = None


HELD, WHOLE = Task(False), Task(True)


def plan(
    tracks: Sequence[Track], samples: Sequence[Sample], now_ns: int, before_ns: int, unknown_frames: int
) -> list[Task]:
    """A task for each sample of the frame captured at now_ns; before_ns: capture time of the frame before.

    unknown_frames: comparisons after which a track is reported as unknown; the last of them is a whole one, since its score
    is published. So is each one of a whole frame, which has no box by which to find its track.
    """
    own = assign(tracks, samples)
    ranked = []
    for i, sample in enumerate(samples):
        if not sample.faults:
            track = own.get(i)
            rank = _rank(own, i, samples, now_ns, before_ns)
            if rank is not None:
                ranked.append((rank, -1 if track is None else track.checked_ns, i))
    # A known face that has waited too long comes before all new ones: detections that flicker are new in every frame.
    waited = min((r for r in ranked if r[0] == 0 and 0 <= r[1] <= now_ns - PATIENCE_NS), default=None)
    chosen: list[int] = []
    rechecks = 0
    for place in sorted(ranked, key=lambda r: (r is not waited, r)):
        rank, _, i = place
        if len(chosen) < BUDGET and (rank < 2 or rechecks < RECHECKS):
            chosen.append(i)
            rechecks += rank == 2
    return [
        HELD if i not in chosen else WHOLE if sample.face is None else _task(own.get(i), unknown_frames)
        for i, sample in enumerate(samples)
    ]


def looks(tracks: Sequence[Track], now_ns: int, before_ns: int) -> list[Sample] | None:
    """The faces of the frame before that are to be looked at anew at now_ns, even if nothing has changed there.

    These are the faces that hesitate, and within the budget those whose re-check is due. None while a track has not been reported,
    or was not in the frame before: then every face is to be searched for.
    """
    known = [(t, t.last) for t in tracks if t.result is not None and t.last is not None and t.last_ns == before_ns]
    if len(known) < len(tracks):
        return None
    hesitating = [last.sample for track, last in known if _open(track)]
    waited = [(now_ns - track.checked_ns, last.sample) for track, last in known if not _open(track)]
    waited.sort(key=lambda w: -w[0])
    overdue = [sample for ns, sample in waited if ns >= OVERDUE_NS]
    due = [sample for ns, sample in waited if ns >= RECHECK_NS]
    return hesitating + (overdue[:BUDGET] or due[:RECHECKS])


def assign(tracks: Sequence[Track], samples: Sequence[Sample]) -> dict[int, Track]:
    """Sample -> track by the overlap of the boxes, best pair first; each at most once."""
    pairs = []
    for i, sample in enumerate(samples):
        for n, track in enumerate(tracks):
            if sample.face is not None and track.box is not None:
                overlap = track.box.iou(sample.face.box)
                if overlap >= MIN_IOU:
                    pairs.append((-overlap, i, n))
    own: dict[int, Track] = {}
    used: set[int] = set()
    for _, i, n in sorted(pairs):
        if i not in own and n not in used:
            own[i] = tracks[n]
            used.add(n)
    return own


def signature(chip: Chip) -> Float32Array:
    """What an aligned face looks like in large: float32 (K,), of mean 0 and unit length, for a product as correlation."""
    inner = chip.pixels[RIM:-RIM, RIM:-RIM, chip.pixels.shape[2] // 2]
    rows, columns = inner.shape[0] // SIGN_PX, inner.shape[1] // SIGN_PX
    if not rows * columns:
        return np.zeros(1, dtype=np.float32)
    bands = inner[: rows * SIGN_PX].reshape(rows, SIGN_PX, -1).sum(axis=1, dtype=np.float32)
    cells = bands[:, : columns * SIGN_PX].reshape(rows, columns, SIGN_PX).sum(axis=2).ravel()
    cells -= np.add.reduce(cells) / np.float32(cells.size)
    found: Float32Array = cells / np.float32(max(float(np.sqrt(cells @ cells)), 1e-6))
    return found


def _rank(own: Mapping[int, Track], i: int, samples: Sequence[Sample], now_ns: int, before_ns: int) -> int | None:
    """0: undecided, or overdue. 1: decided, but something has changed. 2: a re-check is due. None: not to be encoded."""
    track, sample = own.get(i), samples[i]
    if track is None or sample.face is None or _open(track):
        return 0
    waited_ns = now_ns - track.checked_ns
    if track.last is not None and sample is track.last.sample:
        return None  # nothing has changed since that picture
    changed = track.last_ns != before_ns or _changed(track, sample) or _crowded(own, i, samples, before_ns)
    if waited_ns >= OVERDUE_NS:
        return 0
    return 1 if changed else 2 if waited_ns >= RECHECK_NS else None


def _open(track: Track) -> bool:
    """Whether the next comparison may still change what is known of the track."""
    if track.result is None or track.checked is None:
        return True
    if track.result is ResultKind.MATCH:
        return track.again or bool(track.unlike) or not agrees(track, track.checked)
    margin = track.checked.decision.margin
    return track.strangers == 0 or (margin is not None and margin > -CERTAIN)


def _changed(track: Track, sample: Sample) -> bool:
    """Whether the face differs from the one of the track by its place, size, pose or picture."""
    assert track.checked is not None and track.box is not None and sample.face is not None
    before, now = track.checked.sample.quality, sample.quality
    grown = max(now.inter_eye_px, 1.0) / max(before.inter_eye_px, 1.0)
    return (
        track.box.iou(sample.face.box) < STEADY_IOU
        or not 1 / SIZE <= grown <= SIZE
        or abs(now.yaw_deg - before.yaw_deg) > TURN_DEG
        or abs(now.pitch_deg - before.pitch_deg) > TURN_DEG
        or float(signature(track.checked.sample.chip) @ signature(sample.chip)) < ALIKE
    )


def _crowded(own: Mapping[int, Track], i: int, samples: Sequence[Sample], before_ns: int) -> bool:
    """Whether another face of the frame may hide this one or take its place."""
    boxes = [s.face.box if s.face is not None else None for s in samples]
    box = boxes[i]
    for n, other in enumerate(boxes):
        if box is None or other is None or n == i:
            continue
        track = own.get(n)
        stays = track is not None and track.result is not None and track.last_ns == before_ns
        if _gap(box, other) < (0.0 if stays else NEAR * max(box.width, box.height)):
            return True
    return False


def _gap(a: Box, b: Box) -> float:
    """The distance between two boxes along the axis on which they are further apart; negative if they overlap."""
    return max(a.x0 - b.x1, b.x0 - a.x1, a.y0 - b.y1, b.y0 - a.y1)


def _task(track: Track | None, unknown_frames: int) -> Task:
    """The comparison after which an unknown person is reported is a whole one."""
    if track is not None and track.result is ResultKind.MATCH:
        brief = not track.again and len(track.unlike) + 1 < unknown_frames
        return Task(True, brief=brief, identity_id=track.identity_id)
    reported = track is not None and track.result is not None
    return Task(True, brief=reported or (0.0 if track is None else track.strangers) + 1 < unknown_frames)
