"""People, visits and device on the page, against a real daemon: what an owner does, and what a viewer sees."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from pictures import Pixels, empty_scene, view
from PIL import Image
from web_parts import Browser, DaemonThread

from edge_oneshot.errors import ControlError, GalleryError, StorageError
from edge_oneshot.web.drafts import LIFE_S, Drafts


def enroll(browser: Browser, name: str, picture: Path, **more: str) -> Any:
    """Choose a picture and confirm it; the answer to the confirmation, or to the picture if it is refused."""
    response = check(browser, name, picture, **more)
    if "Do not enroll" not in browser.html:
        return response
    return browser.post("/enroll/store", {"draft": browser.hidden("draft"), "name": name})


def check(browser: Browser, name: str, picture: Path, way: str = "new", **more: str) -> Any:
    browser.get("/enroll")
    with picture.open("rb") as file:
        return browser.post("/enroll", {"name": name, "way": way, **more}, files={"picture": file})


def seen(daemon: DaemonThread, portrait: Pixels) -> None:
    """A person stands in front of the camera for two seconds and leaves."""
    daemon.show(*[view(portrait, n) for n in range(12)], *[empty_scene()] * 23)


# ---- a whole first hour


def test_enroll_see_rename_and_remove(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path], collins: Pixels, hopper: Pixels
) -> None:
    owner.get("/people")
    assert "No one is enrolled yet" in owner.text
    enroll(owner, "Ada", portrait_files["collins"])
    assert "Ada is enrolled. The picture was not kept." in owner.text
    assert "Last seen Not seen yet" in owner.text
    seen(daemon, collins)
    seen(daemon, hopper)
    owner.site.cameras.all[0].visits_changed()
    owner.get("/visits")
    assert "2 visits" in owner.text
    assert "Reported as a match:" in owner.text and "Reported as unknown:" in owner.text
    assert "Most similar was Ada with a score of" in owner.text, "an owner sees who did not match"
    assert 'aria-label="Best score 0.' in owner.html
    for query, visits in (("person=ada", "1 visit"), ("result=unknown", "1 visit"), ("result=rejected", "0 visits")):
        owner.get(f"/visits?{query}")
        assert visits in owner.text
    owner.get("/visits?day=2001-01-01&from=7&person=../x")
    assert "No visits match the filter" in owner.text
    assert owner.get("/visits?from=²").status_code == 200, "a digit that is no number"
    owner.get("/people")
    assert "Ada Seen" in owner.text

    owner.get("/people/ada")
    owner.post("/people/ada/rename", {"before": owner.hidden("before"), "to": "Ada L."})
    assert "Ada is now called Ada L." in owner.text
    owner.get("/people/ada/remove")
    assert "cannot be undone" in owner.text
    owner.post("/people/ada/remove", {"before": owner.hidden("before")})
    assert "Ada L. was removed." in owner.text
    assert [e["what"] for e in owner.site.audit.last(3)] == ["removed", "renamed", "enrolled"]


def test_a_viewer_sees_people_and_visits_but_no_candidates(
    owner: Browser, viewer: Browser, daemon: DaemonThread, portrait_files: dict[str, Path], hopper: Pixels
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    seen(daemon, hopper)
    owner.site.cameras.all[0].visits_changed()
    viewer.get("/people/ada")
    assert "Rename" not in viewer.text and "Remove" not in viewer.text
    viewer.get("/visits?result=unknown")
    assert "Reported as unknown" in viewer.text
    assert "Most similar was" not in viewer.text
    viewer.get("/device")
    assert "Show the configuration" not in viewer.text


# ---- enrollment


def test_a_look_alike_is_named_before_anything_is_stored(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    check(owner, "Berta", portrait_files["collins"])
    assert "This looks like Ada" in owner.text
    draft = owner.hidden("draft")
    owner.get("/people")
    assert "Berta" not in owner.text
    owner.post_from("/people/ada", "/enroll/store", {"draft": draft, "name": "Berta", "other": "ada"})
    assert "Ada has one more template." in owner.text
    owner.get("/people")
    assert "2 templates" in owner.text and "Berta" not in owner.text


def test_two_people_who_look_alike_are_marked(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    enroll(owner, "Berta", portrait_files["collins"])
    owner.get("/people")
    assert owner.text.count("Looks like another") == 2


def test_a_person_who_was_enrolled_twice_is_merged(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    for name, picture in (("Ada", "collins"), ("Berta", "collins"), ("Grace", "hopper")):
        enroll(owner, name, portrait_files[picture])
    owner.get("/people/berta")
    before = owner.hidden("before")
    owner.post("/people/berta/merge", {"before": before, "into": ""})
    assert "Choose the person who stays." in owner.text
    owner.post("/people/berta/merge", {"before": before, "into": "id:grace"})
    assert "they do not match each other" in owner.text and "berta" in owner.html
    owner.post("/people/berta/merge", {"before": before, "into": "id:ada"})
    assert "Ada now has 2 templates." in owner.text
    owner.get("/people")
    assert "Berta" not in owner.text and "Looks like another" not in owner.text
    assert owner.site.audit.last(1)[0]["about"] == "berta into ada"


@pytest.mark.parametrize(
    ("name", "picture", "sentence"),
    [
        ("Ada", b"", "Choose a picture."),
        ("Ada", b"no picture at all", "expected a JPEG"),
        ("", b"x", "Type the name of the person."),
        ("Ada", "nobody", "No face found"),
        ("Ada", "both", "2 faces found"),
    ],
)
def test_a_picture_that_cannot_be_enrolled_gets_a_sentence_and_keeps_the_name(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path], name: str, picture: Any, sentence: str
) -> None:
    data = portrait_files[picture].read_bytes() if isinstance(picture, str) else picture
    owner.get("/enroll")
    response = owner.post("/enroll", {"name": name, "way": "new"}, files={"picture": ("p.jpg", data)})
    assert response.status_code == 422
    assert sentence.casefold() in owner.text.casefold()
    assert f'value="{name}"' in owner.html


def test_a_name_that_exists_is_refused_and_a_template_can_be_added_instead(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    enroll(owner, "ADA", portrait_files["hopper"])
    assert "Ada is enrolled already" in owner.text
    owner.get("/people/ada")
    enroll(owner, "Ada", portrait_files["collins"], way="add", id="ada")
    assert "Ada has one more template." in owner.text
    enroll(owner, "Ada", portrait_files["collins"], way="replace", id="ada")
    assert "Ada was enrolled again." in owner.text
    check(owner, "Ada", portrait_files["hopper"], way="add", id="ada")
    assert "Is it the same person?" in owner.text


def test_a_picture_of_the_camera_at_the_door_is_enrolled(owner: Browser, daemon: DaemonThread, collins: Pixels) -> None:
    import threading

    owner.get("/enroll")
    shown = threading.Timer(0.3, lambda: daemon.show(*[view(collins, n) for n in range(3)]))
    shown.start()
    owner.post("/enroll/capture", {"name": "Ada", "way": "new"})
    shown.join()
    assert "clear enough to enroll" in owner.text
    picture = owner.client.get(f"/enroll/picture?draft={owner.hidden('draft')}")
    assert picture.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(picture.content)).size == (640, 480)


def test_a_draft_belongs_to_one_account_and_to_ten_minutes(
    owner: Browser, viewer: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    check(owner, "Ada", portrait_files["collins"])
    draft = owner.hidden("draft")
    other = Browser(owner.site)
    other.pair("otto")
    assert other.client.get(f"/enroll/picture?draft={draft}").status_code == 404
    other.close()
    found = owner.site.drafts.find(draft, "anna")
    assert found is not None
    found.at -= LIFE_S + 1
    owner.post("/enroll/store", {"draft": draft, "name": "Ada"})
    assert "The picture was deleted after 10 minutes" in owner.text
    assert 'value="Ada"' in owner.html
    assert Drafts().find(draft, "anna") is None


# ---- when things go wrong


def test_two_owners_who_edit_one_person(owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    other = Browser(owner.site)
    other.pair("otto")
    owner.get("/people/ada")
    before = owner.hidden("before")
    other.get("/people/ada")
    other.post("/people/ada/rename", {"before": before, "to": "Ada the first"})
    response = owner.post("/people/ada/rename", {"before": before, "to": "Ada the second"})
    assert response.status_code == 422
    assert "another owner changed Ada the first in the meantime" in owner.text
    assert 'value="Ada the second"' in owner.html, "what was typed is still there"
    owner.get("/people/ada")
    owner.post("/people/ada/remove", {"before": before})
    assert "another owner changed" in owner.text
    other.close()


def test_a_name_of_another_person_is_refused_in_a_rename(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    enroll(owner, "Grace", portrait_files["hopper"])
    owner.get("/people/ada")
    owner.post("/people/ada/rename", {"before": owner.hidden("before"), "to": "grace"})
    assert "Grace is enrolled already" in owner.text
    owner.post("/people/ada/rename", {"before": owner.hidden("before"), "to": " "})
    assert "Type a name." in owner.text


@pytest.mark.parametrize(
    ("path", "status"), [("/people", 503), ("/people/ada", 503), ("/visits", 503), ("/device", 503)]
)
def test_without_a_daemon_each_page_says_how_to_start_it(owner: Browser, path: str, status: int) -> None:
    response = owner.get(path)
    assert response.status_code == status
    assert "The daemon of Front door is not running" in owner.text
    assert "What to do: Start it: edge-oneshot run" in owner.text
    assert "Live" in owner.text, "the menu stays"


def test_a_picture_is_kept_while_the_daemon_restarts(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path], config: Any, pipeline: Any
) -> None:
    check(owner, "Ada", portrait_files["collins"])
    daemon.stop()
    response = owner.post("/enroll/store", {"draft": owner.hidden("draft"), "name": "Ada"})
    assert response.status_code == 503
    assert "The picture of Ada is kept in memory" in owner.text
    again = DaemonThread(config, pipeline)
    owner.post("/enroll/store", {"draft": owner.hidden("draft"), "name": "Ada"})
    assert "Ada is enrolled." in owner.text
    again.stop()


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (StorageError("cannot write the gallery: the disk is full", "free space on /var"), "Free space on /var"),
        (GalleryError("the gallery cannot be changed: read-only", "mount it writable"), "Mount it writable"),
    ],
)
def test_a_full_disk_is_named_and_the_picture_stays(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path], fault: Any, sentence: str
) -> None:
    check(owner, "Ada", portrait_files["collins"])
    draft = owner.hidden("draft")
    daemon.faults["enroll"] = fault
    owner.post("/enroll/store", {"draft": draft, "name": "Ada"})
    assert sentence in owner.text
    daemon.faults.clear()
    owner.post("/enroll/store", {"draft": owner.hidden("draft"), "name": owner.hidden("name")})
    assert "Ada is enrolled." in owner.text


def test_a_rename_that_met_a_stopped_daemon_can_be_sent_again(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    owner.get("/people/ada")
    daemon.faults["show"] = ControlError("the daemon is stopping", "try again when it runs")
    response = owner.post("/people/ada/rename", {"before": owner.hidden("before"), "to": "Ada L."})
    assert response.status_code == 502
    assert "keeps what you typed" in owner.text
    daemon.faults.clear()
    owner.post("/people/ada/rename", {"before": owner.hidden("before"), "to": owner.hidden("to")})
    assert "Ada is now called Ada L." in owner.text


def test_a_lost_camera_is_named(owner: Browser, daemon: DaemonThread) -> None:
    daemon.faults["capture"] = ControlError("no frame from the camera within 5 s", "run `edge-oneshot doctor`")
    owner.get("/enroll")
    owner.post("/enroll/capture", {"name": "Ada", "way": "new"})
    assert "No frame from the camera within 5 s" in owner.text
    assert 'value="Ada"' in owner.html


def test_a_daemon_that_does_not_answer_is_named(
    owner: Browser, daemon: DaemonThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge_oneshot.web import cameras

    monkeypatch.setattr(cameras.Camera.ask, "__defaults__", (0.3,))
    daemon.silent.add("status")
    response = owner.get("/device")
    assert response.status_code == 503
    assert "has not answered for 0.3 s" in owner.text
    assert "restart it" in owner.text.casefold()


# ---- device and live


def test_device_shows_the_state_and_pauses(owner: Browser, daemon: DaemonThread) -> None:
    owner.get("/device")
    assert "State running" in owner.text
    assert "secret" not in owner.html, "the password of the camera"
    owner.post("/device/pause", {"camera": "default"})
    assert "Recognition of Front door is paused." in owner.text and "State paused" in owner.text
    owner.post("/device/resume", {"camera": "default"})
    assert "State running" in owner.text
    owner.post("/device/destroy", {"camera": "default"})
    assert "incomplete" in owner.text
    owner.get("/device/configuration")
    assert "target_fmr" in owner.text and "secret" not in owner.html
    assert owner.html.count(">changed<") == 4  # name, state_dir, uri and threads of this test
    owner.get("/device/log")
    assert "not started by systemd" in owner.text


def test_the_live_view_shows_faces_hints_and_faults(
    owner: Browser, daemon: DaemonThread, collins: Pixels, portrait_files: dict[str, Path]
) -> None:
    import threading

    from edge_oneshot.web.pages.live import _event

    enroll(owner, "Ada", portrait_files["collins"])
    camera, words = owner.site.cameras.all[0], owner.site.words
    dark = (view(collins, 1) * 0.05).astype("uint8")
    said = "Not compared. Hold still. If this does not help, add light or check the focus."  # as vision/hints.py has it
    for picture, hint in (
        (view(collins, 1), "Ada is recognized."),
        (empty_scene(), words("live.hint_nobody")),
        (dark, said),
    ):
        timer = threading.Timer(0.2, daemon.show, [picture])
        timer.start()
        event = _event(camera, words)
        timer.join()
        assert event["hint"] == hint
        assert event["size"] == [640, 480]
        camera._viewed = (0.0, None)
    daemon.faults["view"] = ControlError("no frame from the camera within 5 s", "check its cable")
    assert _event(camera, words) == {"fault": "no frame from the camera within 5 s", "fix": "check its cable"}


def test_all_browsers_share_one_frame(owner: Browser, daemon: DaemonThread, collins: Pixels) -> None:
    import threading

    camera = owner.site.cameras.all[0]
    timer = threading.Timer(0.2, daemon.show, [view(collins, 1)])
    timer.start()
    first = camera.view()
    timer.join()
    assert camera.view() is first
