"""Regression tests: each of these faults stopped or starved the daemon, lost a person, or published something wrong."""

from __future__ import annotations

import base64
import json
import os
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from samples import embedding, person, random_unit, score, seen, template, unit
from waiting import wait_until

from edge_oneshot.cameras.images import load_image
from edge_oneshot.cli.verify_event import verify_event
from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, MqttConfig, parse_config
from edge_oneshot.control import client, server
from edge_oneshot.control.client import ask
from edge_oneshot.control.protocol import PendingRequest, answer_json, make_request
from edge_oneshot.control.requests import Forget, Identify, List, Status
from edge_oneshot.control.responses import People
from edge_oneshot.control.server import ControlServer
from edge_oneshot.errors import CameraError, ConfigError, ControlError, GalleryError, StorageError
from edge_oneshot.events import signing
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.naming import check_id, propose_id
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.matching.track import ResultKind, Tracker, TrackResult
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.offline import perform
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.requests import Requests
from edge_oneshot.types import Observation

STEP_NS = 100_000_000


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    with Gallery(tmp_path / "gallery.sqlite") as opened:
        yield opened


def recognizer_on(gallery: Gallery, pipeline: Pipeline) -> Recognizer:
    return Recognizer(pipeline, Rule(target=Target(score=0.5), thresholds=None, cohort=None), gallery)


@pytest.fixture
def recognizer(gallery: Gallery, pipeline: Pipeline) -> Recognizer:
    """On the gallery of the test: both use one connection."""
    return recognizer_on(gallery, pipeline)


@pytest.fixture
def requests(recognizer: Recognizer) -> Requests:
    return Requests(recognizer, lambda event: None)


def served(requests: Requests, verb: str, **arguments: Any) -> dict[str, Any]:
    """The answer of a request, both as JSON."""
    pending = PendingRequest(make_request(verb, arguments))
    requests.start(pending)
    return answer_json(pending.answers.get_nowait())


def add(gallery: Gallery, identity_id: str, name: str = "", encoder_id: str = "sha256:aa") -> None:
    gallery.add(person(identity_id, name), [template(identity_id, random_unit(len(identity_id)), encoder_id)])


# ---- requests


@pytest.mark.parametrize("key", ["template_id", "encoder_id"])
@pytest.mark.parametrize("value", ["sha256:\ud800", 5, None, ["sha256:"]])
def test_an_import_of_text_that_no_file_can_hold_is_an_error_answer(
    gallery: Gallery, requests: Requests, key: str, value: object
) -> None:
    add(gallery, "alice")
    document = json.loads(json.dumps(to_document(gallery)))
    document["identities"][0]["templates"][0][key] = value
    answer = served(requests, "import", document=document, replace=True)
    assert (answer["status"], answer["kind"]) == ("error", "GalleryError")
    assert "identities[0] is damaged" in answer["error"]


def test_a_defect_in_one_request_becomes_its_error_answer_and_does_not_stop_the_daemon(
    requests: Requests, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(Gallery, "people", lambda self: 1 / 0)
    answer = served(requests, "list")
    assert (answer["kind"], answer["error"]) == (
        "EdgeOneshotError",
        "list: internal error: ZeroDivisionError: division by zero",
    )
    assert "ZeroDivisionError" in caplog.text


def test_an_answer_may_quote_half_a_surrogate_pair(tmp_path: Path) -> None:
    listening = ControlServer(tmp_path / "d.sock")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(listening.path))
            connection.sendall(b'{"verb": "show", "arguments": {"name": "\\ud800"}}\n')
            pending = wait_until(listening.next_request, "a request")
            pending.fail(ControlError(f"not enrolled: {pending.request.name}", ""))
            assert json.loads(connection.makefile("rb").readline())["error"] == "not enrolled: \ud800"
    finally:
        listening.close()


def test_a_request_that_is_too_large_is_named_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "MAX_REQUEST_BYTES", 1000)
    listening = ControlServer(tmp_path / "d.sock")
    try:
        with pytest.raises(ControlError, match="expected at most 1000 bytes, got 20"):
            ask(listening.path, Identify(image=b"x" * 1500), lambda text: None)
    finally:
        listening.close()


def test_a_client_that_sends_too_slowly_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 0.3)
    listening = ControlServer(tmp_path / "d.sock")
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(str(listening.path))

            def hung_up() -> bool:
                try:
                    connection.sendall(b" ")
                except OSError:
                    return True
                return False

            wait_until(hung_up, "the daemon to hang up")
    finally:
        listening.close()


