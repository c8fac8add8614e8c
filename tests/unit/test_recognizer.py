"""Recognizer on real portraits: its threshold is always that of its gallery; pictures of every kind; errors; opening, closing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import Pixels, empty_scene, frame, view
from PIL import Image
from samples import OTHER, person, random_unit, template

from edge_oneshot.cameras.images import load_image
from edge_oneshot.config import CameraConfig, Config, DecisionConfig, DeviceConfig, ModelConfig
from edge_oneshot.errors import (
    AcquisitionError,
    CameraError,
    ConfigError,
    EnrollmentError,
    GalleryError,
    StorageError,
    UnusableFile,
)
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.recognition.compose import build_rule
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import DecisionKind, Template

MakeRecognizer = Callable[..., Recognizer]


@pytest.fixture
def growing(make_recognizer: MakeRecognizer) -> Recognizer:
    """Its threshold depends on the size of the gallery."""
    return make_recognizer(target_fpir=0.01)


@pytest.fixture
def both(collins: Pixels, hopper: Pixels) -> Pixels:
    """Two faces; Grace Hopper's is the larger one."""
    return np.hstack([collins, hopper[:512]])


def add_people(gallery: Gallery, count: int, encoder_id: str) -> None:
    """People p0, p1, … with random templates."""
    made = [(person(f"p{i}", f"P {i}"), [template(f"p{i}", random_unit(i), encoder_id)]) for i in range(count)]
    gallery.add_all(made)


def stored(recognizer: Recognizer) -> list[Template]:
    """As another connection reads them."""
    with Gallery(recognizer.people.gallery.path) as gallery:
        return gallery.templates()


def expected(recognizer: Recognizer) -> Any:
    """The threshold of the rule for the gallery as it is on disk."""
    counts: dict[str, int] = {}
    for t in stored(recognizer):
        if t.encoder_id == recognizer.encoder_id:
            counts[t.identity_id] = counts.get(t.identity_id, 0) + 1
    return recognizer.rule(list(counts.values()))


# ---- the threshold is that of the gallery


def test_the_threshold_rises_with_each_enrollment(growing: Recognizer, collins: Pixels, hopper: Pixels) -> None:
    values = [growing.threshold.value]
    for name, pixels in (("Eileen", collins), ("Grace", hopper)):
        growing.enroll(name, pixels)
        assert growing.threshold == expected(growing)
        values.append(growing.threshold.value)
    add_people(growing.people.gallery, 40, growing.encoder_id)
    growing.people.refresh(force=True)  # as after each write by its own connection
    values.append(growing.threshold.value)
    assert values[0] <= values[1] < values[2] < values[3]
    assert growing.threshold.identities == 42


def test_the_threshold_follows_the_changes_of_other_connections(growing: Recognizer, collins: Pixels) -> None:
    growing.enroll("Eileen", collins)
    before = growing.threshold
    with Gallery(growing.people.gallery.path) as other:
        add_people(other, 300, growing.encoder_id)
        assert growing.threshold == before, "not read yet"
        assert growing.people.refresh()
        assert growing.threshold == expected(growing) and growing.threshold.value > before.value + 0.05
        for i in range(300):
            other.remove(f"p{i}")
    (found,) = growing.identify(collins)  # reads the change itself
    assert growing.threshold == before and found.threshold == before.value


def test_the_threshold_follows_the_rule(growing: Recognizer, collins: Pixels) -> None:
    growing.enroll("Eileen", collins)
    before = growing.threshold
    growing.rule = Rule(target=Target(fpir=0.001), thresholds=growing.rule.thresholds, cohort=growing.rule.cohort)
    assert growing.threshold == expected(growing) and growing.threshold.value > before.value
    growing.rule = Rule(target=Target(score=0.99), thresholds=None, cohort=None)
    assert growing.identify(view(collins, 1))[0].decision.kind is DecisionKind.NON_MATCH
    growing.rule = Rule(target=Target(score=0.3), thresholds=None, cohort=None)
    assert growing.identify(view(collins, 1))[0].identity == "eileen"


def test_templates_of_another_encoder_do_not_raise_the_threshold(growing: Recognizer, collins: Pixels) -> None:
    growing.enroll("Eileen", collins)
    before = growing.threshold
    with Gallery(growing.people.gallery.path) as other:
        add_people(other, 50, OTHER)
    assert growing.people.refresh() and growing.references.foreign == 50
    assert growing.threshold == before == expected(growing)


