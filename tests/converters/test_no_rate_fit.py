"""The rule for people without a rate: fitted on one part, limited on a second, reported on a third; written into a card."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from converters import no_rate as fitting
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.model.bundle import Bundle, read_bundle
from edge_oneshot.types import Float32Array


def people(count: int, seed: int, dimension: int = 8) -> tuple[Float32Array, list[str], list[int]]:
    """Children around one direction, adults around another; both overlap."""
    rng = np.random.default_rng(seed)
    ages = [int(a) for a in rng.choice([2, 6, 11, 30, 50], count)]
    centres = np.eye(dimension)[[0 if a <= 8 else 1 if a >= 16 else 2 for a in ages]]
    vectors = centres + 0.28 * rng.normal(size=(count, dimension))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32), [f"p{i}" for i in range(count)], ages


def test_the_fitted_rule_refuses_children_and_few_adults_of_other_parts() -> None:
    vectors, names, ages = people(4000, 1)
    section = fitting.fit(vectors, names, ages, "synthetic")
    weights = np.array(section["weights"])
    assert np.linalg.norm(weights) == pytest.approx(1, abs=1e-4)
    assert section["refused"]["0-8"]["share"] > 0.95
    assert section["refused"]["16-120"]["share"] < 0.02
    low, high = section["refused"]["0-8"]["ci95"]
    assert low < section["refused"]["0-8"]["share"] < high
    reported = sum(fitting.part_of(n) == "report" for n in names)
    assert section["refused"]["0-8"]["people"] + section["refused"]["16-120"]["people"] < reported
    # The parts that fit and threshold use decide nothing about the report, and the other way round.
    moved = vectors.copy()
    moved[[fitting.part_of(n) == "report" for n in names]] *= -1
    again = fitting.fit(moved, names, ages, "synthetic")
    assert (again["weights"], again["threshold"]) == (section["weights"], section["threshold"])
    assert again["refused"] != section["refused"]


def test_too_few_people_and_bad_labels_are_errors(tmp_path: Path) -> None:
    vectors, names, ages = people(100, 2)
    with pytest.raises(EdgeOneshotError, match="expected at least 20 children"):
        fitting.fit(vectors, names, ages, "few")
    (tmp_path / "labels.csv").write_text("name,years\nx,3\n")
    with pytest.raises(EdgeOneshotError, match="header name,sex,age"):
        fitting.read_ages(tmp_path / "labels.csv", {"x"})
    (tmp_path / "labels.csv").write_text("name,sex\nx,male\n")
    with pytest.raises(EdgeOneshotError, match="expected a column age"):
        fitting.read_ages(tmp_path / "labels.csv", {"x"})
    (tmp_path / "labels.csv").write_text("name,sex,age,group\nx,male,3,white\ny,female,,white\n")
    assert fitting.read_ages(tmp_path / "labels.csv", {"x", "y"}) == {"x": 3}


def test_the_rule_does_not_change_the_identity_of_the_encoder(tmp_path: Path, encoder_bundle: Bundle) -> None:
    path = tmp_path / "face.tflite"
    path.write_bytes(encoder_bundle.path.read_bytes())
    vectors, names, ages = people(4000, 1, encoder_bundle.encoder.dimension)
    section = fitting.fit(vectors, names, ages, "synthetic")
    fitting.write(path, section, tmp_path / "report.json")
    written = read_bundle(path)
    assert written.encoder_id == encoder_bundle.encoder_id
    assert written.encoder.no_rate is not None
    assert list(written.encoder.no_rate.weights) == section["weights"]
    assert "weights" not in json.loads((tmp_path / "report.json").read_text())
