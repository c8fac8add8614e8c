"""People for whom no error rate can be stated: refused at enrollment, marked if accepted, and so in events and everywhere."""

from __future__ import annotations

import base64
import copy
import json
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from asking import served
from pictures import Pixels, empty_scene, extra_or_reason, frame, view
from samples import random_unit, template, unit

from converters.no_rate import part_of
from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.config import CameraConfig, Config, DeviceConfig
from edge_oneshot.errors import EnrollmentError
from edge_oneshot.gallery.archive import from_document, to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching import no_rate
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.forecast import missed, too_alike
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.model.bundle import Bundle, compute_encoder_id, find_bundle, split
from edge_oneshot.model.card import NoRate
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.requests import Requests
from edge_oneshot.types import Event

MakeRecognizer = Callable[..., Recognizer]


def with_rule(pipeline: Pipeline, rule: NoRate | None) -> Pipeline:
    """The same networks with another rule in the encoder's card."""
    encoder = copy.copy(pipeline.encoder)
    encoder.card = replace(encoder.card, no_rate=rule)
    return Pipeline(encoder, pipeline.locator, pipeline.gates)


@pytest.fixture
def careful(pipeline: Pipeline, collins: Pixels) -> Pipeline:
    """A card whose cohort of children looks like Eileen Collins: the mechanism, on pictures that may be used."""
    (sample,) = pipeline.samples(frame(collins))
    weights = tuple(float(v) for v in pipeline.encode(sample).vector)
    return with_rule(pipeline, NoRate(protocol="one adult", weights=weights, threshold=0.6))


@pytest.fixture
def recognizer(make_recognizer: MakeRecognizer, careful: Pipeline) -> Recognizer:
    return make_recognizer(pipeline=careful)


@pytest.fixture
def requests(recognizer: Recognizer) -> Requests:
    return Requests(recognizer, lambda event: None)


def picture(pixels: Pixels) -> str:
    return base64.b64encode(to_jpeg(pixels)).decode()


# ---- enrollment


