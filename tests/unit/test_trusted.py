"""Bundles of unknown origin: checked in a process of their own, and refused until they are trusted."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import struct
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge_oneshot.cli import cli
from edge_oneshot.config import Config, DeviceConfig, ModelConfig
from edge_oneshot.errors import ModelError, StorageError
from edge_oneshot.model import bundle as bundles
from edge_oneshot.model.bundle import CARD_NAME, Bundle, digest, find_bundle, split, write_bundle
from edge_oneshot.recognition import check_child, checked
from edge_oneshot.recognition.checked import check, load_bundle, trust
from edge_oneshot.recognition.compose import build_pipeline

# One bit of the shipped short-range detector with which TFLite reads outside the file: it ends the process that loads it.
FATAL_AT, FATAL = 218149, 0x80


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(device=DeviceConfig(state_dir=str(tmp_path / "state")))


def rewritten(source: str, path: Path, change: Any = None, **card: object) -> Path:
    """A shipped bundle with other bytes, written as anyone can write it: the digest inside fits the bytes."""
    shipped = find_bundle(source, "encoder")
    model, raw = split(shipped.read_bytes(), shipped)
    data = bytearray(model)
    if change is not None:
        change(data)
    assert raw is not None
    return write_bundle(path, bytes(data), raw | {"description": "of unknown origin"} | card).path


def fatal(data: bytearray) -> None:
    assert data[FATAL_AT] == 0, "the shipped detector has changed: look for another byte"
    data[FATAL_AT] = FATAL


def test_a_model_that_ends_the_interpreter_ends_only_the_check(tmp_path: Path, config: Config) -> None:
    path = rewritten("blazeface_short_range", tmp_path / "fatal.tflite", fatal)
    loads = (
        "import sys; from pathlib import Path; from edge_oneshot.model.bundle import read_bundle; "
        "from edge_oneshot.recognition.check_child import run; run(read_bundle(Path(sys.argv[1])), 'auto')"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    alone = subprocess.run([sys.executable, "-c", loads, path], env={"PYTHONPATH": paths}, capture_output=True)
    if alone.returncode >= 0:
        pytest.skip("the model reads foreign memory, which did not end the process this time")
    with pytest.raises(ModelError, match="unknown file"):
        load_bundle(path, config)
    # What the foreign memory holds differs between processes, and so does the answer; this process goes on.
    with contextlib.suppress(ModelError):
        check(path, config)
    assert not (tmp_path / "state").exists()
    done = CliRunner().invoke(cli, ["model", "check", str(path)])
    assert done.exit_code == 0 or isinstance(done.exception, ModelError)


def test_an_unknown_file_is_refused_until_it_is_trusted(tmp_path: Path, config: Config) -> None:
    path = rewritten("face", tmp_path / "own.tflite")
    own = Config(device=config.device, model=ModelConfig(encoder=str(path)))
    with pytest.raises(ModelError, match="expected a shipped bundle or one that you trust") as refused:
        build_pipeline(own)
    assert f"edge-oneshot model trust {path}" in refused.value.hint
    verdict, record = trust(path, config)
    assert (verdict.kind, verdict.digest) == ("encoder", digest(path.read_bytes()))
    assert record.parent == tmp_path / "state/trusted-models" and json.loads(record.read_text())["path"] == str(path)
    assert build_pipeline(own).encoder.card.description == "of unknown origin"
    rewritten("face", path, description="changed since")  # the card counts as well: it holds the thresholds
    with pytest.raises(ModelError, match="got an unknown file"):
        build_pipeline(own)


def test_shipped_bundles_and_their_copies_need_no_trust_and_no_process(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "Popen", None)
    build_pipeline(config)
    copy = tmp_path / "copy.tflite"
    copy.write_bytes(find_bundle("", "encoder").read_bytes())
    assert load_bundle(copy, config).encoder_id == load_bundle(find_bundle("", "encoder"), config).encoder_id
    assert not config.state_dir.exists()


def test_a_trusted_model_is_checked_again_by_another_runtime_and_once_only(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = rewritten("blazeface_short_range", tmp_path / "own.tflite")
    _, record = trust(path, config)
    checks: list[Path] = []

    def counted(path: Path, config: Config, **rest: Any) -> checked.Verdict:
        checks.append(path)
        return check(path, config, **rest)

    monkeypatch.setattr(checked, "check", counted)
    load_bundle(path, config)
    assert not checks
    monkeypatch.setattr(checked, "installed", lambda wanted: "ai-edge-litert 99, aarch64")
    for _ in range(2):
        load_bundle(path, config)
    assert len(checks) == 1 and json.loads(record.read_text())["runtime"] == "ai-edge-litert 99, aarch64"
    record.write_text("[" * 1000)  # a record that cannot be read: checked again
    load_bundle(path, config)
    assert len(checks) == 2


def test_a_user_who_may_not_write_the_state_folder_trusts_for_himself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    path = rewritten("blazeface_short_range", tmp_path / "own.tflite")
    (tmp_path / "a-file").write_text("")
    blocked = Config(device=DeviceConfig(state_dir=str(tmp_path / "a-file/state")))
    _, record = trust(path, blocked)
    assert record.is_relative_to(tmp_path / "data/edge-oneshot")
    assert load_bundle(path, blocked).card.kind == "detector"
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "a-file/data"))
    with pytest.raises(StorageError, match="cannot record in"):
        trust(path, blocked)


def test_the_command_reports_what_it_found_and_where_it_is_recorded(tmp_path: Path) -> None:
    path = rewritten("face", tmp_path / "own.tflite", name="evil\x1b[2J")
    (tmp_path / "c.toml").write_text(f'[device]\nstate_dir = "{tmp_path}/state"\n[model]\nencoder = "{path}"\n')
    run = CliRunner().invoke
    assert isinstance(
        run(cli, ["--config", str(tmp_path / "c.toml"), "enroll", "--name", "a", "--image", "x.jpg"]).exception,
        Exception,
    )
    done = run(cli, ["--config", str(tmp_path / "c.toml"), "model", "trust", str(path)])
    assert done.exit_code == 0, done.output
    assert "source:" in done.output and "an embedding of 192 values" in done.output and "\x1b" not in done.output
    assert str(tmp_path / "state/trusted-models") in done.output


def test_a_check_has_a_limit_on_memory_and_time(
    tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A card may ask for a canvas, weights or anchors of any size. Their limits do not add up to little memory."""
    shipped = find_bundle("blazeface_short_range", "refiner")
    _, raw = split(shipped.read_bytes(), shipped)
    assert raw is not None
    decoder = raw["decoder"] | {"strides": [1] * 50, "anchors_per_cell": [100] * 50}
    huge = rewritten("blazeface_short_range", tmp_path / "huge.tflite", decoder=decoder)
    with pytest.raises(ModelError, match=f"needs more than {check_child.MAX_MB} MB|cannot be used"):
        check(huge, config)
    monkeypatch.setattr(checked, "WAIT_S", 0.01)
    with pytest.raises(ModelError, match=r"did not load and run within 0\.01 s"):
        check(find_bundle("", "encoder"), config)


