"""Sealed files: nothing about a person can be read in them, and what another program changes is noticed (storage/sealed.py)."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("cryptography")

from samples import person, random_unit, template
from storage_parts import child
from test_bad_rows import RECORD as ANY_RECORD

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, DecisionConfig, DeviceConfig, GalleryConfig
from edge_oneshot.errors import ConfigError, GalleryError, StorageError, UnusableFile
from edge_oneshot.events.journal import Journal, read_journal
from edge_oneshot.events.labels import Label, Labels
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.events.pictures import Pictures
from edge_oneshot.gallery.schema import SCHEMA
from edge_oneshot.gallery.seen import LastSeen
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.service import sealing
from edge_oneshot.service.key import pictures_cipher
from edge_oneshot.storage.cipher import new_key, write_key
from edge_oneshot.storage.copy import Copy
from edge_oneshot.storage.keys import Keys
from edge_oneshot.storage.sealed import is_sealed
from edge_oneshot.types import AccessRules, Event, Template

CANARY, NAME, TOPIC = "canary-id-7f3a", "Zoë Canary", "edge-oneshot/front/state/canary-id-7f3a"
RECORD = ANY_RECORD | {"best": {"identity": CANARY, "score": 0.5}}
RULES = AccessRules(doors=("canary-door",))
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
        gallery.set_access(CANARY, RULES)
        gallery.join_fleet()
        gallery.add(person("canary-gone"), [template("canary-gone", random_unit(9), "sha256:aa")])
        gallery.remove("canary-gone")
        gallery.apply([], number=7)
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
    with closing(LastSeen(device.seen_path, keys(device))) as seen:
        seen.set({CANARY: 1})
        seen.set({CANARY: 2, "p1": 3})


def read(device: Config) -> dict[str, object]:
    """Everything that `fill` has stored, and how many rows are set aside."""
    with Gallery(device.gallery_path, keys(device)) as gallery:
        found: dict[str, object] = {
            "people": {
                p.identity.identity_id: (p.identity.name, [vector(t) for t in p.templates]) for p in gallery.people()
            },
            "aside": gallery.set_aside,
            "access": gallery.access(),
            "removals": gallery.removals(),
            "number": gallery.fleet_number,
        }
    box = Outbox(device.outbox_path, keys=keys(device))
    found["events"] = [s.event.body for s in box.events.pending(0, 9)]
    found["topics"] = (box.topics.retained(), box.topics.to_empty(), box.notes.get("discovery"))
    found["aside"] = (found["aside"], box.events.status().set_aside)
    box.close()
    with closing(LastSeen(device.seen_path, keys(device))) as seen:
        found["seen"] = seen.days()
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


def leaking(device: Config) -> set[str]:
    """The kinds of the files that leak."""
    return {name.partition("-")[0].partition(".")[0] for name, _ in leaks(device.state_dir)}


def test_the_grep_finds_what_a_plain_device_holds(device: Config) -> None:
    fill(device)
    assert leaking(device) == {"gallery", "outbox", "explain", "seen"}


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
    assert sealed["access"] == {CANARY: RULES} and sealed["removals"] == ["canary-gone"]
    assert sealed["events"] == [{"identity": CANARY, "name": NAME}]
    assert sealed["seen"] == {CANARY: 2, "p1": 3}
    assert sealed["topics"] == ([TOPIC], [f"{TOPIC}/old"], CANARY)
    sealing.unseal(device)
    assert read(device) == sealed
    assert leaking(device) == {"gallery", "outbox", "explain", "seen"}


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


def test_without_the_key_the_error_names_it_and_nothing_is_overwritten(device: Config) -> None:
    sealing.seal(device)
    fill(device)
    content = device.gallery_path.read_bytes()
    device.key_path.rename(device.key_path.with_suffix(".backup"))
    with pytest.raises(UnusableFile, match="there is no key at") as caught:
        Gallery(device.gallery_path, keys(device))
    assert (
        f"restore the key from your backup to {device.key_path}" in caught.value.hint and caught.value.exit_code == 78
    )
    with pytest.raises(UnusableFile, match="it is sealed"):
        Gallery(device.gallery_path)
    box = Outbox(device.outbox_path, keys=keys(device))
    assert "there is no key" in box.events.status().fault  # it waits for the key, and is not moved aside
    box.close()
    assert device.gallery_path.read_bytes() == content and "outbox" in str(sorted(device.state_dir.iterdir()))
    device.key_path.with_suffix(".backup").rename(device.key_path)
    assert read(device)["events"] == [{"identity": CANARY, "name": NAME}]


def test_a_damaged_key_file_is_an_error_that_says_so(device: Config) -> None:
    sealing.seal(device)
    device.key_path.write_text("aes-256:AAAA")
    with pytest.raises(UnusableFile, match=r"gallery\.key: expected aes-256 and 32 bytes") as caught:
        Gallery(device.gallery_path, keys(device))
    assert "restore the key from your backup" in caught.value.hint


def test_a_plain_gallery_in_the_place_of_a_sealed_one_is_refused(device: Config) -> None:
    sealing.seal(device)
    fill(device)
    device.gallery_path.unlink()
    with Gallery(device.gallery_path) as planted:
        planted.add(person("eve"), [template("eve", random_unit(5))])
    for attempt in (lambda: Gallery(device.gallery_path, keys(device)), lambda: sealing.seal(device)):
        with pytest.raises(UnusableFile, match="not sealed, although there is the key"):
            attempt()
    assert sealing.seal(device, trust_plain=True).key_id == keys(device).current().key_id  # type: ignore[union-attr]
    with Gallery(device.gallery_path, keys(device)) as gallery:
        assert gallery.sealed and [i.identity_id for i in gallery.identities()] == ["eve"]
        assert gallery.set_aside == 0  # the counter begins again


def change(path: Path, *statements: str) -> None:
    """As another program does."""
    with closing(sqlite3.connect(path)) as db, db:
        for sql in statements:
            db.execute(sql)


MOVE = "UPDATE templates SET vector = (SELECT t.vector FROM templates t WHERE t.rowid = 2) WHERE rowid = 1"
GIVE = "UPDATE templates SET identity_id = (SELECT identity_id FROM identities WHERE rowid = 2) WHERE rowid = 1"


@pytest.mark.parametrize("sql", [MOVE, GIVE])
def test_rows_cannot_be_given_to_another_person(device: Config, sql: str) -> None:
    """Even with checksums that fit: the sealed data itself belongs to its row."""
    sealing.seal(device)
    fill(device)
    with Gallery(device.gallery_path, keys(device)) as gallery:
        with gallery._db.transaction():
            gallery._db.execute(sql)  # the triggers of this connection write the checksums
        assert len(gallery.templates()) == 5 and gallery.set_aside == 1
        assert len(gallery.identities()) == 6
        gallery.add(person("again"), [template("again", random_unit(98), "sha256:aa")])
    change(device.gallery_path, sql.replace("= 2)", "= 3)").replace("= 1", "= 2"))
    with Gallery(device.gallery_path, keys(device)) as gallery:
        assert gallery.set_aside == 2


def test_rows_of_an_earlier_version_are_refused_in_a_sealed_file(device: Config) -> None:
    """Its checksums would be made anew for whatever another program has written there."""
    sealing.seal(device)
    with closing(LastSeen(device.seen_path, keys(device))) as seen:
        seen.set({CANARY: 800_000})
    with closing(sqlite3.connect(device.seen_path)) as db:
        db.executescript(
            "ALTER TABLE seen DROP COLUMN digest; DROP TABLE row_counts; UPDATE seen SET day = 1; PRAGMA user_version = 1"
        )
    with closing(LastSeen(device.seen_path, keys(device))) as seen:
        assert seen.days() == {}
    assert [p.name.split("-")[0] for p in device.state_dir.glob("seen.sqlite.*")] == ["seen.sqlite.damaged"]


def test_people_who_are_intact_are_still_recognized(device: Config) -> None:
    sealing.seal(device)
    fill(device)
    change(
        device.gallery_path, "UPDATE identities SET name = 'x' WHERE rowid = 1", "DELETE FROM templates WHERE rowid = 3"
    )
    with Gallery(device.gallery_path, keys(device)) as gallery:
        found = {p.identity.identity_id: len(p.templates) for p in gallery.people()}
        assert found == {"p0": 1, "p1": 0, "p2": 1, "p3": 1, "p4": 1}
        assert (
            gallery.set_aside == 3
        )  # the person, the template that can no longer be read, and the row that is missing
        gallery.add(person("new"), [template("new", random_unit(99))])
        assert len(gallery.templates()) == 5


@pytest.mark.parametrize("folder", ["kept", "put back"])
def test_an_older_copy_is_noticed_as_far_as_the_counter_outside_goes(
    device: Config, tmp_path: Path, folder: str
) -> None:
    sealing.seal(device)
    fill(device)
    for path in (device.gallery_path, keys(device).counter_path):
        shutil.copy(path, tmp_path / path.name)
    with Gallery(device.gallery_path, keys(device)) as gallery:
        gallery.remove(CANARY)
    shutil.copy(tmp_path / "gallery.sqlite", device.gallery_path)
    if folder == "put back":  # whoever restores the whole card does this
        shutil.copy(tmp_path / keys(device).counter_path.name, keys(device).counter_path)
    for _ in range(2):  # it is noted once
        with Gallery(device.gallery_path, keys(device)) as gallery:
            assert gallery.set_aside == (folder == "kept")


def test_rows_that_another_program_takes_while_the_gallery_is_open_are_noticed(device: Config) -> None:
    sealing.seal(device)
    fill(device)
    with Gallery(device.gallery_path, keys(device)) as gallery:
        gallery.version()
        change(device.gallery_path, "DELETE FROM templates WHERE rowid = 2")
        gallery.version()
        assert gallery.set_aside == 1
        change(device.gallery_path, "DELETE FROM templates WHERE rowid = 3")
        gallery.add(person("new"), [template("new", random_unit(99))])  # must not seal what is there
        assert gallery.set_aside == 2
        change(device.gallery_path, "DELETE FROM seal")
        with pytest.raises(UnusableFile, match="has lost its seal"):
            gallery.version()


def test_forgetting_destroys_the_key_of_the_person(device: Config, tmp_path: Path) -> None:
    """The rows of the templates alone, from an old copy, cannot be read any more."""
    sealing.seal(device)
    fill(device)
    shutil.copy(device.gallery_path, tmp_path / "old.sqlite")
    with Gallery(device.gallery_path, keys(device)) as gallery:
        gallery.remove(CANARY)
    change(
        device.gallery_path,
        f"ATTACH '{tmp_path / 'old.sqlite'}' AS old",
        "INSERT OR IGNORE INTO templates SELECT * FROM old.templates",
    )
    with Gallery(device.gallery_path, keys(device)) as gallery:
        assert {t.identity_id for t in gallery.templates()} == {f"p{i}" for i in range(5)}
        assert gallery.set_aside


def test_a_person_has_a_cipher_that_ends_with_the_person(device: Config) -> None:
    sealing.seal(device)
    fill(device)
    with Gallery(device.gallery_path, keys(device)) as gallery:
        sealed = gallery.cipher_of(CANARY).encrypt(b"picture", "captures", "1")  # type: ignore[union-attr]
        assert gallery.cipher_of(CANARY).decrypt(sealed, "captures", "1") == b"picture"  # type: ignore[union-attr]
        gallery.rename(CANARY, "Another Name")
        assert gallery.cipher_of(CANARY).decrypt(sealed, "captures", "1") == b"picture"  # type: ignore[union-attr]
        gallery.add(person(CANARY, "Another Name"), [template(CANARY, random_unit(3))], replace=True)
        with pytest.raises(ValueError, match="seal"):
            gallery.cipher_of(CANARY).decrypt(sealed, "captures", "1")  # type: ignore[union-attr]
        gallery.remove(CANARY)
        with pytest.raises(GalleryError):
            gallery.cipher_of(CANARY)


def test_sealing_waits_for_no_daemon(device: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that has a file open would take the sealed rows for damaged ones."""
    fill(device)
    monkeypatch.setattr("edge_oneshot.storage.conversion.BUSY_TIMEOUT_S", 0.2)
    with Gallery(device.gallery_path, keys(device)), pytest.raises(StorageError, match="another process") as caught:
        sealing.seal(device)
    assert "stop every daemon" in caught.value.hint
    assert read(device)["aside"] == (0, 0)  # not sealed yet, or with the key that is to come
    sealing.seal(device)
    assert leaks(device.state_dir) == []


