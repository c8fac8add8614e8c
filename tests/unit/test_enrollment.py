"""Enrollment: none, one, several faces; every fault with its fix; nothing stored on failure; capture sessions on a set clock."""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import Pixels, empty_scene, frame, view
from PIL import Image, ImageFilter
from samples import OTHER, person, random_unit, template

from edge_oneshot.control.protocol import Request, raise_error
from edge_oneshot.errors import AcquisitionError, CameraError, ControlError, EnrollmentError, GalleryError
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.people import People
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References
from edge_oneshot.recognition.enrollment import (
    BURST_FRAMES,
    BURST_NS,
    CaptureSession,
    Enrollment,
    enroll_from_frame,
    probe_from_frame,
)
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service.requests import Handler
from edge_oneshot.types import Event

ZOE = person("zoe", "Zoë")
NS = 1_000_000_000


@pytest.fixture
def nobody(pipeline: Pipeline) -> References:
    return References(pipeline.encoder.card.comparator, pipeline.encoder.encoder_id, ())


def blurred(pixels: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(9)))


def test_one_good_face_becomes_a_template(pipeline: Pipeline, collins: Pixels, nobody: References) -> None:
    enrollment = enroll_from_frame(pipeline, frame(collins), ZOE, nobody)
    t = enrollment.template
    assert (t.identity_id, t.encoder_id, enrollment.look_alike) == ("zoe", pipeline.encoder.encoder_id, None)
    assert t.embedding.vector.shape == (pipeline.encoder.card.dimension,)
    assert t.quality.inter_eye_px == pytest.approx(42.7, abs=2)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda c, h: empty_scene(), "no face found: look at the camera, come closer, more light"),
        (lambda c, h: np.hstack([c, h[:512]]), "2 faces found, exactly 1 needed: one person at a time"),
        (lambda c, h: np.hstack([c, c, h[:512]]), "3 faces found, exactly 1 needed"),
        (lambda c, h: blurred(h), "hold still, more light, check the focus"),
    ],
    ids=["none", "two", "three", "blurred"],
)
@pytest.mark.parametrize(
    ("use", "error"),
    [
        (lambda p, f, n: enroll_from_frame(p, f, ZOE, n), EnrollmentError),
        (lambda p, f, n: probe_from_frame(p, f), AcquisitionError),
    ],
    ids=["enroll", "probe"],
)
def test_a_picture_that_cannot_be_used(
    pipeline: Pipeline,
    collins: Pixels,
    hopper: Pixels,
    nobody: References,
    make: Any,
    says: str,
    use: Any,
    error: type[Any],
) -> None:
    with pytest.raises(error) as caught:
        use(pipeline, frame(make(collins, hopper)), nobody)
    assert any(says in fault for fault in caught.value.faults)
    assert caught.value.exit_code == {EnrollmentError: 4, AcquisitionError: 6}[error]


def test_every_fault_is_told_together(pipeline: Pipeline, hopper: Pixels, nobody: References) -> None:
    small_and_dark = empty_scene()
    small = Image.fromarray((hopper * 0.3).astype(np.uint8)).resize((102, 120), Image.Resampling.LANCZOS)
    small_and_dark[100:220, 100:202] = np.asarray(small)
    with pytest.raises(EnrollmentError) as caught:
        enroll_from_frame(pipeline, frame(small_and_dark), ZOE, nobody)
    text = "\n".join(caught.value.faults)
    assert "come closer" in text and "more light on the face" in text


def test_a_look_alike_is_somebody_else_never_oneself(
    pipeline: Pipeline, collins: Pixels, hopper: Pixels, nobody: References
) -> None:
    first = enroll_from_frame(pipeline, frame(collins), ZOE, nobody)
    references = References(
        nobody.comparator, nobody.encoder_id, [first.template, template("old", random_unit(1), OTHER)]
    )
    twin = enroll_from_frame(pipeline, frame(view(collins, 5)), person("twin"), references)
    assert twin.look_alike is not None
    assert twin.look_alike.identity_id == "zoe"
    assert twin.look_alike.score > pipeline.threshold.value
    assert enroll_from_frame(pipeline, frame(collins), ZOE, references).look_alike is None
    other = enroll_from_frame(pipeline, frame(hopper), person("grace"), references).look_alike
    assert other is not None and other.score < pipeline.threshold.value


# ---- from the camera


def session(pipeline: Pipeline, nobody: References, timeout_s: float = 30.0) -> CaptureSession:
    return CaptureSession(pipeline, ZOE, nobody, prompt_ns=NS, timeout_s=timeout_s)


