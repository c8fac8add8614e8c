"""The landmark trainer: labels follow the picture through every distortion; a small run learns and can be exported."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra: train)")

from edge_oneshot.vision.locate import LandmarkPlacer  # noqa: E402
from training import runs  # noqa: E402
from training.landmarks import hidden as hidden_module  # noqa: E402
from training.landmarks.export import export  # noqa: E402
from training.landmarks.hidden import NEAR_PX, HiddenConfig, cover, train_hidden  # noqa: E402
from training.landmarks.labels import to_alignment  # noqa: E402
from training.landmarks.network import NAMES, POINTS, SIDE_PX  # noqa: E402
from training.landmarks.train import (  # noqa: E402
    CUT_PX,
    UNIT_PX,
    LandmarkConfig,
    averaged,
    cut_places,
    sample,
    similarity_basis,
    train,
)

COLOURS = np.array([(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0)])


def dotted(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Dark cut-outs with a coloured dot of 9 px at each landmark, and the landmarks' offsets."""
    random = np.random.default_rng(seed)
    offsets = (random.normal(size=(count, 4, 2)) * 3).round().astype(np.float32)
    cuts = np.full((count, CUT_PX, CUT_PX, 3), 20, np.uint8)
    places = cut_places().round()
    for i in range(count):
        for colour, (x, y) in zip(COLOURS, (places + offsets[i]).astype(int), strict=True):
            cuts[i, y - 4 : y + 5, x - 4 : x + 5] = colour
    # a pixel's centre is half a px from its corner
    return cuts, offsets + (places - cut_places()).astype(np.float32) + 0.5


def test_labels_follow_the_picture() -> None:
    """Moved, turned, scaled and mirrored: each dot is where its label says."""
    cuts, offsets = dotted(40)
    pixels, label, mirrored = sample(cuts, offsets, torch.Generator().manual_seed(1))
    assert 0 < mirrored.sum() < len(cuts)
    places = label.reshape(-1, 4, 2).numpy() * UNIT_PX + POINTS
    checked = 0
    assert (places[:, 0, 0] < places[:, 1, 0]).all(), (
        "the eye that is left in the picture is called the left one, mirrored or not"
    )
    for picture, marks in zip(pixels.permute(0, 2, 3, 1).numpy(), places, strict=True):
        for k, name in enumerate(NAMES):
            inside = ((marks[k] > 6) & (marks[k] < SIDE_PX - 6)).all()
            if not inside or picture.std() < 5:
                continue
            x, y = int(marks[k][0]), int(marks[k][1])
            seen = picture[y - 1 : y + 2, x - 1 : x + 2].mean((0, 1))
            if np.ptp(seen) < 60:  # grey or covered
                continue
            # Light and colour were changed, so the correlation with each colour identifies the dot. In a mirrored picture the
            # dot of one eye is at the place of the other.
            likeness = np.corrcoef(np.vstack([seen, COLOURS]))[0, 1:]
            assert (
                int(likeness.argmax())
                in {"image_left_eye": (0, 1), "image_right_eye": (0, 1), "nose": (2,), "mouth": (3,)}[name]
            )
            checked += 1
    assert checked > 60


def test_the_similarity_basis_takes_up_what_moves_the_face() -> None:
    basis = similarity_basis()
    assert np.allclose(basis.T @ basis, np.eye(4), atol=1e-6)
    turned = (POINTS - POINTS.mean(0)) @ np.array([[0.02, 0.1], [-0.1, 0.02]]) + (3, -2)
    assert np.linalg.norm(turned.ravel() @ basis) == pytest.approx(np.linalg.norm(turned), rel=1e-6)
    apart = np.array([(0, 1), (0, 1), (0, -1), (0, -1)], float)  # nose and mouth up, eyes down: no similarity
    assert np.linalg.norm(apart.ravel() @ basis) < 0.9 * np.linalg.norm(apart)


def test_yunets_five_points_become_the_four_of_alignment() -> None:
    five = np.arange(20, dtype=np.float32).reshape(2, 5, 2)
    assert to_alignment(five)[1].tolist() == [[10, 11], [12, 13], [14, 15], [17, 18]]


