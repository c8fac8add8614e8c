"""Input from outside is parsed or refused with an EdgeOneshotError; nothing else is raised."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from edge_oneshot.config import SECTIONS, SLUG, Config, parse_config, section_keys
from edge_oneshot.control.protocol import parse_request
from edge_oneshot.control.requests import REQUESTS
from edge_oneshot.errors import ConfigError, ControlError, GalleryError, ModelError
from edge_oneshot.gallery.archive import from_document
from edge_oneshot.gallery.naming import check_id, clean_name, propose_id
from edge_oneshot.model.bundle import SHIPPED, find_bundle, split
from edge_oneshot.model.card_reader import parse_card

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**400, -(10**400), 2**63])
    | st.floats()
    | st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
TOML = st.recursive(
    SCALARS.filter(lambda v: v is not None) | st.dates() | st.times() | st.datetimes(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KEYS = sorted({k.name for s in SECTIONS for k in section_keys(s)})
CARDS = [split(find_bundle("", role).read_bytes(), role)[1] for role in SHIPPED]


@given(
    st.dictionaries(
        st.sampled_from(SECTIONS) | st.text(max_size=10),
        st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=10), TOML, max_size=6) | TOML,
        max_size=5,
    )
)
def test_a_configuration_gives_a_config_or_its_faults(document: dict[str, Any]) -> None:
    try:
        config = parse_config(document)
    except ConfigError as e:
        assert e.faults
        assert str(len(e.faults)) in e.message
        assert str(e)
    else:
        assert isinstance(config, Config)


@st.composite
def mutated_cards(draw: st.DrawFn) -> Any:
    """A complete card with one to three places changed, removed or added to."""
    card = copy.deepcopy(draw(st.sampled_from(CARDS)))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = card
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(place[key], (dict, list)) and draw(st.booleans()):
                place = place[key]
                continue
            if isinstance(place, dict) and draw(st.integers(0, 4)) == 0:
                del place[key]
            else:
                place[key] = draw(JSON)
            break
    return card


@given(mutated_cards() | JSON)
def test_a_card_is_accepted_or_its_field_named(card: Any) -> None:
    try:
        parse_card(card, "x.tflite")
    except ModelError as e:
        assert e.message.startswith("x.tflite ")
        assert "expected" in e.message


@given(
    st.binary(max_size=300)
    | JSON.map(lambda v: json.dumps(v).encode())
    | st.fixed_dictionaries(
        {"verb": st.sampled_from(sorted(REQUESTS)) | st.text(max_size=5) | SCALARS}, optional={"arguments": JSON}
    ).map(lambda v: json.dumps(v).encode())
)
def test_a_request_is_parsed_or_refused(line: bytes) -> None:
    try:
        request = parse_request(line)
    except ControlError as e:
        assert e.message.startswith(("request: ", "unknown request ", *REQUESTS))
        assert "expected" in e.message
    else:
        assert isinstance(request, REQUESTS[request.verb])


MEASURES = dict.fromkeys(("inter_eye_px", "sharpness", "luma", "contrast", "yaw_deg"), 1)
TEMPLATES = st.lists(
    st.fixed_dictionaries(
        {
            "template_id": JSON,
            "encoder_id": st.just("sha256:x") | JSON,
            "vector": st.just("AACAPw==") | JSON,
            "quality": st.just(MEASURES) | JSON,
            "created_at": st.just("2026-01-01T00:00:00+00:00") | JSON,
        }
    ),
    max_size=2,
)
PEOPLE = st.lists(
    JSON
    | st.fixed_dictionaries(
        {"identity_id": st.just("zoe") | JSON, "name": st.just("Zoë") | JSON, "templates": TEMPLATES | JSON}
    ),
    max_size=3,
)


@given(JSON | PEOPLE.map(lambda people: {"format": "edge-oneshot-gallery", "version": 1, "identities": people}))
def test_an_archive_is_read_or_refused(document: Any) -> None:
    try:
        people = from_document(document if isinstance(document, dict) else {})
    except GalleryError:
        return
    for person in people:
        assert SLUG.fullmatch(person.identity.identity_id)
        assert person.templates


@given(st.text(max_size=120))
def test_a_name_is_refused_or_its_proposal_is_a_valid_id(name: str) -> None:
    try:
        clean = clean_name(name)
        proposal = propose_id(clean)
    except GalleryError:
        return
    assert clean_name(clean) == clean
    assert check_id(proposal) == proposal == propose_id(proposal)


@given(st.binary(max_size=200), st.integers(0, 4000))
def test_bytes_behind_a_model_never_crash_the_reader(junk: bytes, at: int) -> None:
    data = bytearray(find_bundle("", "refiner").read_bytes())
    start = data.rindex(b"PK\x03\x04")
    place = start + at % (len(data) - start)
    data[place : place + len(junk)] = junk
    try:
        model, card = split(bytes(data), "x")
    except ModelError:
        return
    assert model[4:8] == b"TFL3"
    assert card is None or isinstance(card, dict)
