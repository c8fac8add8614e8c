"""The file of what was learned of a site's strangers, and the daemon that feeds it."""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from example_messages import response_of
from pictures import Pixels, empty_scene, frame, view
from samples import ENCODER, embedding, random_unit

from edge_oneshot.cli.common import adaptation_words
from edge_oneshot.config import CameraConfig, Config, DecisionConfig, DeviceConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import Check, Enroll, ResetAdaptation
from edge_oneshot.errors import ModelError
from edge_oneshot.gallery.door import DoorRecord
from edge_oneshot.gallery.site import Site, erase
from edge_oneshot.matching.adaptation import NEEDED, STEP
from edge_oneshot.recognition.compose import build_rule, open_site
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import site as sites
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.door import Door
from edge_oneshot.service.reporter import Reporter

SCORES = np.array([0.1, 0.2])


def learn(site: Site, count: int, first: int = 0) -> list[bool]:
    return [site.learn(embedding(random_unit(i)), day=i // 10) for i in range(first, first + count)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "adaptation-default.sqlite"


def opened(path: Path, encoder_id: str = ENCODER) -> Site:
    return Site(path, 192, encoder_id)


def test_the_sum_is_written_when_learning_is_complete_and_not_before(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site = opened(path)
    changed = learn(site, NEEDED - 1)
    assert [i + 1 for i, c in enumerate(changed) if c] == list(range(STEP, NEEDED, STEP))
    assert site.adaptation is not None and site.counted == NEEDED - 1 and not path.exists()
    with closing(opened(path)) as restarted:
        assert (restarted.adaptation, restarted.visits, restarted.counted) == (None, 0, 0)
    assert learn(site, 1, first=NEEDED) == [True]
    assert path.exists() and path.stat().st_mode & 0o077 == 0
    expected = site.adaptation
    site.close()
    again = opened(path)
    assert again.adaptation is not None and again.adaptation.version == expected.version
    np.testing.assert_array_equal(again.adaptation.subtract, expected.subtract)
    assert (again.visits, again.counted) == (expected.visits, NEEDED)
    assert not any(learn(again, 30, first=1000)), "what comes later changes nothing"
    assert f"{NEEDED} of {NEEDED} visitors" in caplog.text
    assert all(random_unit(i).tobytes() not in path.read_bytes() for i in range(NEEDED + 1))


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE adaptation SET total = x'00'",
        "UPDATE adaptation SET total = zeroblob(8)",
        "UPDATE adaptation SET visits = 3",
        "UPDATE adaptation SET before = 1e300",
        "UPDATE adaptation SET made_with = 'another encoder'",
    ],
)
def test_a_damaged_or_old_file_begins_again_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    with closing(opened(path)) as site:
        learn(site, NEEDED)
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(damage)
    with caplog.at_level(logging.WARNING):
        again = opened(path)
    assert again.adaptation is None and again.visits == 0
    assert "begins again" in caplog.text or "is set aside" in caplog.text
    learn(again, NEEDED)
    again.close()
    assert opened(path).counted == NEEDED


def test_visits_of_another_encoder_teach_nothing(path: Path) -> None:
    site = opened(path)
    assert not site.learn(embedding(random_unit(1), "sha256:other"), 1) and site.visits == 0


def test_a_file_that_is_no_database_is_moved_aside_and_reset_deletes_it(path: Path) -> None:
    path.write_bytes(b"no database" * 100)
    with closing(opened(path)) as site:
        learn(site, NEEDED)
        assert len(list(path.parent.glob("*.damaged-*"))) == 1
        assert site.reset() == NEEDED and (site.adaptation, site.visits) == (None, 0)
    assert list(path.parent.glob("*.damaged-*")) == [] and opened(path).adaptation is None


def test_switched_off_nothing_stays(path: Path) -> None:
    with closing(opened(path)) as site:
        learn(site, NEEDED)
        assert site.adaptation is not None
        total = site.adaptation.total.astype("<f8").tobytes()
    assert total in path.read_bytes()
    erase(path)
    assert total not in path.read_bytes()


# ---- the daemon


@pytest.fixture
def loop(make_recognizer: Callable[..., Recognizer], pipeline: Pipeline, tmp_path: Path) -> Daemon:
    config = Config(
        device=DeviceConfig(slug="front", state_dir=str(tmp_path)),
        camera=CameraConfig(uri="folder:x"),
        decision=DecisionConfig(adapt=True),
    )
    recognizer = make_recognizer(config.gallery_path)
    recognizer.adapt_to(open_site(config, pipeline.encoder))
    return Daemon(config, recognizer, build_tracker(config, recognizer), Reporter())


def show(daemon: Daemon, pictures: list[Pixels], start_ns: int) -> int:
    for pixels in pictures:
        start_ns += 100_000_000
        daemon.step(frame(pixels, start_ns), start_ns)
    return start_ns


def adapted(recognizer: Recognizer) -> Site:
    """The site of a recognizer, one visitor before a change."""
    assert recognizer.site is not None
    for i in range(STEP - 1):
        assert not recognizer.site.learn(embedding(random_unit(i), recognizer.encoder_id), 1)
    return recognizer.site


def test_the_visit_of_an_unknown_person_counts_when_it_has_ended(loop: Daemon, hopper: Pixels) -> None:
    site = adapted(loop.recognizer)
    assert (state := loop.status().adaptation) is not None and state.before is None
    assert adaptation_words(state).endswith("nothing is subtracted yet")
    plain = loop.recognizer.enroll("Grace", frame(view(hopper, 0))).template.embedding.vector
    loop.recognizer.people.remove("grace")
    now_ns = show(loop, [view(hopper, i) for i in range(12)], time.monotonic_ns())
    assert site.visits == STEP - 1
    show(loop, [empty_scene()] * 30, now_ns)
    assert site.visits == site.counted == STEP
    version = loop.recognizer.references.version
    assert version and site.adaptation is not None and version == site.adaptation.version
    stored = loop.recognizer.enroll("Grace", frame(view(hopper, 0))).template.embedding.vector
    np.testing.assert_array_equal(stored, plain)  # a template is stored as it is
    found = loop.recognizer.identify(frame(view(hopper, 1)))
    assert [r.decision.adaptation for r in found] == [version]
    check = PendingRequest(Check())
    loop.requests.start(check)
    status = loop.status().adaptation
    assert status is not None and response_of(check).adaptation == status
    assert loop.health().message()["adaptation"] == {
        "visits": STEP,
        "counted": STEP,
        "needed": NEEDED,
        "version": version,
        "before": status.before,
        "after": status.after,
    }
    assert f"strangers' mean {status.before:.2f} -> {status.after:.2f} (version {version})" in adaptation_words(status)
    reset = PendingRequest(ResetAdaptation())
    loop.requests.start(reset)
    assert response_of(reset).visits == STEP
    assert (site.visits, loop.recognizer.references.version) == (0, "")


def test_a_person_who_is_being_enrolled_teaches_nothing(loop: Daemon, hopper: Pixels) -> None:
    now_ns = show(loop, [view(hopper, i) for i in range(12)], time.monotonic_ns())
    loop.requests.start(PendingRequest(Enroll(name="Grace", timeout_s=60)))
    show(loop, [empty_scene()] * 30, now_ns)
    assert loop.requests.job is not None and loop.tracker.numbers == []
    assert loop.recognizer.site is not None and loop.recognizer.site.visits == 0


def test_an_enrolled_person_teaches_nothing(loop: Daemon, hopper: Pixels) -> None:
    loop.recognizer.enroll("Grace", frame(view(hopper, 0)))
    now_ns = show(loop, [view(hopper, i) for i in range(12)], time.monotonic_ns())
    show(loop, [empty_scene()] * 30, now_ns)
    assert loop.recognizer.site is not None and loop.recognizer.site.visits == 0


def test_the_door_is_measured_again_after_each_change(loop: Daemon, tmp_path: Path) -> None:
    recognizer, config = loop.recognizer, loop.config
    site = adapted(recognizer)
    with closing(DoorRecord(tmp_path / "door.sqlite", recognizer.encoder_id)) as record:
        door = Door(record, recognizer, config.decision, "front")
        record.add(SCORES, 0.5, 1)
        site.learn(embedding(random_unit(STEP), recognizer.encoder_id), 2)
        recognizer.people.adapt(site.adaptation)
        assert sites.reset(recognizer, door) == (STEP, [])
        assert record.total().visits == 0
        record.add(SCORES, 0.5, 1)
        assert sites.learn(recognizer, [], datetime.now(UTC), door) == [] and record.total().visits == 1
        off = replace(config, decision=DecisionConfig(adapt=False))
        assert sites.reconfigure(recognizer, off, door) == [] and recognizer.site is None
        assert record.total().visits == 1, "no score has changed"
        sites.reconfigure(recognizer, config, door)
        assert recognizer.site is not None and sites.state(recognizer) is not None


def test_switching_off_gives_back_the_former_scores_and_erases(loop: Daemon) -> None:
    recognizer, config = loop.recognizer, loop.config
    site = adapted(recognizer)
    learn_id = recognizer.encoder_id
    for i in range(STEP - 1, NEEDED):
        site.learn(embedding(random_unit(i), learn_id), i // 10)
    recognizer.people.adapt(site.adaptation)
    assert config.adaptation_path.exists() and recognizer.references.version
    off = replace(config, decision=DecisionConfig(adapt=False))
    sites.reconfigure(recognizer, off, None)
    assert recognizer.references.version == "" and sites.state(recognizer) is None
    sites.reconfigure(recognizer, config, None)
    assert recognizer.references.version == ""


def test_adaptation_needs_unit_vectors(pipeline: Pipeline) -> None:
    encoder = pipeline.encoder
    card = encoder.card
    try:
        encoder.card = replace(card, comparator=replace(card.comparator, kind="weighted-l1", weights=(1.0,) * 192))
        with pytest.raises(
            ModelError, match=r"comparator: expected cosine, since decision\.adapt is true, got weighted"
        ):
            build_rule(Config(decision=DecisionConfig(adapt=True)), encoder)
    finally:
        encoder.card = card
