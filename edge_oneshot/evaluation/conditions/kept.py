"""Looks in a file, so that an interrupted run continues, and limits can be tried without rendering again.

An .npz with one row for each look. It holds embeddings, so it is biometric data.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.evaluation.conditions.trials import Look
from edge_oneshot.text_file import parse_json

FIELDS = ("person", "condition", "number", "faults", "measures", "box", "found", "vector")


def save(path: Path, key: dict[str, object], done: Iterable[str], looks: list[Look]) -> None:
    """Write the looks; a file that exists is replaced as a whole. done: the people who are complete, with or without looks.

    key: what the looks depend on. Raises EdgeOneshotError.
    """
    dimension = next((len(k.vector) for k in looks if k.vector is not None), 1)
    rows: dict[str, Any] = {
        "key": json.dumps(key, sort_keys=True),
        "done": list(done) or np.zeros(0, dtype=str),
        "person": [k.person for k in looks],
        "condition": [k.condition for k in looks],
        "number": [k.number for k in looks],
        "faults": [",".join(k.faults) for k in looks],
        "measures": [k.measures for k in looks],
        "box": [k.box for k in looks],
        "found": [k.vector is not None for k in looks],
        "vector": [np.zeros(dimension, np.float32) if k.vector is None else k.vector for k in looks],
    }
    new = path.with_name(path.name + ".new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            arrays: dict[str, Any] = {name: np.array(values) for name, values in rows.items()}
            np.savez(file, **arrays)
        new.replace(path)
    except OSError as e:
        raise EdgeOneshotError(f"cannot write {path}: {e.strerror}", "name a file in a writable folder") from None


def load(path: Path, key: dict[str, object]) -> tuple[set[str], list[Look]]:
    """(people who are complete, their looks). Nothing if there is no file. Raises EdgeOneshotError, also for another key."""
    if not path.exists():
        return set(), []
    hint = "name another file, or remove this one to measure again"
    try:
        with zipfile.ZipFile(path) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("a compressed one, which may unfold to any size")
        with np.load(path, allow_pickle=False) as data:
            stored, done = parse_json(str(data["key"])), set(data["done"].tolist())
            columns = {name: data[name] for name in FIELDS}
        if not isinstance(stored, dict):
            raise ValueError("another one")
    # what zipfile and numpy raise for damaged data
    except (OSError, ValueError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile) as e:
        raise EdgeOneshotError(f"cannot read {path}: expected the file of an earlier run, got {e}", hint) from None
    now = json.loads(json.dumps(key))
    if differ := sorted(k for k in {*stored, *now} if stored.get(k) != now.get(k)):
        raise EdgeOneshotError(f"{path}: expected frames of this run, got others: {', '.join(differ)} differ", hint)
    return done, [
        Look(
            person=str(person),
            condition=str(condition),
            number=int(number),
            faults=tuple(str(faults).split(",")) if faults else (),
            measures=tuple(map(float, measures)),
            box=tuple(map(float, box)),
            vector=vector.astype(np.float32) if found else None,
        )
        for person, condition, number, faults, measures, box, found, vector in zip(
            *(columns[name] for name in FIELDS), strict=True
        )
    ]
