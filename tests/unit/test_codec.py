"""Requests and responses as JSON: round trip, schema, wrong arguments, unknown keys, arbitrary input."""

from __future__ import annotations

import json
import typing
from dataclasses import fields, replace
from typing import Any

import jsonschema
import pytest
from example_messages import example
from hypothesis import given
from hypothesis import strategies as st

from edge_oneshot.control import requests as rq
from edge_oneshot.control import responses as rs
from edge_oneshot.control.codec import MAX_TEXT, from_json, hints, schema, to_json
from edge_oneshot.control.parts import AlikePair
from edge_oneshot.control.protocol import (
    Finished,
    PendingRequest,
    Progress,
    answer_json,
    make_request,
    parse_request,
    read_answer,
    request_line,
)
from edge_oneshot.control.requests import REQUESTS, AnyRequest
from edge_oneshot.errors import ControlError, EdgeOneshotError

RESPONSES = sorted({kind.response for kind in REQUESTS.values()}, key=lambda kind: kind.__name__)
KINDS: list[type[Any]] = [*REQUESTS.values(), *RESPONSES]
BARE: dict[str, AnyRequest] = {  # only the arguments that have no default
    "enroll": rq.Enroll(name="Zoë"),
    "show": rq.Show(name="zoe"),
    "rename": rq.Rename(name="zoe", to="Zoé"),
    "forget": rq.Forget(name="zoe"),
    "merge": rq.Merge(name="zoe", into="zoé"),
    "ignore": rq.Ignore(name="zoe"),
    "label": rq.Label(visit="20261127203459123-1", who="stranger"),
    "visit-picture": rq.VisitPicture(picture="20261127203459123-1"),
    "confirm": rq.Confirm(name="zoe"),
    "import": rq.Import(document={"format": "edge-oneshot-gallery", "identities": [{"deep": [1, None, True]}]}),
    "verify": rq.Verify(name="zoe", image=b"\x89PNG"),
    "identify": rq.Identify(image=b""),
    "set-access": rq.SetAccess(name="zoe", access={}),
}


def through_json(value: object) -> Any:
    """As it arrives over socket or MQTT."""
    return json.loads(json.dumps(to_json(value)))


def name_of(value: Any) -> str:
    return str(getattr(value, "__name__", value))


def required(kind: type[Any]) -> list[str]:
    names: list[str] = schema(kind)["required"]
    return names


# ---- round trip


@pytest.mark.parametrize("kind", REQUESTS.values(), ids=name_of)
def test_a_request_round_trips(kind: type[AnyRequest]) -> None:
    for request in (example(kind), BARE.get(kind.verb) or kind()):
        assert parse_request(request_line(request)) == request
        assert make_request(kind.verb, through_json(request)) == request


@pytest.mark.parametrize("kind", RESPONSES, ids=name_of)
def test_a_response_round_trips_in_an_answer(kind: type[Any]) -> None:
    request = next(BARE.get(verb) or cls() for verb, cls in REQUESTS.items() if cls.response is kind)
    full = example(kind)
    empty = replace(full, **{f.name: None for f in fields(kind) if accepts_null(kind, f.name)})
    texts = [f.name for f in fields(kind) if hints(kind)[f.name] is str]
    for response in (full, empty, *(replace(full, **dict.fromkeys(texts, text)) for text in ("", "x" * 5000))):
        pending = PendingRequest(request)
        pending.finish(response)
        line = json.loads(json.dumps(answer_json(pending.answers.get_nowait())))
        assert line["status"] == "ok"
        assert read_answer(request, line) == Finished(response)
        jsonschema.validate(line["data"], schema(kind))


def accepts_null(kind: type[Any], name: str) -> bool:
    return type(None) in typing.get_args(hints(kind)[name])


def test_progress_round_trips() -> None:
    assert read_answer(rq.List(), answer_json(Progress("hold still"))) == Progress("hold still")


def test_missing_arguments_take_their_defaults_and_null_means_missing() -> None:
    assert parse_request(b'{"verb": "enroll", "arguments": {"name": "Bob"}}') == rq.Enroll(
        name="Bob", id=None, image=None, source="the picture", timeout_s=30.0, replace=False
    )
    nothing = dict.fromkeys(("id", "image", "source", "timeout_s", "replace"))
    assert make_request("enroll", {"name": "Bob", **nothing}) == rq.Enroll(name="Bob")


def test_a_response_of_an_earlier_release_lacks_newer_keys() -> None:
    new = {"frames", "self_score", "weak", "nearest", "no_rate", "own_score", "unlike", "forecast"}
    assert new == set(to_json(example(rs.Enrolled))) - set(required(rs.Enrolled))
    enrolled = {k: v for k, v in through_json(example(rs.Enrolled)).items() if k not in new}
    read = from_json(rs.Enrolled, enrolled, "answer", strict=False)
    assert (read.frames, read.self_score, read.weak, read.nearest) == (1, None, False, None)


