"""Sealed files: nothing about a person can be read in them, and what another program changes is noticed (storage/sealed.py)."""

from __future__ import annotations

import base64
import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

pytest.importorskip("cryptography")

from samples import person, random_unit, template
from test_bad_rows import RECORD as ANY_RECORD

from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, GalleryConfig
from edge_oneshot.errors import GalleryError, UnusableFile
from edge_oneshot.events.journal import Journal, read_journal
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.service import sealing
from edge_oneshot.storage.cipher import new_key, write_key
from edge_oneshot.storage.keys import Keys
from edge_oneshot.types import Event, Template

CANARY, NAME, TOPIC = "canary-id-7f3a", "Zoë Canary", "edge-oneshot/front/state/canary-id-7f3a"
RECORD = ANY_RECORD | {"best": {"identity": CANARY, "score": 0.5}}
TEMPLATE = template(CANARY, random_unit(11), "sha256:aa")


@pytest.fixture
def device(tmp_path: Path) -> Config:
    return Config(
        device=DeviceConfig(state_dir=str(tmp_path / "state")),
        gallery=GalleryConfig(key_file=str(tmp_path / "keys/gallery.key")),
    )


def keys(device: Config) -> Keys:
    return Keys(device.key_path)


def fill(device: Config) -> None:
    """People, an event, a topic, a note and a track, each of which names the canary."""
    with Gallery(device.gallery_path, keys(device)) as gallery:
        gallery.add(person(CANARY, NAME), [TEMPLATE])
        gallery.add_all([(person(f"p{i}"), [template(f"p{i}", random_unit(i), "sha256:aa")]) for i in range(5)])
    box = Outbox(device.outbox_path, keys=keys(device))
    body = {"identity": CANARY, "name": NAME}
    now = datetime.now(UTC)
    box.events.commit(Event(event_id="e1", event_type="match", ts=now, captured_ns=1, boot_id="b", body=body))
    box.topics.add(TOPIC)
    box.topics.empty([f"{TOPIC}/old"])
    box.notes.put("discovery", CANARY)
    box.close()
    journal = Journal(device.explain_path, DecisionConfig(), keys(device))
    journal._write(RECORD)  # type: ignore[arg-type]
    journal.close()


def read(device: Config) -> dict[str, object]:
    """Everything that `fill` has stored, and how many rows are set aside."""
    with Gallery(device.gallery_path, keys(device)) as gallery:
        found: dict[str, object] = {
            "people": {p.identity.identity_id: (p.identity.name, [vector(t) for t in p.templates]) for p in gallery.people()},
            "aside": gallery.set_aside,
        }
    box = Outbox(device.outbox_path, keys=keys(device))
    found["events"] = [s.event.body for s in box.events.pending(0, 9)]
    found["topics"] = (box.topics.retained(), box.topics.to_empty(), box.notes.get("discovery"))
    found["aside"] = (found["aside"], box.events.status().set_aside)
    box.close()
    found["tracks"] = len(read_journal(device.explain_path, keys(device)))
    return found


def vector(t: Template) -> bytes:
    return t.embedding.vector.astype("<f4").tobytes()


def canaries() -> list[bytes]:
    raw = vector(TEMPLATE)
    texts = [CANARY, NAME, NAME.encode().decode("latin-1"), json.dumps(NAME)[1:-1], "canary"]
    return [raw[:32], raw[64:96], base64.b64encode(raw)[:40], raw.hex()[:40].encode(), *(t.encode() for t in texts)]


def leaks(folder: Path) -> list[tuple[str, bytes]]:
    files = [p for p in sorted(folder.rglob("*")) if p.is_file()]
    assert files
    return [(p.name, c) for p in files for c in canaries() if c in p.read_bytes()]


def test_the_grep_finds_what_a_plain_device_holds(device: Config) -> None:
    fill(device)
    assert {name.partition("-")[0].partition(".")[0] for name, _ in leaks(device.state_dir)} == {"gallery", "outbox", "explain"}


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_sealed_device_holds_no_template_name_or_identity(device: Config, order: str) -> None:
    """sealed before anything is stored, and after"""
    steps = [sealing.seal, fill] if order == "before" else [fill, sealing.seal]
    for step in steps:
        step(device)
    sealed = read(device)
    assert leaks(device.state_dir) == []
    assert sealed["people"][CANARY] == (NAME, [vector(TEMPLATE)])  # type: ignore[index]
    assert sealed["aside"] == (0, 0) and sealed["tracks"] == 1
    assert sealed["events"] == [{"identity": CANARY, "name": NAME}]
    assert sealed["topics"] == ([TOPIC], [f"{TOPIC}/old"], CANARY)
    sealing.unseal(device)
    assert read(device) == sealed
    assert {name.partition("-")[0].partition(".")[0] for name, _ in leaks(device.state_dir)} == {"gallery", "outbox", "explain"}


def test_a_new_key_reads_everything_and_the_old_one_nothing(device: Config, tmp_path: Path) -> None:
    sealing.seal(device)
    fill(device)
    before, old = read(device), device.key_path.read_bytes()
    shutil.copytree(device.state_dir, tmp_path / "copy")
    sealing.rotate(device)
    assert read(device) == before and device.key_path.read_bytes() != old
    assert not keys(device).pending_path.exists()
    device.key_path.write_bytes(old)
    with pytest.raises(UnusableFile, match="is another key") as caught:
        Gallery(device.gallery_path, keys(device))
    assert str(device.key_path) in str(caught.value) and caught.value.exit_code == 78
