"""The page in a real browser, with a real `edge-oneshot run` and a real `edge-oneshot web run`, as a new user meets it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser_parts import Chromium, axe_source, missing
from pictures import Pixels, empty_scene, view
from waiting import wait_until

from edge_oneshot.storage.cipher import new_key, write_key

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "e2e"))

from device import Device

pytestmark = pytest.mark.xdist_group("browser")
PASSWORD = "three words and more"
CYCLES = 60  # of the pictures: a person, the wall, another person, the wall; 4.8 s each


@pytest.fixture
def device(short_path: Path, collins: Pixels, hopper: Pixels) -> Iterator[Device]:
    decision = {"gone_after_s": 0.5, "unknown_frames": 5}
    options = {"decision": decision, "device": {"name": "Front door"}, "mqtt": {"enabled": False}}
    key = short_path / "keys" / "gallery.key"
    key.parent.mkdir()
    write_key(key, new_key())
    options |= {"gallery": {"key_file": str(key)}, "visits": {"pictures": True, "asked_share": 1.0}}
    with Device(short_path, 0, pace="camera", fps=5, **options) as made:
        wall = [empty_scene(seed=n) for n in range(2)] * 2
        people = [[view(portrait, n) for n in range(8)] for portrait in (collins, hopper)]
        made.camera.show([*people[0], *wall, *people[1], *wall] * CYCLES)
        made.start()
        yield made


@pytest.fixture
def page(device: Device, short_path: Path) -> Iterator[tuple[str, str]]:
    """(address, pairing code) of the page's process."""
    log = short_path / "web.log"
    with log.open("wb") as file:
        process = subprocess.Popen([*device.command, "web", "run", "--port", "0"], stdout=file, stderr=file)
    try:
        text = wait_until(lambda: "pairing code" in log.read_text() and log.read_text(), "the page to start")
        yield re.findall(r"the page: (\S+)/", text)[0], re.findall(r"minutes: (\S+)", text)[0]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in (0, -signal.SIGTERM), log.read_text()
        assert "Traceback" not in log.read_text(), log.read_text()
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def chromium(page: tuple[str, str], short_path: Path) -> Iterator[Chromium]:
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    opened = Chromium(short_path / "profile", page[0], axe_source())
    yield opened
    opened.close()


def test_a_new_user_pairs_enrolls_and_sees_a_visit(
    device: Device, page: tuple[str, str], chromium: Chromium, portrait_files: dict[str, Path]
) -> None:
    b = chromium
    _pair(b, page[1])
    _live(b)
    _enroll(b, portrait_files)
    _visits(b)
    _review(b)
    _rename_while_the_daemon_restarts(b, device)
    _phone(b)
    _remove(b)
    assert b.faults == [], "\n".join(b.faults)


def test_the_pages_were_checked_with_axe_core() -> None:
    if not missing() and not axe_source():
        pytest.skip("axe-core could not be fetched: npm is missing, or reaches no registry")


def _pair(b: Chromium, code: str) -> None:
    b.open("/")
    b.check("pair", picture=True)
    b.fill(code=code, name="anna", password=PASSWORD, again=PASSWORD)
    b.press("Connect")
    b.sees("No one is enrolled yet")
    b.check("empty")


def _live(b: Chromium) -> None:
    b.press("Live")
    wait_until(lambda: b.all("#boxes rect.unknown"), "a box around an unknown face")
    b.sees("this face can be enrolled")


def _enroll(b: Chromium, files: dict[str, Path]) -> None:
    b.open("/enroll")
    b.fill(name="Eileen Collins")
    b.one("#picture").send_keys(str(files["collins"]))
    wait_until(lambda: b.one("#preview").is_displayed(), "the preview")
    wait_until(lambda: b.one("#frame").is_displayed(), "the live picture")
    b.check("enroll", picture=True)
    b.one("#picture").send_keys(str(files["nobody"]))
    b.press("Check the picture")
    b.sees("No face found")
    assert b.one("#name").get_attribute("value") == "Eileen Collins", "what was typed is still there"
    b.one("#picture").send_keys(str(files["collins"]))
    b.press("Check the picture")
    b.check("confirm")
    b.press("Enroll Eileen Collins")
    b.sees("Eileen Collins is enrolled.")
    b.check("person")

    b.open("/enroll")
    b.fill(name="Another")
    b.one("#picture").send_keys(str(files["collins"]))
    wait_until(lambda: b.one("#preview").is_displayed(), "the preview")
    b.press("Check the picture")
    b.sees("This looks like Eileen Collins")
    b.check("look-alike", picture=True)
    b.press("Do not enroll")
    b.open("/people")
    b.check("people")


