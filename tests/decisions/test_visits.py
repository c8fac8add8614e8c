"""Labelled visits: counting events, the CSV file, and `evaluate video` on real faces."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import av
import pytest
from click.testing import CliRunner
from pictures import Lfw, empty_scene
from PIL import Image

from edge_oneshot.cli import cli
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation import visits as visits_module
from edge_oneshot.evaluation.visit_rates import measure
from edge_oneshot.evaluation.visits import VideoEvent, Visit, read_visits
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.matching.track import ResultKind
from edge_oneshot.recognition.recognizer import Recognizer

THRESHOLD = Threshold(value=0.5, target_fmr=None, target_fpir=0.01)


def visit(start: float, end: float, name: str | None = None, video: str = "a") -> Visit:
    return Visit(video=video, start_s=start, end_s=end, name=name)


def event(
    kind: ResultKind, at: float, name: str | None = None, video: str = "a", track: int = 1, compared: int = 3
) -> VideoEvent:
    return VideoEvent(video=video, kind=kind, name=name, track=track, at_s=at, compared=compared)


def test_every_field_of_an_event_is_used() -> None:
    folder = Path(visits_module.__file__).parent
    nodes = [n for path in folder.rglob("*.py") for n in ast.walk(ast.parse(path.read_text(encoding="utf-8")))]
    read = {n.attr for n in nodes if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}
    assert {f.name for f in fields(VideoEvent)} <= read


def test_every_event_is_counted_where_it_belongs() -> None:
    visits = [visit(0, 10, "ann"), visit(20, 30, "bob"), visit(40, 50), visit(60, 70), visit(0, 10, "ann", video="b")]
    events = [
        event(ResultKind.MATCH, 2.5, "ann"),
        event(ResultKind.UNKNOWN, 25, track=2),  # bob, reported as a stranger
        event(ResultKind.UNKNOWN, 43, track=3),
        event(ResultKind.MATCH, 62, "ann", track=4, compared=5),  # a stranger, reported as ann
        event(ResultKind.MATCH, 81, "bob", track=5),  # outside every visit
    ]
    r = measure(visits, events, 3600.0, THRESHOLD, gallery=2)
    assert r.fnir_per_visit.count == 2 and r.fnir_per_visit.of == 3
    assert r.fpir_per_visit.count == 1 and r.fpir_per_visit.of == 2
    assert (r.match_events, r.false_match_events, r.false_match_events_per_hour) == (3, 2, 2.0)
    assert (r.unknown_events, r.false_unknown_events, r.strangers_reported_unknown) == (2, 1, 1)
    assert (r.events_outside_visits, r.claimed_false_matches) == (1, 0.02)
    assert r.seconds_to_match is not None and r.seconds_to_match.median == 2.5
    assert r.compared_frames_to_match is not None and r.compared_frames_to_match.median == 3
    assert [f.name for f in r.false_matches] == ["ann", "bob"]


def test_two_people_in_view_have_one_event_each() -> None:
    visits = [visit(0, 10, "ann"), visit(2, 8)]
    right = [event(ResultKind.MATCH, 3, "ann"), event(ResultKind.UNKNOWN, 6, track=2)]
    r = measure(visits, right, 10.0, THRESHOLD, gallery=1)
    assert (r.fnir_per_visit.count, r.fpir_per_visit.count, r.false_match_events, r.false_unknown_events) == (
        0,
        0,
        0,
        0,
    )
    assert r.identity_switches == 0


def test_an_event_belongs_to_the_visits_at_its_time() -> None:
    """A track begins with ann and continues with a stranger: the later event is counted for the stranger."""
    visits = [visit(0, 5, "ann"), visit(6, 12)]
    r = measure(visits, [event(ResultKind.MATCH, 9, "ann")], 12.0, THRESHOLD, gallery=1)
    assert (r.false_match_events, r.fpir_per_visit.count, r.fnir_per_visit.count) == (1, 1, 1)


def test_a_name_repeated_within_a_visit_is_counted_separately() -> None:
    visits = [visit(0, 10, "ann"), visit(0, 10)]
    r = measure(
        visits,
        [event(ResultKind.MATCH, 2, "ann"), event(ResultKind.MATCH, 3, "ann", track=2)],
        10.0,
        THRESHOLD,
        gallery=1,
    )
    assert (r.repeated_match_events, r.false_match_events) == (1, 0)


def test_a_second_name_in_one_visit_is_an_identity_switch() -> None:
    events = [event(ResultKind.MATCH, 2, "ann"), event(ResultKind.MATCH, 6, "bob", track=2)]
    r = measure([visit(0, 10, "ann")], events, 10.0, THRESHOLD, gallery=2)
    assert (r.identity_switches, r.false_match_events, r.fnir_per_visit.count) == (1, 1, 0)


def test_intervals_are_over_people_if_they_are_known() -> None:
    visits = [Visit(video="a", start_s=i * 10, end_s=i * 10 + 5, name=None, person="zoe") for i in range(50)]
    r = measure(visits, [event(ResultKind.MATCH, 2, "ann")], 500.0, THRESHOLD, gallery=1)
    assert r.fpir_per_visit.people == 1 and r.fpir_per_visit.rate == 0.02


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: expected video,start_s,end_s,name, got nothing"),
        ("video;start\n", "line 1"),
        ("video,start_s,end_s,name\na.mp4,0,ten,ann\n", "line 2"),
        ("video,start_s,end_s,name\na.mp4,5,5,ann\n", "0 <= start_s < end_s"),
        ("video,start_s,end_s,name\na.mp4,0,nan,ann\n", "line 2"),
        ("video,start_s,end_s,name\n", "at least one visit"),
    ],
)
def test_a_faulty_line_is_named(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "visits.csv"
    path.write_text(text)
    with pytest.raises(EdgeOneshotError, match=says):
        read_visits(path)


def film(path: Path) -> Path:
    """Two seconds of an empty room, ten frames per second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(empty_scene()[:48, :64], format="rgb24")))
        container.mux(stream.encode())
    return path