@pytest.mark.slow
@pytest.mark.timeout(600)  # a minute on a quiet machine
def test_a_small_run_learns_resumes_and_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts, offsets = dotted(48)
    learn, validate = np.arange(40), np.arange(40, 48)
    torch.set_num_threads(1)  # the same sums on every machine
    config = LandmarkConfig(steps=60, batch=16, warm_up=5, every=30)
    train(cuts, offsets, learn, validate, config, tmp_path / "whole")
    log = runs.log

    def power_cut(out: Path, row: dict[str, object]) -> None:
        log(out, row)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "log", power_cut)
    with pytest.raises(KeyboardInterrupt):
        train(cuts, offsets, learn, validate, config, tmp_path / "parts")
    monkeypatch.undo()
    last = train(cuts, offsets, learn, validate, config, tmp_path / "parts", resume=True)
    whole, parts = (
        [{**json.loads(line), "seconds": 0} for line in (tmp_path / d / "log.jsonl").read_text().splitlines()]
        for d in ("whole", "parts")
    )
    assert [r["step"] for r in parts] == [30, 60] and whole == parts
    assert whole[1]["loss"] < 0.8 * whole[0]["loss"]

    few = HiddenConfig(steps=8, batch=16, warm_up=2, every=4)
    monkeypatch.setattr(runs, "log", power_cut)
    with pytest.raises(KeyboardInterrupt):
        train_hidden(averaged(last), cuts, offsets, learn, validate, few, tmp_path / "parts")
    monkeypatch.undo()
    hidden = train_hidden(averaged(last), cuts, offsets, learn, validate, few, tmp_path / "parts", resume=True)
    at_once = train_hidden(averaged(last), cuts, offsets, learn, validate, few, tmp_path / "whole")
    parts_, whole_ = (torch.load(p, weights_only=True)["net"] for p in (hidden, at_once))
    assert all(torch.equal(a, b) for a, b in zip(parts_.values(), whole_.values(), strict=True))

    placer = LandmarkPlacer(export(last, hidden, cuts[:16], offsets[:16], tmp_path / "landmarks.tflite"))
    offset, probability = placer.look(np.full((SIDE_PX, SIDE_PX, 3), 128, np.uint8))
    assert offset.shape == (4, 2) and 0 < probability < 1


def test_what_is_drawn_over_a_landmark_is_its_label() -> None:
    grey, textures = np.full((CUT_PX, CUT_PX, 3), 77, np.uint8), np.full((3, CUT_PX, CUT_PX, 3), 200, np.uint8)
    marks, random, seen = cut_places(), np.random.default_rng(0), []
    for _ in range(60):
        covered, share = cover(grey, marks, textures, random)
        changed = (covered != grey).any(-1)
        around = [
            changed[y - NEAR_PX : y + NEAR_PX + 1, x - NEAR_PX : x + NEAR_PX + 1].mean() for x, y in marks.astype(int)
        ]
        assert np.abs(np.array(around) - share).max() < 0.35, "but for spots of its own colour"
        seen.append(share)
    assert (np.array(seen).max(0) == 1).all() and (np.array(seen).min(0) == 0).all()


def test_hidden_eyes_change_places_in_the_mirror(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts, offsets = dotted(32)
    monkeypatch.setattr(
        hidden_module, "cover", lambda cut, marks, textures, random: (cut, np.array([1, 0, 0, 0.5], np.float32))
    )
    _, label = hidden_module.batch(cuts, offsets, np.arange(32), 1.0, cuts, 3)
    _, _, mirrored = sample(cuts, offsets, torch.Generator().manual_seed(3), patches=False)
    assert 0 < mirrored.sum() < 32
    assert label[mirrored].tolist() == [[0, 1, 0, 0.5]] * int(mirrored.sum())
    assert label[~mirrored].tolist() == [[1, 0, 0, 0.5]] * int((~mirrored).sum())