def test_frames_from_before_the_prompt_do_not_count(pipeline: Pipeline, collins: Pixels, nobody: References) -> None:
    s = session(pipeline, nobody)
    for ns in (NS - 1, NS):
        assert s.offer(frame(collins, ns)) is None
    assert s.progress == "look at the camera"


def test_the_best_frame_of_one_second_is_taken(pipeline: Pipeline, hopper: Pixels, nobody: References) -> None:
    """Sharpest last: it must win over the first good one."""
    s = session(pipeline, nobody)
    soft = np.asarray(Image.fromarray(hopper).filter(ImageFilter.GaussianBlur(4)))
    assert s.offer(frame(soft, NS + 1)) is None
    assert s.progress == "hold still"
    assert s.offer(frame(hopper, NS + 2)) is None
    assert s.offer(frame(soft, NS + 3)) is None
    taken = s.finish_if_due(NS + 1 + BURST_NS)
    assert taken is not None
    assert taken.template.quality.sharpness > 1000


def test_a_fast_camera_ends_the_burst_by_count(pipeline: Pipeline, collins: Pixels, nobody: References) -> None:
    s = session(pipeline, nobody)
    results = [s.offer(frame(collins, NS + 1 + i)) for i in range(BURST_FRAMES)]
    assert results[:-1] == [None] * (BURST_FRAMES - 1)
    assert isinstance(results[-1], Enrollment)


def test_the_waiting_person_hears_what_is_wrong_now(
    pipeline: Pipeline, collins: Pixels, hopper: Pixels, nobody: References
) -> None:
    s = session(pipeline, nobody)
    heard = [s.progress]
    for i, pixels in enumerate((empty_scene(), np.hstack([collins, hopper[:512]]), blurred(hopper), collins), start=1):
        s.offer(frame(pixels, NS + i))
        heard.append(s.progress)
    for said, part in zip(
        heard, ("look at the camera", "no face", "2 faces", "hold still, more light", "hold still"), strict=True
    ):
        assert part in said


def test_the_time_ends_with_the_last_frames_faults(pipeline: Pipeline, nobody: References) -> None:
    s = session(pipeline, nobody, timeout_s=5)
    s.offer(frame(empty_scene(), 2 * NS))
    assert s.finish_if_due(6 * NS - 1) is None
    with pytest.raises(EnrollmentError, match="no usable frame within 5 s") as caught:
        s.finish_if_due(6 * NS)
    assert "no face found" in caught.value.faults[0]
    with pytest.raises(EnrollmentError) as silent:
        session(pipeline, nobody, timeout_s=5).finish_if_due(6 * NS)
    assert silent.value.faults == ("no frame from the camera yet",)


def test_a_good_frame_just_before_the_end_is_used(pipeline: Pipeline, collins: Pixels, nobody: References) -> None:
    s = session(pipeline, nobody, timeout_s=5)
    s.offer(frame(collins, 6 * NS - 1))
    assert s.finish_if_due(6 * NS) is not None


# ---- through the handler


class Door:
    """A handler on a gallery of its own."""

    def __init__(self, pipeline: Pipeline, path: Path) -> None:
        self.gallery = Gallery(path)
        self.people = People(self.gallery, pipeline.encoder.card, pipeline.encoder.encoder_id)
        self.events: list[Event] = []
        self.handler = Handler(pipeline, self.people, self.events.append, dict)

    def begin(self, verb: str, **arguments: Any) -> Request:
        request = Request(verb=verb, arguments=arguments)
        self.handler.start(request)
        return request

    def ask(self, verb: str, **arguments: Any) -> dict[str, Any]:
        return result(self.begin(verb, **arguments))


def result(request: Request) -> dict[str, Any]:
    while "progress" in (answer := request.answers.get_nowait()):
        pass
    if answer["status"] != "ok":
        raise_error(answer)
    data: dict[str, Any] = answer["data"]
    return data


def picture(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def door(pipeline: Pipeline, tmp_path: Path) -> Iterator[Door]:
    opened = Door(pipeline, tmp_path / "gallery.sqlite")
    yield opened
    opened.gallery.close()


def test_a_failed_enrollment_stores_and_tells_nothing(door: Door, collins: Pixels, hopper: Pixels) -> None:
    attempts: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"name": "Zoë", "image": picture(empty_scene())}, EnrollmentError),
        ({"name": "Zoë", "image": picture(np.hstack([collins, hopper[:512]]))}, EnrollmentError),
        ({"name": "Zoë", "image": picture(blurred(hopper))}, EnrollmentError),
        ({"name": "Zoë", "image": base64.b64encode(b"no picture").decode()}, CameraError),
        ({"name": "Zoë", "image": "no base64!"}, ControlError),
        ({"name": "Z\n", "image": picture(collins), "id": "Bad Id"}, GalleryError),
        ({"name": "李", "image": picture(collins)}, GalleryError),
        ({"image": picture(collins)}, ControlError),
    ]
    for arguments, error in attempts:
        with pytest.raises(error):
            door.ask("enroll", **arguments)
    assert (door.gallery.identities(), door.events) == ([], [])


