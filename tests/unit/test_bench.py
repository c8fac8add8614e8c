"""`edge-oneshot bench`: its figures are complete and consistent. No test checks how large they are."""

from __future__ import annotations

import json
import socket
import uuid
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge_oneshot.cli import cli
from edge_oneshot.errors import AcquisitionError, StorageError
from edge_oneshot.evaluation.benchmarking import InvokeTimer, make_frame, measure, random_references
from edge_oneshot.recognition.pipeline import STAGES
from edge_oneshot.recognition.recognizer import Recognizer


def bench(tmp_path: Path, *arguments: str, settings: str = "") -> str:
    config = tmp_path / "default.toml"
    config.write_text(f"{settings}[decision]\nthreshold = 0.5\n")
    words = ["--config", str(config), "bench", "--frames", "10", *arguments]
    return CliRunner().invoke(cli, words, standalone_mode=False, catch_exceptions=False).stdout


def test_every_stage_and_every_model_has_its_figure(tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    r = json.loads(bench(tmp_path, "--image", str(portrait_files["collins"]), "--templates", "50", "--json"))
    assert set(r["stages_ms"]) == set(STAGES)
    assert set(r["invoke_ms"]) == {"finder", "refiner", "landmarks", "encoder"}
    assert (r["size"], r["frames"], r["templates"]) == ([640, 480], 10, 50)
    assert 0 < r["not_invoke_share"] < 1
    for times in (*r["stages_ms"].values(), *r["invoke_ms"].values(), r["frame_ms"], r["decode_ms"]):
        assert 0 < times["p50"] <= times["p95"]
    assert r["invoke_ms"]["encoder"]["p50"] < r["frame_ms"]["p50"]
    assert r["rss_bytes"] > 10e6


def test_the_table_has_the_share_outside_the_interpreter(tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    output = bench(tmp_path, "--image", str(portrait_files["collins"]), "--threads", "1")
    assert "inference threads: 1;" in output
    assert "% of a frame is not an interpreter invoke" in output


def test_a_shared_report_says_what_the_device_is_and_not_whose(tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    private = tmp_path / "alice-smith"
    private.mkdir()
    picture = private / "alice.png"
    picture.write_bytes(portrait_files["collins"].read_bytes())
    file = private / "report.json"
    bench(private, "--image", str(picture), "--share", str(file), settings='[device]\nname = "Alice\'s door"\n')
    text = file.read_text(encoding="utf-8")
    report = json.loads(text)
    assert set(report) == {"kind", "version", "day", "hardware", "versions", "settings", "cost", "heat"}
    assert set(report["hardware"]) == {"processor", "machine", "cores", "memory_mb", "load"}
    assert set(report["versions"]) == {"edge_oneshot", "runtime", "numpy", "pillow", "python", "system"}
    assert set(report["settings"]) == {"threads", "range", "models"}
    assert set(report["heat"]) == {"before", "after"}
    assert set(report["heat"]["before"]) == {"temperature_c", "throttled"}
    assert report["cost"]["frames"] == 10 and report["hardware"]["memory_mb"] > 100
    for private_word in ("alice", "/", socket.gethostname().casefold(), str(uuid.getnode())):
        assert private_word not in text.casefold(), private_word


def test_a_shared_report_that_cannot_be_written_says_so(tmp_path: Path, portrait_files: dict[str, Path]) -> None:
    with pytest.raises(StorageError, match="cannot write the report: No such file or directory"):
        bench(tmp_path, "--image", str(portrait_files["collins"]), "--share", str(tmp_path / "none" / "report.json"))


@pytest.mark.parametrize(("picture", "count"), [("nobody", 0), ("both", 2)])
def test_exactly_one_face_is_required(
    picture: str, count: int, tmp_path: Path, portrait_files: dict[str, Path]
) -> None:
    with pytest.raises(AcquisitionError, match=f"got {count}"):
        bench(tmp_path, "--image", str(portrait_files[picture]))


def test_the_timer_counts_only_while_it_runs_and_restores_the_interpreter(
    recognizer: Recognizer, collins: np.ndarray
) -> None:
    runtime = recognizer.pipeline.encoder.runtime
    before = runtime._interpreter
    timer = InvokeTimer({"encoder": runtime})
    frame = make_frame(collins, "x", (640, 480))
    recognizer.people.use(random_references(recognizer.pipeline.encoder, 3), {})
    plain = recognizer.observe(frame)[0].embedding
    assert timer.seconds == {"encoder": 0.0}
    with timer.running():
        timed = recognizer.observe(frame)[0].embedding
    assert timer.seconds["encoder"] > 0
    assert runtime._interpreter is before
    assert plain is not None and timed is not None
    assert np.array_equal(plain.vector, timed.vector)


def test_an_image_is_scaled_to_fit_the_frame(collins: np.ndarray) -> None:
    frame = make_frame(collins, "x", (640, 480))
    assert frame.size == (640, 480)
    assert (frame.pixels[:, :80] == 90).all() and (frame.pixels[:, 560:] == 90).all()
    same = np.zeros((480, 640, 3), np.uint8)
    assert np.array_equal(make_frame(same, "x", (640, 480)).pixels, same)


def test_the_frame_is_measured_at_its_own_size(recognizer: Recognizer, collins: np.ndarray) -> None:
    frame = make_frame(collins, "x")
    assert measure(recognizer, frame, 10).size == (512, 512)
