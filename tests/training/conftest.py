"""Synthetic drawings in Omniglot's format. A character is a polyline; each drawer adds noise to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from training.omniglot.data import SIDE_PX, Drawings, pack

ALPHABETS, CHARACTERS, DRAWERS = 2, 20, 4


def _draw(points: np.ndarray) -> np.ndarray:
    canvas = Image.new("L", (SIDE_PX, SIDE_PX), 0)
    ImageDraw.Draw(canvas).line([(float(x), float(y)) for x, y in points], fill=1, width=3)
    return np.asarray(canvas, np.uint8)


@pytest.fixture(scope="session")
def drawings() -> Drawings:
    rng = np.random.default_rng(0)
    ink, alphabet, character, drawer = [], [], [], []
    for a in range(ALPHABETS):
        for c in range(CHARACTERS):
            shape = rng.uniform(15, 90, (5, 2))
            for d in range(DRAWERS):
                ink.append(_draw(shape + rng.normal(0, 2, shape.shape)))
                alphabet.append(a)
                character.append(a * CHARACTERS + c)
                drawer.append(d + 1)
    return Drawings(
        ink=np.stack(ink),
        alphabet=np.array(alphabet),
        character=np.array(character),
        drawer=np.array(drawer),
        alphabet_names=("First", "Second"),
    )


@pytest.fixture(scope="session")
def arrays(drawings: Drawings) -> dict[str, np.ndarray]:
    """The keys of an Omniglot .npz with three 20-way runs."""
    from training.omniglot.trials import run_indices

    train, test, answer = run_indices(drawings, 2, 20, seed=3)
    bits = pack(drawings.ink)
    return {
        "background_bits": bits,
        "background_alphabet": drawings.alphabet.astype(np.uint8),
        "background_character": drawings.character.astype(np.int16),
        "background_drawer": drawings.drawer.astype(np.uint8),
        "background_alphabet_names": np.array(drawings.alphabet_names),
        "runs_train_bits": bits[train],
        "runs_test_bits": bits[test],
        "runs_answer": answer,
    }


@pytest.fixture
def npz(arrays: dict[str, np.ndarray], tmp_path: Path) -> Path:
    path = tmp_path / "drawings.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="session")
def pattern_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 classes of 18 pictures, each as DIR/pattern-NN/NN.png: coloured patterns in varying light."""
    root = tmp_path_factory.mktemp("data") / "patterns"
    for c in range(24):
        pattern = np.random.default_rng(c).uniform(30, 220, (5, 5, 3))
        (root / f"pattern-{c:02d}").mkdir(parents=True)
        for i in range(18):
            own = np.random.default_rng([c, i])
            large = np.kron(pattern, np.ones((14, 14, 1))) * own.uniform(0.8, 1.15)
            pixels = np.clip(large + own.normal(0, 8, large.shape), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / f"pattern-{c:02d}" / f"{i:02d}.png")
    return root
