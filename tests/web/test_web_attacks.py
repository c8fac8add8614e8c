"""What an attacker on the network tries without an account: bodies, connections, tries at once, the audit log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from waiting import wait_until
from web_parts import PASSWORD, Browser

from edge_oneshot.errors import StorageError
from edge_oneshot.web.accounts import Accounts
from edge_oneshot.web.call import MAX_FORM
from edge_oneshot.web.sessions import Throttle
from edge_oneshot.web.site import Site

COMMAND = Path(sys.executable).with_name("edge-oneshot")
MULTIPART = "multipart/form-data; boundary=b"


# ---- bodies


def test_a_body_in_chunks_is_refused_though_it_states_a_length(browser: Browser, site: Site) -> None:
    """The server reads the chunks, so the length says nothing about what arrives."""
    site.accounts.pair(site.accounts.new_code("owner"), "anna", PASSWORD)
    browser.get("/login")
    body = f"csrf={browser.token}&name=anna&password=x".encode()
    headers = {"content-type": "application/x-www-form-urlencoded", "transfer-encoding": "chunked"}
    response = browser.client.post("/login", content=body, headers=headers | {"content-length": str(len(body))})
    assert response.status_code == 413


@pytest.mark.parametrize("charset", ["unicode_escape", "undefined", "utf-8"])
def test_a_form_that_is_no_text_is_refused(browser: Browser, site: Site, charset: str) -> None:
    site.accounts.pair(site.accounts.new_code("owner"), "anna", PASSWORD)
    browser.get("/login")
    part = '--b\r\nContent-Disposition: form-data; name="{}"\r\n\r\n{}\r\n'
    body = part.format("csrf", browser.token) + part.format("name", "\\ud800") + "--b--\r\n"
    browser.client.post("/login", content=body, headers={"content-type": f"{MULTIPART}; charset={charset}"})
    response = browser.client.post("/login", content="--b\r\n\r\n", headers={"content-type": "multipart/form-data"})
    assert response.status_code == 403 and "form" in response.text


def test_a_password_is_never_sent_back(browser: Browser, site: Site, short_path: Path) -> None:
    """A form is shown again after a fault of the device, to be sent once more; not one with a password."""
    site.accounts.pair(site.accounts.new_code("owner"), "anna", PASSWORD)
    browser.get("/login")
    (short_path / "accounts.json").write_text("cut off")
    response = browser.client.post("/login", data={"csrf": browser.token, "name": "anna", "password": PASSWORD})
    assert response.status_code == 502 and "accounts" in response.text
    assert PASSWORD not in response.text


# ---- tries at once


def test_tries_at_once_count_as_tries_one_by_one(browser: Browser, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.accounts.pair(site.accounts.new_code("owner"), "anna", PASSWORD)
    browsers = [Browser(site) for _ in range(12)]
    for b in browsers:
        b.get("/login")
    checked, enough = [], threading.Event()

    def slow(self: Accounts, name: str, password: str) -> None:
        checked.append(name)
        enough.wait(1.0)

    monkeypatch.setattr(Accounts, "check", slow)
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda b: b.post("/login", {"name": "anna", "password": "x"}).status_code, browsers))
    assert len(checked) == 5 and found.count(429) == 7
    for b in browsers:
        b.close()


def test_a_try_counts_from_its_begin() -> None:
    throttle = Throttle(lambda: 0.0)
    assert [throttle.begin("a", "b") for _ in range(6)] == [0, 0, 0, 0, 0, 30]
    assert throttle.begin("a") == 30, "a try that was refused does not double the wait"
    throttle.succeeded("a", "b")
    assert throttle.begin("a") == 0


# ---- the audit log


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_no_name_hides_an_entry_of_the_audit_log(owner: Browser, site: Site, separator: str) -> None:
    stranger = Browser(site)
    stranger.get("/login")
    stranger.post("/login", {"name": f"a{separator}1{separator}b", "password": "x"})
    stranger.close()
    assert owner.get("/account").status_code == 200
    assert [e["what"] for e in site.audit.last(10)] == ["wrong password", "paired"]


def test_lines_that_are_no_entries_are_left_out(owner: Browser, site: Site) -> None:
    with site.audit.path.open("a") as file:
        file.write('1\n{"ts": "x"}\nnull\n{"ts": "2026-01-01T00:00:00+00:00", "what"\n')
    assert [e["what"] for e in site.audit.last(10)] == ["paired"]
    assert owner.get("/account").status_code == 200


def test_a_flood_of_refusals_does_not_push_entries_out(owner: Browser, viewer: Browser, site: Site) -> None:
    stranger = Browser(site)
    for _ in range(5):
        stranger.client.post("/login", data={"name": "x"})
        viewer.client.get("/enroll")
    stranger.close()
    kinds = [json.loads(line)["what"] for line in site.audit.path.read_text().splitlines()]
    assert kinds == ["paired", "paired", "refused"]


@pytest.mark.skipif(os.geteuid() != 0, reason="root writes into a folder of the page's user")
@pytest.mark.parametrize("name", ["accounts.lock", "accounts.part"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_root_follows_no_link_of_the_pages_user(
    short_path: Path, name: str, link: Callable[[Path, Path], None]
) -> None:
    """`sudo edge-oneshot web pair` writes where a page that was taken over may put links to files of root."""
    secret, folder = short_path / "shadow", short_path / "web"
    secret.write_text("root's")
    folder.mkdir(mode=0o700)
    os.chown(folder, 65534, 65534)
    link(secret, folder / name)
    with contextlib.suppress(StorageError):
        Accounts(folder / "accounts.json").new_code("owner")
    assert secret.read_text() == "root's" and secret.stat().st_uid == 0


# ---- connections, at a real server


@pytest.fixture
def port(short_path: Path) -> Iterator[int]:
    file, log = short_path / "default.toml", short_path / "web.log"
    file.write_text(f'[device]\nstate_dir = "{short_path}"\n[mqtt]\nenabled = false\n')
    code = "import sys; from edge_oneshot.web import connection; connection.HEAD_S = 1.0; "
    code += "from edge_oneshot.cli import main; main()"
    command = [sys.executable, "-c", code, "-c", str(file), "web", "run", "--port", "0"]
    with log.open("wb") as opened:
        process = subprocess.Popen(command, stdout=opened, stderr=opened)
    try:
        text = wait_until(lambda: "pairing code" in log.read_text() and log.read_text(), "the page to start", 150)
        yield int(re.findall(r"127\.0\.0\.1:(\d+)/", text)[0])
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/pair", timeout=30) as answer:
            return bool(answer.status == 200)
    except (urllib.error.HTTPError, OSError):
        return False


def test_connections_that_send_nothing_take_no_place_for_long(port: int) -> None:
    idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(70)]
    head = b"GET /pair HTTP/1.1\r\nHost: localhost\r\n"
    for connection in idle[:35]:
        connection.sendall(head)  # never finished
    wait_until(lambda: answers(port), "the page to answer beside idle connections", 20)
    for connection in idle:
        connection.close()


def test_a_body_that_breaks_off_is_no_defect(port: int) -> None:
    """The fixture looks for a traceback in the log."""
    head = "POST /pair HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    for _ in range(3):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(f"{head}Content-Length: {MAX_FORM}\r\n\r\ncsrf=".encode())
    assert answers(port)
