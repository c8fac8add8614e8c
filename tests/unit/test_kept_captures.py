"""gallery.keep_capture: an upgrade of the encoder needs no new enrollment, and the kept pictures are sealed and end with the person."""

from __future__ import annotations

import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("cryptography")

from asking import STEP_NS, ask
from click.testing import CliRunner
from pictures import Pixels, frame, view
from second_encoder import write_second_encoder

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, DeviceConfig, GalleryConfig, ModelConfig, MqttConfig
from edge_oneshot.control import requests as rq
from edge_oneshot.errors import ConfigError
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.model.bundle import Bundle
from edge_oneshot.recognition import kept
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import compose, migrate, sealing
from edge_oneshot.storage.keys import Keys

Open = Callable[..., Recognizer]
OLD, NEW = "face-web", "face"  # the two shipped face encoders


@pytest.fixture
def config(tmp_path: Path) -> Config:
    found = Config(
        device=DeviceConfig(state_dir=str(tmp_path / "state")),
        gallery=GalleryConfig(key_file=str(tmp_path / "keys/gallery.key"), keep_capture="sealed"),
        mqtt=MqttConfig(enabled=False),
    )
    sealing.seal(found)
    return found


@pytest.fixture
def open_(config: Config) -> Iterator[Open]:
    """open_(encoder, keep): a recognizer on the gallery of this test."""
    with ExitStack() as stack:

        def make(encoder: str = NEW, keep: str = "sealed") -> Recognizer:
            gallery = GalleryConfig(key_file=config.gallery.key_file, keep_capture=keep)
            own = Config(
                device=config.device, gallery=gallery, model=ModelConfig(encoder=encoder, threads=1), mqtt=config.mqtt
            )
            return stack.enter_context(Recognizer.open(own))

        yield make


def count(config: Config) -> int:
    with closing(sqlite3.connect(config.gallery_path)) as db:
        return int(db.execute("SELECT count(*) FROM captures").fetchone()[0])


def who(recognizer: Recognizer, *pictures: Pixels) -> list[str | None]:
    return [recognizer.identify_one(p).identity for p in pictures]