def test_unknown_keys_are_refused_in_requests_and_ignored_in_responses() -> None:
    for verb, kind in REQUESTS.items():
        arguments = through_json(example(kind))
        expected = ", ".join(arguments) or "no arguments"
        with pytest.raises(ControlError) as caught:
            make_request(verb, arguments | {"dance": 1})
        assert caught.value.message == f"{verb}: unknown argument 'dance': expected {expected}"
    for response in RESPONSES:
        made = example(response)
        assert from_json(response, with_unknown_keys(through_json(made)), "answer", strict=False) == made


def with_unknown_keys(value: Any) -> Any:
    """The JSON value with another key in every object that has fields. A free object (Json, dict) keeps its keys."""
    if isinstance(value, dict) and not set(value) & {"first", "any"}:
        return {k: with_unknown_keys(v) for k, v in value.items()} | {"newer_key": [1]}
    return [with_unknown_keys(v) for v in value] if isinstance(value, list) else value


# ---- schema


@pytest.mark.parametrize("kind", KINDS, ids=name_of)
def test_the_schema_accepts_what_to_json_produces(kind: type[Any]) -> None:
    described = schema(kind)
    jsonschema.Draft202012Validator.check_schema(described)
    validator = jsonschema.Draft202012Validator(described)
    message = through_json(example(kind))
    validator.validate(message)
    assert set(described["properties"]) == set(message), "every field is described"
    for key in message:
        absent = {k: v for k, v in message.items() if k != key}
        assert validator.is_valid(absent) == (key not in described["required"]), key
        assert validator.is_valid(message | {key: None}) == (
            accepts_null(kind, key) or described["properties"][key].keys() <= {"description"}
        ), key


def test_the_schema_states_limits_defaults_and_descriptions() -> None:
    timeout = schema(rq.Enroll)["properties"]["timeout_s"]
    assert timeout == {
        "type": "number",
        "description": "seconds to wait for a good frame of the camera",
        "default": 30.0,
        "exclusiveMinimum": 0,
        "maximum": 600.0,
    }
    assert schema(rq.Verify)["properties"]["image"]["contentEncoding"] == "base64"
    decision = schema(rs.Compared)["properties"]["decision"]
    assert decision["enum"] == ["match", "denied", "non_match", "not_compared"]
    for kind in REQUESTS.values():
        assert all(p.get("description") for p in schema(kind)["properties"].values()), kind


# ---- wrong arguments

TEXT = f"text of 1 to {MAX_TEXT} characters"
SECONDS = "seconds, more than 0 and at most"
WRONG: list[tuple[str, str, Any, str, str]] = [
    *(("show", "name", v, TEXT, got) for v, got in ((None, "nothing"), (5, "'5'"), ("", "''"), ([], "a list"))),
    ("show", "name", "x" * (MAX_TEXT + 1), TEXT, repr("x" * 60)),
    ("show", "name", {"a": 1}, TEXT, "a JSON object"),
    ("enroll", "id", "", TEXT, "''"),
    *(("enroll", "replace", v, "true or false", repr(str(v))) for v in (0, 1, "true")),
    *(("enroll", "timeout_s", v, f"{SECONDS} 600", repr(str(v)[:60])) for v in (0, -1, 601, True, "5", 10**400)),
    *(("enroll", "timeout_s", v, f"{SECONDS} 600", repr(str(v))) for v in (float("nan"), float("inf"))),
    ("capture", "timeout_s", [], f"{SECONDS} 600", "a list"),
    ("explain", "last_s", 366 * 86400 + 1, f"{SECONDS} 3.16224e+07", "'31622401'"),
    *(("verify", "image", v, "base64", repr(v)) for v in ("!", "é", "AAA")),
    ("verify", "image", 5, "base64", "'5'"),
    ("verify", "image", [1], "base64", "a list"),
    ("verify", "image", None, "base64", "nothing"),
    *(("import", "document", v, "a JSON object", got) for v, got in ((None, "nothing"), ([], "a list"), ("x", "'x'"))),
]


@pytest.mark.parametrize(("verb", "key", "value", "expected", "got"), WRONG)
def test_a_wrong_argument_is_named_with_what_was_expected_and_received(
    verb: str, key: str, value: Any, expected: str, got: str
) -> None:
    good = through_json(BARE.get(verb) or REQUESTS[verb]())
    with pytest.raises(ControlError) as caught:
        make_request(verb, good | {key: value})
    assert caught.value.message == f"{verb} {key}: expected {expected}, got {got}"
    assert caught.value.hint


@pytest.mark.parametrize("verb", sorted(BARE))
def test_a_missing_argument_is_named(verb: str) -> None:
    good = through_json(BARE[verb])
    for key in required(REQUESTS[verb]):
        with pytest.raises(ControlError, match=rf"^{verb} {key}: expected .*, got nothing"):
            make_request(verb, {k: v for k, v in good.items() if k != key})