def images(path: Path) -> Path:
    path.mkdir()
    for i in range(20):
        Image.fromarray(empty_scene()).save(path / f"{i:04d}.png")
    return path


@pytest.mark.parametrize(
    ("name", "make", "end_s", "known_before"),
    [
        ("door.mp4", film, "2", True),
        ("door.mkv", film, "2", True),
        ("door", images, "1.9", True),
        ("door.ts", film, "1.9", False),
    ],
)
def test_a_visit_after_the_end_is_refused_before_playing_if_the_length_is_known(
    tmp_path: Path,
    portrait_files: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    make: Callable[[Path], Path],
    end_s: str,
    known_before: bool,
) -> None:
    make(tmp_path / name)
    (tmp_path / "people" / "Eileen").mkdir(parents=True)
    shutil.copy(portrait_files["collins"], tmp_path / "people" / "Eileen")
    table = tmp_path / "visits.csv"
    table.write_text(f"video,start_s,end_s,name\n{name},0.5,1,\n{name},2.5,4,Eileen\n")
    played = []
    follow = Recognizer.follow
    monkeypatch.setattr(Recognizer, "follow", lambda *args: played.append(1) or follow(*args))
    arguments = ["evaluate", "video", "--visits", str(table), "--references", str(tmp_path / "people")]
    refused = CliRunner().invoke(cli, arguments).exception
    assert isinstance(refused, EdgeOneshotError)
    expected = f"expected a start before the video's end at {end_s} s, got 2.5 s"
    assert str(refused).startswith(f"{table} line 3: a visit of {name}: {expected}")
    assert len(played) == (0 if known_before else 20)


@pytest.mark.slow
def test_evaluate_video_on_real_faces(tmp_path: Path, lfw: Lfw) -> None:
    """A folder of frames: an enrolled person in another image, an empty room, then a stranger."""
    several = [name for name, count in lfw.sets[5] if count >= 2]
    ann, zoe = several[0], several[1]
    (tmp_path / "people" / "Ann").mkdir(parents=True)
    shutil.copy(lfw.picture(ann, 1), tmp_path / "people" / "Ann" / "1.jpg")
    frames = tmp_path / "door"
    frames.mkdir()
    shown = [lfw.picture(ann, 2)] * 12 + [None] * 30 + [lfw.picture(zoe, 1)] * 12
    for i, source in enumerate(shown):
        if source is None:
            Image.fromarray(empty_scene()).save(frames / f"{i:04d}.png")
        else:
            shutil.copy(source, frames / f"{i:04d}.jpg")
    (tmp_path / "visits.csv").write_text("video,start_s,end_s,name\ndoor,0,1.2,Ann\ndoor,4,5.5,\n")
    arguments = [
        "evaluate",
        "video",
        "--visits",
        str(tmp_path / "visits.csv"),
        "--references",
        str(tmp_path / "people"),
    ]
    page = tmp_path / "page.html"
    result = CliRunner().invoke(cli, [*arguments, "--json", "--html", str(page)])
    assert result.exit_code == 0, result.output
    r = json.loads(result.stdout)
    assert (r["visits"], r["gallery"], r["match_events"], r["false_match_events"], r["unknown_events"]) == (
        2,
        1,
        1,
        0,
        1,
    )
    assert r["fnir_per_visit"]["count"] == r["fpir_per_visit"]["count"] == r["identity_switches"] == 0
    assert r["compared_frames_to_match"]["median"] == 3
    assert "seconds of video: 6 of 6" in result.stderr
    assert "Frames compared before a match" in page.read_text() and "<img" not in page.read_text()
    (tmp_path / "visits.csv").write_text("video,start_s,end_s,name\ndoor,60,61,Ann\n")
    beyond = CliRunner().invoke(cli, arguments)
    assert isinstance(beyond.exception, EdgeOneshotError) and "the video's end at 5.3 s, got 60 s" in str(
        beyond.exception
    )
    (tmp_path / "visits.csv").write_text("video,start_s,end_s,name\ndoor,0,1.2,Bea\n")
    refused = CliRunner().invoke(cli, arguments)
    assert isinstance(refused.exception, EdgeOneshotError) and "'Bea'" in str(refused.exception)
