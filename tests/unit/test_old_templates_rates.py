"""Two encoders in one gallery: each keeps its stated rate by its own card, and judges still pictures with its own chips."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import ask, watch
from pictures import Pixels, frame, view
from PIL import Image
from second_encoder import write_second_encoder

from edge_oneshot.cameras.images import to_jpeg
from edge_oneshot.config import Config, DeviceConfig, ModelConfig
from edge_oneshot.control import requests as rq
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.forecast import nearest
from edge_oneshot.model.card import EncoderCard, NoRate
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Candidate

Change = Callable[[EncoderCard], EncoderCard]
Open = Callable[[Change, Change], Recognizer]


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The new encoder. The shipped one is the old one here, as after an upgrade."""
    return write_second_encoder(tmp_path_factory.mktemp("second") / "second.tflite").path


def same(card: EncoderCard) -> EncoderCard:
    return card


@pytest.fixture
def open_(second: Path, tmp_path: Path, collins: Pixels, hopper: Pixels) -> Iterator[Open]:
    """open_(new, old): a recognizer on a gallery of Eileen (old template) and Grace, with changes to the cards."""
    with ExitStack() as stack:

        def opened(encoder: str) -> Recognizer:
            model = ModelConfig(encoder=encoder, threads=1)
            config = Config(device=DeviceConfig(state_dir=str(tmp_path)), model=model)
            return stack.enter_context(Recognizer.open(config))

        opened("").enroll("Eileen", collins, accept_no_rate=True)
        shipped = opened(str(second))
        shipped.enroll("Grace", hopper, accept_no_rate=True)

        def make(new: Change, old: Change) -> Recognizer:
            current, older = shipped.pipeline.encoder, shipped.pipeline.older[0]
            current, older = copy.copy(current), copy.copy(older)
            current.card, older.card = new(current.card), old(older.card)
            pipeline = Pipeline(current, shipped.pipeline.locator, shipped.pipeline.gates)
            gallery = Gallery(tmp_path / "gallery.sqlite")
            rule = replace(shipped.rule, thresholds=current.card.thresholds, cohort=current.card.cohort)
            found = {older.encoder_id: older}
            return stack.enter_context(Recognizer(pipeline, rule, gallery, found.get))

        yield make


def matches(recognizer: Recognizer, *pictures: Pixels) -> dict[str, Any]:
    """The match events of a daemon that sees these pictures: identity -> body."""
    events = watch(recognizer, *pictures)
    return {str(e.body["identity"]): e.body for e in events if e.event_type == "match"}


def both(collins: Pixels, hopper: Pixels, count: int = 8) -> list[Pixels]:
    return [np.hstack([view(collins, i, (480, 480)), view(hopper, i, (480, 480))]) for i in range(count)]


# ---- the people that a rate holds against


def with_group(name: str, rise: float) -> Change:
    """A cohort with one deciding group, whose scores are higher than everybody's."""

    def change(card: EncoderCard) -> EncoderCard:
        cohort = card.cohort
        assert cohort is not None
        group = replace(
            cohort,
            identities=500,
            fmr_scores=tuple(s + rise for s in cohort.fmr_scores),
            gallery_scores=tuple(tuple(s + rise for s in row) for row in cohort.gallery_scores),
            groups={},
        )
        return replace(card, cohort=replace(cohort, groups={name: group}))

    return change


def test_a_rate_is_that_of_the_encoder_that_decided(open_: Open, collins: Pixels, hopper: Pixels) -> None:
    recognizer = open_(with_group("new group", 0.02), with_group("old group", 0.05))
    plain = open_(lambda c: replace(c, cohort=_alone(c)), lambda c: replace(c, cohort=_alone(c)))
    for matcher, before, name in zip(recognizer.matchers, plain.matchers, ("new group", "old group"), strict=True):
        assert (matcher.threshold.rate.against, matcher.threshold.rate.group) == ("matched", name)
        assert before.threshold.rate.against == "everybody"
        assert matcher.threshold.value > before.threshold.value + 0.01
    bodies = matches(recognizer, *both(collins, hopper))
    assert {i: b["rate"]["group"] for i, b in bodies.items()} == {"eileen": "old group", "grace": "new group"}
    picture = to_jpeg(view(collins, 1))
    assert ask(recognizer, rq.Identify(image=picture, source="test")).rate.group == "old group"
    assert ask(recognizer, rq.Verify(name="Eileen", image=picture, source="test")).rate.group == "old group"
    checked = ask(recognizer, rq.Check())
    assert (checked.rate.group, checked.old_encoders[0].rate.group) == ("new group", "old group")


def _alone(card: EncoderCard) -> Any:
    assert card.cohort is not None
    return replace(card.cohort, groups={})


def test_rates_against_everybody_apply_to_both_encoders(open_: Open) -> None:
    recognizer = open_(with_group("new group", 0.02), with_group("old group", 0.05))
    recognizer.rule = replace(recognizer.rule, strangers="everybody")
    assert [m.threshold.rate.against for m in recognizer.matchers] == ["everybody"] * 2


def test_the_growth_of_each_encoder_is_against_its_own_strangers(open_: Open) -> None:
    checked = ask(open_(same, with_group("old group", 0.05)), rq.Check())
    (old,) = checked.old_encoders
    assert checked.growth[0].fpir > checked.growth[0].everybody_fpir, "the shipped card has groups"
    assert old.growth.fpir > 2 * old.growth.everybody_fpir


# ---- people for whom no rate can be stated