def test_enrollment_is_refused_with_what_was_expected_and_got(
    recognizer: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    with pytest.raises(EnrollmentError) as caught:
        recognizer.enroll("Eileen", view(collins, 2))
    assert "'Eileen' was not enrolled: expected a face that the encoder can tell from others" in caught.value.message
    assert "(limit 0.600)" in caught.value.message
    assert "--accept-no-rate" in caught.value.hint
    assert recognizer.people.names == {}
    assert not recognizer.enroll("Grace", hopper).template.no_rate
    assert recognizer.people.no_rate == frozenset()


def test_an_accepted_person_is_marked_whatever_the_next_card_says(
    recognizer: Recognizer, make_recognizer: MakeRecognizer, pipeline: Pipeline, collins: Pixels, hopper: Pixels
) -> None:
    recognizer.enroll("Grace", hopper, accept_no_rate=True)
    assert recognizer.enroll("Eileen", collins, accept_no_rate=True).template.no_rate
    assert recognizer.people.no_rate == {"eileen"}
    later = make_recognizer(pipeline=with_rule(pipeline, None))
    assert later.people.no_rate == {"eileen"}
    assert [r.no_rate for r in later.identify(collins)] == [True]
    assert [r.no_rate for r in later.identify(hopper)] == [False]
    assert later.verify("Eileen", hopper).no_rate


def test_a_template_of_before_the_rule_is_found_by_it(
    recognizer: Recognizer, make_recognizer: MakeRecognizer, pipeline: Pipeline, collins: Pixels
) -> None:
    make_recognizer(pipeline=with_rule(pipeline, None)).enroll("Eileen", collins)
    recognizer.people.refresh()
    assert recognizer.people.no_rate == {"eileen"}


@pytest.mark.parametrize("accept", [False, True])
def test_live_enrollment_is_refused_unless_accepted(recognizer: Recognizer, collins: Pixels, accept: bool) -> None:
    session = recognizer.capture_session(recognizer.new_identity("Eileen"), 30.0, accept_no_rate=accept)
    start = time.monotonic_ns()

    def offer_all() -> list[object]:
        shown = (frame(view(collins, i), start + (i + 1) * 300_000_000) for i in range(6))
        return [done for f in shown if (done := session.offer(f)) is not None]

    if accept:
        (made, *_) = offer_all()
        assert made.template.no_rate  # type: ignore[attr-defined]
    else:
        with pytest.raises(EnrollmentError, match="no error rate can be stated"):
            offer_all()


# ---- requests


def test_requests_refuse_accept_and_report(requests: Requests, collins: Pixels, hopper: Pixels) -> None:
    refused = served(requests, "enroll", name="Eileen", image=picture(collins))
    assert (refused["status"], refused["kind"]) == ("error", "EnrollmentError")
    accepted = served(requests, "enroll", name="Eileen", image=picture(collins), accept_no_rate=True)["data"]
    other = served(requests, "enroll", name="Grace", image=picture(hopper))["data"]
    assert (accepted["no_rate"], other["no_rate"]) == (True, False)
    listed = served(requests, "list")["data"]["identities"]
    assert {p["identity"]: p["no_rate"] for p in listed} == {"eileen": True, "grace": False}
    assert served(requests, "show", name="eileen")["data"]["no_rate"]
    assert served(requests, "check")["data"]["no_rate"] == ["eileen"]
    assert served(requests, "identify", image=picture(collins))["data"]["no_rate"]
    assert not served(requests, "identify", image=picture(hopper))["data"]["no_rate"]


def test_the_archive_keeps_the_mark_and_the_rule_finds_what_lacks_it(
    requests: Requests, recognizer: Recognizer, pipeline: Pipeline, tmp_path: Path, collins: Pixels
) -> None:
    recognizer.enroll("Eileen", collins, accept_no_rate=True)
    document: Any = json.loads(json.dumps(to_document(recognizer.people.gallery)))
    assert from_document(document)[0].templates[0].no_rate
    with Gallery(tmp_path / "copy.sqlite") as copied:
        copied.add_all([(p.identity, p.templates) for p in from_document(document)])
        assert copied.people()[0].templates[0].no_rate
    entry = document["identities"][0]["templates"][0]
    del entry["no_rate"], document["digest"]  # a file of an earlier release
    document["version"] = 1
    assert not from_document(document)[0].templates[0].no_rate
    imported = served(requests, "import", document=document, replace=True)["data"]
    assert imported["no_rate"] == ["eileen"]
    entry["no_rate"] = "yes"
    answer = served(requests, "import", document=document, replace=True)
    assert "no_rate: expected true or false" in answer["error"]


# ---- events


def test_match_events_of_marked_people_carry_no_rate(
    recognizer: Recognizer, tmp_path: Path, collins: Pixels, hopper: Pixels
) -> None:
    recognizer.enroll("Eileen", collins, accept_no_rate=True)
    recognizer.enroll("Grace", hopper)
    config = Config(device=DeviceConfig(slug="front", state_dir=str(tmp_path)), camera=CameraConfig(uri="folder:x"))
    daemon = Daemon(config, recognizer, build_tracker(config, recognizer), Reporter())
    now = time.monotonic_ns()
    events: list[Event] = []
    for shown in (collins, hopper):
        for i in range(12):
            now += 100_000_000
            events += daemon.step(frame(view(shown, i), now), now)
        for _ in range(80):
            now += 100_000_000
            events += daemon.step(frame(empty_scene(), now), now)
    rates = {e.body["identity"]: e.body.get("rate") for e in events if e.event_type == "match"}
    assert set(rates) == {"eileen", "grace"}
    assert rates["eileen"] == "none"
    assert rates["grace"] != "none"
    assert all(e.body.get("rate") != "none" for e in events if e.event_type != "match")


# ---- look-alikes


def test_a_pair_too_alike_is_separated_by_the_threshold_that_is_named(encoder_bundle: Bundle) -> None:
    card = encoder_bundle.encoder
    a = random_unit(1)
    b = unit(*(a + 0.6 * random_unit(2)))
    rule = Rule(target=Target(fmr=1e-4), thresholds=card.thresholds, cohort=card.cohort)
    threshold = rule([1, 1]).value
    people = {"a": a, "b": b, "c": random_unit(3)}
    encoder_id = encoder_bundle.encoder_id
    references = References(card.comparator, encoder_id, [template(i, v, encoder_id) for i, v in people.items()])
    (pair,) = too_alike(rule, references, threshold)
    assert pair["identities"] == ("a", "b")
    assert references.alike(pair["apart_at"]) == []
    assert len(references.alike(pair["apart_at"] - 2e-4)) == 1
    today, then = missed(rule, threshold), pair["fnmr"]
    assert today is not None and then is not None and then > today > 0
    unknown = Rule(target=Target(fmr=1e-4), thresholds=card.thresholds, cohort=None)
    assert too_alike(unknown, references, threshold)[0]["fnmr"] is None


# ---- the shipped rule


def test_the_shipped_encoder_has_a_rule_and_accepts_adults(pipeline: Pipeline, portraits: dict[str, Pixels]) -> None:
    rule = pipeline.encoder.card.no_rate
    assert rule is not None
    for pixels in portraits.values():
        (sample,) = pipeline.samples(frame(pixels))
        assert no_rate.score(rule, pipeline.encode(sample)) < rule.threshold - 0.1
    _, card = split(find_bundle("", "encoder").read_bytes(), "encoder")
    assert card is not None
    assert compute_encoder_id(card["digests"]["model"], card) == pipeline.encoder.encoder_id


@pytest.mark.slow
def test_children_are_refused_and_adults_are_not(make_recognizer: MakeRecognizer, tmp_path: Path) -> None:
    """UTKFace (research use), the part that no weight and no threshold comes from: 20 of 0-8 years, 40 of 20 and more."""
    archive = extra_or_reason("utkface_dev.tar")
    if isinstance(archive, str):
        pytest.skip(archive)
    recognizer = make_recognizer()
    refused = {True: 0, False: 0}
    wanted = {True: 20, False: 40}
    with tarfile.open(archive) as tar:
        members = sorted((m for m in tar.getmembers() if m.name.endswith(".jpg")), key=lambda m: m.name[::-1])
        for member in members:
            name = Path(member.name).name
            age = int(name.split("_")[0])
            child = age <= 8
            if part_of(name) != "report" or not (child or age >= 20) or not wanted[child]:
                continue
            wanted[child] -= 1
            file = tar.extractfile(member)
            assert file is not None
            try:
                recognizer.enroll(f"person {sum(wanted.values())}", file.read())
            except EnrollmentError as e:
                refused[child] += "no error rate can be stated" in e.message
    assert wanted == {True: 0, False: 0}
    assert refused[True] >= 17, refused
    assert refused[False] <= 2, refused
