"""camera.range = "far": small faces of still pictures and of live frames, and what the search costs, in invokes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pictures import empty_scene, frame
from PIL import Image

from edge_oneshot.cameras.libcamera_pixels import to_rgb
from edge_oneshot.config import CameraConfig, Config, ModelConfig
from edge_oneshot.model.runtime import Runtime
from edge_oneshot.recognition.compose import build_pipeline
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.types import Face, Frame, Sample
from edge_oneshot.vision.lookout import LOST_NS
from edge_oneshot.vision.motion import Motion
from edge_oneshot.vision.schedule import BUSY, STILL, Schedule
from edge_oneshot.vision.tiles import OVERLAP, SIDE_PX, Window, around, tiling

Pixels = NDArray[np.uint8]
EYES_PX = 43.2  # of Collins's portrait
HEAD = slice(20, 200), slice(130, 320)  # of the portrait
MIDDLE = np.array([95, 82])  # of her eyes, px of HEAD
STEP_NS = 100_000_000
SIZES = [(640, 480), (480, 640), (800, 600), (1280, 720), (1640, 1232), (1920, 1080), (4056, 3040)]


@pytest.fixture
def far() -> Pipeline:
    """A pipeline of its own for each test: it remembers the frames that it saw."""
    return build_pipeline(Config(model=ModelConfig(threads=1), camera=CameraConfig(range="far")))


def shrunk(portrait: Pixels, eyes_px: float) -> Pixels:
    """Her head, with so many px between the eyes."""
    head = np.ascontiguousarray(portrait[HEAD])
    size = round(head.shape[1] * eyes_px / EYES_PX), round(head.shape[0] * eyes_px / EYES_PX)
    return np.asarray(Image.fromarray(head).resize(size, Image.Resampling.LANCZOS))


def shown(small: Pixels, at: tuple[int, int], size: tuple[int, int] = (640, 480), seed: int = 0) -> Pixels:
    """A wall with the picture at (x, y)."""
    scene, (x, y) = empty_scene(size, seed), at
    scene[y : y + small.shape[0], x : x + small.shape[1]] = small
    return scene


def live(pipeline: Pipeline, pixels: Pixels, number: int, lores: Pixels | None = None) -> list[Sample]:
    return pipeline.samples(frame(pixels, captured_ns=(number + 1) * STEP_NS, lores=lores))


@contextmanager
def counted(runtime: Runtime) -> Iterator[list[int]]:
    """Counts the invokes of a network, in the only item of the list."""
    count, invoke = [0], runtime.invoke

    def counting(value: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        count[0] += 1
        return invoke(value)

    runtime.invoke = counting  # type: ignore[method-assign]
    try:
        yield count
    finally:
        del runtime.invoke


def finder(pipeline: Pipeline) -> Runtime:
    assert pipeline.locator is not None
    return pipeline.locator.finder.runtime


# ---- still pictures


def test_a_small_face_of_a_picture_is_found_far_and_not_near(
    pipeline: Pipeline, far: Pipeline, collins: Pixels
) -> None:
    picture = frame(shown(shrunk(collins, 9), (300, 200)))
    assert pipeline.picture_samples(picture) == []
    (sample,) = far.picture_samples(picture)
    assert sample.quality.inter_eye_px == pytest.approx(9, rel=0.15)


def test_a_face_on_a_seam_is_found_once(far: Pipeline, collins: Pixels) -> None:
    """The middle of the face on each border of the tiles, and where four tiles meet."""
    small = shrunk(collins, 12)
    tiles = tiling((640, 480))
    xs = sorted({t.x for t in tiles if t.x} | {t.x + t.width for t in tiles if t.x + t.width < 640})
    ys = sorted({t.y for t in tiles if t.y} | {t.y + t.height for t in tiles if t.y + t.height < 480})
    assert xs and ys
    for x in xs:
        for y in (100, ys[0], ys[-1]):
            left, top = np.rint((x, y) - MIDDLE * 12 / EYES_PX).astype(int)
            (sample,) = far.picture_samples(frame(shown(small, (left, top))))
            assert sample.face is not None
            assert np.abs(sample.face.landmarks[:2].mean(axis=0) - (x, y)).max() < 6


@pytest.mark.parametrize("eyes_px", [20, 30, 43])
def test_what_whole_frame_and_tiles_both_find_is_one_face(
    pipeline: Pipeline, far: Pipeline, collins: Pixels, eyes_px: float
) -> None:
    picture = frame(shown(shrunk(collins, eyes_px), (110, 40)))
    (near,), (one,) = pipeline.picture_samples(picture), far.picture_samples(picture)
    assert near.face is not None and one.face is not None
    assert np.array_equal(near.face.landmarks, one.face.landmarks)


def test_near_and_far_find_two_people_side_by_side(far: Pipeline, collins: Pixels) -> None:
    small = shrunk(collins, 12)
    scene = shown(small, (100, 200))
    scene[200 : 200 + small.shape[0], 153 : 153 + small.shape[1]] = small  # shoulder to shoulder
    assert len(far.picture_samples(frame(scene))) == 2


def test_a_small_face_whose_eyes_were_placed_too_close_is_confirmed_by_its_box(far: Pipeline, collins: Pixels) -> None:
    assert far.locator is not None
    picture = frame(shown(shrunk(collins, 12), (300, 200)))
    (face,) = far.locator.find_in(picture, Window(200, 100, SIDE_PX, SIDE_PX))
    centre = face.landmarks[:2].mean(axis=0)
    face = replace(face, landmarks=(0.35 * (face.landmarks - centre) + centre).astype(np.float32))
    (sure,) = far.locator.confirm_new(picture, [face], [])
    assert sure.inter_eye_px == pytest.approx(12, rel=0.25)


# ---- tiles


@pytest.mark.parametrize("size", SIZES)
def test_a_face_that_the_level_above_misses_is_whole_in_a_tile(size: tuple[int, int]) -> None:
    tiles = tiling(size)
    sides = sorted({t.width for t in tiles}, reverse=True)
    assert min(sides) == SIDE_PX
    for side in sides:
        level = [t for t in tiles if t.width == side]
        box = int(OVERLAP * side) - 1
        for x in range(0, size[0] - box, 7):
            assert any(t.x <= x and x + box <= t.x + t.width for t in level)
        for y in range(0, size[1] - box, 7):
            assert any(t.y <= y and y + box <= t.y + t.height for t in level)
    for tile in tiles:
        assert 0 <= tile.x <= size[0] - tile.width and 0 <= tile.y <= size[1] - tile.height


def test_the_number_of_tiles_is_small() -> None:
    assert [len(tiling(size)) for size in SIZES[:3]] == [6, 6, 12]
    assert len(tiling((1920, 1080))) <= 60
    assert tiling((SIDE_PX, 200)) == ()


def test_a_window_around_a_face_stays_in_the_frame(far: Pipeline, collins: Pixels) -> None:
    assert far.locator is not None
    (face,) = far.locator.locate(frame(collins))
    window = around(face, (512, 512))
    assert window.x >= 0 and window.y == 0 and window.width == window.height == SIDE_PX


# ---- motion


def luma(pixels: Pixels) -> NDArray[np.float32]:
    small = Image.fromarray(pixels).resize((192, 144), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return np.asarray(small)[:, :, 1].astype(np.float32)


@pytest.mark.parametrize("noise", [0, 4, 12])
def test_noise_and_slow_light_are_no_motion(noise: float, hopper: Pixels) -> None:
    """A structured picture whose exposure drifts by 1 to 2 % a frame, to and fro."""
    motion, random = Motion(), np.random.default_rng(3)
    scene = np.asarray(Image.fromarray(hopper).resize((640, 480))).astype(np.float32)
    for k in range(60):
        light = 0.6 + 0.01 * abs(k % 40 - 20)
        noisy = scene * light + random.normal(0, noise, scene.shape)
        moved = motion.update(luma(np.clip(noisy, 0, 255).astype(np.uint8)))
        assert np.count_nonzero(moved) < 2, k


def test_a_bright_window_in_a_dark_room_is_no_motion() -> None:
    """The exposure drifts by 2 % a frame: the room changes by half a level, the window by four."""
    motion, random = Motion(), np.random.default_rng(4)
    room = np.full((480, 640, 3), 30.0)
    room[60:160, 380:560] = 190
    for k in range(40):
        noisy = room * (0.8 + 0.02 * abs(k % 20 - 10)) + random.normal(0, 4, room.shape)
        moved = motion.update(luma(np.clip(noisy, 0, 255).astype(np.uint8)))
        assert np.count_nonzero(moved) < 2, k


@pytest.mark.parametrize("noise", [2, 8])
def test_a_small_person_who_walks_is_motion_at_that_place(noise: float) -> None:
    """A coat of 30 x 80 px, 30 levels from the wall, 3 px a frame."""
    motion, hits = Motion(), 0
    for k in range(30):
        scene = empty_scene(seed=k).astype(np.float32) + np.random.default_rng(k).normal(0, noise, (480, 640, 3))
        scene[200:280, 300 + 3 * k : 330 + 3 * k] -= 30
        moved = motion.update(luma(np.clip(scene, 0, 255).astype(np.uint8)))
        rows, columns = np.nonzero(moved)
        assert all(14 <= r <= 21 for r in rows) and all(21 <= c <= 33 for c in columns)
        hits += len(rows) >= 2
    assert hits >= 28


# ---- schedule


def cells(*tiles: Window) -> NDArray[np.bool_]:
    """Motion in the middle of these tiles of a 640x480 frame."""
    moved = np.zeros((36, 48), np.bool_)
    for t in tiles:
        row, column = (2 * t.y + t.height) * 36 // 960, (2 * t.x + t.width) * 48 // 1280
        moved[row : row + 2, column : column + 1] = True
    return moved


def test_a_still_scene_is_searched_completely_and_rarely() -> None:
    schedule, frames = Schedule((640, 480)), 0
    nothing, seen = cells(), []
    while len(set(seen)) < len(schedule.tiles):
        frames += 1
        if (window := schedule.next(nothing, [])) is not None:
            seen.append(window)
    assert len(seen) == len(schedule.tiles)
    assert frames == pytest.approx(len(schedule.tiles) / STILL, abs=1)


def test_motion_is_searched_within_six_frames_at_a_bounded_cost() -> None:
    schedule = Schedule((640, 480))
    walker = schedule.tiles[3]
    windows = [schedule.next(cells(walker), []) for _ in range(400)]
    assert any(w == walker for w in windows[:6])
    assert sum(w is not None for w in windows) == pytest.approx(400 * BUSY, abs=1)
    assert {w for w in windows if w is not None} == set(schedule.tiles), "the other tiles must not starve"


def test_a_lost_face_goes_first() -> None:
    schedule, place = Schedule((640, 480)), Window(10, 20, SIDE_PX, SIDE_PX)
    windows = [schedule.next(cells(*schedule.tiles), [place]) for _ in range(20)]
    assert [w for w in windows if w is not None][:3] == [place] * 3


def test_a_frame_without_tiles_needs_no_second_search() -> None:
    schedule = Schedule((200, 200))
    assert all(schedule.next(np.ones((48, 48), np.bool_), []) is None for _ in range(50))


# ---- live frames


@pytest.mark.parametrize(("walks", "most"), [(False, STILL), (True, BUSY)])
def test_an_empty_hallway_costs_a_bounded_number_of_searches(far: Pipeline, walks: bool, most: float) -> None:
    count, searches = 60, []
    for k in range(count):
        scene = empty_scene(seed=k)
        if walks:
            scene[200:360, 100 + 6 * k : 160 + 6 * k] = 30
        with counted(finder(far)) as invokes:
            assert live(far, scene, k) == []
        searches.append(invokes[0])
    assert set(searches) <= {1, 2}, "the whole frame, and at most one window"
    assert sum(searches) - count <= most * count + 1
    assert sum(searches) > count, "expected some tiles in turn"


def test_near_searches_the_whole_frame_once(pipeline: Pipeline, collins: Pixels) -> None:
    with counted(finder(pipeline)) as invokes:
        live(pipeline, collins, 0)
        live(pipeline, empty_scene(), 1)
    assert invokes == [2]


def test_a_far_person_is_found_in_turn_and_then_followed(far: Pipeline, pipeline: Pipeline, collins: Pixels) -> None:
    """She stands still with 9 px between her eyes, then sways."""
    small, found, near, searches = shrunk(collins, 9), [], 0, 0
    at_most = round(len(tiling((640, 480))) / STILL)
    first = next(k for k in range(at_most + 1) if live(far, shown(small, (300, 200), seed=k), k))
    for k in range(first + 1, first + 41):
        scene = shown(small, (300 + k % 7, 200 + k % 4), seed=k)
        with counted(finder(far)) as invokes:
            found.append(live(far, scene, k))
        searches += invokes[0]
        near += len(pipeline.samples(frame(scene)))
    assert near <= 10 and sum(len(f) == 1 for f in found) >= 38 and all(len(f) <= 1 for f in found)
    assert searches <= 40 * (1 + BUSY)


def test_after_she_left_the_search_ends(far: Pipeline, collins: Pixels) -> None:
    small = shrunk(collins, 12)
    first = next(k for k in range(200) if live(far, shown(small, (300, 200), seed=k), k))
    ends, after = LOST_NS // STEP_NS + 30, first + 1
    with counted(finder(far)) as invokes:
        for k in range(after, after + ends):  # her leaving is motion
            assert live(far, empty_scene(seed=k), k) == []
    assert invokes[0] <= ends * (1 + BUSY) + 1
    with counted(finder(far)) as invokes:
        for k in range(after + ends, after + ends + 40):
            live(far, empty_scene(seed=k), k)
    assert invokes[0] <= 40 * (1 + STILL) + 1


def test_what_the_finder_does_not_see_again_is_not_followed_for_long(far: Pipeline, collins: Pixels) -> None:
    """The refiner alone keeps a face only until the finder was asked, whatever it looks at."""
    assert far.locator is not None
    small = shrunk(collins, 12)
    first = next(k for k in range(200) if live(far, shown(small, (300, 200), seed=k), k))
    far.locator.find_in = lambda frame, window: []  # type: ignore[method-assign]
    kept = [live(far, shown(small, (300, 200), seed=k), k) for k in range(first + 1, first + 41)]
    assert all(kept[:9]) and not any(kept[11:])


def test_another_camera_starts_afresh(far: Pipeline, collins: Pixels) -> None:
    small = shrunk(collins, 12)
    next(k for k in range(200) if live(far, shown(small, (300, 200), seed=k), k))
    assert live(far, shown(small, (300, 200)), 0) == [], "time went back: a new recording"


# ---- large frames


def test_tiles_come_from_the_main_stream_where_lores_lacks_the_pixels(far: Pipeline, collins: Pixels) -> None:
    """1080p as picamera2 delivers it: BGR888 with padded rows is R, G, B in memory; lores is YUV420, 384 px wide."""
    size = (1920, 1080)
    main = shown(shrunk(collins, 12), (1000, 500), size)
    array = np.pad(main, ((0, 0), (0, 64), (0, 0)))[:, : size[0]]  # what make_array returns: a view without the padding
    lores = to_rgb(yuv420(main, (384, 216)), "YUV420", (384, 216))
    picture = frame(to_rgb(array, "BGR888", size), lores=lores)
    looked: list[tuple[int, ...]] = []
    assert far.locator is not None
    detect = far.locator.finder.detect

    def recording(pixels: Pixels, border: float = 0.0) -> list[Face]:
        looked.append(pixels.shape[:2])
        return detect(pixels, border)

    far.locator.finder.detect = recording  # type: ignore[method-assign]
    (sample,) = far.picture_samples(picture)
    assert sample.face is not None
    assert np.abs(sample.face.landmarks[:2].mean(axis=0) - (1000, 500) - MIDDLE * 12 / EYES_PX).max() < 6
    assert looked[0] == (216, 384), "the whole frame from lores"
    assert (SIDE_PX, SIDE_PX) in looked, "small tiles from main"


def yuv420(pixels: Pixels, size: tuple[int, int]) -> Pixels:
    """Planar YUV of the picture in small, full range, rows without padding: (3 / 2 h, w)."""
    ycc = Image.fromarray(pixels).resize(size, Image.Resampling.BOX).convert("YCbCr")
    y, u, v = ycc.split()
    half = (size[0] // 2, size[1] // 2)
    chroma = [np.asarray(c.resize(half, Image.Resampling.BOX)).reshape(half[1] // 2, size[0]) for c in (u, v)]
    return np.concatenate([np.asarray(y), *chroma])


def test_lores_is_used_where_it_has_the_pixels(far: Pipeline, collins: Pixels) -> None:
    assert far.locator is not None
    lores = empty_scene((384, 216))
    picture: Frame = frame(empty_scene((1920, 1080)), lores=lores)
    seen: list[tuple[int, ...]] = []
    far.locator.finder.detect = lambda pixels, border=0.0: seen.append(pixels.shape[:2]) or []  # type: ignore[assignment,func-returns-value]
    far.locator.find_in(picture, Window(100, 60, 960, 960))
    far.locator.find_in(picture, Window(100, 60, 950, 950))
    assert seen == [(192, 192), (950, 950)]


def test_range_is_near_or_far(pipeline: Pipeline) -> None:
    assert Config().camera.range == "near"
    assert pipeline._lookout is None


def test_a_small_face_that_walks_while_the_rest_is_still_is_not_lost(far: Pipeline, collins: Pixels) -> None:
    """Between two searches only the refiner follows it. The search begins where it was seen last."""
    small = shrunk(collins, 9)
    number = next(n for n in range(60) if live(far, shown(small, (300, 200)), n))
    with counted(finder(far)) as searches:
        for step in range(1, 5):
            number += 1
            walking = frame(shown(small, (300 + 5 * step, 200)), captured_ns=(number + 1) * STEP_NS)
            assert len(far.samples(walking, looks=())) == 1
    assert searches == [0]
    assert len(live(far, shown(small, (325, 200)), number + 1)) == 1
