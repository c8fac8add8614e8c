"""The branch for hidden parts: replaced alone, trained on renderings, and able to tell what was put on in training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch (extra: train)")

from pictures import frame  # noqa: E402

from edge_oneshot.config import Config  # noqa: E402
from edge_oneshot.errors import ModelError  # noqa: E402
from edge_oneshot.evaluation.occluders import KINDS, LEARNT, occlude  # noqa: E402
from edge_oneshot.model.bundle import find_bundle, read_bundle, split, write_bundle  # noqa: E402
from edge_oneshot.recognition.compose import build_locator  # noqa: E402
from edge_oneshot.vision.align import estimate_similarity, warp  # noqa: E402
from edge_oneshot.vision.locate import LandmarkPlacer  # noqa: E402
from training.landmarks.graft import graft, layers, trunk  # noqa: E402
from training.landmarks.network import NAMES, SIDE_PX  # noqa: E402
from training.landmarks.worn import CROP_PX, MARKS, Branch, Trunk, WornConfig, cut_out, recorded, train  # noqa: E402

SHIPPED = find_bundle("", "landmarks")
SUMS = [(-6.5, 6.5), (-6.5, 6.5)]


def crops(portraits: dict[str, np.ndarray], count: int) -> np.ndarray:
    """Crops of the portraits in changing light."""
    locator, random, found = build_locator(Config()), np.random.default_rng(1), []
    for pixels in portraits.values():
        (face,) = locator.locate(frame(pixels))
        marks = np.array([face.landmark(name) for name in NAMES], np.float64)
        found.append(warp(pixels, estimate_similarity(marks, MARKS), (CROP_PX, CROP_PX)))
    light = np.exp(random.normal(size=(count, 1, 1, 3)) * 0.1)
    return np.clip(np.stack([found[i % len(found)] for i in range(count)]) * light, 0, 255).astype(np.uint8)


def outputs(path: Path, cuts: np.ndarray) -> np.ndarray:
    placer = LandmarkPlacer(read_bundle(path))
    return np.stack([placer._model(cut) for cut in cuts])


def test_another_branch_leaves_the_landmarks_as_they_are(tmp_path: Path) -> None:
    model, card = split(SHIPPED.read_bytes(), SHIPPED)
    assert card is not None
    cuts = np.random.default_rng(0).integers(0, 256, (20, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    own = layers(model)
    again = graft(model, own, SUMS)
    other = graft(model, [(-w, -b) for w, b in own], SUMS)
    results = []
    for name, content in (("own", again), ("other", other)):
        path = tmp_path / f"{name}.tflite"
        write_bundle(path, content, recorded(card, content, "none", 0, WornConfig()))
        results.append(outputs(path, cuts))
    before = outputs(SHIPPED, cuts)
    assert (results[0][:, :8] == before[:, :8]).all()
    assert (results[1][:, :8] == before[:, :8]).all()
    assert np.abs(results[0][:, 8:] - before[:, 8:]).max() < 1.5, "the same branch, but for the range of its sums"
    assert np.abs(results[1][:, 8:] - before[:, 8:]).max() > 1


def test_the_branch_in_float_is_the_one_of_the_bundle() -> None:
    model, _ = split(SHIPPED.read_bytes(), SHIPPED)
    cuts = np.random.default_rng(0).integers(0, 256, (20, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    body, branch = Trunk(model, SHIPPED), Branch(layers(model))
    with torch.no_grad():
        logits = branch(body.real(body(cuts))).numpy()
    assert np.abs(np.minimum(logits, 10) - np.minimum(outputs(SHIPPED, cuts)[:, 8:], 10)).max() < 1.5, (
        "int8 ends at 14.9"
    )


def test_another_network_is_refused() -> None:
    model, _ = split(find_bundle("", "encoder").read_bytes(), "encoder")
    with pytest.raises(ModelError, match="expected the layers"):
        trunk(model)


def test_a_small_run_learns_and_can_be_loaded(tmp_path: Path, portraits: dict[str, np.ndarray]) -> None:
    out, faces = tmp_path / "worn.tflite", crops(portraits, 40)
    train(faces, SHIPPED, out, WornConfig(renderings=132, views=1, steps=60, batch=16))
    bundle = read_bundle(out)
    assert bundle.landmarks.provenance["hidden"]["faces"] == 40  # type: ignore[index]
    random, placer = np.random.default_rng(9), LandmarkPlacer(bundle)
    free = [placer.look(cut_out(c, random, covered=False))[1] for c in faces]
    worn = [occlude(c, MARKS, "cap", random, held_out=False) for c in faces]
    hidden = [placer.look(cut_out(c, random, covered=True))[1] for c in worn]
    assert np.median(free) < 0.3 and np.median(hidden) > 0.7, "the shipped branch of before knew no caps"


@pytest.mark.parametrize("kind", KINDS)
def test_reports_render_other_things_than_training(kind: str, portraits: dict[str, np.ndarray]) -> None:
    """From one seed, the two differ in far more than noise: in the shape, the pattern or both."""
    (crop,) = crops(portraits, 1)
    learnt, held_out = (
        occlude(crop, MARKS, kind, np.random.default_rng(5), held_out=h).astype(int) for h in (False, True)
    )
    assert (np.abs(learnt - held_out).max(axis=-1) > 30).mean() > 0.02
    assert (np.abs(crop - held_out).max(axis=-1) > 30).mean() > 0.02, "something is over the face"


def test_training_covers_halves_of_faces(portraits: dict[str, np.ndarray]) -> None:
    """One half behind a straight edge, flat in most cases, is a kind of its own, which no report renders."""
    (crop,) = crops(portraits, 1)
    flat = 0
    for seed in range(20):
        covered = occlude(crop, MARKS, "block", np.random.default_rng(seed), held_out=False)
        changed = covered[(covered != crop).any(axis=-1)]
        _, counts = np.unique(changed, axis=0, return_counts=True)
        assert len(changed) > 0.1 * CROP_PX**2, seed
        flat += bool(counts.max() > 0.9 * len(changed))
    assert "block" in LEARNT and "block" not in KINDS
    assert 6 <= flat <= 18