def test_the_daemon_is_not_restarted_with_an_unknown_model(tmp_path: Path) -> None:
    path = rewritten("face", tmp_path / "own.tflite")
    (tmp_path / "c.toml").write_text(f'[device]\nstate_dir = "{tmp_path}/state"\n[model]\nencoder = "{path}"\n')
    code = "from edge_oneshot.cli import main; main()"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    done = subprocess.run(
        [sys.executable, "-c", code, "--config", tmp_path / "c.toml", "run"],
        env=environment, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert (
        done.returncode == 78
        and f"fix: if you know where it comes from, run: edge-oneshot --config {tmp_path / 'c.toml'} model trust {path}"
        in done.stderr
    )


# ---- the archive behind the model


def behind(model: bytes, *entries: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    out = io.BytesIO(model)
    with zipfile.ZipFile(out, "a", method) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return out.getvalue()


def test_an_archive_of_many_entries_is_refused_before_it_is_read(encoder_bundle: Bundle) -> None:
    data = behind(encoder_bundle.model[:64], *((f"{i}", b"") for i in range(3000)), (CARD_NAME, b"{}"))
    with pytest.raises(ModelError, match="expected an archive with one entry"):
        split(data, "x")
    at = data.rindex(b"PK\5\6")
    zip64 = struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1)
    with pytest.raises(ModelError, match="damaged data"):
        split(data[:at] + zip64 + data[at:], "x")


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_a_card_is_stored_or_deflated(encoder_bundle: Bundle, method: int) -> None:
    """The dictionary of LZMA may have 4 GB."""
    with pytest.raises(ModelError, match="expected it stored or deflated"):
        split(behind(encoder_bundle.model[:64], (CARD_NAME, b"{}"), method=method), "x")


def test_a_large_file_is_not_read_whole(tmp_path: Path, config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "MAX_BUNDLE_BYTES", 1_000_000)
    with (tmp_path / "large.tflite").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelError, match="expected at most 1 MB, got more"):
        load_bundle(tmp_path / "large.tflite", config)
    with pytest.raises(ModelError, match="expected at most 1 MB, got more"):
        load_bundle(Path("/dev/zero"), config)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {"provenance": {"source": "a", "licence": "b", "training_data": "c", "x": json.loads("[" * 40 + "]" * 40)}},
            "levels",
        ),
        ({"alignment": {"method": "similarity", "points": {str(i): [1, 1] for i in range(501)}}}, "at most 500 points"),
        ({"thresholds": {"points": [0] * 100_001}}, "at most 100000 values"),
    ],
    ids=["depth", "points", "values"],
)
def test_a_card_has_limits(encoder_bundle: Bundle, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    _, raw = split(encoder_bundle.path.read_bytes(), "x")
    text = json.dumps((raw or {}) | change).encode()
    (path := tmp_path / "a.tflite").write_bytes(behind(encoder_bundle.model, (CARD_NAME, text)))
    with pytest.raises(ModelError, match=says):
        bundles.read_bundle(path)


def test_a_cohort_has_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path := tmp_path / "cohort.json").write_text("[" * 500 + "]" * 500)
    with pytest.raises(ModelError, match="levels"):
        bundles.read_cohort(path, "sha256:x")
    with pytest.raises(ModelError, match="expected at most 4 MB, got more"):
        bundles.read_cohort(Path("/dev/zero"), "sha256:x")


def test_how_the_process_of_a_check_ended_is_told() -> None:
    from edge_oneshot.recognition.checked import _ended

    assert "SIGSEGV" in _ended(-signal.SIGSEGV) and "malicious" in _ended(-signal.SIGSEGV)
    assert f"{check_child.MAX_S} s of processor time" in _ended(-signal.SIGXCPU)
