"""Several people: places taken over, crossings, removal from the gallery; and whole frames, which have no place."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pictures import Pixels, frame, view
from samples import embedding, poorly, random_unit, seen, unit, view_of
from scene import Scene

from edge_oneshot.matching.track import ResultKind
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Embedding


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_another_person_in_the_same_place_ends_the_track(scene: Scene) -> None:
    scene.show("alice", 10)
    assert scene.show("bob", 7) == []
    assert scene.show("bob", 1) == [(ResultKind.GONE, "alice"), (ResultKind.MATCH, "bob")]
    assert scene.nobody() == [(ResultKind.GONE, "bob")]
    tracks = [f.track for f in scene.results]
    assert tracks[0] == tracks[1] != tracks[2] == tracks[3]


def test_a_stranger_in_the_same_place_becomes_unknown(scene: Scene) -> None:
    scene.show("alice", 3)
    assert scene.show("", 8) == [(ResultKind.GONE, "alice"), (ResultKind.UNKNOWN, None)]
    assert scene.tracker.present == ([], 1)


def test_a_cut_to_another_person_in_the_same_place_begins_a_track() -> None:
    """Two people share no track, not even before one of them is recognized."""
    scene = Scene(unlike=lambda a, b: float(a.vector @ b.vector) < 0.3)
    first, second = unit(1, 0, 0, 0, 0, 0, 0, 0), unit(0, 1, 0, 0, 0, 0, 0, 0)
    one, two = (replace(seen(""), embedding=view_of(v, {"lookalike": 0.3})) for v in (first, second))
    assert scene.frames(*([one] for _ in range(6))) == []
    assert scene.frames(*([two] for _ in range(6))) == []
    assert len(scene.tracker.numbers) == 2
    assert scene.frames([one], [two], [one], [two]) == [(ResultKind.UNKNOWN, None), (ResultKind.UNKNOWN, None)]
    assert len(scene.tracker.numbers) == 2, "each came back to their own track"


def test_a_few_non_matches_do_not_end_a_match(scene: Scene) -> None:
    scene.show("alice", 3)
    for _ in range(5):
        assert scene.show("", 7) == []
        assert scene.show("alice", 1) == []
    assert scene.tracker.present == (["alice"], 0)


def test_whoever_walks_away_stays_the_same_person(scene: Scene) -> None:
    """Far away the score falls below the threshold; that is no other person."""
    scene.show("alice", 3)
    assert scene.frames(*([poorly("")] for _ in range(40))) == []
    assert scene.tracker.present == (["alice"], 0)
    assert scene.nobody() == [(ResultKind.GONE, "alice")]


def test_two_people_side_by_side_are_two_tracks(scene: Scene) -> None:
    found = scene.frames(*([seen("alice", 0), seen("bob", 300)] for _ in range(5)))
    assert found == [(ResultKind.MATCH, "alice"), (ResultKind.MATCH, "bob")]
    assert scene.tracker.present == (["alice", "bob"], 0)
    assert len(scene.nobody()) == 2
    assert {f.identity_id for f in scene.results if f.kind is ResultKind.GONE} == {"alice", "bob"}


@pytest.mark.parametrize("poor", [0, 6, 14], ids=lambda n: f"{n} poor frames")
def test_two_people_who_pass_each_other_keep_their_names(scene: Scene, poor: int) -> None:
    """Their boxes coincide for a moment; while they hide each other, `poor` frames show no usable face."""
    for i in range(60):
        left, right = 10.0 * i, 600.0 - 10.0 * i
        hidden = abs(i - 30) < poor / 2
        frame = [seen(None if hidden else "alice", left), seen(None if hidden else "bob", right)]
        scene.frames(frame if i % 2 else frame[::-1])
    assert scene.tracker.present == (["alice", "bob"], 0)
    scene.nobody()
    by_track: dict[int, set[str | None]] = {}
    for result in scene.results:
        by_track.setdefault(result.track, set()).add(result.identity_id)
    assert all(len(ids) == 1 for ids in by_track.values())
    for who in ("alice", "bob"):
        kinds = [f.kind for f in scene.results if f.identity_id == who]
        assert kinds == [ResultKind.MATCH, ResultKind.GONE] * (len(kinds) // 2)
    if poor < 12:  # a face is hidden for no longer than the boxes overlap
        assert len(scene.results) == 4


def test_two_people_who_hid_each_other_keep_their_tracks(scene: Scene) -> None:
    """They change places out of sight, and come back in frames too poor to compare. With good frames each track follows
    its person, without a result.
    """
    scene.frames(*([seen("alice", 100), seen("bob", 180)] for _ in range(5)))
    scene.frames([], [], [])
    scene.frames(*([seen(None, 100), seen(None, 180)] for _ in range(3)))
    scene.frames(*([seen("bob", 100), seen("alice", 180)] for _ in range(12)))
    assert [(f.kind, f.identity_id) for f in scene.results] == [(ResultKind.MATCH, "alice"), (ResultKind.MATCH, "bob")]
    assert scene.tracker.present == (["alice", "bob"], 0)
    assert len(scene.nobody()) == 2


def test_moving_faces_keep_their_tracks(scene: Scene) -> None:
    for i in range(30):
        scene.frames([seen("alice", 10.0 * i), seen("bob", 900 - 10.0 * i)][:: 1 if i % 2 else -1])
    assert len(scene.results) == 2
    far = scene.frames(*([seen("", 2000)] for _ in range(8)))  # a jump across the picture starts another track
    assert far == [(ResultKind.UNKNOWN, None)]


def test_a_person_removed_before_the_match_is_not_reported(scene: Scene) -> None:
    """Two frames matched alice, who is then removed: a third frame must not complete the match."""
    scene.show("alice", 2)
    scene.forget("alice")
    assert scene.show("", 7) == []
    assert scene.show("", 1) == [(ResultKind.UNKNOWN, None)]


def test_a_stranger_who_resembles_several_people_does_not_raise_the_score_of_another(scene: Scene) -> None:
    """In a large gallery the best two identities may score 0.48 for a stranger; another identity scored less."""
    stranger = replace(
        seen("", score=0.49), embedding=view_of(random_unit(10**6, 8), {"bob": 0.49, "eve": 0.48, "alice": 0.0})
    )
    assert scene.frames([stranger], [stranger], [seen("alice", score=0.68)]) == []
    assert scene.show("alice", 3) == [(ResultKind.MATCH, "alice")]


def test_removal_ends_a_track_without_a_result(scene: Scene) -> None:
    scene.show("alice", 5)
    scene.forget("alice")
    assert scene.tracker.present == ([], 0)
    assert scene.nobody() == []


def test_a_removed_person_who_stays_becomes_unknown(scene: Scene) -> None:
    scene.show("alice", 5)
    scene.forget("alice")
    assert scene.show("", 8) == [(ResultKind.UNKNOWN, None)]


def test_whole_frames_are_tracked_by_their_embeddings() -> None:
    scene = Scene()
    axis, other = embedding(unit(1, 0)), embedding(unit(0, 1))
    assert scene.frames(*([seen("part-a", whole=axis)] for _ in range(3))) == [(ResultKind.MATCH, "part-a")]
    assert scene.frames(*([seen("part-b", whole=other)] for _ in range(3))) == [(ResultKind.MATCH, "part-b")]
    assert scene.tracker.present == (["part-a", "part-b"], 0)
    assert scene.frames(*([] for _ in range(12))) == [(ResultKind.GONE, "part-a"), (ResultKind.GONE, "part-b")]


def test_two_portraits_are_unlike_and_two_views_of_one_are_not(
    recognizer: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    def look(pixels: Pixels) -> Embedding:
        (observation,) = recognizer.observe(frame(pixels))
        assert observation.embedding is not None
        return observation.embedding

    assert recognizer.unlike(look(collins), look(hopper))
    assert not recognizer.unlike(look(collins), look(view(collins, 1)))
