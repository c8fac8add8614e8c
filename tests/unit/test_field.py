"""benchmarks/field.py: a sample of it runs, its rates are right, and the page shows the committed result."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.peers import report

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)  # five processes load the networks
def test_a_sample_has_every_figure(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "field.py"), "--sample", "--work", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "field.json").read_text())
    assert result["absent"] == {}
    own, floor = result["peers"]["edge-oneshot"], result["peers"]["floor"]
    assert floor["faces_encoded"] == {"0": 0, "1": 1, "2": 2, "5": 5, "10": 10}
    assert own["faces_encoded"]["0"] == 0 and own["faces_encoded"]["10"] >= 5
    assert 0 < own["rss_mb"] <= own["peak_mb"]
    assert 0 < own["invokes_of_a_frame"] < 1
    assert set(own["steady"]) == {"empty, still", "empty, motion", "1 still", "1"}
    assert own["cold_start_s"]["cpu_s"] > 0


def test_tar_counts_each_person_once_and_a_missing_face_as_a_miss() -> None:
    # 60 people of one picture each and, apart from them, person a with three pictures alike and b with one missing.
    rng = np.random.default_rng(0)
    others = rng.standard_normal((60, 64)).astype(np.float32)
    a, b = rng.standard_normal((2, 64)).astype(np.float32)
    vectors = np.concatenate([others, [a, a, a], [b, np.full(64, np.nan)]])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    owners = np.array([*(f"p{i}" for i in range(60)), "a", "a", "a", "b", "b"])
    found = report.error_rates(vectors, owners, distance=False)
    assert found["tar"] == 0.5  # a: 3 of 3 pairs; b: 0 of 1
    assert found["interval"] == [0.0, 1.0]
    assert (found["mated"], found["people_with_mates"]) == (4, 2)
    assert found["not_acquired"] == pytest.approx(1 / 65, abs=1e-4)
    by_distance = report.error_rates(vectors, owners, distance=True)
    assert by_distance["tar"] == 0.5 and by_distance["threshold"] < 0


def test_the_page_shows_the_committed_result() -> None:
    page = (ROOT / report.PAGE).read_text(encoding="utf-8")
    result = json.loads((ROOT / report.RESULT).read_text(encoding="utf-8"))
    assert page == report.placed(page, result)
    assert (ROOT / report.PICTURE).read_text(encoding="utf-8") == report.plot(result)
