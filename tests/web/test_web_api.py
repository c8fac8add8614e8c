"""The HTTP interface for programs: tokens, identify and verify, metrics, and the description that says what comes back."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import Pixels, empty_scene, view
from PIL import Image
from starlette.testclient import TestClient
from web_parts import Browser, DaemonThread

from edge_oneshot.cli import cli
from edge_oneshot.control import requests as rq
from edge_oneshot.control.codec import to_json
from edge_oneshot.web import api
from edge_oneshot.web.accounts import Accounts
from edge_oneshot.web.app import make_app
from edge_oneshot.web.openapi import FAILURES, document
from edge_oneshot.web.sessions import BURST, EACH_S, FREE_TRIES, Pace
from edge_oneshot.web.site import Site

JPEG = {"content-type": "image/jpeg"}
ROUTES = [(sorted((r.methods or set()) - {"HEAD"})[0], r.path) for r in api.routes()]


def jpeg(pixels: Pixels) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def client_of(site: Site, secret: str = "", address: str = "192.168.1.9") -> TestClient:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return TestClient(make_app(site), base_url="http://localhost", client=(address, 5000), headers=headers)


@pytest.fixture
def program(site: Site) -> TestClient:
    return client_of(site, site.accounts.new_token("door-station", "api"))


# ---- tokens


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_no_route_answers_without_a_token(site: Site, owner: Browser, method: str, path: str) -> None:
    """Also for this device itself, on which other users have accounts. A log-in is no token."""
    local = client_of(site, address="127.0.0.1")
    for client in (client_of(site), local, client_of(site, "eo_wrong"), owner.client):
        response = client.request(method, path)
        assert response.status_code == 401 and response.headers["www-authenticate"] == "Bearer"
        assert "token" in response.json()["error"]
        assert "set-cookie" not in response.headers and response.headers["cache-control"] == "no-store"


def test_only_the_hash_of_a_token_is_stored_and_it_can_be_revoked(site: Site) -> None:
    secret = site.accounts.new_token("door-station", "api")
    assert len(secret) >= 43 and secret != site.accounts.new_token("other", "api")
    text = site.accounts.path.read_text()
    assert secret not in text and site.accounts.path.stat().st_mode & 0o777 == 0o600
    client = client_of(site, secret)
    assert client.get("/api/openapi.json").status_code == 200
    Accounts(site.accounts.path).revoke("door-station")  # as the command does, beside the running page
    refused = client.get("/api/openapi.json")
    assert refused.status_code == 401 and "it was revoked, or it is wrong" in refused.json()["error"]
    assert "a token is required" in client_of(site).get("/api/openapi.json").text
    assert [t.name for t in site.accounts.tokens] == ["other"]


def test_a_token_for_metrics_gets_nothing_else(site: Site) -> None:
    client = client_of(site, site.accounts.new_token("prometheus", "metrics"))
    assert client.get("/metrics").status_code == 200
    for method, path in ROUTES:
        if path != "/metrics":
            assert client.request(method, path).status_code == 403


def test_wrong_tokens_are_slowed_down_and_a_right_one_beside_them_is_not(site: Site, program: TestClient) -> None:
    wrong = client_of(site, "eo_guess")
    found = [wrong.get("/api/openapi.json") for _ in range(FREE_TRIES + 1)]
    assert [r.status_code for r in found] == [401] * FREE_TRIES + [429]
    assert int(found[-1].headers["retry-after"]) > 20
    assert program.get("/api/openapi.json").status_code == 200


def test_one_device_with_many_ipv6_addresses_is_slowed_down_as_one(site: Site) -> None:
    """Else it could fill the list of failures, and push its wrong passwords out."""
    answers = [
        client_of(site, "eo_guess", f"2001:db8::{number:x}").get("/api/openapi.json")
        for number in range(FREE_TRIES + 1)
    ]
    assert [r.status_code for r in answers] == [401] * FREE_TRIES + [429]


def test_a_token_has_a_burst_and_then_a_pace() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    assert [pace.wait_s("a") for _ in range(BURST)] == [0.0] * BURST
    assert 0 < pace.wait_s("a") <= EACH_S and pace.wait_s("b") == 0.0
    now[0] += EACH_S
    assert pace.wait_s("a") == 0.0 and pace.wait_s("a") > 0


def test_more_requests_than_the_pace_are_refused(program: TestClient) -> None:
    found = [program.get("/api/openapi.json") for _ in range(BURST + 5)]
    assert found[-1].status_code == 429 and int(found[-1].headers["retry-after"]) >= 1


def test_tokens_in_the_terminal(short_path: Path) -> None:
    (path := short_path / "default.toml").write_text(f'[device]\nstate_dir = "{short_path}"\n')

    def call(*words: str) -> Any:
        return CliRunner().invoke(cli, ["-c", str(path), "web", *words], standalone_mode=False)

    made = json.loads(call("token", "prometheus", "--scope", "metrics", "--json").stdout)
    accounts = Accounts(short_path / "web" / "accounts.json")
    assert (token := accounts.token(made["token"])) is not None and token.scope == "metrics"
    assert json.loads(call("tokens", "--json").stdout) == {"tokens": [{"name": "prometheus", "scope": "metrics"}]}
    assert "exists" in str(call("token", "prometheus").exception) and "1 to 32" in str(call("token", "A b").exception)
    assert call("revoke", "prometheus").exception is None and accounts.token(made["token"]) is None
    assert "no token with this name" in str(call("revoke", "prometheus").exception)


# ---- identify and verify


def test_a_picture_gets_the_response_of_the_control_socket(
    program: TestClient, site: Site, daemon: DaemonThread, collins: Pixels, hopper: Pixels
) -> None:
    site.cameras.ask(rq.Enroll(name="Zoë", image=jpeg(collins)))
    picture = jpeg(view(collins, 3))
    found = program.post("/api/identify", content=picture, headers=JPEG)
    assert found.status_code == 200
    assert found.json() == to_json(site.cameras.ask(rq.Identify(image=picture)))
    assert (found.json()["identity"], found.json()["decision"]) == ("zoe", "match")
    for name in ("Zoë", "zoe"):
        verified = program.post("/api/verify", params={"name": name}, content=picture, headers=JPEG)
        assert verified.json() == to_json(site.cameras.ask(rq.Verify(name="zoe", image=picture)))
    unknown = program.post("/api/identify", content=jpeg(hopper), headers=JPEG)
    assert unknown.json()["decision"] == "non_match" and "zo" not in unknown.text.casefold()
    entries = [(e["what"], e["account"], e["address"]) for e in site.audit.last(9)]
    assert entries == [(what, "token door-station", "192.168.1.9") for what in ("verify", "identify")], "one a minute"


def test_what_is_refused_says_why(
    program: TestClient, daemon: DaemonThread, collins: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = jpeg(collins)

    def post(path: str = "/api/identify", content: Any = picture, **headers: str) -> tuple[int, str]:
        response = program.post(path, content=content, headers={**JPEG, **headers})
        assert response.json().keys() == {"error", "hint", "faults"}
        return response.status_code, " ".join([response.json()["error"], *response.json()["faults"]])

    assert post("/api/verify") == (400, "name: expected text of 1 to 1000 characters in the query")
    assert post("/api/verify?name=nobody")[0] == 404
    assert post(content=b"") == (422, "the picture is empty")
    assert post(content=b"no picture")[0] == 422
    assert "no face found" in post(content=jpeg(empty_scene()))[1]
    assert post(**{"content-type": "text/html"})[0] == 415
    assert post(content=iter([picture]))[0] == 411
    monkeypatch.setattr(api, "MAX_PICTURE", 1000)
    assert post()[0] == 413


def test_without_a_daemon_the_answer_names_the_command_that_starts_it(program: TestClient, collins: Pixels) -> None:
    response = program.post("/api/identify", content=jpeg(collins), headers=JPEG)
    assert response.status_code == 503 and "start it: edge-oneshot" in response.json()["hint"]


def test_only_two_pictures_at_a_time_are_in_memory(program: TestClient, site: Site) -> None:
    assert site.pictures.acquire() and site.pictures.acquire()
    response = program.post("/api/identify", content=b"x", headers=JPEG)
    assert response.status_code == 429 and response.headers["retry-after"] == "1"
    site.pictures.release()
    assert program.post("/api/identify", content=b"x", headers=JPEG).status_code == 503


def test_other_methods_and_addresses_are_refused_as_json(program: TestClient) -> None:
    response = program.get("/api/identify")
    assert response.json()["error"] == "this method is not allowed here" and response.headers["allow"] == "POST"
    assert (program.get("/api/none").status_code, program.get("/api/none").json()["hint"]) == (404, "")


def test_a_defect_shows_no_details(site: Site, program: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Accounts, "token", lambda self, secret: 1 / 0)
    client = TestClient(
        program.app, base_url="http://localhost", raise_server_exceptions=False, headers=dict(program.headers)
    )
    response = client.get("/api/openapi.json")
    assert response.status_code == 500 and "ZeroDivision" not in response.text and response.json()["error"]


# ---- metrics


def test_metrics_have_no_names_and_the_format_of_prometheus(
    program: TestClient, site: Site, daemon: DaemonThread, collins: Pixels
) -> None:
    site.cameras.ask(rq.Enroll(name="Zoë Ängström", image=jpeg(collins)))
    daemon.show(*[view(collins, n) for n in range(4)])
    response = program.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    lines = response.text.splitlines()
    sample = re.compile(r'edge_oneshot_([a-z_0-9]+)(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? (-?[0-9.e+-]+|NaN)')
    values = {}
    for line in lines:
        if not line.startswith(("# HELP ", "# TYPE ")):
            found = sample.fullmatch(line)
            assert found is not None, line
            values[found[1] + (found[2] or "")] = float(found[4])
    assert values['up{camera="default"}'] == 1 and values['state{camera="default",state="running"}'] == 1
    assert values['gallery_identities{camera="default"}'] == 1 and values['frames_total{camera="default"}'] == 4
    assert values['present_known{camera="default"}'] == 1
    assert "zo" not in response.text.casefold().replace("horizon", "") and "ngstr" not in response.text


def test_metrics_say_that_a_daemon_is_down(program: TestClient) -> None:
    text = program.get("/metrics").text
    assert 'edge_oneshot_up{camera="default"} 0' in text and "edge_oneshot_frames_total" not in text


# ---- the description


def check(description: dict[str, Any], method: str, path: str, response: Any) -> None:
    """A response is one that the description names, with the body that it describes."""
    described = description["paths"][path][method]["responses"][str(response.status_code)]
    ((kind, content),) = described["content"].items()
    assert response.headers["content-type"].startswith(kind)
    if kind == "application/json":
        jsonschema.validate(response.json(), content["schema"] | {"components": description["components"]})


def test_the_description_names_every_route_and_is_behind_a_token(program: TestClient) -> None:
    described = program.get("/api/openapi.json").json()
    assert described == document()
    assert {(m.upper(), p) for p, ops in described["paths"].items() for m in ops} == set(ROUTES)


def test_each_status_of_the_code_is_described() -> None:
    source = Path(api.__file__).read_text()
    used = set(re.findall(r"refuse\(\s*(4\d\d|5\d\d),", source)) | {str(code) for _, code in api.STATUS} | {"502"}
    assert used | {"429"} == set(FAILURES)


def test_the_committed_description_is_up_to_date() -> None:
    committed = Path(__file__).parents[2] / "docs" / "reference" / "openapi.json"
    assert json.loads(committed.read_text()) == json.loads(json.dumps(document())), "run scripts/docs"


BODIES: st.SearchStrategy[bytes] = st.binary(max_size=40) | st.sampled_from([b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n"])
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20) | st.none()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=BODIES,
    kind=st.sampled_from([*api.KINDS, "text/plain", ""]),
    name=NAMES,
    path=st.sampled_from(["/api/identify", "/api/verify"]),
)
def test_any_request_gets_an_answer_that_is_described(
    program: TestClient, site: Site, daemon: DaemonThread, body: bytes, kind: str, name: str | None, path: str
) -> None:
    site.pace = Pace(lambda: 0.0)
    parameters = {} if name is None else {"name": name}
    response = program.post(path, content=body, headers={"content-type": kind}, params=parameters)
    check(document(), "post", path, response)
    assert response.status_code in (400, 404, 415, 422)


def test_a_match_is_described(program: TestClient, site: Site, daemon: DaemonThread, collins: Pixels) -> None:
    site.cameras.ask(rq.Enroll(name="Zoë", image=jpeg(collins)))
    for path, parameters in (("/api/identify", {}), ("/api/verify", {"name": "zoe"})):
        response = program.post(path, content=jpeg(collins), headers=JPEG, params=parameters)
        check(document(), "post", path, response)