def test_an_upgrade_of_the_encoder_loses_no_person(
    open_: Open, collins: Pixels, hopper: Pixels, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each moment both are recognized: by the old encoder, by both side by side, by the new one."""
    old = open_(OLD)
    before = {p: old.enroll(p, pixels).template for p, pixels in (("Eileen", collins), ("Grace", hopper))}
    new = open_(NEW)
    assert new.people.old == {"eileen", "grace"} and who(new, collins, hopper) == ["eileen", "grace"]
    (checked,) = ask(new, rq.Check()).old_encoders
    assert (checked.until, checked.can_migrate) == ("2028-12-31", ("eileen", "grace"))

    monkeypatch.setattr(migrate, "TIME_S", 0.0)  # an interruption after each person
    answer = ask(new, rq.Migrate())
    assert (len(answer.identities), answer.left, answer.needs_enrollment) == (1, 1, [])
    assert who(new, collins, hopper) == ["eileen", "grace"] and len(new.people.old) == 1
    answer = ask(new, rq.Migrate())
    assert (len(answer.identities), answer.left) == (1, 0)
    assert who(new, collins, hopper) == ["eileen", "grace"] and not new.people.old
    assert ask(new, rq.Migrate()).identities == []

    for name, pixels in (("Eileen", collins), ("Grace", hopper)):
        (made,) = new.people.gallery.find(name.lower()).templates
        direct = new.enrollment_of(new.new_identity(name), pixels).template
        assert float(made.embedding.vector @ direct.embedding.vector) > 0.9999, "as if enrolled today"
        assert made.created_at == before[name].created_at and made.quality.measures() == before[name].quality.measures()
    assert len(new.people.gallery.with_captures()) == 2, "they are kept for the next encoder, too"
    monkeypatch.undo()
    back = open_(OLD)
    assert ask(back, rq.Migrate()).left == 0 and who(back, collins, hopper) == ["eileen", "grace"]


def test_a_merged_person_keeps_the_captures_of_both(open_: Open, config: Config, collins: Pixels) -> None:
    old = open_(OLD)
    old.enroll("Eileen", collins)
    old.enroll("Eileen C", view(collins, 3))
    ask(old, rq.Merge(name="Eileen C", into="Eileen", force=True))
    assert count(config) == 2
    assert ask(open_(NEW), rq.Migrate()).identities == ["eileen"]


def test_an_encoder_that_aligns_otherwise_gets_the_face_where_it_wants_it(
    open_: Open, collins: Pixels, tmp_path: Path
) -> None:
    second: Bundle = write_second_encoder(tmp_path / "second.tflite")
    open_(NEW).enroll("Eileen", collins)
    new = open_(str(second.path))
    assert ask(new, rq.Migrate()).identities == ["eileen"]
    (made,) = new.people.gallery.find("eileen").templates
    direct = new.enrollment_of(new.new_identity("Eileen"), collins).template
    assert made.encoder_id == second.encoder_id and float(made.embedding.vector @ direct.embedding.vector) > 0.97


def test_without_kept_captures_the_old_encoder_stays_in_force(open_: Open, collins: Pixels) -> None:
    open_(OLD, "off").enroll("Eileen", collins)
    new = open_(NEW)
    answer = ask(new, rq.Migrate())
    assert (answer.identities, answer.needs_enrollment) == ([], ["eileen"])
    assert who(new, collins) == ["eileen"]
    (checked,) = ask(new, rq.Check()).old_encoders
    assert (checked.until, checked.can_migrate) == ("2028-12-31", ())


def test_the_frames_of_a_live_enrollment_are_kept(open_: Open, config: Config, hopper: Pixels) -> None:
    recognizer = open_(OLD)
    session = recognizer.capture_session(recognizer.new_identity("Grace"), 30.0)
    enrollment, now_ns = None, session._prompt_ns
    while enrollment is None:
        now_ns += STEP_NS
        enrollment = session.offer(frame(view(hopper, now_ns // STEP_NS % 12), now_ns))
    recognizer.store(enrollment)
    (data,) = recognizer.people.gallery.captures_of("grace").values()
    found = kept.from_bytes(data)
    assert len(found) == enrollment.frames == len(enrollment.samples) and found[0].pixels.shape == (112, 112, 3)
    made = kept.remake(recognizer.pipeline, enrollment.template, found)
    assert made is not None and np.allclose(made.embedding.vector, enrollment.template.embedding.vector, atol=1e-6)
    assert ask(open_(NEW), rq.Migrate()).identities == ["grace"]


def test_no_pixel_can_be_read_in_the_files_or_in_an_export(open_: Open, config: Config, collins: Pixels) -> None:
    recognizer = open_()
    enrollment = recognizer.enroll("Eileen", collins)
    raw = enrollment.samples[0].chip.pixels.tobytes()
    parts = [raw[i : i + 24] for i in range(0, len(raw) - 24, 997)]
    stored = [p.read_bytes() for p in config.state_dir.iterdir() if p.is_file()]
    assert count(config) == 1 and sum(map(len, stored)) > len(zlib.compress(raw))
    document = json.dumps(to_document(recognizer.people.gallery)).encode()
    for data in (*stored, document, repr(enrollment).encode()):
        assert not any(part in data for part in parts)
    assert b"captures" not in document


def test_captures_end_with_the_person_the_template_the_seal_and_the_key_of_the_configuration(
    open_: Open, config: Config, collins: Pixels, hopper: Pixels
) -> None:
    recognizer = open_()
    recognizer.enroll("Eileen", collins)
    recognizer.enroll("Grace", hopper)
    recognizer.enroll("Grace", hopper, beside=True)
    assert count(config) == 3, "one more template keeps the captures of the first"
    recognizer.people.rename("grace", "Grace H.")
    assert len(recognizer.people.gallery.captures_of("grace")) == 2
    recognizer.enroll("Grace H.", hopper, replace=True)
    assert count(config) == 2
    recognizer.people.remove("eileen")
    assert count(config) == 1
    recognizer.close()

    sealing.rotate(config)
    again = open_()
    assert kept.from_bytes(*again.people.gallery.captures_of("grace").values())[0].pixels.shape == (112, 112, 3)
    again.close()
    with closing(open_(keep="off")) as off:
        off.enroll("Eileen", collins)
        assert count(config) == 1, "nothing more is kept"
        compose.forget_captures(off.people.gallery)
        assert count(config) == 0 and who(off, collins, hopper) == ["eileen", "grace"]
        off.people.gallery._keep_captures = True
        off.enroll("Eileen", collins, replace=True)
    assert count(config) == 1
    sealing.unseal(config)
    assert count(config) == 0, "a plain gallery holds no picture"
    with pytest.raises(ConfigError, match="the gallery is not sealed"):
        open_()


def test_a_capture_that_is_moved_to_another_person_or_damaged_is_set_aside(
    open_: Open, config: Config, collins: Pixels, hopper: Pixels
) -> None:
    with closing(open_(OLD)) as old:
        old.enroll("Eileen", collins)
        old.enroll("Grace", hopper)
    with closing(sqlite3.connect(config.gallery_path)) as db:
        (_, one), (b, _) = db.execute("SELECT template_id, sealed FROM captures").fetchall()
        db.execute("UPDATE captures SET sealed = ? WHERE template_id = ?", (one, b))
        db.commit()
    new = open_(NEW)
    answer = ask(new, rq.Migrate())
    assert len(answer.identities) == 1 and len(answer.needs_enrollment) == 1
    assert new.people.gallery.set_aside == 1
    assert who(new, collins, hopper) == ["eileen", "grace"]


@pytest.mark.parametrize(
    "data",
    [b"", b"x", zlib.compress(b"{}\n"), zlib.compress(b'{"version": 2, "captures": []}\n'), zlib.compress(b"[]\n")],
)
def test_bytes_that_are_no_captures_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        kept.from_bytes(data)


def test_the_commands(tmp_path: Path, config: Config, portrait_files: dict[str, Path]) -> None:
    def run(encoder: str, *arguments: str) -> str:
        path = tmp_path / "default.toml"
        path.write_text(
            f'[device]\nstate_dir = "{config.state_dir}"\n[gallery]\nkey_file = "{config.key_path}"\n'
            f'keep_capture = "sealed"\n[model]\nencoder = "{encoder}"\n'
        )
        result = CliRunner().invoke(cli, ["-c", str(path), *arguments], standalone_mode=False, catch_exceptions=False)
        return result.output

    run(OLD, "enroll", "--name", "Eileen", "--image", str(portrait_files["collins"]))
    assert f"old template: eileen: edge-oneshot --config {tmp_path}/default.toml gallery migrate" in run(
        NEW, "gallery", "check"
    )
    assert run(NEW, "gallery", "migrate").splitlines() == ["migrated 1 people"]
    assert "no problem found" in run(NEW, "gallery", "check")
    with Gallery(config.gallery_path, Keys(config.key_path)) as gallery:
        gallery.forget_captures()
    check = run(OLD, "gallery", "check")
    assert "enroll again" in run(OLD, "gallery", "migrate") or "must be enrolled" in check
