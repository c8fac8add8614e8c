"""Evaluation through a bundle on the device's own code, by the command line that people use."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="the bundle runs on LiteRT here")

from edge_oneshot.model.bundle import find_bundle, read_bundle
from training.omniglot.__main__ import main
from training.omniglot.data import Drawings
from training.omniglot.split import SIZES, alphabets

BUNDLE = find_bundle("omniglot", "encoder")


def test_runs_protocol_gives_the_promised_json(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "--data", str(npz), "--bundle", str(BUNDLE), "--protocol", "runs", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["trials"] == 80 and found["ways"] == 20 and found["runs"] == 4
    assert found["one_shot_accuracy"] > 0.9  # steady hands: easier than Omniglot
    assert found["ci95"][0] < found["one_shot_accuracy"] <= found["ci95"][1]
    assert found["verification_accuracy"] > 0.8
    assert found["encoder_id"] == read_bundle(BUNDLE).encoder_id
    assert (
        found["baseline_modified_hausdorff"]["one_shot_accuracy"] > found["baseline_nearest_pixel"]["one_shot_accuracy"]
    )
    assert 0 <= found["open_set"]["correct_unknown_rate"] <= 1


def test_wrong_answers_lower_the_accuracy(
    arrays: dict[str, np.ndarray], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = (arrays["runs_answer"] + 1) % 20
    path = tmp_path / "wrong.npz"
    np.savez(path, **{**arrays, "runs_answer": wrong})
    assert (
        main(
            ["evaluate", "--data", str(path), "--bundle", str(BUNDLE), "--protocol", "runs", "--json", "--no-baselines"]
        )
        == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["one_shot_accuracy"] < 0.1
    assert "baseline_nearest_pixel" not in found


def test_validation_protocol_uses_the_committed_alphabets(
    arrays: dict[str, np.ndarray], drawings: Drawings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The two drawn alphabets under the names of two validation alphabets; the others stand empty of characters.
    held = alphabets("validate")
    names = np.array([*held, *(name for part in SIZES for name in alphabets(part) if name not in held)])
    path = tmp_path / "named.npz"
    np.savez(path, **{**arrays, "background_alphabet_names": names})
    arguments = [
        "evaluate",
        "--data",
        str(path),
        "--bundle",
        str(BUNDLE),
        "--protocol",
        "validation",
        "--runs-per-alphabet",
        "2",
    ]
    assert main([*arguments, "--no-baselines"]) == 0
    text = capsys.readouterr().out
    assert f"validation: {held[0]}, {held[1]}; 4 runs, 80 trials, 20-way" in text
    assert "true class absent" in text and "interval" in text


@pytest.mark.parametrize("protocol", ["runs", "validation"])
def test_unusable_data_is_an_error_and_no_traceback(
    protocol: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "empty.npz"
    np.savez(path, other=np.zeros(3))
    assert main(["evaluate", "--data", str(path), "--bundle", str(BUNDLE), "--protocol", protocol]) == 1
    assert "error:" in (text := capsys.readouterr().err) and "empty.npz" in text and "needs the keys" in text


def test_a_bundle_for_faces_is_refused(npz: Path, capsys: pytest.CaptureFixture[str]) -> None:
    faces = find_bundle("", "encoder")
    assert main(["evaluate", "--data", str(npz), "--bundle", str(faces), "--protocol", "runs"]) == 1
    assert 'expected regions "frame"' in capsys.readouterr().err


def test_the_shipped_bundle_is_small_and_says_what_it_learnt_from() -> None:
    assert BUNDLE.stat().st_size <= 1_000_000
    card = read_bundle(BUNDLE).encoder
    assert card.regions == "frame" and card.input.colour == "L"
    assert card.thresholds is not None and card.probability is not None
    assert not [name for name in alphabets("report") if name in card.provenance["training_data"]]
