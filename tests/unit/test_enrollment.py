"""Enrollment: none, one, several faces; every fault with its fix; nothing stored on failure; capture sessions with set times."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_messages import response_of
from pictures import Pixels, empty_scene, frame, view
from PIL import Image, ImageFilter
from samples import OTHER, person, random_unit, template

from edge_oneshot.control import responses as rs
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.protocol import PendingRequest, make_request
from edge_oneshot.control.requests import REQUESTS
from edge_oneshot.errors import AcquisitionError, CameraError, ControlError, EnrollmentError, GalleryError
from edge_oneshot.gallery.archive import to_document
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
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.requests import Requests
from edge_oneshot.types import Event
from edge_oneshot.vision.hints import HINTS, HOLD, LOOK

ZOE = person("zoe", "Zoë")
NS = 1_000_000_000


@pytest.fixture
def threshold(recognizer: Recognizer) -> float:
    """Of the default rule, for an empty gallery."""
    return recognizer.threshold.value


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
        (lambda c, h: (h * 0.04).astype(np.uint8), "more light on the face"),
    ],
    ids=["none", "two", "three", "dark"],
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


def test_all_faults_are_reported_together(pipeline: Pipeline, hopper: Pixels, nobody: References) -> None:
    small_and_dark = empty_scene()
    small = Image.fromarray((hopper * 0.3).astype(np.uint8)).resize((102, 120), Image.Resampling.LANCZOS)
    small_and_dark[100:220, 100:202] = np.asarray(small)
    with pytest.raises(EnrollmentError) as caught:
        enroll_from_frame(pipeline, frame(small_and_dark), ZOE, nobody)
    text = "\n".join(caught.value.faults)
    assert "come closer" in text and "more light on the face" in text


def test_a_look_alike_is_always_another_person(
    pipeline: Pipeline, threshold: float, collins: Pixels, hopper: Pixels, nobody: References
) -> None:
    first = enroll_from_frame(pipeline, frame(collins), ZOE, nobody)
    references = References(
        nobody.comparator, nobody.encoder_id, [first.template, template("old", random_unit(1), OTHER)]
    )
    twin = enroll_from_frame(pipeline, frame(view(collins, 5)), person("twin"), references)
    assert twin.look_alike is not None
    assert twin.look_alike.identity_id == "zoe"
    assert twin.look_alike.score > threshold
    assert enroll_from_frame(pipeline, frame(collins), ZOE, references).look_alike is None
    other = enroll_from_frame(pipeline, frame(hopper), person("grace"), references).look_alike
    assert other is not None and other.score < threshold


# ---- from the camera


@pytest.fixture
def start(pipeline: Pipeline, nobody: References, threshold: float) -> Callable[..., CaptureSession]:
    """start(timeout_s=30): a session whose prompt was at NS."""

    def started(timeout_s: float = 30.0) -> CaptureSession:
        return CaptureSession(pipeline, ZOE, nobody, threshold, prompt_ns=NS, timeout_s=timeout_s)

    return started


def test_frames_before_the_prompt_are_ignored(start: Callable[..., CaptureSession], collins: Pixels) -> None:
    s = start()
    for ns in (NS - 1, NS):
        assert s.offer(frame(collins, ns)) is None
    assert s.progress == "Look at the camera."


def test_the_best_frame_of_one_second_is_taken(start: Callable[..., CaptureSession], hopper: Pixels) -> None:
    """The sharpest frame comes after the first good one."""
    s = start()
    soft = np.asarray(Image.fromarray(hopper).filter(ImageFilter.GaussianBlur(4)))
    assert s.offer(frame(soft, 2 * NS + 1)) is None
    assert s.progress == "Hold still."
    assert s.offer(frame(hopper, 2 * NS + 2)) is None
    assert s.offer(frame(soft, 2 * NS + 3)) is None
    taken = s.finish_if_due(2 * NS + 1 + BURST_NS)
    assert taken is not None
    assert taken.template.quality.sharpness > 1000


def test_a_fast_camera_ends_the_burst_by_count(start: Callable[..., CaptureSession], collins: Pixels) -> None:
    s = start()
    results = [s.offer(frame(collins, NS + 1 + i)) for i in range(BURST_FRAMES)]
    assert results[:-1] == [None] * (BURST_FRAMES - 1)
    assert isinstance(results[-1], Enrollment)


def test_progress_says_what_to_do_first_for_the_current_frame(
    start: Callable[..., CaptureSession], collins: Pixels, hopper: Pixels
) -> None:
    s = start()
    seen = [s.progress]
    for i, pixels in enumerate((empty_scene(), np.hstack([collins, hopper[:512]]), blurred(hopper), collins), start=1):
        s.offer(frame(pixels, NS + i * NS))
        seen.append(s.progress)
    assert seen == [LOOK, *(HINTS[code] for code in ("no_face", "several_faces", "blurred")), HOLD]


def test_there_is_one_sentence_a_second(start: Callable[..., CaptureSession], collins: Pixels, hopper: Pixels) -> None:
    s, said = start(), []
    pictures = (empty_scene(), np.hstack([collins, hopper[:512]]))
    for i in range(1, 60):
        s.offer(frame(pictures[i % 2], NS + i * 70_000_000))
        said.append(s.progress)
    changes = sum(a != b for a, b in pairwise(said))
    assert len(set(said)) == 3 and changes <= 59 * 0.07 + 1


def test_a_timeout_reports_the_faults_of_the_last_frame(start: Callable[..., CaptureSession]) -> None:
    s = start(timeout_s=5)
    s.offer(frame(empty_scene(), 2 * NS))
    assert s.finish_if_due(6 * NS - 1) is None
    with pytest.raises(EnrollmentError, match="no usable frame within 5 s") as caught:
        s.finish_if_due(6 * NS)
    assert "no face found" in caught.value.faults[0]
    with pytest.raises(EnrollmentError) as silent:
        start(timeout_s=5).finish_if_due(6 * NS)
    assert silent.value.faults == ("no frame from the camera yet",)


def test_a_good_frame_just_before_the_end_is_used(start: Callable[..., CaptureSession], collins: Pixels) -> None:
    s = start(timeout_s=5)
    s.offer(frame(collins, 6 * NS - 1))
    assert s.finish_if_due(6 * NS) is not None


# ---- as requests


class Served:
    """Requests on a gallery of their own. `ask` takes the arguments as JSON, as the control socket does."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.recognizer, self.gallery = recognizer, recognizer.people.gallery
        self.events: list[Event] = []
        self.requests = Requests(recognizer, self.events.append)

    def begin(self, verb: str, **arguments: Any) -> PendingRequest:
        pending = PendingRequest(make_request(verb, arguments))
        self.requests.start(pending)
        return pending

    def ask(self, verb: str, **arguments: Any) -> Any:
        """The response. Raises the error of the request."""
        return response_of(self.begin(verb, **arguments))