def test_enroll_identify_verify_rename_forget(door: Door, collins: Pixels, hopper: Pixels) -> None:
    enrolled = door.ask("enroll", name="Zoë", image=picture(collins))
    assert (enrolled["identity"], enrolled["name"], enrolled["look_alike"]) == ("zoe", "Zoë", None)
    door.ask("enroll", name="李", id="li", image=picture(hopper))
    found = door.ask("identify", image=picture(view(collins, 3)))
    assert (found["identity"], found["name"], found["decision"]) == ("zoe", "Zoë", "match")
    assert found["margin"] == pytest.approx(found["score"] - found["threshold"], abs=2e-4)
    assert door.ask("verify", name="li", image=picture(view(hopper, 4)))["decision"] == "match"
    assert door.ask("verify", name="zoe", image=picture(hopper))["decision"] == "non_match"
    assert door.ask("rename", name="zoe", to="Zoé")["before"] == "Zoë"
    assert [p["name"] for p in door.ask("list")["identities"]] == ["Zoé", "李"]
    door.ask("forget", name="Zoé")
    stranger = door.ask("identify", image=picture(collins))
    assert (stranger["identity"], stranger["name"], stranger["decision"]) == (None, None, "non_match")
    assert [(e.event_type, e.body["identity"]) for e in door.events] == [
        ("enrolled", "zoe"),
        ("enrolled", "li"),
        ("forgotten", "zoe"),
    ]


def test_an_answer_about_a_stranger_names_nobody(door: Door, collins: Pixels, hopper: Pixels) -> None:
    door.ask("enroll", name="Zoë", image=picture(collins))
    assert "zo" not in str(door.ask("identify", image=picture(hopper))).casefold()


def test_a_second_enrollment_needs_replace(door: Door, collins: Pixels, hopper: Pixels) -> None:
    door.ask("enroll", name="Zoë", image=picture(collins))
    with pytest.raises(GalleryError, match="already enrolled"):
        door.ask("enroll", name="ZOË", image=picture(collins))
    with pytest.raises(GalleryError, match="the id 'zoe' belongs to 'Zoë'"):
        door.ask("enroll", name="Zoe", image=picture(hopper), replace=True)
    before = door.ask("show", name="zoe")["details"][0]["template_id"]
    door.ask("enroll", name="Zoë", image=picture(hopper), replace=True)
    assert door.ask("show", name="zoe")["details"][0]["template_id"] != before
    assert door.ask("identify", image=picture(hopper))["identity"] == "zoe"


def test_check_names_look_alikes_and_stale_templates(door: Door, collins: Pixels) -> None:
    assert door.ask("check")["look_alikes"] == []
    door.ask("enroll", name="Zoë", image=picture(collins))
    twin = door.ask("enroll", name="Twin", image=picture(view(collins, 2)))
    assert twin["look_alike"]["identity"] == "zoe"
    with Gallery(door.gallery.path) as other:
        other.add(person("old"), [template("old", random_unit(1), OTHER)])
    report = door.ask("check")
    assert [p["identities"] for p in report["look_alikes"]] == [["twin", "zoe"]]
    assert report["needs_enrollment"] == ["old"]
    assert (report["identities"], report["templates"]) == (3, 3)
    with pytest.raises(GalleryError, match="'old' has no template of this encoder"):
        door.ask("verify", name="old", image=picture(collins))


def test_export_and_import(door: Door, pipeline: Pipeline, collins: Pixels, tmp_path: Path) -> None:
    door.ask("enroll", name="Zoë", image=picture(collins))
    document = door.ask("export")["document"]
    other = Door(pipeline, tmp_path / "other.sqlite")
    assert other.ask("import", document=document) == {"identities": ["zoe"], "needs_enrollment": []}
    assert other.ask("identify", image=picture(view(collins, 1)))["identity"] == "zoe"
    assert [e.event_type for e in other.events] == ["enrolled"]
    with pytest.raises(GalleryError, match="already enrolled"):
        other.ask("import", document=document)
    other.ask("import", document=document, replace=True)
    other.gallery.close()