def test_an_abandoned_request_is_not_served(tmp_path: Path) -> None:
    listening = ControlServer(tmp_path / "d.sock")
    try:
        for pending in (PendingRequest(Forget(name="alice"), abandoned=True), PendingRequest(List())):
            listening._requests.put(pending)
        assert (found := listening.next_request()) is not None
        assert found.request == List()
    finally:
        listening.close()


# ---- the loop


@pytest.fixture
def daemon(recognizer: Recognizer) -> Daemon:
    tracker = Tracker(DecisionConfig(), lambda a, b: False, recognizer.score)
    return Daemon(Config(), recognizer, tracker, Reporter(Topics("p", "d"), None, None))


class Flood:
    """A source that always has one more request."""

    def __init__(self) -> None:
        self.served = 0

    def next_request(self) -> PendingRequest:
        self.served += 1
        return PendingRequest(Status())


def test_a_flood_of_requests_does_not_keep_the_loop_from_its_frames(daemon: Daemon) -> None:
    flood = Flood()
    thread = threading.Thread(target=daemon._serve, args=([flood],), daemon=True)
    daemon.requests.start = lambda pending: time.sleep(0.01)  # type: ignore[method-assign]
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
    published: list[int] = []
    reads: list[int] = []
    events: list[str] = []
    templates = Gallery.templates

    def counted(self: Gallery, *arguments: Any) -> Any:
        reads.append(1)
        return templates(self, *arguments)

    monkeypatch.setattr(Gallery, "templates", counted)
    monkeypatch.setattr(daemon.reporter, "people", lambda now: published.append(len(now)))
    monkeypatch.setattr(daemon.reporter, "event", lambda event: events.append(event.body["identity"]))
    assert served(daemon.requests, "import", document=document)["status"] == "ok"
    assert (published, len(events), len(reads)) == ([20], 20, 1)


# ---- the gallery


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


def test_a_full_disk_is_named_and_the_gallery_goes_on(gallery: Gallery) -> None:
    pages = gallery._db.rows("PRAGMA page_count")[0][0]
    gallery._db.execute(f"PRAGMA max_page_count = {pages + 1}")
    with pytest.raises(StorageError, match="is full"):
        for i in range(100):
            add(gallery, "p" + "x" * i, f"Person {i}")
    before = len(gallery.identities())
    gallery._db.execute("PRAGMA max_page_count = 100000")
    add(gallery, "bob")
    assert len(gallery.identities()) == before + 1


