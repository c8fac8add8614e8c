"""Visits on the page: who it was, pictures, and this door's error rates, against a real daemon."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pictures import Pixels
from test_web_people import enroll, seen
from waiting import wait_until
from web_parts import Browser, DaemonThread

from edge_oneshot.config import Config, VisitsConfig
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.storage.cipher import new_key, write_key
from edge_oneshot.storage.keys import CREDENTIAL


@pytest.fixture
def config(config: Config, short_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    folder = short_path / "credentials"
    folder.mkdir()
    write_key(folder / CREDENTIAL, new_key())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder))
    return replace(config, visits=VisitsConfig(pictures=True, asked_share=1.0))


@pytest.fixture
def blind(config: Config, pipeline: Pipeline) -> Iterator[DaemonThread]:
    """A daemon without pictures."""
    thread = DaemonThread(replace(config, visits=VisitsConfig(asked_share=1.0)), pipeline)
    yield thread
    thread.stop()


def visits(browser: Browser, query: str = "") -> list[str]:
    """The keys of the visits on the page, fresh from the daemon."""
    browser.site.cameras.all[0].visits_changed()
    browser.get(f"/visits{query}")
    return re.findall(r'<li id="v([0-9-]+)">', browser.html)


def pictured(browser: Browser, count: int) -> list[str]:
    """The addresses of the pictures, once there are so many."""

    def shown() -> tuple[list[str]] | None:
        visits(browser)
        found = [a.replace("&amp;", "&") for a in re.findall(r'src="(/visits/picture[^"]+)"', browser.html)]
        return (found,) if len(found) == count else None

    return wait_until(shown, f"{count} pictures", 20.0)[0]  # type: ignore[no-any-return]


def label(browser: Browser, visit: str, who: str, **more: str) -> None:
    browser.post("/visits/label", {"camera": "default", "visit": visit, "who": who, "back": "/visits", **more})


def test_an_unknown_visitor_is_named_and_gets_a_template_from_the_picture(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path], collins: Pixels, hopper: Pixels
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    enroll(owner, "Zoe", portrait_files["hopper"])
    seen(daemon, collins)
    seen(daemon, hopper)
    owner.get("/people/zoe/remove")
    owner.post("/people/zoe/remove", {"before": owner.hidden("before")})
    seen(daemon, hopper)
    (address, ada) = pictured(owner, 2)  # that of Zoe is gone
    assert "Pictures of visits are kept on this device, encrypted, for 7 days" in owner.text
    assert "please say who it was" in owner.text
    assert owner.client.get(address).headers["content-type"] == "image/jpeg"
    assert owner.client.get(address).headers["cache-control"] == "no-store"

    unknown, _, match = visits(owner)
    label(owner, match, "id:ada")
    assert "Saved. The answer counts" in owner.text and "You said: Ada" in owner.text
    label(owner, unknown, "id:ada", back="/visits?result=unknown")
    assert "1 visit" in owner.text and f'<li id="v{unknown}"><details open>' in owner.html, "the list as it was"
    picture = re.findall(r'name="picture" value="([^"]+)"', owner.html)[0]
    owner.post("/visits/enroll", {"camera": "default", "way": "add", "id": "ada", "picture": picture})
    assert "Is it the same person?" in owner.text, "it was not Ada; nothing is stored before a confirmation"
    owner.post("/enroll/discard", {"draft": owner.hidden("draft")})
    assert owner.site.audit.last(9)[0]["what"] == "visit named"

    visits(owner)
    owner.post("/visits/enroll", {"camera": "default", "way": "new", "name": "Grace", "picture": picture})
    assert "clear enough to enroll" in owner.text
    owner.post("/enroll/store", {"draft": owner.hidden("draft"), "name": "Grace"})
    assert "Grace is enrolled." in owner.text
    owner.get("/visits/rates")
    assert "1 of 2 visits" in owner.text and "Too few answers to check the stated rate" in owner.text
    assert ada != address


def test_a_wrong_match_is_corrected_and_an_answer_can_be_removed(
    owner: Browser, blind: DaemonThread, portrait_files: dict[str, Path], collins: Pixels
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    seen(blind, collins)
    (match,) = visits(owner)
    assert "No pictures of visits are kept." in owner.text and "Yes, this was Ada" in owner.text
    assert "Only owners see candidates" not in owner.text
    label(owner, match, "stranger")
    assert "You said: not enrolled" in owner.text and ">wrong<" in owner.html
    owner.get("/visits/rates")
    assert "1 of 1 visits" in owner.text
    visits(owner)
    label(owner, match, "none")
    assert "The answer was removed." in owner.text
    label(owner, match, "")
    assert "Choose who it was." in owner.text
    label(owner, "20000101000000000-1", "unclear")
    assert "no visit '20000101000000000-1' is recorded" in owner.text.lower()
    visits(owner)
    label(owner, match, "id:nobody")
    assert "is enrolled" in owner.text


def test_without_a_picture_the_page_says_that_no_template_can_be_made(
    owner: Browser, blind: DaemonThread, portrait_files: dict[str, Path], hopper: Pixels
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    seen(blind, hopper)
    (unknown,) = visits(owner)
    label(owner, unknown, "id:ada")
    assert "No picture of this visit was kept" in owner.text
    assert owner.client.get(f"/visits/picture?camera=default&picture={unknown}").status_code == 404


def test_a_viewer_sees_pictures_but_no_answers(
    owner: Browser, viewer: Browser, daemon: DaemonThread, portrait_files: dict[str, Path], hopper: Pixels
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    seen(daemon, hopper)
    (address,) = pictured(owner, 1)
    (unknown,) = visits(owner)
    label(owner, unknown, "id:ada")
    visits(viewer)
    assert viewer.client.get(address).status_code == 200
    assert (
        "You said" not in viewer.text
        and "Who was it?" not in viewer.text
        and "Ada" not in viewer.html.split("</form>")[-1]
    )
    assert "Pictures of visits are kept" in viewer.text and "Delete all pictures" not in viewer.text
    assert "Only owners see candidates" in viewer.text


def test_an_answer_outside_the_sample_does_not_say_that_it_counts(
    owner: Browser, config: Config, pipeline: Pipeline, hopper: Pixels
) -> None:
    """And whoever is enrolled from the picture of a visit was the visitor: the visit is answered."""
    daemon = DaemonThread(replace(config, visits=replace(config.visits, asked_share=0.0)), pipeline)
    try:
        seen(daemon, hopper)
        pictured(owner, 1)
        (unknown,) = visits(owner)
        label(owner, unknown, "unclear")
        assert "Saved. The answer does not count for the error rates" in owner.text
        label(owner, unknown, "none")
        picture, visit = (
            re.findall(rf'name="{name}" value="([^"]+)"', owner.html)[-1] for name in ("picture", "visit")
        )
        assert visit == unknown
        fields = {"camera": "default", "way": "new", "name": "Grace", "picture": picture, "visit": visit}
        owner.post("/visits/enroll", fields)
        owner.post("/enroll/store", {"draft": owner.hidden("draft"), "name": "Grace"})
        visits(owner)
        assert "You said: Grace" in owner.text and "Enroll this visitor" not in owner.text
        owner.get("/people/grace/remove")
        owner.post("/people/grace/remove", {"before": owner.hidden("before")})
        pictured(owner, 0)  # the picture is tied to the person
    finally:
        daemon.stop()


def test_all_pictures_are_deleted_by_one_button(owner: Browser, daemon: DaemonThread, hopper: Pixels) -> None:
    seen(daemon, hopper)
    (address,) = pictured(owner, 1)
    owner.post("/visits/erase")
    assert "1 pictures were deleted." in owner.text
    pictured(owner, 0)
    assert owner.client.get(address).status_code == 404
    assert owner.site.audit.last(1)[0]["what"] == "pictures erased"


def test_a_person_is_ignored_and_no_longer(
    owner: Browser, blind: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    owner.get("/people/ada")
    owner.post("/people/ada/ignore", {"on": "yes"})
    assert "Events of Ada are no longer published." in owner.text
    owner.get("/people")
    assert "Ignored" in owner.text
    owner.get("/people/ada")
    owner.post("/people/ada/ignore", {"on": "no"})
    assert "Events of Ada are published again." in owner.text


def test_a_name_that_is_the_id_of_another_person_hits_no_one_else(
    owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    enroll(owner, "Grace", portrait_files["hopper"])
    for identity, to in (("ada", "Lovelace"), ("grace", "ada")):
        owner.get(f"/people/{identity}")
        owner.post(f"/people/{identity}/rename", {"before": owner.hidden("before"), "to": to})
    assert "Grace is now called ada." in owner.text
    owner.get("/people/ada")
    assert "<h1>Lovelace</h1>" in owner.html
    enroll(owner, "", portrait_files["collins"], way="add", id="ada")
    assert "Lovelace has one more template." in owner.text
    owner.get("/people/ada/remove")
    owner.post("/people/ada/remove", {"before": owner.hidden("before")})
    assert "Lovelace was removed." in owner.text
    owner.get("/people/grace")
    assert "<h1>ada</h1>" in owner.html


def test_visits_are_listed_by_their_begin(
    owner: Browser, blind: DaemonThread, portrait_files: dict[str, Path], collins: Pixels, hopper: Pixels
) -> None:
    enroll(owner, "Ada", portrait_files["collins"])
    for portrait in (collins, hopper, collins):  # the first visit of Ada ends last
        seen(blind, portrait)
    keys = visits(owner)
    assert len(keys) == 2 and keys == sorted(keys, reverse=True)