def no_rate_for(vector: Any) -> Change:
    rule = NoRate(protocol="one adult", weights=tuple(map(float, vector)), threshold=0.6)
    return lambda card: replace(card, no_rate=rule)


def without_rule(card: EncoderCard) -> EncoderCard:
    return replace(card, no_rate=None)


def test_each_template_is_judged_by_the_card_of_its_encoder(open_: Open, collins: Pixels, hopper: Pixels) -> None:
    plain = open_(without_rule, without_rule)
    assert plain.people.no_rate == frozenset()
    vectors = {p.identity.identity_id: p.templates[0].embedding.vector for p in plain.people.gallery.people()}
    eileen, grace = no_rate_for(vectors["eileen"]), no_rate_for(vectors["grace"])
    assert open_(without_rule, eileen).people.no_rate == {"eileen"}
    assert open_(grace, without_rule).people.no_rate == {"grace"}
    assert open_(grace, eileen).people.no_rate == {"eileen", "grace"}
    assert open_(eileen, grace).people.no_rate == frozenset(), "a rule is a score of its encoder"


def test_an_old_template_without_a_rate_is_reported_as_such(open_: Open, collins: Pixels, hopper: Pixels) -> None:
    plain = open_(without_rule, without_rule)
    (template,) = plain.people.gallery.find("eileen").templates
    recognizer = open_(without_rule, no_rate_for(template.embedding.vector))
    listed = {p.identity: (p.no_rate, p.old_template) for p in ask(recognizer, rq.List()).identities}
    assert listed == {"eileen": (True, True), "grace": (False, False)}
    assert ask(recognizer, rq.Check()).no_rate == ("eileen",)
    found = ask(recognizer, rq.Identify(image=to_jpeg(view(collins, 1)), source="test"))
    assert (found.identity, found.no_rate, found.rate) == ("eileen", True, None)
    bodies = matches(recognizer, *both(collins, hopper))
    assert bodies["eileen"]["rate"] == "none" and bodies["grace"]["rate"]["fmr"] is not None
    recognizer.enroll("Eileen", collins, replace=True)
    assert recognizer.people.no_rate == frozenset(), "the new encoder can tell her from others"


def test_a_damaged_template_does_not_stop_the_list(open_: Open, collins: Pixels) -> None:
    recognizer = open_(same, same)
    short = np.full(3, 0.5, "<f4").tobytes()
    recognizer.people.gallery._db.execute("UPDATE templates SET vector = ?", (short,))
    recognizer.people.refresh(force=True)
    assert [p.no_rate for p in ask(recognizer, rq.List()).identities] == [False, False]


# ---- look-alikes and still pictures


def test_no_threshold_is_named_that_would_separate_people_of_an_old_encoder(open_: Open, collins: Pixels) -> None:
    recognizer = open_(same, same)
    identity, templates = (
        recognizer.people.gallery.find("eileen").identity,
        recognizer.people.gallery.find("eileen").templates,
    )
    twin = replace(templates[0], template_id="twin", identity_id="twin")
    recognizer.people.add(replace(identity, identity_id="twin", name="Twin"), [twin])
    recognizer.enroll("Grace too", view(collins, 2))
    recognizer.enroll("Grace three", view(collins, 4))
    pairs = {pair.identities: pair.apart_at for pair in ask(recognizer, rq.Check()).look_alikes}
    assert pairs[("eileen", "twin")] is None
    assert pairs[("grace-three", "grace-too")] is not None


def test_the_second_search_of_a_still_picture_gives_the_old_encoder_its_chip(open_: Open, collins: Pixels) -> None:
    recognizer = open_(same, same)
    (whole,) = recognizer.pipeline.samples(frame(collins))
    assert whole.face is not None
    b = whole.face.box
    x, y, half = (b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2, max(b.width, b.height) / 2
    cut = Image.fromarray(collins).crop((round(x - half), round(y - half), round(x + half), round(y + half)))
    pixels = np.asarray(cut.resize((150, 150), Image.Resampling.BICUBIC))
    assert all(s.faults for s in recognizer.pipeline.samples(frame(pixels))), "expected a picture that fails at first"
    (older,) = recognizer.pipeline.older
    for found in (*recognizer.identify(pixels), recognizer.identify_one(pixels), recognizer.verify("Eileen", pixels)):
        assert (found.identity, found.decision.encoder_id) == ("eileen", older.encoder_id)
        assert (found.score or 0) > 0.8
        assert not np.array_equal(found.sample.older_chips[older.encoder_id].pixels, found.sample.chip.pixels)
    made = recognizer.enroll("Twice", pixels)
    assert [e.encoder_id for e in made.older] == [older.encoder_id]


def test_a_similar_person_is_as_rare_as_among_matched_strangers(open_: Open, hopper: Pixels) -> None:
    """The warning at an enrollment. Where the strangers of the group score 0.3 higher, a score is less rare."""
    recognizer = open_(same, with_group("old group", 0.3))
    recognizer.people.remove("grace")
    near = ask(recognizer, rq.Enroll(name="Ada", image=to_jpeg(view(hopper, 1)), source="test")).nearest
    old = recognizer.matchers[1].rule
    assert near.identity == "eileen" and old.cohort is not None and near.score < 0.5
    like = Candidate(identity_id="eileen", score=near.score)
    among, anyone = (nearest(c, like, 0.5)["cohort_share"] for c in (old.cohort.groups["old group"], old.cohort))
    assert near.cohort_share == pytest.approx(among, abs=1e-3) and among < anyone