def _visits(b: Chromium) -> None:
    def matched() -> bool:
        b.open("/visits?result=match")
        return "Eileen Collins" in b.one("main").text and bool(b.all("ul.visits"))

    b.open("/live")

    def stopped() -> bool:
        """With a match in the picture that stays."""
        wait_until(lambda: b.all("#boxes rect.match") and "is recognized" in b.text, "a recognized face")
        b.one("#toggle").click()
        if not b.all("#boxes rect.match"):
            b.one("#toggle").click()
        return bool(b.all("#boxes rect.match"))

    wait_until(stopped, "a still picture of a match")
    b.check("live", picture=True)
    wait_until(matched, "a visit of Eileen Collins")
    b.open("/visits")
    b.one("ul.visits li:has(.badge.match) summary").click()
    b.sees("Frames with this face")
    b.size(1000, 1100)
    b.check("visits", picture=True)
    b.size(1000, 760)
    b.open("/device")
    b.sees("running")
    b.check("device", picture=True)
    b.open("/device/configuration")
    b.one("#visits\\.picture_days").send_keys("\b5")
    b.check("configuration", picture=True)
    b.press("Save [visits]")
    b.sees("visits.picture_days = 5 (was 7)")
    b.check("configuration-saved")
    b.open("/device/backup")
    b.check("backup")
    b.open("/account")
    b.sees("account created with a code")
    b.check("account")


def _review(b: Chromium) -> None:
    def pictured() -> bool:
        b.open("/visits?result=unknown")
        return bool(b.all(".pictures img"))

    wait_until(pictured, "a picture of an unknown visitor")
    b.sees("Pictures of visits are kept on this device")
    visit = _with_picture(b)
    b.one(f"#{visit} summary").click()
    picture = b.one(f"#{visit} .pictures img")
    wait_until(lambda: picture.get_property("naturalWidth"), "the picture")
    b.size(1000, 900)
    b.driver.execute_script(f"document.getElementById('{visit}').scrollIntoView()")
    b.check("review", picture=True)
    b.size(1000, 760)
    _answer(b, visit, "Someone who is not enrolled")
    b.sees("You said: not enrolled")
    b.check("answered")
    _answer(b, visit, "Eileen Collins")
    b.sees("You said: Eileen Collins")
    b.press("Add a template of Eileen Collins from this picture")
    b.sees("Is it the same person?")
    b.check("template-of-a-visit")
    b.press("Do not enroll")
    b.open("/visits?result=match")
    b.one("ul.visits li:not(:has(.badge.good)) summary, ul.visits li:has(.review) summary").click()
    b.press("Yes, this was Eileen Collins")
    b.sees("You said: Eileen Collins")
    b.open("/visits/rates")
    b.sees("1 of 2 visits")
    b.check("rates", picture=True)
    b.open("/visits")
    b.press("Delete all pictures now")
    b.sees("pictures were deleted")


def _with_picture(b: Chromium) -> str:
    """The id of a visit with a picture."""
    return str(b.one("ul.visits li:has(.pictures img)").get_attribute("id"))


def _answer(b: Chromium, visit: str, who: str) -> None:
    from selenium.webdriver.support.select import Select

    form = b.one(f"#{visit} .review form.row")
    Select(form.find_element("css selector", "select")).select_by_visible_text(who)
    before = b.one("html").id
    form.find_element("css selector", "button").click()
    wait_until(lambda: b._loaded(before), "the list with the answer")


def _rename_while_the_daemon_restarts(b: Chromium, device: Device) -> None:
    b.open("/people/eileen-collins")
    device.stop()
    b.fill(to="Eileen M. Collins")
    b.press("Rename")
    b.sees("is not running")
    b.sees("What to do: Start it: edge-oneshot")
    b.check("stopped")
    device.start()
    b.press("Try again")
    b.sees("Eileen Collins is now called Eileen M. Collins.")


def _phone(b: Chromium) -> None:
    b.size(390, 780)
    b.scheme("dark")
    paths = (
        "/live",
        "/people",
        "/people/eileen-collins",
        "/enroll",
        "/visits",
        "/device",
        "/device/configuration",
        "/account",
    )
    for path in paths:
        b.open(path)
        wide = b.driver.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390, f"{path} is {wide} px wide on a phone"
        if path in ("/live", "/visits", "/people"):
            b.check("phone-" + path.strip("/"), picture=path == "/visits")
    b.size(1000, 760)
    b.scheme("light")


def _remove(b: Chromium) -> None:
    b.open("/people/eileen-collins")
    b.press("Remove")
    b.sees("cannot be undone")
    b.check("remove")
    b.press("Remove Eileen M. Collins")
    b.sees("Eileen M. Collins was removed.")
    b.press("Log out")
    b.sees("Log in")
    b.check("login")
