"""`evaluate conditions`: the rendered frames on real portraits, the protocol by hand, and the command with all its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray
from pictures import frame
from PIL import Image, ImageEnhance

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, DecisionConfig, DeviceConfig
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.conditions import degrade, kept
from edge_oneshot.evaluation.conditions.catalogue import CONDITIONS, chosen, cover
from edge_oneshot.evaluation.conditions.rates import false_matches
from edge_oneshot.evaluation.conditions.scene import FACE_WIDTH, SIZE, Portrait, place, wall
from edge_oneshot.evaluation.conditions.session import Session
from edge_oneshot.evaluation.conditions.tracks import TrackTrials
from edge_oneshot.evaluation.conditions.trials import Look, subject_of
from edge_oneshot.evaluation.dataset import find_images
from edge_oneshot.evaluation.under_test import UnderTest
from edge_oneshot.recognition import reach
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.reach import distance_m
from edge_oneshot.types import Sample, UInt8Array

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="session")
def portrait(pipeline: Pipeline, collins: Pixels) -> Portrait:
    face = pipeline.picture_samples(frame(collins))[0].face
    assert face is not None
    return Portrait.of(collins, face, seed=7)


def seen(pipeline: Pipeline, portrait: Portrait, name: str) -> tuple[Sample | None, UInt8Array]:
    scene, pictures = CONDITIONS[name].render(portrait)
    return subject_of(pipeline.samples(frame(pictures[0])), scene), pictures[0]


# ---- frames


@pytest.mark.parametrize("name", ["eyes-43", "eyes-32", "eyes-24"])
def test_the_face_has_the_stated_distance_between_the_eyes(name: str, pipeline: Pipeline, portrait: Portrait) -> None:
    sample, pixels = seen(pipeline, portrait, name)
    assert pixels.shape == (480, 640, 3) and sample is not None and sample.face is not None
    assert sample.face.inter_eye_px == pytest.approx(CONDITIONS[name].inter_eye_px, rel=0.08)


def test_frames_depend_on_portrait_and_condition_alone(portrait: Portrait) -> None:
    for condition in (CONDITIONS["light-0.12"], CONDITIONS["mask"], CONDITIONS["track-light-0.12"]):
        one, two = (condition.render(portrait)[1] for _ in range(2))
        assert all((a == b).all() for a, b in zip(one, two, strict=True))
        other = condition.render(replace(portrait, seed=8))[1]
        assert (one[0] != other[0]).any()
    frames = CONDITIONS["track-light-0.12"].render(portrait)[1]
    assert len(frames) == 8 and (frames[0] != frames[1]).mean() > 0.5, "each frame has noise of its own"


def test_the_whole_face_is_inside_unless_it_is_cut(portrait: Portrait) -> None:
    half = FACE_WIDTH / 2 * 43
    for seed in range(20):
        x, y = place(replace(portrait, seed=seed)).eyes
        assert half - 1 <= x <= SIZE[0] - half + 1 and half - 1 <= y + 0.55 * 43 <= SIZE[1] - half + 1
        x, y = place(replace(portrait, seed=seed), cut=0.3).eyes
        y += 0.55 * 43
        lost = max(half - x, x + half - SIZE[0], half - y, y + half - SIZE[1]) / (2 * half)
        assert lost == pytest.approx(0.3, abs=0.01)


def test_a_rotation_turns_the_eyes(pipeline: Pipeline, portrait: Portrait) -> None:
    angles = []
    for name in ("eyes-43", "roll-20"):
        sample, _ = seen(pipeline, portrait, name)
        assert sample is not None and sample.face is not None
        (x0, y0), (x1, y1) = (sample.face.landmark(n) for n in ("image_left_eye", "image_right_eye"))
        angles.append(float(np.degrees(np.arctan2(y1 - y0, x1 - x0))))
    assert angles[1] - angles[0] == pytest.approx(20, abs=3)


def test_a_face_elsewhere_is_not_the_subject(pipeline: Pipeline, portrait: Portrait) -> None:
    scene, pictures = CONDITIONS["eyes-43"].render(portrait)
    samples = pipeline.samples(frame(pictures[0]))
    assert subject_of(samples, scene) is samples[0]
    assert subject_of(samples, replace(scene, eyes=(scene.eyes[0] + 43, scene.eyes[1]))) is None
    assert subject_of([], scene) is None


def test_the_wall_is_structured_and_shows_no_face(pipeline: Pipeline) -> None:
    for seed in range(5):
        pixels = wall(seed)
        blocks = pixels[:480, :640].mean(axis=2).reshape(12, 40, 16, 40).mean(axis=(1, 3))
        assert blocks.std() > 8
        assert pipeline.samples(frame(pixels)) == []


def test_light_and_lens_change_the_pixels_as_stated() -> None:
    random = np.random.default_rng(0)
    grey = np.full((200, 200, 3), 160, dtype=np.uint8)
    dark = degrade.darken(grey, 0.25, random).astype(float)
    assert dark.mean() == pytest.approx(40, abs=0.2) and dark.std() == pytest.approx(4, abs=0.2)
    starved = degrade.starve(grey, 0.25, random).astype(float)
    assert starved.mean() == pytest.approx(40, abs=1.0) and starved.std() > dark.std() + 0.5
    infrared = degrade.infrared(grey, 6, random)
    assert (infrared == infrared[..., :1]).all() and infrared[90:110, 90:110].astype(float).std() > 5
    line = np.zeros((3, 30, 3), dtype=np.uint8)
    line[:, 15] = 90
    moved = degrade.move(line, 9)
    assert moved.shape == line.shape and np.flatnonzero(moved[1, :, 0]).tolist() == list(range(11, 20))
    assert set(moved[1, 11:20, 0]) == {10}
    soft = degrade.defocus(line, 1.5)
    assert 0 < soft[1, 15, 0] < 90 and soft[1, 13, 0] > 0
    noise = random.integers(0, 255, (64, 64, 3), dtype=np.uint8)
    errors = [np.abs(degrade.compress(noise, q).astype(int) - noise).mean() for q in (90, 15)]
    assert errors[0] < errors[1]


@pytest.mark.parametrize(("name", "hidden", "free"), [
    ("mask", "mouth", "image_left_eye"),
    ("sunglasses", "image_left_eye", "mouth"),
    ("cap", None, "mouth"),
])  # fmt: skip
def test_a_cover_hides_its_part_only(name: str, hidden: str | None, free: str, portrait: Portrait) -> None:
    covered = cover(portrait, str(CONDITIONS[name].cover))
    changed = np.abs(covered.pixels.astype(int) - portrait.pixels).max(axis=2) > 8
    radius = round(portrait.inter_eye_px * 0.15)

    def share(name: str, up: float = 0.0) -> float:
        x, y = (round(v) for v in portrait.landmarks[name])
        y -= round(up * portrait.inter_eye_px)
        return float(changed[y - radius : y + radius, x - radius : x + radius].mean())

    assert (share(hidden) if hidden else share("image_left_eye", up=0.8)) > 0.8
    assert share(free) < 0.2


def test_conditions_are_chosen_by_name_or_family() -> None:
    assert [c.name for c in chosen("eyes-18, cap")] == ["eyes-18", "cap"]
    assert {c.family for c in chosen("light")} == {"light"}
    assert chosen("") == list(CONDITIONS.values())
    with pytest.raises(EdgeOneshotError, match=r"--conditions: .*got 'eyes-19'.*eyes-1"):
        chosen("eyes-19")


# ---- rates


def test_false_matches_are_counted_over_allowed_comparisons() -> None:
    hits, allowed = np.zeros((3, 50), dtype=bool), np.ones((3, 50), dtype=bool)
    owner = np.arange(3)
    allowed[owner, owner] = False
    hits[owner, owner] = True
    none = false_matches(hits, allowed, owner, 0.01)
    assert (none.comparisons, none.observed, none.expected, none.fmr) == (147, 0, 1.47, 0.0)
    assert none.ci95.low == 0.0 < none.ci95.high < 0.05
    hits[0, 10:16] = True
    six = false_matches(hits, allowed, owner, None)
    assert six.observed == 6 and six.expected is None and six.fmr == pytest.approx(6 / 147, rel=0.01)
    assert six.ci95.low == 0.0, "all errors are of one person, who is not drawn in every round"
    assert six.ci95.high > 0.1


def unit(*values: float) -> NDArray[np.float32]:
    vector = np.zeros(192, dtype=np.float32)
    vector[: len(values)] = values
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def test_a_track_needs_what_the_tracker_needs() -> None:
    tracks = TrackTrials(Config(decision=DecisionConfig(confirm_frames=3)), {"alice": unit(1), "bob": unit(0, 1)})
    box = (10.0, 10.0, 60.0, 60.0)
    frames = [Look(person="alice", condition="t", number=i, box=box, vector=unit(1, 0, 0.3 * i)) for i in range(4)]
    assert tracks.matches(frames, "alice", 0.6, gates=True)
    assert not tracks.matches(frames, "bob", 0.6, gates=True)
    assert not tracks.matches(frames[:2], "alice", 0.6, gates=True), "two frames are fewer than confirm_frames"
    dark = [replace(f, faults=("too_dark",)) for f in frames]
    assert not tracks.matches(dark, "alice", 0.6, gates=True) and tracks.matches(dark, "alice", 0.6, gates=False)
    lost = [replace(f, vector=None) for f in frames[:2]] + frames[2:]
    assert not tracks.matches(lost, "alice", 0.6, gates=True)


# ---- range


def test_the_range_ends_where_a_tenth_of_the_people_is_lost() -> None:
    table = reach.RangeTable(
        points={1.0: [(43.0, 1.0), (24.0, 0.95), (18.0, 0.65)], 0.25: [(43.0, 0.5), (24.0, 0.1)]},
        width_px=640,
        people=9,
        threshold=0.5,
        settings=reach.settings_of(Config()),
        encoder_id="sha256:a",
        version="1",
        commit="",
    )
    assert table.limit_px(1.0) == pytest.approx(23.0) and table.limit_px(0.25) is None
    near = distance_m(23.0, 640, 66.0)
    assert near == pytest.approx(320 / np.tan(np.radians(33)) * 0.063 / 23)
    assert table.distance_m(1.0, 640, 66.0) == pytest.approx(near)
    assert table.distance_m(1.0, 320, 66.0) == pytest.approx(near / 2)
    assert table.distance_m(1.0, 1280, 66.0) == pytest.approx(near), (
        "the detector sees the whole picture in its own size"
    )
    assert table.words(1280, 66.0)[0] == f"recognizes to at least {near:.1f} m by day"
    assert table.words(640, 66.0)[1] == "recognizes too few people at a quarter of the brightness"
    assert table.differs("sha256:a", Config()) == []
    other = replace(Config(), quality=replace(Config().quality, min_luma=30.0))
    assert table.differs("sha256:b", other) == ["another encoder", "quality.min_luma = 30.0"]
    never = replace(table, points={1.0: [(43.0, 1.0), (10.0, 0.95)]})
    assert never.limit_px(1.0) == 10.0, "not beyond what was measured"


def test_the_shipped_table_is_of_the_shipped_encoder(pipeline: Pipeline) -> None:
    shipped = reach.read()
    assert shipped is not None and shipped.differs(pipeline.encoder.encoder_id, Config()) == []
    assert 0.5 < (shipped.distance_m(1.0, 640, 66.0) or 0.0) < 5.0


# ---- the command


@pytest.fixture(scope="session")
def images(portrait_files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people with two pictures each, and a stranger with one: a mirrored Collins."""
    folder = tmp_path_factory.mktemp("people")
    for name in ("collins", "hopper"):
        (folder / name).mkdir()
        picture = Image.open(portrait_files[name]).convert("RGB")
        picture.save(folder / name / f"{name}_0001.png")
        ImageEnhance.Contrast(picture).enhance(0.8).save(folder / name / f"{name}_0002.png")
    (folder / "stranger").mkdir()
    Image.open(portrait_files["hopper"]).convert("L").save(folder / "stranger" / "stranger_0001.png")
    return folder