def test_a_removed_template_is_overwritten_when_a_busy_reader_has_ended(
    gallery: Gallery, caplog: pytest.LogCaptureFixture
) -> None:
    add(gallery, "alice")
    needle = gallery.templates()[0].embedding.vector.tobytes()

    def stands() -> bool:
        return any(needle in p.read_bytes() for p in gallery.path.parent.glob("gallery.sqlite*"))

    reader = sqlite3.connect(gallery.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM templates").fetchall()
    gallery.remove("alice")
    assert stands()
    assert "overwritten when it has finished" in caplog.text
    reader.close()
    gallery.version()
    assert not stands()


def test_names_and_ids_do_not_cross(gallery: Gallery) -> None:
    """`remove bob` takes an id or a name: it must not be able to mean two people."""
    add(gallery, "bob", "Bob")
    gallery.rename("bob", "Robert")
    with pytest.raises(GalleryError, match="the name 'Bob' is the id of 'Robert'"):
        add(gallery, "bobby", "Bob")
    with pytest.raises(GalleryError, match="the id 'robert' is the name of 'bob'"):
        add(gallery, "robert", "Somebody")
    add(gallery, "carl", "Carl")
    with pytest.raises(GalleryError, match="the name 'BOB' is the id of 'Robert'"):
        gallery.rename("carl", "BOB")
    gallery.rename("bob", "Bob")  # one's own id as one's name


def test_a_name_is_found_however_its_letters_are_composed(gallery: Gallery) -> None:
    add(gallery, "zoe", "Zo\u00eb")
    assert gallery.lookup("Zoe\u0308 ").identity_id == "zoe"


@pytest.mark.parametrize("damage", ["long", "not a number", "cut"])
def test_a_damaged_template_is_skipped_and_can_be_replaced(
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
    # A vector that is too long would match any person who claims to be Alice.
    assert served(requests, "verify", name="alice", image=image)["status"] == "error"
    assert served(requests, "enroll", name="Alice", image=image, replace=True)["status"] == "ok"
    assert recognizer.references.identity_ids == ["alice", "bob"]
    assert served(requests, "forget", name="alice")["status"] == "ok"


# ---- tracks


def track(*frames: list[Observation]) -> tuple[list[tuple[ResultKind, str | None]], Tracker]:
    """The track results of frames 100 ms apart."""
    tracker = Tracker(DecisionConfig(gone_after_s=1.0), lambda a, b: float(a.vector @ b.vector) > 0.5, score)
    results: list[TrackResult] = []
    for i, frame in enumerate(frames):
        results += tracker.update(frame, (i + 1) * STEP_NS)
    return [(f.kind, f.identity_id) for f in results], tracker


def test_a_quick_step_is_neither_gone_nor_a_second_match() -> None:
    found, tracker = track(*[[seen("alice", 100)]] * 4, *[[seen("alice", 400)]] * 20)
    assert found == [(ResultKind.MATCH, "alice")]
    assert tracker.present == (["alice"], 0)


def test_a_stranger_elsewhere_does_not_take_over_a_match() -> None:
    found, _ = track(*[[seen("alice", 100)]] * 4, *[[seen("", 400)]] * 20)
    assert found == [(ResultKind.MATCH, "alice"), (ResultKind.UNKNOWN, None), (ResultKind.GONE, "alice")]


def test_whole_frames_that_stay_too_poor_are_rejected_and_leave_no_person_present() -> None:
    poor = seen(None, whole=embedding(unit(1, 0, 0)))
    found, tracker = track(*[[seen("cup", whole=embedding(unit(1, 0, 0)))]] * 4, *[[poor]] * 30, *[[]] * 12)
    assert found == [(ResultKind.MATCH, "cup"), (ResultKind.GONE, "cup"), (ResultKind.REJECTED, None)]
    assert tracker.present == ([], 0)


# ---- at the broker


def test_the_broker_forgets_a_person_who_was_removed_while_no_daemon_ran(tmp_path: Path) -> None:
    topics = Topics("p", "d")
    for people in ({"alice": "Alice", "bob": "Bob"}, {"alice": "Alice"}):
        outbox = Outbox(tmp_path / "outbox.sqlite")
        link = MqttLink(MqttConfig(prefix="p"), "d", outbox)
        Reporter(topics, outbox.events, link).people(people)
        cleared = outbox.topics.to_empty()
        link.stop()
        outbox.close()
    assert cleared == [topics.person_state("bob")]


# ---- commands


def test_verify_event_names_a_damaged_state_file(tmp_path: Path) -> None:
    key, state, event = tmp_path / "key", tmp_path / "state", tmp_path / "event"
    signing.write_key(key, signing.new_key("hmac"))
    state.write_text("no JSON")
    event.write_text("{}")
    result = CliRunner().invoke(verify_event, [str(event), "--key", str(key), "--state", str(state)])
    assert isinstance(result.exception, ConfigError)
    assert "expected the counters of an earlier call" in str(result.exception)


def test_an_unknown_kind_of_camera_is_a_fault_of_the_configuration() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"camera": {"uri": "foldr:x"}})
    assert "foldr:" in caught.value.faults[0]
    assert parse_config({"camera": {"uri": "/a/plain/path"}}).camera.uri == "/a/plain/path"


def test_frames_too_rare_for_a_track_are_a_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"camera": {"fps": 0.4}})
    assert "gone_after_s" in caught.value.faults[0]
    parse_config({"camera": {"fps": 0.4}, "decision": {"gone_after_s": 6.0}})


def test_a_large_jpeg_is_decoded_smaller_and_a_small_one_as_it_is(tmp_path: Path) -> None:
    for width, expected in ((6400, 1600), (1000, 1000)):
        Image.new("RGB", (width, width)).save(tmp_path / "a.jpg")
        assert load_image(tmp_path / "a.jpg").size == (expected, expected)


def test_a_format_that_starts_another_program_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    with pytest.raises(CameraError, match="not an image"):
        load_image(tmp_path / "a.png")


def test_no_id_is_made_from_a_part_of_a_name() -> None:
    with pytest.raises(GalleryError, match="no id"):
        propose_id("\N{CYRILLIC SMALL LETTER A}lice")
    with pytest.raises(GalleryError, match="letter or digit first"):
        check_id("--yes")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a folder away")
def test_only_the_gallerys_owner_acts_without_a_daemon(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    config = Config(device=DeviceConfig(state_dir=str(state)))
    assert perform(config, List(), print) == People(identities=[])
    os.chown(state, 65534, 65534)
    with pytest.raises(GalleryError, match="belongs to") as caught:
        perform(config, List(), print)
    assert "sudo -u" in caught.value.hint


def test_a_change_that_a_request_read_first_is_still_published(
    daemon: Daemon, gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[list[str]] = []
    monkeypatch.setattr(daemon.reporter, "people", lambda names: published.append(sorted(names)))
    with Gallery(gallery.path) as other:
        add(other, "alice", "Alice")
    assert served(daemon.requests, "list")["status"] == "ok"
    daemon._read_gallery()
    assert published == [["alice"]]