def test_limits_of_arguments_are_accepted() -> None:
    assert make_request("show", {"name": "x" * MAX_TEXT}) == rq.Show(name="x" * MAX_TEXT)
    assert make_request("capture", {"timeout_s": 600}).waits_s == 600.0
    assert make_request("verify", {"name": "a", "image": "AAEC"}) == rq.Verify(name="a", image=b"\0\1\2")


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"GET / HTTP/1.1", "request: expected one line of JSON: "),
        (b'{"arguments": {}}', 'request: expected {"verb": "…", "arguments": {…}}'),
        (b'{"verb": "dance"}', "unknown request 'dance': expected one of enroll, cancel, list"),
        (b'{"verb": "list", "arguments": 5}', "list arguments: expected a JSON object, got '5'"),
    ],
)
def test_a_line_that_is_no_request(line: bytes, says: str) -> None:
    with pytest.raises(ControlError) as caught:
        parse_request(line)
    assert caught.value.message.startswith(says)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"identities": 5}, "identities: expected a list, got '5'"),
        ({"identities": [5]}, "identities: expected a JSON object, got '5'"),
        ({"identities": [{}]}, "identities identity: expected text, got nothing"),
    ],
)
def test_a_wrong_part_of_a_response_is_named(change: dict[str, Any], says: str) -> None:
    with pytest.raises(ControlError) as caught:
        read_answer(rq.List(), {"status": "ok", "data": change})
    assert caught.value.message == f"answer to list: data {says}"


def test_a_decision_of_another_kind_is_refused() -> None:
    data = through_json(example(rs.Compared)) | {"decision": "maybe"}
    with pytest.raises(
        ControlError, match="decision: expected one of 'match', 'denied', 'non_match', 'not_compared', got 'maybe'"
    ):
        from_json(rs.Compared, data, "answer", strict=False)


def test_numbers_of_responses() -> None:
    pair = {"identities": ["a", "b"], "score": 1}
    read = from_json(AlikePair, pair, "pair", strict=False)
    assert read == AlikePair(identities=("a", "b"), score=1.0) and isinstance(read.score, float)
    for value in (10**400, float("nan"), float("-inf"), True, "1"):
        with pytest.raises(ControlError, match="pair score: expected a number, got "):
            from_json(AlikePair, pair | {"score": value}, "pair", strict=False)
    assert from_json(rs.GalleryCounts, {"identities": 10**400, "templates": 0}, "c", strict=False).identities == 10**400
    with pytest.raises(ControlError, match=r"c templates: expected a whole number, got '1\.0'"):
        from_json(rs.GalleryCounts, {"identities": 1, "templates": 1.0}, "c", strict=False)


# ---- arbitrary input

SCALARS = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=20)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
KEYS = sorted({f.name for kind in KINDS for f in fields(kind)})
OBJECTS = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), JSON, max_size=6)


@st.composite
def almost(draw: st.DrawFn, kinds: list[type[Any]]) -> tuple[type[Any], Any]:
    """A kind of message, and JSON of it with one value changed at any depth."""
    kind = draw(st.sampled_from(kinds))
    message = place = through_json(example(kind))
    while place:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or draw(st.booleans()):
            place[key] = draw(JSON)
            break
        place = place[key]
    return kind, message


@given(st.sampled_from(sorted(REQUESTS)) | st.text(max_size=5), OBJECTS | JSON)
def test_arbitrary_arguments_give_a_request_or_a_control_error(verb: str, arguments: Any) -> None:
    try:
        request = make_request(verb, arguments)
    except ControlError as e:
        assert "expected" in e.message
    else:
        assert request == make_request(verb, through_json(request))


@given(almost(list(REQUESTS.values())))
def test_a_request_with_one_changed_value_is_read_or_the_argument_named(case: tuple[type[AnyRequest], Any]) -> None:
    kind, arguments = case
    try:
        request = make_request(kind.verb, arguments)
    except ControlError as e:
        assert e.message.startswith(kind.verb) and "expected" in e.message
    else:
        assert isinstance(request, kind)


@given(almost(RESPONSES))
def test_a_response_with_one_changed_value_is_read_or_the_key_named(case: tuple[type[Any], Any]) -> None:
    kind, data = case
    try:
        read = from_json(kind, data, "answer", strict=False)
    except ControlError as e:
        assert e.message.startswith("answer ") and "expected" in e.message
    else:
        assert isinstance(read, kind)
        jsonschema.validate(to_json(read), schema(kind))


@given(
    st.sampled_from(sorted(REQUESTS)),
    JSON
    | st.fixed_dictionaries(
        {},
        optional={
            "progress": JSON,
            "status": st.just("ok") | JSON,
            "data": OBJECTS | JSON,
            "kind": st.sampled_from(["GalleryError", "ConfigError", "SystemExit"]) | JSON,
            "error": JSON,
            "hint": JSON,
            "faults": JSON,
        },
    ),
)
def test_an_arbitrary_answer_is_read_or_a_control_error(verb: str, answer: Any) -> None:
    request = BARE.get(verb) or REQUESTS[verb]()
    try:
        read = read_answer(request, answer)
    except ControlError as e:
        assert e.message.startswith(f"answer to {verb}")
    else:
        error = getattr(read, "error", None)
        assert error is None or (isinstance(error, EdgeOneshotError) and str(error))
