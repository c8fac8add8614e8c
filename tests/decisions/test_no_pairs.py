"""`evaluate verification` where no pair could be compared: an error with the fix, not a traceback."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edge_oneshot.cli import cli
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation import metrics


def test_no_score_has_no_best_threshold() -> None:
    none = np.full(4, -np.inf, np.float32)
    assert metrics.best_threshold(none, none) == np.inf
    accuracy, _ = metrics.cross_validated_accuracy(
        np.full(8, -np.inf, np.float32), np.array([True, False] * 4), np.array([0, 0, 0, 0, 1, 1, 1, 1])
    )
    assert accuracy == pytest.approx(0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        ["verification", "--pairs", "all"],
        ["identification", "--gallery", "2", "--target-fpir", "0.01"],
        ["quality"],
        ["calibration"],
    ],
    ids=lambda a: a[0],
)
def test_pictures_without_a_face_are_an_error_with_the_fix(tmp_path: Path, arguments: list[str]) -> None:
    for person in ("A", "B", "C", "D"):
        (tmp_path / "p" / person).mkdir(parents=True)
        for i in (1, 2, 3):
            Image.new("RGB", (250, 250), (i, 2, 3)).save(tmp_path / "p" / person / f"{person}_{i:04}.png")
    (tmp_path / "c.toml").write_text(f'[device]\nstate_dir = "{tmp_path}"\n')
    with pytest.raises(EdgeOneshotError) as caught:
        CliRunner().invoke(
            cli,
            [
                "--config",
                str(tmp_path / "c.toml"),
                "evaluate",
                arguments[0],
                "--images",
                str(tmp_path / "p"),
                *arguments[1:],
            ],
            standalone_mode=False,
            catch_exceptions=False,
        )
    assert caught.value.hint