@pytest.mark.parametrize("vector", [random_unit(1, 100), random_unit(1) * 5], ids=["short", "long"])
def test_an_import_of_impossible_templates_is_refused_whole(
    door: Door, pipeline: Pipeline, tmp_path: Path, vector: Any
) -> None:
    with Gallery(tmp_path / "other.sqlite") as other:
        other.add(person("ann"), [template("ann", random_unit(2), pipeline.encoder.encoder_id)])
        other.add(person("zoe"), [template("zoe", vector, pipeline.encoder.encoder_id)])
        document = to_document(other)
    with pytest.raises(GalleryError, match="of 'zoe' is damaged"):
        door.ask("import", document=document)
    assert door.gallery.identities() == []


def test_one_enrollment_at_a_time_and_it_can_be_cancelled(door: Door, collins: Pixels) -> None:
    first = door.begin("enroll", name="Zoë")
    with pytest.raises(ControlError, match="another request is using the camera"):
        door.ask("enroll", name="Bob")
    with pytest.raises(ControlError, match="another request is using the camera"):
        door.ask("snapshot")
    assert door.ask("cancel") == {"cancelled": True}
    with pytest.raises(ControlError, match="was cancelled"):
        result(first)
    assert door.ask("cancel") == {"cancelled": False}
    door.begin("enroll", name="Bob")
    assert door.handler.job is not None


def test_a_client_that_hangs_up_frees_the_camera(door: Door) -> None:
    door.begin("enroll", name="Zoë").abandoned = True
    door.handler.tick(0)
    assert door.handler.job is None
    assert door.gallery.identities() == []


def live(make: Callable[[int], Pixels]) -> Iterator[Any]:
    import time

    for i in range(40):
        yield frame(make(i), time.monotonic_ns() + i * 100_000_000)


def test_enroll_from_frames(door: Door, hopper: Pixels) -> None:
    request = door.begin("enroll", name="Grace Hopper")
    for f in live(lambda i: empty_scene() if i < 3 else view(hopper, i)):
        door.handler.offer(f)
        if door.handler.job is None:
            break
    assert result(request)["identity"] == "grace-hopper"
    assert [e.event_type for e in door.events] == ["enrolled"]


def test_a_name_taken_is_refused_before_anybody_has_to_stand_still(door: Door, collins: Pixels) -> None:
    door.ask("enroll", name="Zoë", image=picture(collins))
    with pytest.raises(GalleryError, match="already enrolled"):
        door.ask("enroll", name="Zoë")
    assert door.handler.job is None


def test_a_snapshot_for_aiming(door: Door, hopper: Pixels) -> None:
    request = door.begin("snapshot")
    for f in live(lambda i: hopper):
        door.handler.offer(f)
    answer = result(request)
    assert answer["size"] == [512, 600]
    (face,) = answer["faces"]
    assert face["quality"]["inter_eye_px"] == pytest.approx(86, abs=4)
    assert Image.open(io.BytesIO(base64.b64decode(answer["jpeg"]))).size == (512, 600)


def test_requests_that_only_a_daemon_serves_and_unknown_ones(door: Door) -> None:
    with pytest.raises(ControlError, match="no daemon is running"):
        door.ask("pause")
    with pytest.raises(ControlError, match="no such request: 'dance'") as caught:
        door.ask("dance")
    assert "enroll" in caught.value.hint


def test_no_request_whatever_its_arguments_raises_anything_of_python(door: Door, collins: Pixels) -> None:
    """They come from outside. Each verb with each odd value in each of its arguments."""
    odd: list[Any] = [
        None,
        True,
        5,
        -1.5,
        10**400,
        "",
        "x" * 2000,
        "\ud800",
        "a\x00b",
        "é",
        [],
        ["x"],
        {},
        {"a": 1},
        "AAAA",
    ]
    keys = ("name", "id", "image", "source", "to", "timeout_s", "replace", "document")
    good: dict[str, Any] = {"name": "Zoë", "to": "New", "image": picture(empty_scene((64, 48)))}
    verbs = "enroll cancel snapshot list show rename forget check export import verify identify status"
    for verb in verbs.split():
        for key in keys:
            for value in odd:
                request = door.begin(verb, **(good | {key: value}))
                if door.handler.job is not None:
                    door.ask("cancel") if door.handler.job.request.verb == "enroll" else setattr(
                        door.handler, "job", None
                    )
                    continue
                with contextlib.suppress(ControlError, GalleryError, EnrollmentError, AcquisitionError, CameraError):
                    result(request)
