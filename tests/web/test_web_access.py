"""Who may do what on the page. docs/reference/web-security.md names these tests beside the lines of OWASP ASVS."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request
from starlette.routing import Route
from starlette.testclient import TestClient
from web_parts import PASSWORD, Browser

from edge_oneshot.web import accounts, api
from edge_oneshot.web.accounts import CODE_LENGTH, CODE_S, CODE_TRIES, Accounts
from edge_oneshot.web.app import make_app, routes
from edge_oneshot.web.call import Call, safe_path
from edge_oneshot.web.faults import FormError
from edge_oneshot.web.server import first_code
from edge_oneshot.web.sessions import IDLE_S, LIFE_S, Sessions, Throttle
from edge_oneshot.web.site import Site


def needs() -> list[tuple[str, str, str]]:
    """(method, path, need) of each route but the static files, and those of programs (test_web_api.py)."""
    found = []
    for route in routes():
        if isinstance(route, Route) and (need := getattr(route.endpoint, "need", "")) not in ("", "token"):
            method = "POST" if "POST" in (route.methods or ()) else "GET"
            found.append((method, re.sub(r"\{\w+\}", "x", route.path), need))
    return found


NEEDS = needs()


def log_in(browser: Browser, name: str = "anna", password: str = PASSWORD, **more: str) -> Any:
    browser.get("/login")
    return browser.post("/login", {"name": name, "password": password, **more})


# ---- roles


def test_every_route_states_its_role() -> None:
    assert len(NEEDS) == len(routes()) - len(api.routes()) - 1  # all but those of programs and the static files
    open_to_all = {path for _, path, need in NEEDS if need == "anyone"}
    assert open_to_all == {"/pair", "/login"}
    changing = {path for method, path, need in NEEDS if method == "POST" and need == "viewer"}
    assert changing == {"/logout", "/account/password", "/account/sessions"}


@pytest.mark.parametrize(("method", "path", "need"), NEEDS)
def test_no_route_answers_without_a_log_in(browser: Browser, site: Site, method: str, path: str, need: str) -> None:
    site.accounts.pair(site.accounts.new_code("owner"), "anna", PASSWORD)
    response = browser.client.request(method, path)
    if need != "anyone":
        assert response.status_code in (303, 401)
        assert not response.text.strip()
        assert response.headers.get("location", "/login").startswith("/login")


@pytest.mark.parametrize(("method", "path", "need"), [n for n in NEEDS if n[2] == "owner"])
def test_a_viewer_gets_no_owners_route(viewer: Browser, method: str, path: str, need: str) -> None:
    viewer.get("/account")
    response = viewer.client.request(method, path, data={"csrf": viewer.token} if method == "POST" else None)
    assert response.status_code == 403
    assert "Only an owner may do this" in response.text


# ---- forms


@pytest.mark.parametrize(("method", "path", "need"), [n for n in NEEDS if n[0] == "POST"])
def test_no_form_is_taken_without_its_token(owner: Browser, method: str, path: str, need: str) -> None:
    for data in ({}, {"csrf": "x" * 32}):
        response = owner.client.post(path, data={"name": "anna", **data})
        assert response.status_code == 403
        assert "Nothing was changed" in response.text


@pytest.mark.parametrize(
    "headers", [{"origin": "http://evil.example"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
def test_a_form_of_another_site_is_refused(owner: Browser, headers: dict[str, str]) -> None:
    owner.get("/account")
    response = owner.post("/account/invite", {"role": "owner"}, headers=headers)
    assert response.status_code == 403
    assert "another site" in response.text


def test_the_token_of_the_log_in_page_belongs_to_its_cookie(browser: Browser, site: Site) -> None:
    site.accounts.pair(site.accounts.new_code("owner"), "anna", PASSWORD)
    browser.get("/login")
    token = browser.token
    browser.client.cookies.clear()
    response = browser.client.post("/login", data={"csrf": token, "name": "anna", "password": PASSWORD})
    assert response.status_code == 403


def test_a_body_without_a_length_or_too_long_is_refused(owner: Browser) -> None:
    owner.get("/account")

    def parts() -> Any:
        yield b"csrf=x"

    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert owner.client.post("/account/invite", content=parts(), headers=kind).status_code == 413
    assert owner.client.post("/account/invite", data={"csrf": "x" * 30_000}).status_code == 413
    big = owner.client.post("/enroll", data={"csrf": owner.token}, files={"picture": b"x" * 21_000_000})
    assert big.status_code == 413
    assert "at most 20 MB" in big.text


# ---- headers


def test_every_answer_has_the_security_headers(owner: Browser) -> None:
    for path in ("/account", "/pair", "/static/page.js", "/nothing", "/people"):
        response = owner.client.get(path)
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
        assert "frame-ancestors 'none'" in policy and "form-action 'self'" in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "same-origin"
        assert response.headers["content-type"].split(";")[0] in ("text/html", "text/javascript")
        assert "access-control-allow-origin" not in response.headers
        assert "server" not in response.headers
    assert owner.client.get("/account").headers["cache-control"] == "no-store"


def test_no_template_has_a_script_or_a_style_in_it() -> None:
    for path in (Path(accounts.__file__).parent / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:|<script(?! src=)|https?://|\|\s*safe", text), (
            path.name
        )


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8420", "localhost.evil.example", ""])
def test_a_foreign_host_name_is_refused(browser: Browser, host: str) -> None:
    response = browser.client.get("/login", headers={"host": host})
    assert response.status_code == 421
    assert "set-cookie" not in response.headers


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8420", "[::1]:8420", "LOCALHOST"])
def test_the_devices_own_names_are_answered(browser: Browser, host: str) -> None:
    assert browser.client.get("/pair", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/%2e%2e/app.py", "/static/", "/static/base.html", "/docs"]
)
def test_only_the_listed_static_files_are_served(browser: Browser, path: str) -> None:
    assert browser.client.get(path).status_code == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "OPTIONS"])
def test_other_methods_are_refused(owner: Browser, method: str) -> None:
    response = owner.client.request(method, "/account")
    assert response.status_code == 405 and "GET" in response.headers["allow"]


def test_a_defect_shows_no_details(site: Site, browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accounts, "all", property(lambda self: 1 / 0))
    client = TestClient(make_app(site), base_url="http://localhost", raise_server_exceptions=False)
    response = client.get("/pair")
    assert response.status_code == 500
    assert "The page has a defect" in response.text
    assert "Traceback" not in response.text and "ZeroDivision" not in response.text
    assert "content-security-policy" in response.headers


# ---- cookies and sessions


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(browser: Browser, site: Site) -> None:
    code = site.accounts.new_code("owner")
    browser.get("/pair")
    fields = {"csrf": browser.token, "code": code, "name": "anna", "password": PASSWORD, "again": PASSWORD}
    response = browser.client.post("/pair", data=fields)
    (cookie,) = [c for c in response.headers.get_list("set-cookie") if c.startswith("session=")]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/" in cookie and "Domain" not in cookie
    assert len(cookie.split(";")[0]) >= len("session=") + 43  # 256 bits
    assert "session" not in response.headers["location"]


def test_over_https_the_cookie_is_secure_and_bound_to_the_host(browser: Browser, site: Site) -> None:
    site.secure = True
    code = site.accounts.new_code("owner")
    secure = Browser(site)
    secure.client.base_url = "https://localhost"  # type: ignore[assignment]
    secure.get("/pair")
    fields = {"csrf": secure.token, "code": code, "name": "anna", "password": PASSWORD, "again": PASSWORD}
    response = secure.client.post("/pair", data=fields)
    (cookie,) = [c for c in response.headers.get_list("set-cookie") if c.startswith("__Host-session=")]
    assert "Secure" in cookie
    assert "max-age" in response.headers["strict-transport-security"]
    secure.close()


def test_each_log_in_gets_a_new_session(owner: Browser) -> None:
    first = owner.client.cookies["session"]
    owner.get("/account")
    owner.post("/logout")
    log_in(owner)
    assert owner.client.cookies["session"] != first


def test_log_out_ends_the_session_on_the_server(owner: Browser) -> None:
    token = owner.client.cookies["session"]
    owner.get("/account")
    owner.post("/logout")
    owner.client.cookies.set("session", token)
    assert owner.client.get("/account").status_code == 303


def test_sessions_end_when_idle_and_after_their_life() -> None:
    now = [0.0]
    sessions = Sessions(lambda: now[0])
    account = accounts.Account(name="anna", role="owner", stamp="s")
    token = sessions.start(account, "")
    for _ in range(int(LIFE_S / (IDLE_S - 1))):
        now[0] += IDLE_S - 1
        assert sessions.find(token) is not None
    now[0] += IDLE_S - 1
    assert sessions.find(token) is None, "older than its life, though used"
    token = sessions.start(account, "")
    now[0] += IDLE_S + 1
    assert sessions.find(token) is None


def test_a_new_password_ends_the_other_sessions(site: Site, owner: Browser) -> None:
    other = Browser(site)
    log_in(other)
    owner.get("/account")
    new = "another three words"
    assert "wrong" in owner.post("/account/password", {"before": "no", "password": new, "again": new}).text
    assert other.client.get("/account").status_code == 200
    owner.post("/account/password", {"before": PASSWORD, "password": new, "again": new})
    assert "The password was changed" in owner.text
    assert owner.client.get("/account").status_code == 200
    assert other.client.get("/account").status_code == 303
    other.close()


def test_the_other_browsers_can_be_logged_out(site: Site, owner: Browser) -> None:
    other = Browser(site)
    log_in(other)
    owner.get("/account")
    owner.post("/account/sessions", {})
    assert "1 other browsers were logged out" in owner.text
    assert other.client.get("/account").status_code == 303
    other.close()


def test_a_removed_account_has_no_session_any_more(owner: Browser, viewer: Browser) -> None:
    owner.get("/account")
    owner.post("/account/remove", {"account": "victor"})
    assert viewer.client.get("/visits").status_code == 303
    assert "last owner" in owner.post("/account/remove", {"account": "anna"}).text


# ---- passwords and codes


def test_wrong_passwords_are_slowed_down_and_say_nothing_about_the_name(
    owner: Browser, site: Site, stranger: Browser
) -> None:
    answers = [log_in(stranger, name, "wrong password").text for name in ("anna", "nobody") for _ in range(3)]
    assert all("Name or password is wrong" in text for text in answers[:5])
    response = log_in(stranger)
    assert response.status_code == 429, "the right password waits, too"
    assert "Try again in" in response.text


def test_a_stranger_cannot_keep_the_owner_out(owner: Browser, site: Site, stranger: Browser) -> None:
    """Neither a browser that has logged in before, nor one with a pairing code, nor an open session waits."""
    for _ in range(20):
        log_in(stranger, "anna", "wrong password")
    site.throttle.failed(*["account anna"] * 60)
    assert owner.client.get("/account").status_code == 200
    owner.get("/account")
    owner.post("/logout")
    assert log_in(owner, password="wrong password").status_code == 422
    log_in(owner)
    assert owner.client.get("/account").status_code == 200
    assert log_in(stranger).status_code == 429
    stranger.pair("berta")
    assert stranger.client.get("/account").status_code == 200


def test_the_count_of_a_known_browser_is_its_own_and_ends_with_the_password(
    owner: Browser, site: Site, stranger: Browser
) -> None:
    token = owner.client.cookies[site.known_cookie]
    owner.get("/account")
    owner.post("/logout")
    for _ in range(5):
        assert log_in(owner, password="wrong password").status_code == 422
    assert log_in(owner).status_code == 429, "it is slowed down, too"
    log_in(stranger)
    assert stranger.client.get("/account").status_code == 200, "and no other browser is"
    site.accounts.set_password("anna", PASSWORD + "!")
    assert not site.accounts.knows("anna", token) and not site.accounts.knows("nobody", token)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.168.1.7", "192.168.1.7"),
        ("fe80::1:2:3:4", "fe80::/64"),
        ("::ffff:192.168.1.7", "192.168.1.7"),
        ("testclient", "testclient"),
    ],
)
def test_one_device_counts_as_one_address(site: Site, address: str, network: str) -> None:
    request = Request({"type": "http", "client": (address, 1), "headers": []})
    assert Call(request=request, site=site).network == network


def test_a_new_start_leaves_a_code_valid_that_was_printed_before(site: Site) -> None:
    code = site.accounts.new_code("viewer")
    assert "printed before is valid for 10 more minutes" in first_code(site.accounts)
    assert site.accounts.pair(code, "victor", PASSWORD).role == "viewer"
    assert site.accounts.code_s == 0
    printed = first_code(site.accounts).rpartition(" ")[2]
    for _ in range(5):
        with pytest.raises(FormError, match="wrong_code"):
            site.accounts.pair("AAAA-AAAA", "anna", PASSWORD)
    assert printed != first_code(site.accounts).rpartition(" ")[2], "a code that was tried too often is replaced"


def test_the_wait_doubles_and_ends() -> None:
    now = [0.0]
    throttle = Throttle(lambda: now[0])
    for _ in range(5):
        throttle.failed("a")
    assert throttle.wait_s("a", "b") == 30
    throttle.failed("a")
    assert throttle.wait_s("a") == 60
    for _ in range(30):
        throttle.failed("a")
    assert throttle.wait_s("a") == 900
    now[0] = 901.0
    assert throttle.wait_s("a") == 0


@pytest.mark.parametrize(("password", "right"), [("short one", False), ("x" * 129, False), ("a" * 12, True)])
def test_a_password_has_12_to_128_characters_of_any_kind(site: Site, password: str, right: bool) -> None:
    code = site.accounts.new_code("owner")
    if right:
        site.accounts.pair(code, "anna", password)
        return
    with pytest.raises(FormError, match="wrong_password"):
        site.accounts.pair(code, "anna", password)


@pytest.mark.parametrize("password", ["  spaces at both ends  ", "\N{SNOWMAN}" * 12, "x" * 128])
def test_a_password_is_used_whole(site: Site, password: str) -> None:
    site.accounts.pair(site.accounts.new_code("owner"), "anna", password)
    assert site.accounts.check("anna", password) is not None
    assert site.accounts.check("anna", password[:-1]) is None
    assert site.accounts.check("anna", password.strip() + "!") is None


def test_passwords_are_kept_as_scrypt_with_a_salt_of_their_own(
    site: Site, monkeypatch: pytest.MonkeyPatch, short_path: Path
) -> None:
    monkeypatch.undo()
    assert accounts.COST == {"n": 2**14, "r": 8, "p": 5}
    site.accounts.pair(site.accounts.new_code("owner"), "anna", PASSWORD)
    monkeypatch.setattr(accounts, "COST", {"n": 16, "r": 8, "p": 1})
    site.accounts.pair(site.accounts.new_code("owner"), "berta", PASSWORD)
    text = (short_path / "accounts.json").read_text()
    entries = json.loads(text)["accounts"]
    assert PASSWORD not in text
    assert entries["anna"]["n"] == 2**14 and len(bytes.fromhex(entries["anna"]["hash"])) == 64
    assert entries["anna"]["salt"] != entries["berta"]["salt"]
    assert (short_path / "accounts.json").stat().st_mode & 0o777 == 0o600
    assert site.accounts.check("anna", PASSWORD) is not None


def test_a_code_is_random_valid_once_and_expires(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = {site.accounts.new_code("owner") for _ in range(50)}
    assert len(codes) == 50
    code = site.accounts.new_code("viewer")
    assert len(code.replace("-", "")) == CODE_LENGTH
    assert site.accounts.pair(code.lower(), "victor", PASSWORD).role == "viewer"
    with pytest.raises(FormError, match="wrong_code"):
        site.accounts.pair(code, "again", PASSWORD)
    late = site.accounts.new_code("owner")
    import time

    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + CODE_S + 1)
    with pytest.raises(FormError, match="wrong_code"):
        site.accounts.pair(late, "late", PASSWORD)


def test_a_code_ends_after_five_wrong_tries(site: Site) -> None:
    code = site.accounts.new_code("owner")
    for _ in range(CODE_TRIES):
        with pytest.raises(FormError, match="wrong_code"):
            site.accounts.pair("AAAA-AAAA", "anna", PASSWORD)
    with pytest.raises(FormError, match="wrong_code"):
        site.accounts.pair(code, "anna", PASSWORD)


def test_a_refused_name_does_not_spend_the_code(site: Site) -> None:
    code = site.accounts.new_code("owner")
    with pytest.raises(FormError, match="wrong_name"):
        site.accounts.pair(code, "../anna", PASSWORD)
    site.accounts.pair(code, "anna", PASSWORD)


def test_the_first_page_asks_for_the_code_and_keeps_what_was_typed(browser: Browser) -> None:
    browser.get("/")
    assert "edge-oneshot web pair" in browser.text
    fields = {"code": "AAAA-AAAA", "name": "anna", "password": PASSWORD, "again": PASSWORD}
    response = browser.post("/pair", fields)
    assert response.status_code == 422
    assert "This code is not valid" in browser.text
    assert 'value="anna"' in browser.html and PASSWORD not in browser.html


def test_accounts_made_in_the_terminal_are_seen_at_once(site: Site, short_path: Path) -> None:
    assert site.accounts.all == []
    other = Accounts(short_path / "accounts.json")
    other.pair(other.new_code("owner"), "anna", PASSWORD)
    assert [a.name for a in site.accounts.all] == ["anna"]


# ---- the rest


@pytest.mark.parametrize("path", ["//evil.example", "https://evil.example", "/\\evil", "evil", "", "/a\nb"])
def test_a_log_in_goes_on_to_no_other_site(path: str) -> None:
    assert safe_path(path) == "/"
    assert safe_path("/visits?person=x") == "/visits?person=x"


def test_log_ins_and_refusals_are_in_the_audit_log_without_passwords(owner: Browser, short_path: Path) -> None:
    owner.get("/account")
    owner.post("/logout")
    log_in(owner, password="not the password")
    log_in(owner)
    text = (short_path / "audit.log").read_text()
    assert [json.loads(line)["what"] for line in text.splitlines()] == ["paired", "log-out", "wrong password", "log-in"]
    assert PASSWORD not in text and "not the password" not in text
    assert (short_path / "audit.log").stat().st_mode & 0o777 == 0o600
    owner.get("/account")
    assert "wrong password" in owner.text


def test_names_with_markup_are_shown_as_text(site: Site, browser: Browser) -> None:
    browser.get("/pair")
    browser.post("/pair", {"code": "x", "name": '"><script>alert(1)</script>', "password": "x", "again": "x"})
    assert "<script>alert" not in browser.html


# ---- the documentation, and what the process loads


def test_every_test_that_the_documentation_names_exists() -> None:
    root = Path(__file__).resolve().parents[2]
    named = set(re.findall(r"`(test_\w+)`", (root / "docs/reference/web-security.md").read_text(encoding="utf-8")))
    code = "".join(p.read_text(encoding="utf-8") for p in Path(__file__).parent.glob("test_*.py"))
    assert len(named) > 25
    assert {name for name in named if f"def {name}(" not in code} == set()


def test_the_command_that_serves_the_page_loads_no_recognizer(short_path: Path) -> None:
    """It costs 18 MB: numpy, and the pipeline that nobody asks for."""
    (file := short_path / "default.toml").write_text(f'[device]\nstate_dir = "{short_path}"\n')
    code = "import sys\nfrom edge_oneshot.cli import cli\nfrom edge_oneshot.web import server\n"
    code += "server.serve = lambda *_: print('\\n'.join(sys.modules))\n"
    code += f"cli.main(['web', 'run', '--config', {str(file)!r}], standalone_mode=False)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert "edge_oneshot.web.server" in done.stdout.split()
    assert {"numpy", "sqlite3", "edge_oneshot.recognition"} & set(done.stdout.split()) == set()


@pytest.mark.parametrize(
    ("loads", "absent"),
    [
        ("edge_oneshot.web.server", {"numpy", "PIL", "sqlite3", "paho", "ai_edge_litert", "av"}),
        ("edge_oneshot.service.compose", {"starlette", "uvicorn", "jinja2", "edge_oneshot.web"}),
    ],
)
def test_page_and_daemon_load_nothing_of_each_other(loads: str, absent: set[str]) -> None:
    code = f"import sys, {loads}\nprint('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert loads in done.stdout.split()
    assert absent & set(done.stdout.split()) == set()
