"""The page's process: its certificate, its port, its commands, and uploads that reach no disk."""

from __future__ import annotations

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner
from starlette.formparsers import MultiPartParser
from waiting import wait_until
from web_parts import PASSWORD

from edge_oneshot.cli import cli
from edge_oneshot.config import Config
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.accounts import Accounts
from edge_oneshot.web.call import MAX_BODY
from edge_oneshot.web.server import Listen, own_certificate, serve

COMMAND = Path(sys.executable).with_name("edge-oneshot")


@pytest.fixture
def path(short_path: Path) -> Path:
    file = short_path / "default.toml"
    file.write_text(f'[device]\nstate_dir = "{short_path}"\n[mqtt]\nenabled = false\n')
    return file


def test_for_the_network_it_serves_https_with_a_certificate_of_its_own(path: Path, short_path: Path) -> None:
    log = short_path / "web.log"
    command = [str(COMMAND), "-c", str(path), "web", "run", "--host", "0.0.0.0", "--port", "0"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        text = wait_until(lambda: "pairing code" in log.read_text() and log.read_text(), "the page to start", 150)
        port = re.findall(r"https://[a-z0-9-]+\.local:(\d+)/", text)[0]
        assert "0.0.0.0" not in text, "a browser cannot open that"
        trusted = ssl.create_default_context(cafile=str(short_path / "web" / "page.crt"))
        with urllib.request.urlopen(f"https://localhost:{port}/pair", context=trusted, timeout=30) as answer:
            assert "max-age" in answer.headers["strict-transport-security"]
            assert "Secure" in answer.headers["set-cookie"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) in (0, -signal.SIGTERM)
        assert "Traceback" not in log.read_text()
    finally:
        process.kill()
        process.wait()


def test_the_key_of_the_certificate_is_private_and_stays(short_path: Path) -> None:
    cert, key = own_certificate(short_path / "web")
    assert key.stat().st_mode & 0o777 == 0o600
    before = cert.read_bytes()
    assert own_certificate(short_path / "web") == (cert, key)
    assert cert.read_bytes() == before


@pytest.mark.parametrize("left", ["page.key", "page.crt", ".page.key.part"])
def test_a_certificate_that_was_interrupted_is_made_again(short_path: Path, left: str) -> None:
    """A power cut between the two files, or within openssl: what is left is no pair."""
    folder = short_path / "web"
    folder.mkdir()
    (folder / left).write_text("cut off")
    cert, key = own_certificate(folder)
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key)
    assert sorted(p.name for p in folder.iterdir()) == ["page.crt", "page.key"]
    assert key.stat().st_mode & 0o777 == 0o600


def test_a_certificate_that_cannot_be_made_leaves_none(short_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """openssl dies after it has written the key."""
    fake = short_path / "bin" / "openssl"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\nwhile [ "$1" != -keyout ]; do shift; done; echo cut >"$2"; exit 1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    with pytest.raises(EdgeOneshotError, match="cannot create a certificate"):
        own_certificate(short_path / "web")
    assert not (short_path / "web" / "page.key").exists() and not (short_path / "web" / "page.crt").exists()


@pytest.mark.parametrize(
    ("listen", "tls"),
    [
        (Listen(), False),
        (Listen(host="::1"), False),
        (Listen(host="0.0.0.0"), True),
        (Listen(host="192.168.1.5"), True),
        (Listen(proxy=True), False),
        (Listen(cert=Path("x"), key=Path("y")), True),
    ],
)
def test_without_tls_it_listens_on_loopback_or_behind_a_proxy_alone(listen: Listen, tls: bool) -> None:
    assert listen.tls is tls


def test_a_port_that_is_taken_is_named(short_path: Path, config: Config) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(EdgeOneshotError, match=f"cannot listen on 127.0.0.1 port {port}"):
            serve([config], Listen(port=port), print)


def test_an_upload_stays_in_memory() -> None:
    assert MultiPartParser.spool_max_size == MAX_BODY


def run(path: Path, *arguments: str) -> str:
    command = ["-c", str(path), "web", *arguments]
    return CliRunner().invoke(cli, command, standalone_mode=False, catch_exceptions=False).output


def test_codes_and_accounts_in_the_terminal(path: Path, short_path: Path) -> None:
    assert "no account yet" in run(path, "accounts")
    made = json.loads(run(path, "pair", "--role", "viewer", "--json"))
    accounts = Accounts(short_path / "web" / "accounts.json")
    assert accounts.pair(made["code"], "victor", PASSWORD).role == "viewer"
    code = run(path, "pair").splitlines()[0]
    accounts.pair(code, "anna", PASSWORD)
    assert run(path, "accounts").splitlines() == ["anna  owner", "victor  viewer"]
    assert "removed victor" in run(path, "remove", "victor")
    with pytest.raises(EdgeOneshotError, match="last owner"):
        run(path, "remove", "anna")
    with pytest.raises(EdgeOneshotError, match="no such account"):
        run(path, "remove", "nobody")
