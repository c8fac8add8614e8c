"""No output holds a password or a character that controls a terminal."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from edge_oneshot.cli import cli
from edge_oneshot.cli.listen import _Printer
from edge_oneshot.cli.live import LiveTable
from edge_oneshot.cli.verify_event import verify_event
from edge_oneshot.events.signing import Sealer, new_key, write_key
from edge_oneshot.shown import plain, plain_json, redact, redact_uri

CANARY = "Cana/ryQ-7"  # no part of it occurs in a path of a test
FORMS = (
    "rtsp://admin:{}@127.0.0.1:1/stream",
    "rtsp://admin:pa/{}@127.0.0.1:1/stream",
    "rtsp://{}@127.0.0.1:1/stream",
    "rtsp://127.0.0.1:1/user=admin&password={}",
    "rtsp://127.0.0.1:1/user=admin_password={}_channel=1_stream=0.sdp",
    "rtsp://127.0.0.1:1/live?password={}&channel=1",
    "rtsp://127.0.0.1:1/live?channel=1_password={}",
    "rtsp://127.0.0.1:1/live?x=a&{}",
    "rtsp://127.0.0.1:1/live?p={}",
    "rtsp:/admin:{}@127.0.0.1:1/stream",
    "RTSP://admin:{}@127.0.0.1:1/stream",
    "admin:{}@127.0.0.1:1/stream",
    "//admin:{}@127.0.0.1:1/stream",
    "demo://admin:{}@127.0.0.1",
)
SECRETS = (CANARY, "Cana", "ryQ-7")
WHOLE = ("rtsp://admin:a b'{}@127.0.0.1:1/stream", 'rtsp://admin:"{}"@127.0.0.1:1/')


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("around", ["{}", "camera {}: lost", "got '{}'", '{{"uri":"{}"}}', "uri={}", "({})"])
def test_a_password_is_found_anywhere_in_a_text(form: str, around: str) -> None:
    text = redact(around.format(form.format(CANARY)))
    assert not any(secret in text for secret in SECRETS), text


@pytest.mark.parametrize("form", FORMS + WHOLE)
def test_a_password_is_found_anywhere_in_a_uri(form: str) -> None:
    assert not any(secret in redact_uri(form.format(CANARY)) for secret in SECRETS)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://192.168.1.5:554/live?channel=1&subtype=0",
        "v4l2:/dev/v4l/by-id/usb-a=b",
        "file:/data/a=b&c@d.mp4",
        "match identity=alice track=3 score=0.7",
        "mqtt.password_file: expected a readable file, got: No such file",
        "12:30:01 a@b",
        "no such key: password; did you mean password_file?",
    ],
)
def test_what_holds_no_password_stays(text: str) -> None:
    assert redact(text) == text and redact_uri(text) == text


def with_camera(folder: Path, uri: str) -> Path:
    """A configuration with this camera."""
    config = folder / "default.toml"
    config.write_text(
        f"[device]\nstate_dir = {json.dumps(str(folder))}\n[camera]\nuri = {json.dumps(uri)}\ngive_up_s = 1\n"
        "[mqtt]\nenabled = false\n"
    )
    return config


@pytest.mark.parametrize("form", FORMS + WHOLE)
@pytest.mark.parametrize("call", [["show"], ["show", "--json"], ["check"]], ids=" ".join)
def test_no_configuration_shows_a_password(call: list[str], form: str, tmp_path: Path) -> None:
    config = with_camera(tmp_path, form.format(CANARY))
    done = CliRunner().invoke(cli, ["--config", str(config), "config", *call])
    said = done.output + str(done.exception or "")
    assert said and not any(secret in said for secret in SECRETS), said


@pytest.mark.parametrize("form", [FORMS[1], FORMS[3], FORMS[-1], WHOLE[0]])
def test_no_command_shows_a_password(form: str, tmp_path: Path) -> None:
    """The real commands in a process of their own: config show, doctor, camera test, run (its log)."""
    config = with_camera(tmp_path, form.format(CANARY))
    calls = [["config", "show"], ["camera", "test", "--timeout", "1"]]
    if form == FORMS[1]:
        calls += [["run", "--verbose"], ["status", "--json"], ["doctor", "--timeout", "30", "--json"]]
    for call in calls:
        command = [sys.executable, "-m", "edge_oneshot", "--config", str(config), *call]
        if not (Path(__file__).parents[2] / "edge_oneshot" / "__main__.py").exists():
            command[1:3] = ["-c", "from edge_oneshot.cli import main; main()"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path)
        said = done.stdout + done.stderr
        assert said and not any(secret in said for secret in SECRETS), (call, said)
    # What the daemon writes beside its log: the journal, the outbox, the gallery.
    for path in tmp_path.iterdir():
        if path != config and path.is_file():
            assert not any(secret.encode() in path.read_bytes() for secret in SECRETS), path


HOSTILE = "a\x1b[2J\x07\x9b1m\u202e\u2066\ud800\u2028\x7fz"


def test_nothing_that_controls_a_terminal_stays() -> None:
    shown = plain(HOSTILE)
    assert shown.isprintable() and shown[0] == "a" and shown[-1] == "z"
    assert plain("نام\u200cها 👩\u200d💻 Zoë") == "نام\u200cها 👩\u200d💻 Zoë"
    text = plain_json(json.dumps({"a": HOSTILE, "b": "\U000e0001"}, ensure_ascii=False, indent=1))
    assert text.replace("\n", "").isprintable() and json.loads(text) == {"a": HOSTILE, "b": "\U000e0001"}


def received(payload: bytes, topic: str = "edge-oneshot/porch/event") -> Any:
    return SimpleNamespace(payload=payload, topic=topic, retain=False)


UNUSUAL = {
    "utf-16": json.dumps({"event_id": "1"}).encode("utf-16"),
    "many digits": b'{"event_id": "1", "score": ' + b"9" * 401 + b"}",
    "more digits": b'{"event_id": "1", "score": ' + b"9" * 5000 + b"}",
    "infinite": b'{"event_id": "1", "score": 1e999}',
    "nan": b'{"event_id": "1", "score": NaN}',
    "surrogate": b'{"event_id": "1", "name": "\\ud800", "identity": "a"}',
    "c1": '{"event_id": "1", "name": "\x9b2J\x1b", "identity": "\u202e", "ts": "\x85"}'.encode(),
    "deep": b'{"event_id": "1", "identity": ' + b"[" * 900 + b"]" * 900 + b"}",
    "deeper": b'{"event_id": ' + b"[" * 100_000 + b"}",
    "structures": b'{"event_id": {}, "ts": [], "device": {}, "score": [], "faults": {"a": 1}, "expires_at": 3}',
}


@pytest.mark.parametrize("name", UNUSUAL)
@pytest.mark.parametrize("as_json", [False, True], ids=["line", "json"])
def test_listen_survives_every_payload(name: str, as_json: bool, capsys: pytest.CaptureFixture[str]) -> None:
    printer, table = _Printer(as_json), LiveTable()
    printer(received(UNUSUAL[name]))
    for leaf in ("event", "presence", "health", "availability"):
        table(received(UNUSUAL[name], f"edge-oneshot/po\x9brch/{leaf}"))
    said = "".join(capsys.readouterr())
    table.draw()
    said += capsys.readouterr().out.removeprefix("\x1b[H\x1b[J")
    assert said.replace("\n", "").isprintable()


def signed(key: Any, **changes: Any) -> bytes:
    event = {
        "device": "porch",
        "late": False,
        "clock": "synced",
        "expires_at": (datetime.now(UTC) + timedelta(minutes=5)).isoformat(),
        "event_type": "match",
        "identity": "alice",
    }
    return Sealer(key, iter(range(7, 99)).__next__)({**event, **changes})


def test_verify_event_shows_nothing_of_an_attacker_that_controls_a_terminal(tmp_path: Path) -> None:
    key = new_key("hmac")
    write_key(tmp_path / "key", key)
    head = '{"alg":"\\u001b[2J\\ud800","key_id":"\\u009b","counter":1,"value":"AAAA"}'
    payload = b'{"device":"a","signature":' + head.encode() + b"}"
    lines = [payload, payload.replace(b'"\\u009b"', b'{"a":[]}')]
    for options in ([], ["--json"]):
        done = CliRunner().invoke(
            verify_event, ["--key", str(tmp_path / "key"), "--no-state", *options], input=b"\n".join(lines)
        )
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        assert done.output.replace("\n", "").isprintable() and done.output.count("expected HMAC-SHA256") == 2
    # A device whose key is known may be taken over, too.
    event = json.loads(signed(key, ts="\x1b[2J")) | {"identity": "\ud800"}
    del event["signature"]["value"]
    sealed = json.dumps(event, separators=(",", ":")).removesuffix("}}").encode()
    value = base64.urlsafe_b64encode(key.sign(sealed)).rstrip(b"=")
    done = CliRunner().invoke(
        verify_event, ["--key", str(tmp_path / "key"), "--no-state"], input=sealed + b',"value":"' + value + b'"}}'
    )
    assert done.output.startswith("accepted") and done.output.replace("\n", "").isprintable()


def test_a_replay_is_refused_without_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key = new_key("hmac")
    write_key(tmp_path / "key", key)
    payload = signed(key)

    def call(*options: str) -> str:
        return CliRunner().invoke(verify_event, ["--key", str(tmp_path / "key"), *options], input=payload).output

    assert call("--no-state").startswith("accepted") and call("--no-state").startswith("accepted")
    assert call().startswith("accepted") and call().startswith("refused: replayed")
    assert call("--signature-only").startswith("accepted")
    (kept,) = (tmp_path / "state" / "edge-oneshot").glob("*.json")
    assert json.loads(kept.read_text()) == {"porch": 7}


def test_two_calls_at_once_accept_an_event_once(tmp_path: Path) -> None:
    """Each holds its input open, so both have started when the first event arrives."""
    key = new_key("hmac")
    write_key(tmp_path / "key", key)
    code = "from edge_oneshot.cli import main; main()"
    command = [sys.executable, "-c", code, "verify-event", "--key", str(tmp_path / "key")]
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    calls = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) for _ in range(2)
    ]
    payload = signed(key) + b"\n"
    for call in calls:
        assert call.stdin is not None
        call.stdin.write(payload)
        call.stdin.flush()
    said = [call.communicate(timeout=60)[0].decode() for call in calls]
    assert sorted(s.split(":")[0] for s in said) == ["accepted", "refused"], said


def test_a_state_that_cannot_be_written_is_one_error(tmp_path: Path) -> None:
    key = new_key("hmac")
    write_key(tmp_path / "key", key)
    state = tmp_path / "absent" / "state"
    done = CliRunner().invoke(verify_event, ["--key", str(tmp_path / "key"), "--state", str(state)], input=signed(key))
    assert "cannot keep the counters seen" in str(done.exception) and "accepted" not in done.output
