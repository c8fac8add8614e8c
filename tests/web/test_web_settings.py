"""The page changes the configuration, and saves and restores the people; several cameras, one of which is down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from test_web_people import enroll
from web_parts import Browser, DaemonThread, make_site

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, edit, load_config
from edge_oneshot.config.edit import change_config, with_keys
from edge_oneshot.control import requests as rq
from edge_oneshot.control.review import PicturesErased, PicturesState, VisitList
from edge_oneshot.errors import ConfigError, ControlError, ModelError
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.web.cameras import Camera

TEXT = """# of the front door
[device]
name = "Front door"
state_dir = "{folder}"
[model]
threads = 1
[decision]
target_fmr = 0.001  # the default
second_factor_s = 20.0
[mqtt]
enabled = false
"""


@pytest.fixture
def config(short_path: Path) -> Config:
    path = short_path / "default.toml"
    path.write_text(TEXT.format(folder=short_path))
    return load_config(path)


def change(browser: Browser, section: str, stamp: str = "", **keys: str) -> Any:
    browser.get("/device/configuration")
    fields = {"camera": "default", "section": section, "stamp": stamp or browser.hidden("stamp"), **keys}
    return browser.post("/device/configuration", fields)


def test_an_owner_changes_safe_keys_and_sees_the_answer_of_the_daemon(
    owner: Browser, viewer: Browser, daemon: DaemonThread, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = config.path
    assert path is not None
    first = path.read_text()
    viewer.get("/people")
    assert viewer.post("/device/configuration", {"section": "decision"}).status_code == 403

    owner.get("/device/configuration")
    names = set(re.findall(r'<(?:input|select) id="[a-z]+\.(\w+)"', owner.html))
    assert {"target_fmr", "picture_days", "min_luma"} <= names
    assert not names & {"second_factor_s", "threshold", "uri", "state_dir", "host", "password_file"}

    change(owner, "decision", target_fmr="0.0001", confirm_frames="4", second_factor_s="0")
    assert "decision.target_fmr = 0.0001 (was 0.001)" in owner.text and "decision.confirm_frames = 4" in owner.text
    text = path.read_text()
    assert "# of the front door" in text and "target_fmr = 0.0001  # the default" in text
    assert load_config(path).decision.second_factor_s == 20.0, "not a key of the page"
    (backup,) = path.parent.glob("*.bak")
    assert backup.read_text() == first
    entry = owner.site.audit.last(1)[0]
    assert entry["what"] == "configuration changed" and "decision.target_fmr = 0.0001" in entry["about"]
    assert 'value="0.0001"' in owner.html, "the page shows what is in force"

    # What the reader of the file refuses, and what the daemon refuses, leaves the file as it was.
    for keys, said in (
        ({"confirm_frames": "99"}, "expected at most window_frames"),
        ({"target_fmr": "x"}, "expected a number"),
    ):
        assert change(owner, "decision", **keys).status_code == 422
        assert said in owner.text and f'value="{next(iter(keys.values()))}"' in owner.html, "what was typed is kept"
        assert path.read_text() == text
    daemon.faults["reload"] = ModelError("no threshold follows from it", "another rate")
    change(owner, "decision", target_fmr="0.01")
    assert "No threshold follows from it" in owner.text and path.read_text() == text
    assert list(path.parent.glob("*.bak")) == [backup]
    daemon.faults.clear()

    change(owner, "decision", target_fmr="0.0001")
    assert "Nothing was changed." in owner.text
    change(owner, "decision", stamp="0" * 16, target_fmr="0.01")
    assert "the file was changed in the meantime" in owner.text and path.read_text() == text

    def refuse(path: Path) -> None:
        raise ConfigError(f"cannot write {path}")

    monkeypatch.setattr("edge_oneshot.web.pages.configuration.check_writable", refuse)
    change(owner, "visits", asked_share="0.5")
    assert f"sudo edge-oneshot --config {path} config set visits.asked_share=0.5" in owner.text


def test_the_same_in_the_terminal(config: Config, daemon: DaemonThread) -> None:
    def call(*settings: str) -> Any:
        command = ["config", "set", *settings, "--config", str(config.path)]
        return CliRunner().invoke(cli, command, standalone_mode=False, catch_exceptions=False)

    done = call("visits.picture_days=3", "device.name=Back door")
    assert "in use: visits.picture_days = 3 (was 7)" in done.output
    assert "in use after a restart: device.name" in done.output
    with pytest.raises(ConfigError, match="1 fault"):
        call("visits.picture_day=3")
    daemon.stop()
    assert "used from the next start on" in call("visits.picture_days=4").output


def test_a_daemon_that_does_not_answer_leaves_the_new_file(config: Config) -> None:
    def silent() -> None:
        raise ControlError("no answer")

    assert config.path is not None
    with pytest.raises(ControlError):
        change_config(config.path, {("visits", "picture_days"): 3}, silent)
    assert load_config(config.path).visits.picture_days == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('uri = "a#b" # c', "uri = 1  # c"),
        ("uri = 'a#b'", "uri = 1"),
        ('#uri = "x"', "uri = 1"),
        ("uri=5# c", "uri = 1  # c"),
    ],
)
def test_the_comment_behind_a_value_stays(before: str, after: str) -> None:
    assert with_keys(f"[camera]\n{before}\n", {("camera", "uri"): 1}) == f"[camera]\n{after}\n"


def test_every_key_of_the_page_is_taken_by_a_reload() -> None:
    from edge_oneshot.service.reload import LIVE_SECTIONS

    assert set(edit.SAFE) <= set(LIVE_SECTIONS)
    assert all(edit.safe_keys(section) for section in edit.SAFE)


# ---- backup


def test_people_are_saved_and_restored(owner: Browser, daemon: DaemonThread, portrait_files: dict[str, Path]) -> None:
    pytest.importorskip("cryptography")
    enroll(owner, "Ada", portrait_files["collins"])
    enroll(owner, "Grace", portrait_files["hopper"])
    owner.get("/device/backup")
    for fields, said in (
        ({"password": "short", "again": "short"}, "expected at least 12 characters"),
        ({"password": "four words or more", "again": "another"}, "differ"),
    ):
        assert owner.post("/device/backup", fields).status_code == 422 and said in owner.text
        assert "four words" not in owner.html
    secret = {"password": "four words or more"}
    saved = owner.post("/device/backup", secret | {"again": secret["password"]})
    assert "attachment" in saved.headers["content-disposition"] and "Ada" not in saved.text
    assert json.loads(saved.text)["format"] == "edge-oneshot-sealed-gallery"

    owner.get("/people/ada/remove")
    owner.post("/people/ada/remove", {"before": owner.hidden("before")})
    owner.get("/device/backup")
    for data, password, said in (
        (b"no backup", secret["password"], "not a backup"),
        (saved.content, "another passphrase", "the passphrase or key is wrong"),
    ):
        restored = owner.post("/device/restore", {"password": password}, files={"file": data})
        assert restored.status_code == 422 and said in owner.text
    owner.post("/device/restore", secret, files={"file": saved.content})
    assert "1 people were enrolled from the backup." in owner.text and "Ada" in owner.text and "Grace" in owner.text
    assert [e["what"] for e in owner.site.audit.last(3)][::2] == ["people imported", "people exported"]


# ---- several cameras


def back_of(front: Config) -> Config:
    return replace(front, instance="back", path=None, device=replace(front.device, name="Back door"))


@pytest.fixture
def two(short_path: Path, config: Config) -> Iterator[Browser]:
    """A page of two cameras, in one state folder."""
    browser = Browser(make_site(short_path, config, back_of(config)))
    browser.pair()
    yield browser
    browser.close()


def test_a_person_is_ignored_at_every_camera_and_the_one_that_is_down_is_named(
    two: Browser, config: Config, pipeline: Pipeline, daemon: DaemonThread, portrait_files: dict[str, Path]
) -> None:
    back = DaemonThread(back_of(config), pipeline)
    try:
        enroll(two, "Ada", portrait_files["collins"])
        two.get("/people/ada")
        two.post("/people/ada/ignore", {"on": "yes"})
        assert "Events of Ada are no longer published." in two.text
        for camera in two.site.cameras.all:
            assert camera.ask(rq.List()).identities[0].ignored, camera.slug
    finally:
        back.stop()
    two.get("/people/ada")
    two.post("/people/ada/ignore", {"on": "no"})
    assert "except by these cameras, which did not answer: Back door" in two.text
    assert not two.site.cameras.all[0].ask(rq.List()).identities[0].ignored


def test_pictures_are_erased_at_the_other_cameras_when_one_is_down(
    two: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = two.site.cameras.all[0]
    erased: list[str] = []

    def ask(camera: Camera, request: Any, timeout_s: float = 1.0) -> Any:
        if camera is front:
            raise ControlError("the daemon of Front door is not running", "start it")
        if isinstance(request, rq.Visits):
            state = PicturesState(kept=2, size_bytes=9, days=7, megabytes=5, fault="")
            return VisitList(visits=[], kept=0, fault="", pictures=state)
        erased.append(camera.slug)
        return PicturesErased(erased=2)

    two.get("/people")
    monkeypatch.setattr(Camera, "ask", ask)
    two.post("/visits/erase")
    assert erased == ["back"]
    assert "2 pictures were deleted. These cameras did not answer" in two.text and ": Front door." in two.text
