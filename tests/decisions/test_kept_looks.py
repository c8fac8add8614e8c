"""The file of an interrupted `evaluate conditions`: damaged, changed and hostile ones are refused with one clear error."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.conditions import kept

KEY: dict[str, object] = {"people": 3}


def test_every_damaged_byte_is_noticed_or_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "looks.npz"
    kept.save(path, KEY, ["a", "b"], [])
    data = path.read_bytes()
    noticed = 0
    for at in range(0, len(data), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            assert kept.load(path, KEY) == ({"a", "b"}, [])
        except EdgeOneshotError as e:
            noticed += "expected" in e.message
    assert noticed > len(data) / 7 / 2


def test_a_file_that_unfolds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "looks.npz"
    np.savez_compressed(path, key="{}", done=np.zeros(50_000_000))
    assert path.stat().st_size < 1_000_000
    with pytest.raises(EdgeOneshotError, match="got a compressed one"):
        kept.load(path, KEY)


@pytest.mark.parametrize("key", ["[" * 5000, "[]", "1"])
def test_a_key_that_is_no_key(tmp_path: Path, key: str) -> None:
    path = tmp_path / "looks.npz"
    arrays: dict[str, Any] = {name: np.zeros(0) for name in ("done", *kept.FIELDS)}
    np.savez(path, key=key, **arrays)
    with pytest.raises(EdgeOneshotError, match="expected the file of an earlier run"):
        kept.load(path, KEY)