def evaluate(tmp_path: Path, images: Path, *arguments: str) -> dict[str, Any]:
    config = tmp_path / "c.toml"
    gate = "[quality]\nmin_luma = 40.0\n"  # with the default nothing here is refused
    config.write_text(f'[device]\nstate_dir = "{tmp_path}/state"\n{gate}')
    words = ["--config", str(config), "evaluate", "conditions", "--images", str(images), "--workers", "1", "--json"]
    result = CliRunner().invoke(cli, [*words, *arguments], standalone_mode=False, catch_exceptions=False)
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_command_reports_rates_gates_and_false_matches(tmp_path: Path, images: Path) -> None:
    names = "eyes-43,eyes-18,light-0.25,track-light-0.12"
    page, kept_file, table = tmp_path / "r.html", tmp_path / "f.npz", tmp_path / "range.json"
    options = ("--conditions", names, "--threshold", "-1", "--html", str(page), "--frames", str(kept_file))
    r = evaluate(tmp_path, images, *options, "--range", str(table))
    assert (r["people"], r["references"], r["left_out"]) == (2, 3, 0)
    by_name = {c["name"]: c for c in r["conditions"]}
    assert list(by_name) == ["eyes-43", "eyes-18", "light-0.25", "track-light-0.12"]
    clean, far, dark = by_name["eyes-43"], by_name["eyes-18"], by_name["light-0.25"]
    assert (clean["found"], clean["refused"], clean["at"][0]["recognized"]) == (1.0, 0.0, 1.0)
    assert far["distance_m"] == pytest.approx(1.725, abs=0.01)
    assert dark["at"][0]["recognized"] == 0.0 and dark["at"][0]["encoder"] == 1.0
    assert dark["gates"]["too_dark"]["refused"] == dark["gates"]["too_dark"]["would_match"] == 2
    false = [a["encoder_false_matches"] for a in clean["at"]]
    assert [f["comparisons"] for f in false] == [4, 4]
    assert false[0]["observed"] == 1, "the stranger is Hopper in grey"
    assert false[1]["observed"] == 4, "every comparison reaches a score of -1"
    assert [t["name"] for t in r["thresholds"]] == ["in force", "set by hand"]
    text = page.read_text()
    assert text.count('<svg class="chart"') == 2 and "too_dark 2 (2" in text and "<script" not in text
    assert json.loads(page.with_suffix(".json").read_text()) == r
    found = reach.read(table)
    assert found is not None and [px for px, _ in found.points[1.0]] == [43.0, 18.0]
    # A second run takes every frame from the file: the pictures are gone.
    broken = tmp_path / "broken"
    for path in images.glob("*/*.png"):
        (broken / path.parent.name).mkdir(parents=True, exist_ok=True)
        (broken / path.parent.name / path.name).write_bytes(b"")
    assert evaluate(tmp_path, broken, *options) == r
    with pytest.raises(EdgeOneshotError, match="expected frames of this run, got others: seed differ"):
        evaluate(tmp_path, images, *options, "--seed", "1")


