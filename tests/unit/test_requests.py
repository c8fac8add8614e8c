"""Requests to the daemon: errors as answers, the loop between requests and frames, and requests without a daemon."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asking import served
from samples import person, random_unit, template

from edge_oneshot.config import Config, DecisionConfig, DeviceConfig
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.requests import List, Status
from edge_oneshot.control.responses import People
from edge_oneshot.errors import GalleryError
from edge_oneshot.gallery.archive import digest_of, to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.matching.track import Tracker
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import imported
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.offline import perform
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.requests import Requests


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "gallery.sqlite") as opened:
        yield opened


def add(gallery: Gallery, identity_id: str, name: str = "", encoder_id: str = "sha256:aa") -> None:
    gallery.add(person(identity_id, name), [template(identity_id, random_unit(len(identity_id)), encoder_id)])


def recognizer_on(gallery: Gallery, pipeline: Pipeline) -> Recognizer:
    return Recognizer(pipeline, Rule(target=Target(score=0.5), thresholds=None, cohort=None), gallery)


@pytest.fixture
def recognizer(gallery: Gallery, pipeline: Pipeline) -> Recognizer:
    """On the gallery of the test: both use one connection."""
    return recognizer_on(gallery, pipeline)


@pytest.fixture
def requests(recognizer: Recognizer) -> Requests:
    return Requests(recognizer, lambda event: None)


@pytest.mark.parametrize("key", ["template_id", "encoder_id"])
@pytest.mark.parametrize("value", ["sha256:\ud800", 5, None, ["sha256:"]])
def test_an_import_with_invalid_text_is_an_error_answer(
    gallery: Gallery, requests: Requests, key: str, value: object
) -> None:
    add(gallery, "alice")
    document = json.loads(json.dumps(to_document(gallery)))
    document["identities"][0]["templates"][0][key] = value
    document["digest"] = digest_of(document["identities"])
    answer = served(requests, "import", document=document, replace=True)
    assert (answer["status"], answer["kind"]) == ("error", "GalleryError")
    assert "identities[0] is damaged" in answer["error"]


def test_a_long_import_feeds_the_watchdog(requests: Requests, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its progress, while it checks and while it stores: ten thousand people take longer than some watchdogs wait."""
    with Gallery(tmp_path / "other.sqlite") as other:
        other.add_all([(person(f"p{n}"), [template(f"p{n}", random_unit(n))]) for n in range(30)])
        document = to_document(other)
    monkeypatch.setattr(imported, "EVERY", 10)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        answer = served(requests, "import", document=document)
        assert answer["status"] == "ok", answer
        fed = 0
        with contextlib.suppress(BlockingIOError):
            while supervisor.recv(100) == b"WATCHDOG=1":
                fed += 1
    assert fed == 6


def test_an_internal_error_in_one_request_is_an_answer_and_does_not_stop_the_daemon(
    requests: Requests, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Gallery, "people", lambda self: 1 / 0)
    answer = served(requests, "list")
    assert (answer["kind"], answer["error"]) == (
        "EdgeOneshotError",
        "list: internal error: ZeroDivisionError: division by zero",
    )
    assert "ZeroDivisionError" in caplog.text


def test_a_gallery_whose_file_was_replaced_or_removed_is_not_written(gallery: Gallery, requests: Requests) -> None:
    """A person enrolled into the old file would be lost with it."""
    add(gallery, "alice")
    assert served(requests, "list")["status"] == "ok"
    for path in gallery.path.parent.glob("gallery.sqlite*"):
        path.unlink()
    answer = served(requests, "rename", name="alice", to="Bea")
    assert "was moved, removed or replaced" in answer["error"]
    with Gallery(gallery.path):
        pass
    assert "was moved, removed or replaced" in served(requests, "list")["error"]


@pytest.mark.parametrize("damage", ["long", "not a number", "cut"])
def test_a_damaged_template_affects_one_person_only_and_can_be_replaced(
    gallery: Gallery,
    pipeline: Pipeline,
    encoder_bundle: Bundle,
    portrait_files: dict[str, Path],
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    own = pipeline.encoder.encoder_id
    add(gallery, "bob", "Bob", own)
    add(gallery, "alice", "Alice", own)
    vector = {"long": np.full(192, 3.0, "<f4"), "not a number": np.full(192, np.nan, "<f4"), "cut": np.ones(3, "<f4")}[
        damage
    ]
    gallery._db.execute("UPDATE templates SET vector = ? WHERE identity_id = 'alice'", (vector.tobytes(),))
    recognizer = recognizer_on(gallery, pipeline)
    assert recognizer.references.identity_ids == ["bob"]
    assert "of 'alice' is damaged" in caplog.text
    requests = Requests(recognizer, lambda event: None)
    image = base64.b64encode(portrait_files["collins"].read_bytes()).decode()
    # A vector that is too long would match every person who claims to be Alice.
    assert served(requests, "verify", name="alice", image=image)["status"] == "error"
    assert served(requests, "enroll", name="Alice", image=image, replace=True)["status"] == "ok"
    assert recognizer.references.identity_ids == ["alice", "bob"]
    assert served(requests, "forget", name="alice")["status"] == "ok"


@pytest.fixture
def daemon(recognizer: Recognizer) -> Daemon:
    tracker = Tracker(DecisionConfig(), lambda a, b: False, recognizer.score)
    return Daemon(Config(), recognizer, tracker, Reporter())


class Flood:
    """A source that always has one more request."""

    def __init__(self) -> None:
        self.served = 0

    def next_request(self) -> PendingRequest:
        self.served += 1
        return PendingRequest(Status())


def test_a_flood_of_requests_does_not_stop_the_frames(daemon: Daemon) -> None:
    flood = Flood()
    thread = threading.Thread(target=daemon._serve, args=([flood],), daemon=True)
    daemon.requests.start = lambda request: time.sleep(0.01)  # type: ignore[method-assign]
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert flood.served > 1


def test_an_import_reads_the_gallery_once(
    daemon: Daemon, gallery: Gallery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Gallery(tmp_path / "other.sqlite") as other:
        for i in range(20):
            add(other, "p" + "x" * i, f"Person {i}")
        document = json.loads(json.dumps(to_document(other)))
    counts: list[int] = []
    reads: list[int] = []
    events: list[str] = []
    templates = Gallery.templates

    def counted(self: Gallery, *arguments: Any) -> Any:
        reads.append(1)
        return templates(self, *arguments)

    monkeypatch.setattr(Gallery, "templates", counted)
    monkeypatch.setattr(daemon.reporter, "people", lambda now: counts.append(len(now)))
    monkeypatch.setattr(daemon.reporter, "event", lambda event: events.append(event.body["identity"]))
    assert served(daemon.requests, "import", document=document)["status"] == "ok"
    assert (counts, len(events), len(reads)) == ([20], 20, 1)


def test_a_change_that_a_request_reads_first_is_reported_too(
    daemon: Daemon, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported: list[list[str]] = []
    monkeypatch.setattr(daemon.reporter, "people", lambda names: reported.append(sorted(names)))
    with Gallery(gallery.path) as other:
        add(other, "alice", "Alice")
    assert served(daemon.requests, "list")["status"] == "ok"
    daemon._read_gallery()
    assert reported == [["alice"]]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_without_a_daemon_only_the_owner_of_the_gallery_may_act(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    config = Config(device=DeviceConfig(state_dir=str(state)))
    assert perform(config, List(), print) == People(identities=[])
    os.chown(state, 65534, 65534)
    with pytest.raises(GalleryError, match="belongs to") as caught:
        perform(config, List(), print)
    assert "sudo -u" in caught.value.hint
