"""Labelled visits, and the events of a video: what `edge-oneshot evaluate video` compares.

A visit is one person in view: a line `video,start_s,end_s,name`, without a name if the person is not enrolled. The file
format, the playback of the videos, and the recorder of what the tracker reports are here; visit_rates.py counts.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_oneshot.cameras import Camera, EndOfStream, camera_opener
from edge_oneshot.config import CameraConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.types import Frame, Observation

HEADER = ["video", "start_s", "end_s", "name"]
LONG_AFTER_NS = 10**15  # ten days: every track has ended


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """One person in view, in seconds from the first frame of the video. name: as enrolled; None: not enrolled.

    person: the identity over which rates are counted; if empty, every visit is by a different person. line: of the file.
    """

    video: str
    start_s: float
    end_s: float
    name: str | None
    person: str = ""
    line: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoEvent:
    """A track result that the daemon would publish, at_s seconds from the first frame of the video.

    name: the identity of a match; None otherwise. compared: the number of frames of the track that were compared.
    """

    video: str
    kind: ResultKind
    name: str | None
    track: int
    at_s: float
    compared: int


def read_visits(path: Path) -> list[Visit]:
    """Read a CSV file with the header `video,start_s,end_s,name`. Raises EdgeOneshotError that names the faulty line."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as e:
        raise EdgeOneshotError(f"cannot read {path}: {e}", "give a CSV file in UTF-8") from None
    if not rows or [c.strip() for c in rows[0]] != HEADER:
        got = ",".join(rows[0]) if rows else "nothing"
        raise EdgeOneshotError(f"{path} line 1: expected {','.join(HEADER)}, got {got}", "add the header")
    visits = []
    for number, row in enumerate(rows[1:], start=2):
        if not row:
            continue
        where, got = f"{path} line {number}", repr(",".join(row))
        try:
            video, start, end, name = (c.strip() for c in row)
            visit = Visit(
                video=video, start_s=float(start), end_s=float(end), name=name or None, person=name, line=number
            )
        except ValueError:
            raise EdgeOneshotError(f"{where}: expected {','.join(HEADER)}, got {got}", "correct the line") from None
        if not (0 <= visit.start_s < visit.end_s < 1e7 and video):
            raise EdgeOneshotError(f"{where}: expected a video and 0 <= start_s < end_s, got {got}", "correct the line")
        visits.append(visit)
    if not visits:
        raise EdgeOneshotError(f"{path}: expected at least one visit, got none", "add one line for each visit")
    return visits


def check(visits: Sequence[Visit], names: Iterable[str], path: Path) -> None:
    """Raises EdgeOneshotError for a visit by a name that is not enrolled, and for a video that does not exist."""
    known = set(names)
    for v in visits:
        if v.name is not None and v.name not in known:
            raise EdgeOneshotError(
                f"{path} line {v.line}: expected one of the {len(known)} enrolled names or no name, got {v.name!r}",
                "add an image to the folder DIR/Name/ of --references, or leave the name empty",
            )
        if not (path.parent / v.video).exists():
            raise EdgeOneshotError(
                f"{path} line {v.line}: no such video: {path.parent / v.video}",
                "give a path relative to the folder of the CSV file",
            )


def check_ends(visits: Sequence[Visit], lengths_s: Mapping[str, float], path: Path) -> None:
    """Raises EdgeOneshotError for a visit that starts after the end of its video: it could only be missed."""
    for v in visits:
        end_s = lengths_s.get(v.video, 0.0)
        if v.start_s > end_s:
            raise EdgeOneshotError(
                f"{path} line {v.line}: a visit of {v.video}: expected a start before the video's end at {end_s:.6g} s, "
                f"got {v.start_s:.6g} s",
                "correct start_s: seconds are counted from the first frame of the video",
            )


def length_s(config: CameraConfig, video: Path) -> float:
    """An upper bound on the length of a video, without playing it; inf if the file does not state it. Raises CameraError."""
    with _open(config, video) as camera:
        return camera.length_s


def frames(config: CameraConfig, video: Path) -> Iterator[Frame]:
    """Every frame of a video file, or of a folder of images. Raises CameraError."""
    with _open(config, video) as camera:
        while True:
            try:
                yield camera.read(config.stall_timeout_s)
            except EndOfStream:
                return


def _open(config: CameraConfig, video: Path) -> Camera:
    kind = "folder" if video.is_dir() else "file"
    return camera_opener(replace(config, uri=f"{kind}:{video}", pace="fast"))(None)


class EventRecorder:
    """Passes the observations of one video after the other to a tracker, and keeps the events.

    names: identity_id -> name. `gone` is not recorded. lengths_s: of each video, from its first to its last frame.
    """

    def __init__(self, tracker: Tracker, names: Mapping[str, str]) -> None:
        self.tracker, self._names = tracker, names
        self.events: list[VideoEvent] = []
        self.lengths_s: dict[str, float] = {}
        self._span_ns: tuple[int, int] | None = None

    @property
    def at_s(self) -> float:
        """Seconds from the first to the newest frame of the current video."""
        return 0.0 if self._span_ns is None else (self._span_ns[1] - self._span_ns[0]) / 1e9

    def add(self, video: str, observations: Sequence[Observation], captured_ns: int) -> None:
        """Add one frame's observations, in order of time. captured_ns: monotonic capture time."""
        first_ns = captured_ns if self._span_ns is None else self._span_ns[0]
        self._span_ns = first_ns, captured_ns
        self._keep(video, self.tracker.update(observations, captured_ns))

    def end(self, video: str) -> None:
        """End the video, and all its tracks."""
        if self._span_ns is not None:
            first_ns, last_ns = self._span_ns
            self._keep(video, self.tracker.expire(last_ns + LONG_AFTER_NS))
            self.lengths_s[video] = (last_ns - first_ns) / 1e9
        self._span_ns = None

    def _keep(self, video: str, results: Sequence[TrackResult]) -> None:
        assert self._span_ns is not None
        for r in results:
            if r.kind is ResultKind.GONE:
                continue
            name = None if r.identity_id is None else self._names[r.identity_id]
            at_s = (r.last_ns - self._span_ns[0]) / 1e9
            self.events.append(
                VideoEvent(video=video, kind=r.kind, name=name, track=r.track, at_s=at_s, compared=r.frames)
            )