def picture(pixels: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def served(recognizer: Recognizer) -> Served:
    return Served(recognizer)


def test_a_failed_enrollment_stores_nothing_and_causes_no_event(
    served: Served, collins: Pixels, hopper: Pixels
) -> None:
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
            served.ask("enroll", **arguments)
    assert (served.gallery.identities(), served.events) == ([], [])


def test_enroll_identify_verify_rename_forget(served: Served, collins: Pixels, hopper: Pixels) -> None:
    enrolled = served.ask("enroll", name="Zoë", image=picture(collins))
    assert (enrolled.identity, enrolled.name, enrolled.look_alike) == ("zoe", "Zoë", None)
    served.ask("enroll", name="李", id="li", image=picture(hopper))
    found = served.ask("identify", image=picture(view(collins, 3)))
    assert (found.identity, found.name, found.decision) == ("zoe", "Zoë", "match")
    assert found.margin == pytest.approx(found.score - found.threshold, abs=2e-4)
    assert served.ask("verify", name="li", image=picture(view(hopper, 4))).decision == "match"
    assert served.ask("verify", name="zoe", image=picture(hopper)).decision == "non_match"
    assert served.ask("rename", name="zoe", to="Zoé") == rs.Renamed(identity="zoe", name="Zoé", before="Zoë")
    assert [p.name for p in served.ask("list").identities] == ["Zoé", "李"]
    served.ask("forget", name="Zoé")
    stranger = served.ask("identify", image=picture(collins))
    assert (stranger.identity, stranger.name, stranger.decision) == (None, None, "non_match")
    assert [(e.event_type, e.body["identity"]) for e in served.events] == [
        ("enrolled", "zoe"),
        ("enrolled", "li"),
        ("forgotten", "zoe"),
    ]


def test_the_response_for_an_unknown_person_contains_no_name(served: Served, collins: Pixels, hopper: Pixels) -> None:
    served.ask("enroll", name="Zoë", image=picture(collins))
    assert "zo" not in json.dumps(to_json(served.ask("identify", image=picture(hopper)))).casefold()


def test_a_second_enrollment_needs_replace(served: Served, collins: Pixels, hopper: Pixels) -> None:
    served.ask("enroll", name="Zoë", image=picture(collins))
    with pytest.raises(GalleryError, match="already enrolled"):
        served.ask("enroll", name="ZOË", image=picture(collins))
    with pytest.raises(GalleryError, match="the id 'zoe' belongs to 'Zoë'"):
        served.ask("enroll", name="Zoe", image=picture(hopper), replace=True)
    before = served.ask("show", name="zoe").details[0].template_id
    served.ask("enroll", name="Zoë", image=picture(hopper), replace=True)
    assert served.ask("show", name="zoe").details[0].template_id != before
    assert served.ask("identify", image=picture(hopper)).identity == "zoe"


def test_check_names_look_alikes_and_stale_templates(served: Served, collins: Pixels) -> None:
    assert served.ask("check").look_alikes == []
    served.ask("enroll", name="Zoë", image=picture(collins))
    twin = served.ask("enroll", name="Twin", image=picture(view(collins, 2)))
    assert twin.look_alike.identity == "zoe"
    with Gallery(served.gallery.path) as other:
        other.add(person("old"), [template("old", random_unit(1), OTHER)])
    report = served.ask("check")
    assert [p["identities"] for p in to_json(report)["look_alikes"]] == [["twin", "zoe"]]
    assert report.needs_enrollment == ["old"]
    assert (report.identities, report.templates) == (3, 3)
    with pytest.raises(GalleryError, match="'old' has no template of an encoder in use"):
        served.ask("verify", name="old", image=picture(collins))


def test_export_and_import(
    served: Served, make_recognizer: Callable[..., Recognizer], collins: Pixels, tmp_path: Path
) -> None:
    served.ask("enroll", name="Zoë", image=picture(collins))
    document = served.ask("export").document
    other = Served(make_recognizer(tmp_path / "other.sqlite"))
    assert other.ask("import", document=document) == rs.Imported(
        identities=["zoe"], needs_enrollment=[], old_templates=[]
    )
    assert other.ask("identify", image=picture(view(collins, 1))).identity == "zoe"
    assert [e.event_type for e in other.events] == ["enrolled"]
    with pytest.raises(GalleryError, match="already enrolled"):
        other.ask("import", document=document)
    other.ask("import", document=document, replace=True)


@pytest.mark.parametrize("vector", [random_unit(1, 100), random_unit(1) * 5], ids=["short", "long"])
def test_an_import_of_impossible_templates_is_refused_whole(
    served: Served, pipeline: Pipeline, tmp_path: Path, vector: Any
) -> None:
    with Gallery(tmp_path / "other.sqlite") as other:
        other.add(person("ann"), [template("ann", random_unit(2), pipeline.encoder.encoder_id)])
        other.add(person("zoe"), [template("zoe", vector, pipeline.encoder.encoder_id)])
        document = to_document(other)
    with pytest.raises(GalleryError, match="of 'zoe' is damaged"):
        served.ask("import", document=document)
    assert served.gallery.identities() == []


def test_one_enrollment_at_a_time_and_it_can_be_cancelled(served: Served, collins: Pixels) -> None:
    first = served.begin("enroll", name="Zoë")
    with pytest.raises(ControlError, match="another request is using the camera"):
        served.ask("enroll", name="Bob")
    with pytest.raises(ControlError, match="another request is using the camera"):
        served.ask("capture")
    assert served.ask("cancel") == rs.Cancelled(cancelled=True)
    with pytest.raises(ControlError, match="was cancelled"):
        response_of(first)
    assert served.ask("cancel") == rs.Cancelled(cancelled=False)
    served.begin("enroll", name="Bob")
    assert served.requests.job is not None


def test_a_client_that_hangs_up_frees_the_camera(served: Served) -> None:
    served.begin("enroll", name="Zoë").abandoned = True
    served.requests.tick(0)
    assert served.requests.job is None
    assert served.gallery.identities() == []


def live(make: Callable[[int], Pixels]) -> Iterator[Any]:
    import time

    for i in range(40):
        yield frame(make(i), time.monotonic_ns() + i * 100_000_000)


def test_enroll_from_frames(served: Served, hopper: Pixels) -> None:
    pending = served.begin("enroll", name="Grace Hopper")
    for f in live(lambda i: empty_scene() if i < 3 else view(hopper, i)):
        served.requests.offer(f)
        if served.requests.job is None:
            break
    assert response_of(pending).identity == "grace-hopper"
    assert [e.event_type for e in served.events] == ["enrolled"]


def test_a_name_taken_is_refused_before_the_camera_is_used(served: Served, collins: Pixels) -> None:
    served.ask("enroll", name="Zoë", image=picture(collins))
    with pytest.raises(GalleryError, match="already enrolled"):
        served.ask("enroll", name="Zoë")
    assert served.requests.job is None


def test_a_capture_for_aiming(served: Served, hopper: Pixels) -> None:
    pending = served.begin("capture")
    for f in live(lambda i: hopper):
        served.requests.offer(f)
    captured = response_of(pending)
    assert captured.size == [512, 600]
    (face,) = captured.faces
    assert face.quality["inter_eye_px"] == pytest.approx(86, abs=4)
    assert Image.open(io.BytesIO(captured.jpeg)).size == (512, 600)


def test_a_dry_run_checks_and_stores_nothing(served: Served, collins: Pixels, hopper: Pixels) -> None:
    served.ask("enroll", name="Zoë", image=picture(collins))
    events = len(served.events)
    found = served.ask("enroll", name="Bob", image=picture(collins), dry_run=True)
    assert found.look_alike is not None and found.look_alike.identity == "zoe"
    assert served.ask("enroll", name="Bob", image=picture(hopper), dry_run=True).look_alike is None
    with pytest.raises(GalleryError, match="already enrolled"):
        served.ask("enroll", name="Zoë", image=picture(collins), dry_run=True)
    assert [i.name for i in served.gallery.identities()] == ["Zoë"]
    assert len(served.events) == events


def test_the_bytes_of_a_dry_run_from_frames_are_not_stored(served: Served, hopper: Pixels) -> None:
    pending = served.begin("enroll", name="Grace Hopper", dry_run=True)
    for f in live(lambda i: view(hopper, i)):
        served.requests.offer(f)
        if served.requests.job is None:
            break
    assert response_of(pending).frames > 1
    assert served.gallery.identities() == [] and served.events == []


@pytest.mark.parametrize("verb", ["status", "pause", "resume", "reload"])
def test_requests_that_only_a_daemon_serves(served: Served, verb: str) -> None:
    with pytest.raises(ControlError, match="no daemon is running"):
        served.ask(verb)


def test_an_unknown_request_is_refused_with_the_known_ones(served: Served) -> None:
    with pytest.raises(ControlError, match=r"unknown request 'dance': expected one of .*enroll"):
        served.ask("dance")


def test_odd_arguments_cause_no_other_error_than_those_of_the_request(served: Served) -> None:
    """Requests come from outside: each verb with each odd value in each of its arguments."""
    odd: list[Any] = [
        *(None, True, 5, -1.5, 10**400, "", "x" * 2000, "\ud800", "a\x00b", "é"),
        *([], ["x"], {}, {"a": 1}, "AAAA"),
    ]
    good: dict[str, Any] = {"name": "Zoë", "to": "New", "image": picture(empty_scene((64, 48))), "document": {}}
    answered = 0
    for verb, kind in REQUESTS.items():
        keys = {f.name for f in fields(kind)}  # type: ignore[arg-type]
        for key in keys:
            for value in odd:
                arguments = {k: v for k, v in good.items() if k in keys} | {key: value}
                try:
                    pending = served.begin(verb, **arguments)
                except ControlError:
                    continue
                if served.requests.job is not None:
                    served.ask("cancel") if verb == "enroll" else setattr(served.requests, "job", None)
                    continue
                served.requests.views.stop()  # a view waits for a frame
                with contextlib.suppress(ControlError, GalleryError, EnrollmentError, AcquisitionError, CameraError):
                    response_of(pending)
                answered += 1
    assert answered > 50, "the values reach the requests"