def test_an_interrupted_run_continues(tmp_path: Path, images: Path) -> None:
    under_test = UnderTest.open(Config(device=DeviceConfig(state_dir=str(tmp_path))))
    found, file = find_images(images), tmp_path / "f.npz"

    def session() -> Session:
        return Session(under_test, found, chosen("eyes-43"), frames_file=file)

    def interrupt(people: int) -> None:
        if people:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        session().run(1, interrupt)
    again, steps = session(), list[int]()
    again.run(1, steps.append)
    assert steps == [1, 1, 1], "the first person was kept"
    whole = Session(under_test, found, chosen("eyes-43"))
    whole.run(1, steps.append)
    assert again.measure(None, 66.0, None) == whole.measure(None, 66.0, None)


def test_labels_add_matched_strangers(tmp_path: Path, images: Path) -> None:
    labels = tmp_path / "labels.csv"
    labels.write_text("name,sex\ncollins,female\nhopper,female\nstranger,male\n")
    r = evaluate(tmp_path, images, "--conditions", "eyes-43", "--threshold", "-1", "--labels", str(labels))
    at = r["conditions"][0]["at"][1]
    assert at["matched_encoder_false_matches"]["comparisons"] == 2 and at["encoder_false_matches"]["comparisons"] == 4


def test_people_with_one_picture_each_are_not_enough(tmp_path: Path, images: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "stranger").symlink_to(images / "stranger")
    with pytest.raises(EdgeOneshotError, match="expected people with two pictures or more, got 1 people"):
        evaluate(tmp_path, tmp_path / "one")


def test_kept_looks_come_back(tmp_path: Path) -> None:
    path, key = tmp_path / "f.npz", {"seed": 0}
    looks = [
        Look(person="a", condition="reference", vector=unit(1, 2)),
        Look(person="a", condition="eyes-10", number=3, faults=("too_far", "flat")),
    ]
    assert kept.load(path, key) == (set(), [])
    kept.save(path, key, ["a"], looks)
    done, found = kept.load(path, key)
    assert done == {"a"} and [(k.person, k.condition, k.number, k.faults) for k in found] == [
        ("a", "reference", 0, ()),
        ("a", "eyes-10", 3, ("too_far", "flat")),
    ]
    assert found[0].vector is not None and (found[0].vector == unit(1, 2)).all() and found[1].vector is None
    assert path.stat().st_mode & 0o777 == 0o600
    path.write_bytes(b"no archive")
    with pytest.raises(EdgeOneshotError, match="expected the file of an earlier run"):
        kept.load(path, key)
