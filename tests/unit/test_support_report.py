"""The support report: nothing personal is in it, wherever it was planted; it needs no daemon, and replaces no file."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import tarfile
import threading
import tomllib
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from example_messages import example
from samples import template

from edge_oneshot.cli import cli
from edge_oneshot.config import DecisionConfig, parse_config
from edge_oneshot.control.codec import to_json
from edge_oneshot.control.responses import StatusReport
from edge_oneshot.doctor import site, support
from edge_oneshot.doctor.mask import Mask
from edge_oneshot.errors import StorageError
from edge_oneshot.events.journal import Journal
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.journald import JournalHandler
from edge_oneshot.types import Identity

PICTURE = b"\xff\xd8\xff\xe0 canary picture"
CONFIG = """
[device]
name = "Kanari's door"
slug = "kanari-slug"
state_dir = "{folder}/kanari-state"
[camera]
uri = "rtsp://kanari-user:kanari-pass@127.0.0.1:{port}/kanari-path?token=kanari-token"
stall_timeout_s = 0.5
[mqtt]
host = "kanari-broker.invalid"
username = "kanari-login"
password_file = "{folder}/kanari-password-file"
sign_key_file = "{folder}/kanari-sign-key-file"
[decision]
threshold = 0.5
"""


def closed_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture
def planted(tmp_path: Path, recognizer: Recognizer) -> tuple[Path, list[bytes]]:
    """A configuration with its state, and what must not be found. Every planted text contains `kanari`."""
    path = tmp_path / "kanari-instance.toml"
    path.write_text(CONFIG.format(folder=tmp_path, port=closed_port()))
    (tmp_path / "kanari-password-file").write_text("kanari-broker-password\n")
    (tmp_path / "kanari-sign-key-file").write_text("kanari-key-material\n")
    config = parse_config(tomllib.loads(path.read_text()), path)
    vector = np.random.default_rng(1).normal(size=192).astype(np.float32)
    vector /= np.linalg.norm(vector)
    with Gallery(config.gallery_path) as gallery:
        gallery.add(Identity(identity_id="kanari-id", name="Kanari Vogel"), [template("kanari-id", vector)])
    record = {
        "track": 1, "first_at": "2026-11-01T10:00:00.000+00:00", "last_at": "2026-11-01T10:00:09.000+00:00", "frames": 9,
        "compared": 8, "matched_frames": {"kanari-id": 8}, "refused": {"dark": {"frames": 1, "last": "kanari is dark"}},
        "best": {"identity": "kanari-id", "score": 0.81}, "second": None, "threshold": 0.5,
        "events": [{"event_id": "kanari-event", "event_type": "match"}],
        "pad": {"decision": "not_performed", "score": None, "method": None}, "why": "kanari matched",
    }  # fmt: skip
    with closing(Journal(config.explain_path, DecisionConfig())) as journal:
        journal._write(record)  # type: ignore[arg-type]
    (config.state_dir / "kanari.jpg").write_bytes(PICTURE)
    (config.state_dir / "outbox-kanari.sqlite.damaged-20260101T000000").write_bytes(b"kanari")
    (config.state_dir / "pictures-kanari.sqlite.sealed-20260101T000000").write_bytes(b"kanari")
    raw = vector.tobytes()
    return path, [
        PICTURE,
        raw[:12],
        base64.b64encode(raw[:12]),
        f"{vector[0]:.5f}".encode(),
        *([socket.gethostname().encode()] if len(socket.gethostname()) > 3 else []),
    ]


def contents(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        assert all((e.uid, e.gid, e.uname, e.gname) == (0, 0, "", "") for e in archive.getmembers())
        return {e.name.rpartition("/")[2]: archive.extractfile(e).read() for e in archive.getmembers()}  # type: ignore[union-attr]


def run(config: Path, file: Path) -> Any:
    arguments = ["--config", str(config), "support-report", str(file), "--timeout", "40"]
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


def test_nothing_that_was_planted_is_in_the_report(tmp_path: Path, planted: tuple[Path, list[bytes]]) -> None:
    config, others = planted
    file = tmp_path / "report.tar.gz"
    result = run(config, file)
    assert result.exception is None, result.output
    assert file.stat().st_mode & 0o777 == 0o600
    parts = contents(file)
    assert set(parts) == {line.split()[0] for line in support.README.splitlines() if ".json" in line} | {"README.txt"}
    for name, data in parts.items():
        assert b"kanari" not in data.lower() and str(tmp_path).encode() not in data, (name, data.decode())
        for other in others:
            assert other not in data, (name, other)
    # It was there, and was replaced; and the report is worth reading.
    found = {f["check"]: f for f in json.loads(parts["doctor.json"])}
    assert "<mqtt.host>" in found["broker"]["message"] and found["camera"]["status"] == "fault"
    assert json.loads(parts["tracks.json"])["events"] == {"2026-11-01": {"match": 1}}
    settings = json.loads(parts["config.json"])
    assert settings["camera"]["uri"] == "rtsp:…" and settings["decision"]["threshold"] == 0.5
    assert [m["shipped"] for m in json.loads(parts["models.json"])] == [True] * 4
    kinds = [f["kind"] for f in json.loads(parts["files.json"])["files"]]
    assert {"gallery.sqlite", "explain.sqlite", "outbox.sqlite", "pictures.sqlite", "other"} <= set(kinds)
    assert json.loads(parts["versions.json"])["packages"]["numpy"] == np.__version__


def test_a_configuration_with_faults_is_reported_by_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "kanari.toml"
    path.write_text('[camera]\nfps = "kanari"\nkanari = 1\n[kanari]\n')
    file = tmp_path / "report.tar.gz"
    assert run(path, file).exception is None
    parts = contents(file)
    assert json.loads(parts["config.json"]) == {"faults": ["camera.fps", "…", "…"]}
    assert "doctor.json" not in parts and all(b"kanari" not in data for data in parts.values())


@pytest.mark.parametrize("there", ["file", "link", "fifo", "folder"])
def test_nothing_is_replaced(tmp_path: Path, there: str) -> None:
    path = tmp_path / "report"
    {"file": lambda: path.write_text("mine"), "link": lambda: path.symlink_to(tmp_path / "nothing"),
     "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[there]()  # fmt: skip
    with pytest.raises(StorageError, match="it exists"), support.reserve(path):
        pass
    assert path.is_symlink() or path.exists()
    assert there != "file" or path.read_text() == "mine"


def test_a_report_that_cannot_be_finished_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No space"), support.reserve(tmp_path / "report"):
        raise OSError(28, "No space left on device")
    assert not (tmp_path / "report").exists()


def test_a_part_that_hangs_or_fails_is_named() -> None:
    never = threading.Event()
    assert support.limited(0.1, never.wait) == {"failed": "no answer within 0.1 s"}
    never.set()
    assert support.limited(5, lambda: 1 / 0) == {"failed": "ZeroDivisionError"}


def test_of_the_daemons_state_only_words_of_the_program_are_taken() -> None:
    """In the example every text is `Zoë`."""

    def texts(value: Any, key: str = "") -> list[str]:
        if isinstance(value, dict):
            return [k for name, v in value.items() for k in texts(v, name)]
        return [key] if isinstance(value, str) and value != "…" else []

    found = site._harmless(to_json(example(StatusReport)))
    assert set(texts(found)) <= site.WORDS
    assert (
        found["present"] == {"identities": 2, "unknown": 7, "denied": 2}
        and found["trends"]["threads"]["per_hour"] == 0.25
    )


def test_the_log_holds_the_texts_of_the_program_without_their_values(tmp_path: Path) -> None:
    """Records as systemd's journal stores them: sent by the real handler, and printed as journalctl prints them."""
    lines = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(str(tmp_path / "journal"))
        handler = JournalHandler(str(tmp_path / "journal"))
        log = logging.Logger("edge_oneshot.test")
        log.addHandler(handler)
        log.info("%s %s", "match", "identity=kanari", extra={"journal": {"EVENT_TYPE": "match", "IDENTITY": "kanari"}})
        log.error("cannot open %s: %s (%d times, %.1f s)", "/home/kanari", OSError(28, "kanari"), np.int64(3), 2.0)
        try:
            raise ValueError("kanari")
        except ValueError:
            log.exception("the request %r failed", "kanari")
        other = logging.Logger("paho")
        other.addHandler(handler)
        other.warning("kanari")
        for _ in range(4):
            fields = dict(
                line.split("=", 1) for line in journal.recv(65536).decode(errors="replace").splitlines() if "=" in line
            )
            lines.append(json.dumps(fields | {"__REALTIME_TIMESTAMP": "1790000000000000"}))
        handler.close()
    systemd = {
        "_PID": "1",
        "MESSAGE": "edge-oneshot@kanari.service: Main process exited, code=exited, status=1/FAILURE",
    }
    found = site.read_log([*lines, json.dumps(systemd), json.dumps({"MESSAGE": "kanari"}), "no json"])
    assert "kanari" not in json.dumps(found)
    texts = [r["text"] for r in found["records"]]
    assert texts[:2] == ["… …", "cannot open …: OSError ENOSPC (3 times, 2.0 s)"]
    assert texts[2].startswith("the request '…' failed; ValueError at test_support_report.py:")
    assert texts[3:] == ["…", "edge-oneshot@….service: Main process exited, code=exited, status=1/FAILURE"]
    assert found["records"][0]["event"] == "match" and found["others"] == 1


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("cannot reach door.example:8883", "cannot reach <mqtt.host>:8883"),
        ("DOOR.EXAMPLE", "<mqtt.host>"),
        ("see https://x.example/a?b and 192.168.0.7, fe80:0:0:1::7", "see https://<address> and <address>, <address>"),
        ("/home/al/x.toml: no", "<path>: no"),
        ("Al and Alice", "<person> and Alice"),
        ("12:30:59 of version 1.2.3", "12:30:59 of version 1.2.3"),
    ],
)
def test_texts_of_this_site_are_replaced_by_what_they_are(text: str, masked: str) -> None:
    assert Mask([("door.example", "mqtt.host"), ("example", "x"), ("Al", "person"), ("root", "user")])(text) == masked


def test_scores_and_gates_are_counted() -> None:
    now = datetime.now(UTC).isoformat()
    record: Any = {
        "last_at": now, "frames": 3, "compared": 2, "refused": {"far": {}}, "events": [], "best": {"identity": "a", "score": 0.44}
    }  # fmt: skip
    found = site.count_tracks(
        [record, {**record, "events": [{"event_id": "e", "event_type": "unknown"}], "best": None}]
    )
    assert (found["tracks"], found["frames"], found["refused"]) == (2, 6, {"far": 2})
    assert found["events"] == {now[:10]: {"nothing": 1, "unknown": 1}} and found["scores"]["other"] == {"0.4": 1}
