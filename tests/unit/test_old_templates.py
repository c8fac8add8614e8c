"""Two encoders in one gallery: each person is compared by the encoder of their template, until they are enrolled again."""

from __future__ import annotations

import json
import logging
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from asking import STEP_NS, ask, watch
from pictures import Pixels, frame, view
from samples import OTHER, person, random_unit, template
from second_encoder import write_second_encoder

from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, ModelConfig
from edge_oneshot.control import requests as rq
from edge_oneshot.errors import ModelError
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching import cohort as rates
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.model.bundle import FACE_ENCODERS, Bundle, find_bundle, write_bundle
from edge_oneshot.model.card import CohortScores
from edge_oneshot.recognition.checked import trust_made_here
from edge_oneshot.recognition.enrollment import Enrollment
from edge_oneshot.recognition.matcher import Matcher, look_alike
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import DecisionKind


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The new encoder. The shipped one is the old one here, as after an upgrade."""
    return write_second_encoder(tmp_path_factory.mktemp("second") / "second.tflite")


Open = Callable[..., Recognizer]


@pytest.fixture
def open_(second: Bundle, tmp_path: Path) -> Iterator[Open]:
    """open_(encoder, **keys of [decision]): a recognizer on the gallery of this test. encoder: "" = the shipped one."""
    with ExitStack() as stack:

        def make(encoder: str = str(second.path), old: str = "", **decision: float) -> Recognizer:
            config = Config(
                device=DeviceConfig(state_dir=str(tmp_path)),
                model=ModelConfig(encoder=encoder, old_encoder=old, threads=1),
                decision=DecisionConfig(**decision),  # type: ignore[arg-type]
            )
            return stack.enter_context(Recognizer.open(config))

        yield make


@pytest.fixture
def upgraded(open_: Open, collins: Pixels) -> Recognizer:
    """Eileen was enrolled before the upgrade."""
    open_("").enroll("Eileen", collins)
    return open_()


@pytest.fixture(scope="session")
def both(collins: Pixels, hopper: Pixels) -> Pixels:
    return np.hstack([collins, hopper[:512]])


def other_face(recognizer: Recognizer) -> str:
    return recognizer.pipeline.older[0].encoder_id


# ---- who is compared by what


def test_the_two_encoders_do_not_know_each_other(second: Bundle, open_: Open, collins: Pixels) -> None:
    """Otherwise these tests would pass if a template were compared by the wrong encoder."""
    new, old = open_(), open_("")
    a, b = (r.observe(frame(collins))[0].embedding for r in (new, old))
    assert a is not None and b is not None
    assert abs(float(a.vector @ b.vector)) < 0.3 and a.encoder_id == second.encoder_id != b.encoder_id


def test_each_person_of_one_frame_is_recognized_by_the_encoder_of_their_template(
    upgraded: Recognizer, hopper: Pixels, both: Pixels, second: Bundle, encoder_bundle: Bundle
) -> None:
    upgraded.enroll("Grace", hopper)
    grace, eileen = upgraded.identify(both)
    assert (grace.name, eileen.name) == ("Grace", "Eileen")
    assert (grace.decision.encoder_id, eileen.decision.encoder_id) == (second.encoder_id, encoder_bundle.encoder_id)
    new, old = upgraded.matchers
    assert new.threshold.value != old.threshold.value
    assert (grace.threshold, eileen.threshold) == (new.threshold.value, old.threshold.value)
    assert grace.score is not None and grace.score > grace.threshold
    assert all(len(o.comparisons) == 2 and len(o.others) == 1 for o in upgraded.observe(frame(both)))


def test_an_unknown_person_stays_unknown(upgraded: Recognizer, hopper: Pixels) -> None:
    (found,) = upgraded.identify(hopper)
    assert (found.identity, found.decision.kind) == (None, DecisionKind.NON_MATCH)
    upgraded.enroll("Wall", hopper)
    upgraded.people.remove("eileen")
    assert [f.name for f in upgraded.identify(hopper)] == ["Wall"]


def test_the_embedding_of_an_old_template_is_that_of_the_old_device(
    upgraded: Recognizer, open_: Open, collins: Pixels
) -> None:
    """The old encoder gets the chip that its card describes, not that of the current one."""
    probe = view(collins, 3)
    before, now = open_("").observe(frame(probe))[0], upgraded.observe(frame(probe))[0]
    assert before.embedding is not None and now.embedding is not None
    assert now.sample.chip.pixels.tobytes() != before.sample.chip.pixels.tobytes()
    assert now.embedding.vector.tolist() == before.embedding.vector.tolist()
    assert (now.decision.score, now.decision.threshold) == (before.decision.score, before.decision.threshold)
    assert now.decision.encoder_id == before.decision.encoder_id


def test_only_encoders_that_the_gallery_needs_are_loaded_and_run(
    upgraded: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    new, old = upgraded.pipeline.encoder, upgraded.pipeline.older[0]

    def who_encoded() -> list[str]:
        return [c.embedding.encoder_id for c in upgraded.observe(frame(hopper))[0].comparisons]

    assert who_encoded() == [old.encoder_id], "no person has a template of the current encoder"
    upgraded.enroll("Grace", hopper)
    assert set(who_encoded()) == {old.encoder_id, new.encoder_id}
    upgraded.enroll("Eileen", collins, replace=True)
    assert (upgraded.pipeline.older, upgraded.people.old, len(upgraded.matchers)) == ((), frozenset(), 1)
    assert who_encoded() == [new.encoder_id]
    assert upgraded.verify("Eileen", view(collins, 1)).decision.encoder_id == new.encoder_id


def test_a_gallery_of_the_current_encoder_reads_no_other_bundle(
    open_: Open, hopper: Pixels, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    recognizer = open_()
    recognizer.enroll("Grace", hopper)
    assert recognizer.pipeline.older == () and recognizer._find_encoder._ids == {}  # type: ignore[attr-defined]
    assert "loading" not in caplog.text


def test_the_last_removal_unloads_the_old_encoder(upgraded: Recognizer) -> None:
    loaded = weakref.ref(upgraded.pipeline.older[0])
    with Gallery(upgraded.people.gallery.path) as other:
        other.remove("eileen")
    assert upgraded.people.refresh() and upgraded.pipeline.older == ()
    assert loaded() is None, "its memory is free"


def test_a_person_with_templates_of_both_is_compared_by_the_current_encoder(
    upgraded: Recognizer, collins: Pixels, second: Bundle
) -> None:
    """Such an archive can be imported. One of the two would add false matches and no use."""
    person_ = upgraded.people.gallery.find("eileen")
    (stored,) = person_.templates
    vector = upgraded.pipeline.encode(upgraded.pipeline.samples(frame(collins))[0])
    new = replace(stored, template_id="new", embedding=vector)
    upgraded.people.add(person_.identity, [stored, new], replace=True)
    assert (upgraded.people.old, upgraded.pipeline.older, upgraded.people.templates) == (frozenset(), (), 2)
    assert upgraded.verify("Eileen", collins).decision.encoder_id == second.encoder_id


def test_templates_of_an_unknown_encoder_are_not_compared(upgraded: Recognizer) -> None:
    upgraded.people.add(person("third"), [template("third", random_unit(1), OTHER)])
    assert (upgraded.people.old, upgraded.references.foreign, upgraded.people.templates) == ({"eileen"}, 1, 2)
    checked = ask(upgraded, rq.Check())
    assert (checked.needs_enrollment, checked.old_encoders[0].identities) == (["third"], ["eileen"])


def test_a_damaged_old_template_affects_its_person_only(
    upgraded: Recognizer, hopper: Pixels, collins: Pixels, open_: Open, caplog: pytest.LogCaptureFixture
) -> None:
    open_("").enroll("Grace", hopper)
    long = np.full(192, 3.0, "<f4").tobytes()
    upgraded.people.gallery._db.execute("UPDATE templates SET vector = ? WHERE identity_id = 'eileen'", (long,))
    upgraded.people.refresh(force=True)
    assert "of 'eileen' is damaged" in caplog.text and upgraded.people.old == {"grace"}
    assert upgraded.identify(collins)[0].identity is None
    assert upgraded.identify(hopper)[0].identity == "grace"


# ---- which bundles are known


def test_the_names_of_the_shipped_face_encoders() -> None:
    assert find_bundle("face", "encoder") == find_bundle("", "encoder")
    assert find_bundle("face-web", "encoder").stem == "mobilefacenet"
    assert next(iter(FACE_ENCODERS)) == "face", "newest first"
    with pytest.raises(ModelError, match=r"one of the shipped bundles .*\bface, face-web\b"):
        find_bundle("face-wob", "encoder")


def test_model_old_encoder_names_a_bundle_that_does_not_ship(second: Bundle, open_: Open, collins: Pixels) -> None:
    open_().enroll("Eileen", collins)
    assert open_("").pipeline.older == ()
    back = open_("", old=str(second.path))
    assert back.identify(view(collins, 1))[0].decision.encoder_id == second.encoder_id


def test_an_old_encoder_that_cannot_work_beside_the_current_one_is_refused(open_: Open) -> None:
    with pytest.raises(ModelError, match=r"expected regions 'face' and comparator 'cosine' .*, got 'frame' and"):
        open_(old="omniglot")
    with pytest.raises(ModelError, match="cannot read the model"):
        open_(old="./none.tflite")


def test_a_damaged_shipped_bundle_does_not_stop_the_others(
    upgraded: Recognizer, hopper: Pixels, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, open_: Open,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    upgraded.enroll("Grace", hopper)
    (tmp_path / "damaged.tflite").write_bytes(b"\0" * 100)
    monkeypatch.setattr("edge_oneshot.recognition.compose.FACE_ENCODERS", [str(tmp_path / "damaged.tflite")])
    recognizer = open_()
    recognizer.people.refresh(force=True)
    assert caplog.text.count("old templates of this encoder are not compared") == 1
    assert (recognizer.people.old, recognizer.references.foreign) == (frozenset(), 1)
    assert recognizer.identify(hopper)[0].identity == "grace"


# ---- thresholds


def add_people(recognizer: Recognizer, old: int, new: int) -> None:
    ids = {"old": (old, other_face(recognizer)), "new": (new, recognizer.encoder_id)}
    made = [
        (person(f"{kind}{i}", f"{kind} {i}"), [template(f"{kind}{i}", random_unit(i), encoder_id)])
        for kind, (count, encoder_id) in ids.items()
        for i in range(count)
    ]
    recognizer.people.add_all(made)


def deciding(matcher: Matcher) -> CohortScores:
    """The cohort that the threshold of this encoder was chosen against."""
    cohort = matcher.rule.against(matcher.threshold.rate)
    assert cohort is not None
    return cohort


def test_the_stated_fpir_holds_for_the_gallery_as_a_whole(open_: Open, upgraded: Recognizer) -> None:
    recognizer = open_(target_fpir=0.01)
    add_people(recognizer, 29, 90)
    new, old = recognizer.matchers
    assert (len(old.references), len(new.references)) == (30, 90)
    sums = 0.0
    for matcher in (new, old):
        assert matcher.threshold.target_fpir == 0.01
        assert matcher.threshold.rate.fpir == 0.01
        own = rates.fpir_at(deciding(matcher), matcher.threshold.value, len(matcher.references))
        assert own == pytest.approx(0.01 * len(matcher.references) / 120, rel=0.01)
        sums += own
    assert sums <= 0.0101
    for i in range(29):
        recognizer.people.remove(f"old{i}")
    assert recognizer.matchers[0].threshold.value < new.threshold.value, "fewer people, and a larger share"


def test_an_fmr_is_that_of_each_comparison(open_: Open, upgraded: Recognizer) -> None:
    recognizer = open_(target_fmr=1e-4)
    before = [m.threshold.value for m in recognizer.matchers]
    add_people(recognizer, 50, 50)
    assert [m.threshold.value for m in recognizer.matchers] == before
    for matcher in recognizer.matchers:
        assert rates.fmr_at(deciding(matcher), matcher.threshold.value) == pytest.approx(
            1e-4, rel=0.1
        )  # a tail, anchored at the counts


def test_a_threshold_set_by_hand_becomes_the_score_of_the_same_rate(open_: Open, upgraded: Recognizer) -> None:
    recognizer = open_(threshold=0.55)
    new, old = recognizer.matchers
    assert new.threshold.value == 0.55 and new.rule.cohort is not None and old.rule.cohort is not None
    fmr = rates.fmr_at(new.rule.cohort, 0.55)
    assert rates.fmr_at(old.rule.cohort, old.threshold.value) == pytest.approx(fmr, rel=0.01)
    assert old.threshold.value == pytest.approx(0.52, abs=0.002), "the cohort of the new card is 0.03 higher"
    assert (old.threshold.target_fmr, old.threshold.target_fpir) == (None, None)


def test_a_new_rule_applies_to_both_encoders(upgraded: Recognizer, collins: Pixels) -> None:
    before = [m.threshold.value for m in upgraded.matchers]
    rule = upgraded.rule
    upgraded.rule = Rule(target=Target(fmr=1e-5), thresholds=rule.thresholds, cohort=rule.cohort)
    assert all(m.threshold.value > b for m, b in zip(upgraded.matchers, before, strict=True))
    upgraded.rule = Rule(target=Target(score=0.999), thresholds=None, cohort=None)
    assert upgraded.identify(view(collins, 1))[0].identity is None


def test_the_encoder_with_the_highest_margin_decides(upgraded: Recognizer, collins: Pixels, hopper: Pixels) -> None:
    """One face matches by both encoders: the same person, enrolled twice under two names."""
    upgraded.enroll("Twice", view(collins, 5))
    (seen,) = upgraded.observe(frame(view(collins, 3)))
    assert {c.decision.kind for c in seen.comparisons} == {DecisionKind.MATCH}
    margins = [c.decision.margin for c in seen.comparisons]
    assert margins == sorted(margins, key=lambda m: -float(m or 0)) and seen.decision.margin == margins[0]
    assert seen.embedding is not None and seen.decision.encoder_id == seen.embedding.encoder_id
    by = {c.decision.encoder_id: c.decision.candidate for c in seen.comparisons}
    found = {upgraded.encoder_id: "twice", other_face(upgraded): "eileen"}
    assert {e: c.identity_id for e, c in by.items() if c is not None} == found


# ---- requests


def test_verify_compares_by_the_encoder_of_the_template(
    upgraded: Recognizer, collins: Pixels, hopper: Pixels, encoder_bundle: Bundle
) -> None:
    upgraded.enroll("Grace", hopper)
    found = upgraded.verify("Eileen", view(collins, 2))
    assert found.matched and found.decision.encoder_id == encoder_bundle.encoder_id
    assert not upgraded.verify("Eileen", hopper).matched
    assert upgraded.verify("Grace", view(hopper, 2)).decision.encoder_id == upgraded.encoder_id


def test_list_show_and_check_name_who_has_an_old_template(
    upgraded: Recognizer, hopper: Pixels, encoder_bundle: Bundle
) -> None:
    upgraded.enroll("Grace", hopper)
    listed = {p.identity: (p.old_template, p.needs_enrollment) for p in ask(upgraded, rq.List()).identities}
    assert listed == {"eileen": (True, False), "grace": (False, False)}
    shown = ask(upgraded, rq.Show(name="Eileen"))
    assert shown.old_template and shown.details[0].comparable
    checked = ask(upgraded, rq.Check())
    (old,) = checked.old_encoders
    assert (old.encoder, old.encoder_id) == ("mobilefacenet-apart-int8", encoder_bundle.encoder_id)
    assert (old.identities, checked.needs_enrollment, checked.templates) == (["eileen"], [], 2)
    assert old.threshold != checked.threshold and old.growth.identities == checked.growth[0].identities == 1


def test_an_enrollment_warns_of_a_look_alike_with_an_old_template(
    upgraded: Recognizer, portrait_files: dict[str, Path]
) -> None:
    image = portrait_files["collins"].read_bytes()
    made = ask(upgraded, rq.Enroll(name="Twice", image=image, source="test"))
    assert made.look_alike.identity == "eileen"
    assert made.look_alike.threshold == round(upgraded.matchers[1].threshold.value, 4)
    renewed = ask(upgraded, rq.Enroll(name="Eileen", image=image, source="test", replace=True))
    assert renewed.look_alike.identity == "twice", "and not her own old template"


def test_a_capture_from_the_camera_warns_too(upgraded: Recognizer, collins: Pixels) -> None:
    session = upgraded.capture_session(upgraded.new_identity("Twice"), 5.0)
    start, made = session._prompt_ns, None
    for i in range(12):
        made = made or session.offer(frame(view(collins, i), start + (i + 1) * STEP_NS))
    assert isinstance(made, Enrollment) and [e.encoder_id for e in made.older] == [other_face(upgraded)]
    found = look_alike(made, upgraded.matchers)
    assert found is not None and (found[0].identity_id, found[1]) == ("eileen", upgraded.matchers[1])
    own = replace(made, identity=upgraded.new_identity("Eileen"))
    assert look_alike(own, upgraded.matchers) is None, "a person is no look-alike of herself"


def test_an_archive_with_old_templates_is_imported_and_compared(
    upgraded: Recognizer, collins: Pixels, tmp_path: Path, second: Bundle
) -> None:
    document = json.loads(json.dumps(to_document(upgraded.people.gallery)))
    with Recognizer.open(
        Config(device=DeviceConfig(state_dir=str(tmp_path / "other")), model=ModelConfig(encoder=str(second.path)))
    ) as other:
        assert other.pipeline.older == ()
        made = ask(other, rq.Import(document=document))
        assert (made.identities, made.needs_enrollment, made.old_templates) == (["eileen"], [], ["eileen"])
        assert other.identify(view(collins, 1))[0].identity == "eileen"


# ---- visits


def test_visits_of_both_people_are_reported_by_their_encoders(
    upgraded: Recognizer, collins: Pixels, hopper: Pixels, encoder_bundle: Bundle
) -> None:
    upgraded.enroll("Grace", hopper)
    pair = [np.hstack([view(collins, i, (480, 480)), view(hopper, i, (480, 480))]) for i in range(8)]
    events = watch(upgraded, *pair)
    matches = {e.body["identity"]: e.body for e in events if e.event_type == "match"}
    assert {i: b["encoder_id"] for i, b in matches.items()} == {
        "eileen": encoder_bundle.encoder_id, "grace": upgraded.encoder_id
    }  # fmt: skip
    assert matches["eileen"]["threshold"] != matches["grace"]["threshold"]
    assert all(b["score"] >= b["threshold"] for b in matches.values())
    gone = {e.body["identity"]: e.body["encoder_id"] for e in events if e.event_type == "gone"}
    assert gone == {i: b["encoder_id"] for i, b in matches.items()}


def test_a_stranger_s_visit_is_unknown_while_two_encoders_compare(
    upgraded: Recognizer, collins: Pixels, hopper: Pixels
) -> None:
    upgraded.people.add(person("random"), [template("random", random_unit(3), upgraded.encoder_id)])
    events = watch(upgraded, *(view(hopper, i) for i in range(10)))
    assert [e.event_type for e in events] == ["unknown", "gone"]


def test_a_person_who_is_enrolled_again_while_in_sight_is_not_reported_twice(
    upgraded: Recognizer, collins: Pixels
) -> None:
    """The evidence changes its encoder during the track."""
    config = Config(decision=DecisionConfig())
    daemon = Daemon(config, upgraded, build_tracker(config, upgraded), Reporter())
    events, ns = [], 10**12
    for i in range(15):
        if i == 4:
            upgraded.enroll("Eileen", collins, replace=True)
        ns += STEP_NS
        events += daemon.step(frame(view(collins, i), ns), ns)
    assert [e.event_type for e in events] == ["match"]
    assert daemon.tracker.present == (["eileen"], 0)


def test_a_card_without_measurements_gives_no_old_encoder(second: Bundle, tmp_path: Path, open_: Open) -> None:
    from edge_oneshot.model.bundle import split

    card = split(second.path.read_bytes(), second.path)[1]
    assert card is not None
    bare = {k: v for k, v in card.items() if k not in ("cohort", "thresholds", "probability")}
    write_bundle(tmp_path / "bare.tflite", second.model, bare)
    trust_made_here(tmp_path / "bare.tflite")
    with pytest.raises(ModelError, match=r"bare\.tflite thresholds: expected a table"):
        open_("", old=str(tmp_path / "bare.tflite"))


# ---- this door's own rate


def test_a_visit_is_measured_by_the_current_encoder_even_if_another_decides(
    upgraded: Recognizer, hopper: Pixels
) -> None:
    pictures = [view(hopper, i) for i in range(10)]
    (sample,) = upgraded.pipeline.samples(frame(hopper))
    opposite = -upgraded.pipeline.encode(sample).vector
    upgraded.people.add(person("opposite"), [template("opposite", opposite, upgraded.encoder_id)])
    tracker, total, results = build_tracker(Config(), upgraded), np.zeros(len(opposite)), []
    for i, pixels in enumerate(pictures):
        (seen,) = upgraded.observe(frame(pixels))
        current = seen.by(upgraded.encoder_id)
        assert current is not None and seen.decision.encoder_id == other_face(upgraded)
        total += current.embedding.vector
        results += tracker.update([seen], i * STEP_NS)
    results += tracker.expire(10**12)
    visit, views = results[-1].visit, results[-1].views
    length = float(np.linalg.norm(total))
    assert visit is not None and visit.encoder_id == upgraded.encoder_id
    assert visit.vector == pytest.approx(total / length, abs=1e-6) and views == pytest.approx((10 / length) ** 2)


@pytest.mark.parametrize("target", [Target(fmr=1e-4), Target(fpir=0.01), Target(score=0.55)])
def test_a_raise_is_for_the_current_encoder_only_and_applied_once(upgraded: Recognizer, target: Target) -> None:
    add_people(upgraded, 2, 3)
    upgraded.rule = replace(upgraded.rule, target=target)
    (new, old), raised = upgraded.matchers, 0.0 if target.score else 0.02
    upgraded.rule = replace(upgraded.rule, raised=0.02)
    now, before = upgraded.matchers
    assert now.threshold.value == pytest.approx(new.threshold.value + raised) and now.threshold.raised == raised
    assert before.threshold == old.threshold
    stated, after = new.threshold.rate, now.threshold.rate
    assert after == replace(stated, everybody_fmr=after.everybody_fmr)
    if raised:  # the rate against everybody is that of the threshold in force
        assert after.everybody_fmr is not None and stated.everybody_fmr is not None
        assert new.rule.cohort is not None and after.everybody_fmr < stated.everybody_fmr
        assert after.everybody_fmr >= 0.9 * rates.fmr_at(new.rule.cohort, now.threshold.value)
    else:
        assert after == stated