def test_a_daemon_that_runs_loses_nothing_when_sealing_is_refused(
    device: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds the lock of its labels only while it writes: they must not be sealed under its feet."""
    fill(device)
    monkeypatch.setattr("edge_oneshot.storage.conversion.BUSY_TIMEOUT_S", 0.2)
    label = Label(visit="v1", at="", result="match", who="person", identity=CANARY, outcome="right", asked=True)
    with Gallery(device.gallery_path, keys(device)), closing(Labels(device.labels_path, keys(device))) as labels:
        assert labels.put(label)
        with pytest.raises(StorageError, match="another process"):
            sealing.seal(device)
        assert labels.put(replace(label, visit="v2"))
    with closing(Labels(device.labels_path, keys(device))) as labels:
        assert list(labels.all) == ["v1", "v2"] and labels.set_aside == 0


def test_sealing_again_keeps_the_pictures_and_a_new_key_erases_them(device: Config) -> None:
    fill(device)
    sealing.seal(device)
    pictures = Pictures(device.pictures_path, pictures_cipher(device), 7, 50)
    assert pictures.add("v1", 1.0, CANARY, b"jpeg")
    sealing.seal(device)
    assert pictures.find("v1") == b"jpeg"
    sealing.rotate(device)
    assert pictures.kept() == {}
    pictures.close()


@pytest.mark.parametrize("state", ["new", "plain", "sealed"])
def test_an_installer_seals_a_new_device_only(device: Config, tmp_path: Path, state: str) -> None:
    """An upgrade changes no gallery, wherever the configuration has it."""
    config = tmp_path / "default.toml"
    config.write_text(
        f'device.state_dir = "{device.state_dir}"\ngallery.key_file = "{device.key_path}"\n', encoding="utf-8"
    )
    if state != "new":
        fill(device)
    if state == "sealed":
        sealing.seal(device)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file() and not p.name.endswith("-shm")}
    done = CliRunner().invoke(cli, ["-c", str(config), "gallery", "seal", "--if-new"])
    assert done.exit_code == 0
    if state == "new":
        assert f"key {device.key_path}" in done.output and is_sealed(device.gallery_path)
    else:
        assert done.output == ""
        assert before == {p: p.read_bytes() for p in before} and device.key_path.exists() == (state == "sealed")


def test_a_lost_key_is_not_replaced_by_a_new_one(device: Config) -> None:
    """It would open nothing, and `doctor` would ask to complete a change that nobody wanted."""
    fill(device)
    sealing.seal(device)
    lost = device.key_path.rename(device.key_path.with_name("lost"))
    with pytest.raises(ConfigError, match="sealed already, and there is no key"):
        sealing.seal(device)
    assert not keys(device).pending_path.exists()
    lost.rename(device.key_path)
    assert sealing.seal(device).lost == 0


@pytest.fixture
def as_nobody() -> Iterator[tuple[Config, Callable[[], None]]]:
    """A device of a user without rights, and what ends the rights of this process."""
    with tempfile.TemporaryDirectory() as name:
        folder, own = Path(name), os.geteuid()
        for part in ("state", "keys"):
            (folder / part).mkdir()
        made = Config(
            device=DeviceConfig(state_dir=str(folder / "state")),
            gallery=GalleryConfig(key_file=str(folder / "keys/gallery.key")),
        )

        def drop() -> None:
            if own == 0:
                for path in (folder, *folder.rglob("*")):
                    if not path.name.endswith(".tmp"):
                        os.chown(path, 65534, 65534)
                os.seteuid(65534)

        yield made, drop
        os.seteuid(own)
        (folder / "keys").chmod(0o700)


def test_a_plain_gallery_needs_no_way_to_the_folder_of_the_key(as_nobody: tuple[Config, Callable[[], None]]) -> None:
    """As after an upgrade of a service that ProtectHome keeps from ~/.config."""
    device, drop = as_nobody
    fill(device)
    drop()
    device.key_path.parent.chmod(0)
    with Gallery(device.gallery_path, keys(device)) as gallery:
        assert len(gallery.identities()) == 6 and not gallery.sealed
    device.gallery_path.unlink()
    with pytest.raises(UnusableFile, match="cannot read it"):  # a new one would be plain without a word
        Gallery(device.gallery_path, keys(device))


@pytest.mark.parametrize("sealed", [False, True])
def test_an_installer_says_that_it_may_not_see_the_key(
    as_nobody: tuple[Config, Callable[[], None]], sealed: bool
) -> None:
    """It cannot tell whether this device is to be sealed, and a sealed one would not start."""
    device, drop = as_nobody
    fill(device)
    if sealed:
        sealing.seal(device)
    drop()
    device.key_path.parent.chmod(0)
    with pytest.raises(ConfigError, match="cannot read it"):
        sealing.seal_new(device)


def test_a_counter_that_root_did_not_complete_is_counted_on(as_nobody: tuple[Config, Callable[[], None]]) -> None:
    device, drop = as_nobody
    fill(device)
    sealing.seal(device)
    half = keys(device).counter_path.with_suffix(".counter.tmp")
    half.write_text("")
    half.chmod(0o400)
    drop()
    with Gallery(device.gallery_path, keys(device)) as gallery:
        before = keys(device).read_counter(gallery._db.key_id)
        gallery.remove(CANARY)
        assert keys(device).read_counter(gallery._db.key_id) > before


def test_what_was_set_aside_before_is_not_kept_in_the_clear(device: Config) -> None:
    fill(device)
    with Gallery(device.gallery_path) as gallery:
        gallery._db.set_aside("identities", (1,), f"a test about {CANARY}")
    device.outbox_path.with_name("outbox-default.sqlite.damaged-20260101T000000000000").write_text(CANARY)
    assert sealing.seal(device).lost == 1
    assert leaks(device.state_dir) == []


def test_a_credential_takes_the_place_of_the_key_file(
    device: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealing.seal(device)
    fill(device)
    device.key_path.rename(tmp_path / "gallery-key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    assert read(device)["aside"] == (0, 0)
    with pytest.raises(ConfigError, match="got only the credential"):
        sealing.rotate(device)


def test_a_credential_from_before_rotate_key_is_refused(
    device: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is begun with the old key could not be read later."""
    sealing.seal(device)
    fill(device)
    shutil.copy(device.key_path, tmp_path / "gallery-key")
    sealing.rotate(device)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(UnusableFile, match="before `gallery rotate-key`") as caught:
        Gallery(device.gallery_path, keys(device))
    assert "systemd-creds encrypt" in caught.value.hint
    device.outbox_path.unlink()
    box = Outbox(device.outbox_path, keys=keys(device))
    assert "the credential" in box.events.status().fault and not box.events.status().set_aside
    box.close()
    with pytest.raises(ConfigError, match="expected the same key"):
        pictures_cipher(device)
    shutil.copy(device.key_path, tmp_path / "gallery-key")
    assert read(device)["aside"] == (0, 0)


def test_a_key_file_of_another_gallery_beside_the_credential_is_named(
    device: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealing.seal(device)
    fill(device)
    device.key_path.rename(tmp_path / "gallery-key")
    write_key(device.key_path, new_key())
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    with pytest.raises(UnusableFile, match="the file is not the key of this gallery"):
        Gallery(device.gallery_path, keys(device))


def test_a_sealing_that_was_cut_off_before_the_first_person_is_completed(device: Config) -> None:
    """As after a postinst of an earlier release that was killed: a plain gallery without people, and no key."""
    Gallery(device.gallery_path).close()
    assert sealing.seal_new(device) is not None and is_sealed(device.gallery_path)
    assert sealing.seal_new(device) is None
    sealing.unseal(device)
    assert sealing.seal_new(device) is None and not is_sealed(device.gallery_path)  # that was the owner's wish


def test_mutated_galleries_and_kills_in_small_numbers() -> None:
    """scripts/sealed_check.py with more: 5,000 mutated galleries, and a kill at every step."""
    script = Path(__file__).parents[2] / "scripts/sealed_check.py"
    command = [sys.executable, str(script), "--mutations", "84", "--kills", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'survived': 8" in done.stdout and "accepted" not in done.stdout


def test_processes_that_open_a_new_sealed_gallery_at_once_agree(device: Config) -> None:
    sealing.seal(device)
    device.gallery_path.unlink()
    code = """
import sys
from pathlib import Path
from samples import person, random_unit, template
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.storage.keys import Keys
path, key, name = sys.argv[1:]
with Gallery(Path(path), Keys(Path(key))) as gallery:
    gallery.add(person(name), [template(name, random_unit(1))])
"""
    commands = [child(code, device.gallery_path, device.key_path, f"p{n}") for n in range(4)]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for command in commands]
    assert [(p.communicate(timeout=100), p.returncode)[1] for p in running] == [0] * 4
    with Gallery(device.gallery_path, keys(device)) as gallery:
        assert len(gallery.identities()) == 4 and gallery.sealed
        reasons = {reason for (reason,) in gallery._db.rows("SELECT reason FROM set_aside")}
        # The counter outside is ahead: the process that made the file notes it, and one that opens it at once may do so, too.
        assert "the gallery was deleted, and this is a new one" in reasons
        assert all(r.startswith(("the gallery was deleted", "expected the state after")) for r in reasons)


def test_a_copy_of_a_sealed_gallery_on_a_full_disk_can_be_read(device: Config) -> None:
    """storage/copy.py: what the daemon, and `doctor`, read when SQLite cannot open the file itself."""
    sealing.seal(device)
    fill(device)
    with closing(Copy(device.gallery_path, SCHEMA, keys=keys(device))) as copy:
        assert copy.cipher is not None and copy.count_set_aside() == 0
        assert len(copy.rows("SELECT * FROM templates")) == 6