def test_verify_uses_the_threshold_of_a_gallery_with_this_person_alone(
    growing: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    growing.enroll("Eileen", collins)
    with Gallery(growing.people.gallery.path) as other:
        add_people(other, 200, growing.encoder_id)
    probe = view(collins, 3)
    (identified,) = growing.identify(probe)
    verified = growing.verify("Eileen", probe)
    assert verified.threshold == growing.rule([1]).value < identified.threshold == growing.threshold.value
    assert (verified.identity, verified.name, verified.matched) == ("eileen", "Eileen", True)
    assert verified.score == pytest.approx(identified.score, abs=1e-6)
    non_mated = growing.verify("eileen", hopper)
    assert (non_mated.identity, non_mated.name, non_mated.matched) == ("eileen", "Eileen", False)
    assert non_mated.decision.runner_up is None, "no other person is compared"


def test_alike_uses_the_threshold(recognizer: Recognizer, collins: Pixels, hopper: Pixels) -> None:
    a, b, c = (recognizer.observe(frame(p))[0].embedding for p in (collins, view(collins, 2), hopper))
    assert a is not None and b is not None and c is not None
    assert recognizer.alike(a, b) and not recognizer.alike(a, c)
    recognizer.rule = Rule(target=Target(score=0.999), thresholds=None, cohort=None)
    assert not recognizer.alike(a, b)


def test_score_is_that_of_the_best_template_of_the_person(recognizer: Recognizer, collins: Pixels) -> None:
    made = recognizer.enroll("Eileen", collins)
    probe = recognizer.observe(frame(view(collins, 2)))[0].embedding
    assert probe is not None
    assert recognizer.score("eileen", probe) == pytest.approx(
        float(made.template.embedding.vector @ probe.vector), abs=1e-6
    )
    assert recognizer.score("grace", probe) is None


# ---- identify


def test_identify_returns_every_face_largest_first(
    recognizer: Recognizer, collins: Pixels, hopper: Pixels, both: Pixels
) -> None:
    recognizer.enroll("Eileen", collins)
    larger, smaller = recognizer.identify(both)
    assert (larger.identity, larger.name, larger.decision.kind) == (None, None, DecisionKind.NON_MATCH)
    assert (smaller.identity, smaller.name, smaller.matched) == ("eileen", "Eileen", True)
    assert larger.box is not None and smaller.box is not None
    assert larger.box.width > smaller.box.width and larger.box.x0 > 512 > smaller.box.x1
    assert larger.score is not None and smaller.score is not None
    assert larger.score < larger.threshold <= smaller.score
    recognizer.enroll("Grace", hopper)
    assert [f.name for f in recognizer.identify(both)] == ["Grace", "Eileen"]
    assert recognizer.identify(empty_scene()) == []


def test_identify_names_no_person_below_the_threshold(recognizer: Recognizer, collins: Pixels) -> None:
    recognizer.enroll("Eileen", collins)
    probe = view(collins, 3)
    (found,) = recognizer.identify(probe)
    assert found.score is not None and found.identity == "eileen"
    for score, identity in ((found.score, "eileen"), (np.nextafter(found.score, 2), None)):
        recognizer.rule = Rule(target=Target(score=float(score)), thresholds=None, cohort=None)
        (again,) = recognizer.identify(probe)
        assert (again.identity, again.score) == (identity, found.score)
        assert again.name == ("Eileen" if identity else None)


def test_identify_on_an_empty_gallery_compares_nothing(recognizer: Recognizer, collins: Pixels) -> None:
    (found,) = recognizer.identify(collins)
    assert (found.identity, found.score, found.matched) == (None, None, False)


def test_identify_reports_a_face_that_a_quality_gate_refuses(
    recognizer: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    recognizer.enroll("Eileen", collins)
    dark = (hopper * 0.04).astype(np.uint8)
    (found,) = recognizer.identify(dark)
    assert (found.identity, found.name, found.score, found.matched) == (None, None, None, False)
    assert found.decision.kind is DecisionKind.NOT_COMPARED
    assert "too_dark" in {f.code for f in found.decision.faults} == {f.code for f in found.sample.faults}
    assert found.box is not None
    for compare in (recognizer.identify_one, lambda p: recognizer.verify("Eileen", p)):
        with pytest.raises(AcquisitionError) as caught:
            compare(dark)
        assert any("more light" in fault for fault in caught.value.faults)


def test_identify_one_needs_exactly_one_face(recognizer: Recognizer, collins: Pixels, both: Pixels) -> None:
    recognizer.enroll("Eileen", collins)
    one, (every,) = recognizer.identify_one(collins), recognizer.identify(collins)
    assert (one.identity, one.decision) == (every.identity, every.decision)
    for picture, says in ((both, "2 faces found"), (empty_scene(), "no face found")):
        with pytest.raises(AcquisitionError) as caught:
            recognizer.identify_one(picture)
        assert says in caught.value.faults[0]


def test_a_rename_by_another_connection_is_seen(recognizer: Recognizer, collins: Pixels) -> None:
    recognizer.enroll("Eileen", collins)
    with Gallery(recognizer.people.gallery.path) as other:
        other.rename("eileen", "Eileen Collins")
    assert recognizer.identify(collins)[0].name == "Eileen Collins"
    with Gallery(recognizer.people.gallery.path) as other:
        other.rename("eileen", "Colonel Collins")
    assert recognizer.identify_one(collins).name == "Colonel Collins"
    assert recognizer.verify("Colonel Collins", collins).matched


def test_verify_needs_an_enrolled_person_with_a_template_of_this_encoder(
    recognizer: Recognizer, collins: Pixels
) -> None:
    with pytest.raises(GalleryError, match="'Eileen'"):
        recognizer.verify("Eileen", collins)
    recognizer.people.gallery.add(person("old"), [template("old", random_unit(1), OTHER)])
    with pytest.raises(GalleryError, match="'old' has no template of an encoder in use"):
        recognizer.verify("old", collins)


# ---- observe


def test_observe_decides_as_the_daemon_does(
    recognizer: Recognizer, make_recognizer: MakeRecognizer, collins: Pixels, hopper: Pixels, both: Pixels
) -> None:
    recognizer.enroll("Eileen", collins)
    other = make_recognizer(recognizer.people.gallery.path)
    config = Config(device=DeviceConfig(slug="front"), camera=CameraConfig(uri="folder:x"))
    reporter = Reporter()
    daemon = Daemon(config, other, build_tracker(config, other), reporter)
    pictures = [view(collins, 1), both, empty_scene(), hopper, (hopper * 0.04).astype(np.uint8)]
    compared = 0
    for number, pixels in enumerate(pictures, 1):
        live = frame(pixels, captured_ns=number * 100_000_000)
        daemon.step(live, live.captured_ns)
        seen = [o for _, o, _ in daemon.tracker.seen_at(live.captured_ns)]
        own = recognizer.observe(live)
        assert len(seen) == len(own)
        for a, b in zip(sorted(seen, key=place), sorted(own, key=place), strict=True):
            assert a.decision.kind == b.decision.kind and a.sample.quality == b.sample.quality
            if a.one_view:  # without the mirror image: a stranger far below the threshold
                assert a.decision.margin is not None and a.decision.margin < -0.15
            else:
                assert a.decision == b.decision
            if a.embedding is not None and b.embedding is not None and not a.one_view:
                assert np.array_equal(a.embedding.vector, b.embedding.vector)
                compared += 1
    assert compared == 2, "the enrolled person, alone and beside another"


def place(observation: Any) -> float:
    x: float = observation.sample.face.box.x0
    return x


# ---- enroll


def test_a_path_bytes_an_array_and_a_frame_give_the_same_template(
    make_recognizer: MakeRecognizer, portrait_files: dict[str, Path], collins: Pixels, tmp_path: Path
) -> None:
    path = portrait_files["collins"]
    mirrored = np.ascontiguousarray(collins[:, ::-1])
    pictures: dict[str, Any] = {
        "path": path,
        "text": str(path),
        "bytes": path.read_bytes(),
        "array": collins,
        "writable copy": collins.copy(),
        "view": mirrored[:, ::-1],
        "frame": load_image(path),
    }
    vectors = {}
    for kind, picture in pictures.items():
        recognizer = make_recognizer(tmp_path / f"{kind}.sqlite")
        enrollment = recognizer.enroll("Eileen", picture)
        (kept,) = stored(recognizer)
        assert kept.template_id == enrollment.template.template_id and kept.identity_id == "eileen"
        vectors[kind] = kept.embedding.vector
        assert recognizer.identify(picture)[0].identity == "eileen", kind
    assert all(np.array_equal(v, vectors["path"]) for v in vectors.values())
    pictures["writable copy"][0, 0] = 0  # the caller's array stays writable


def test_an_enrollment_that_fails_stores_nothing(
    recognizer: Recognizer,
    portrait_files: dict[str, Path],
    collins: Pixels,
    hopper: Pixels,
    both: Pixels,
    tmp_path: Path,
) -> None:
    (junk := tmp_path / "junk.jpg").write_text("no picture")
    cases: list[tuple[str, Any, dict[str, Any], type[Exception], str]] = [
        ("Zoë", empty_scene(), {}, EnrollmentError, "no face found"),
        ("Zoë", both, {}, EnrollmentError, "2 faces found"),
        ("Zoë", (hopper * 0.04).astype(np.uint8), {}, EnrollmentError, "more light"),
        ("Zoë", junk, {}, CameraError, "expected a JPEG"),
        ("Zoë", b"no picture", {}, CameraError, "expected a JPEG"),
        ("Zoë", tmp_path / "absent.jpg", {}, CameraError, "no image at"),
        ("Zoë", collins.astype(np.float32), {}, ValueError, "uint8"),
        ("Zoë", collins[:, :, 0], {}, ValueError, "uint8"),
        ("李", collins, {}, GalleryError, "no id can be made from it"),
        ("Zoë", collins, {"identity_id": "Bad Id"}, GalleryError, "expected 1 to 64"),
        (" ", collins, {}, GalleryError, "name"),
    ]
    for name, picture, options, error, says in cases:
        with pytest.raises(error) as caught:
            recognizer.enroll(name, picture, **options)
        assert says in str([caught.value, getattr(caught.value, "faults", ())]), (name, caught.value)
    assert stored(recognizer) == [] and recognizer.people.names == {}
    recognizer.enroll("Zoë", collins)
    (before,) = stored(recognizer)
    for options, says in (({}, "already enrolled"), ({"identity_id": "other"}, "already enrolled as 'zoe'")):
        for picture in (hopper, empty_scene()):  # the name is checked before the picture
            with pytest.raises(GalleryError, match=says):
                recognizer.enroll("Zoë", picture, **options)
    with pytest.raises(EnrollmentError):
        recognizer.enroll("Zoë", empty_scene(), replace=True)
    (kept,) = stored(recognizer)
    assert kept.template_id == before.template_id
    assert recognizer.identify(hopper)[0].identity is None


def test_replace_renews_the_template_and_keeps_the_identity(
    recognizer: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    recognizer.enroll("Zoë", collins, identity_id="z1")
    again = recognizer.enroll("ZOË", hopper, replace=True)
    assert again.identity.identity_id == "z1"
    (kept,) = stored(recognizer)
    assert kept.template_id == again.template.template_id
    assert recognizer.identify(hopper)[0].identity == "z1" and recognizer.identify(collins)[0].identity is None


def test_a_look_alike_that_another_connection_enrolled_is_reported(
    recognizer: Recognizer, make_recognizer: MakeRecognizer, collins: Pixels
) -> None:
    make_recognizer(recognizer.people.gallery.path).enroll("Eileen", collins)
    twin = recognizer.enroll("Twin", view(collins, 2))
    assert twin.look_alike is not None and twin.look_alike.identity_id == "eileen"
    assert twin.look_alike.score >= recognizer.threshold.value


# ---- open and close


def test_open_takes_a_config_a_path_or_the_environment(
    tmp_path: Path, collins: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "own.toml"
    file.write_text(f'[device]\nstate_dir = "{tmp_path}"\n[model]\nthreads = 1\n[decision]\nthreshold = 0.45\n')
    config = Config(
        device=DeviceConfig(state_dir=str(tmp_path)),
        model=ModelConfig(threads=1),
        decision=DecisionConfig(threshold=0.45),
    )
    monkeypatch.setenv("EDGE_ONESHOT_CONFIG", str(file))
    for given in (config, file, str(file), None):
        with Recognizer.open(given) as recognizer:
            recognizer.enroll("Eileen", collins, replace=True)
            assert recognizer.threshold.value == 0.45
            assert recognizer.people.gallery.path == tmp_path / "gallery.sqlite"
    with Recognizer.open(config, gallery=tmp_path / "other" / "g.sqlite") as recognizer:
        assert recognizer.people.names == {} and (tmp_path / "other" / "g.sqlite").exists()
    monkeypatch.setenv("EDGE_ONESHOT_CONFIG", str(tmp_path / "absent.toml"))
    with pytest.raises(ConfigError):
        Recognizer.open()


def test_a_gallery_in_memory_leaves_no_file(tmp_path: Path, collins: Pixels, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = Config(model=ModelConfig(threads=1))
    for _ in range(2):
        with Recognizer.open(config, gallery=":memory:") as recognizer:
            assert recognizer.people.names == {}
            recognizer.enroll("Eileen", collins)
            monkeypatch.chdir(tmp_path)  # the working directory does not matter
            assert recognizer.identify(view(collins, 1))[0].identity == "eileen"
            recognizer.people.gallery.remove("eileen")
        monkeypatch.chdir(tmp_path / "here")
    assert [p.name for p in tmp_path.rglob("*")] == ["here"]


def test_the_context_manager_closes_the_gallery(make_recognizer: MakeRecognizer, collins: Pixels) -> None:
    with make_recognizer() as recognizer:
        recognizer.enroll("Eileen", collins)
    with pytest.raises(StorageError, match="closed"):
        recognizer.identify(collins)
    with pytest.raises(StorageError, match="closed"):
        recognizer.enroll("Grace", collins)
    again = make_recognizer()
    with pytest.raises(ZeroDivisionError), again:
        _ = 1 / 0
    with pytest.raises(StorageError, match="closed"):
        again.people.gallery.identities()
    again.close()  # a second close does nothing
    assert [t.identity_id for t in stored(recognizer)] == ["eileen"]


def test_a_gallery_that_cannot_be_read_is_an_error_and_is_closed(
    recognizer: Recognizer, collins: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recognizer.enroll("Eileen", collins)
    recognizer.close()
    path = recognizer.people.gallery.path
    config, opened = Config(model=ModelConfig(threads=1)), []
    make = Gallery.__init__
    monkeypatch.setattr(Gallery, "__init__", lambda self, *a, **k: (opened.append(self), make(self, *a, **k))[1])
    monkeypatch.setattr(Gallery, "templates", lambda self: self._db.rows("SELECT * FROM no_such_table"))
    with pytest.raises(StorageError, match="cannot read the gallery"):
        Recognizer.open(config, gallery=path)
    with pytest.raises(StorageError, match="closed"):
        opened[0]._db.execute("SELECT 1")
    shutil.copy(__file__, tmp_path / "no-gallery.sqlite")
    with pytest.raises(UnusableFile, match="the file is damaged"):
        Recognizer.open(config, gallery=tmp_path / "no-gallery.sqlite")


def test_pictures_of_other_formats(recognizer: Recognizer, collins: Pixels, tmp_path: Path) -> None:
    recognizer.enroll("Eileen", collins)
    for name in ("a.jpg", "a.webp", "a.bmp"):
        Image.fromarray(collins).save(tmp_path / name)
        assert recognizer.identify(tmp_path / name)[0].identity == "eileen"


def test_the_threshold_follows_a_removal(pipeline: Pipeline, collins: Pixels, hopper: Pixels, tmp_path: Path) -> None:
    config = Config(decision=DecisionConfig(target_fpir=0.01))
    with Recognizer(pipeline, build_rule(config, pipeline.encoder), Gallery(tmp_path / "g.sqlite")) as recognizer:
        recognizer.enroll("Eileen", collins)
        alone = recognizer.threshold.value
        recognizer.enroll("Grace", hopper)
        assert recognizer.threshold.value > alone
        recognizer.people.remove("grace")
        assert recognizer.threshold.value == alone
        recognizer.people.rename("eileen", "Col. Collins")
        assert recognizer.people.names == {"eileen": "Col. Collins"}
