"""Which bundle files may be loaded: those that ship with this package, and those that a user trusts.

The digest in a bundle detects accidental damage only, since anyone can compute it again. TFLite does not check every field of a
model, so a crafted model can crash the process that loads it. `edge-oneshot model trust` records the digest of a whole file,
card included, as a file `trusted-models/<digest>.json` in the state folder, with the runtime that loaded it.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from pathlib import Path

from edge_oneshot.errors import StorageError
from edge_oneshot.model.bundle import digest
from edge_oneshot.storage.disk import explain
from edge_oneshot.text_file import parse_json, read_bytes

FOLDER = "trusted-models"
_MOST_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """digest: of the file. path: where the file was. trusted_at: ISO 8601. runtime: the runtime that loaded it."""

    digest: str
    kind: str
    name: str
    path: str
    trusted_at: str
    runtime: str


def is_shipped(path: Path, found: str | None = None) -> bool:
    """Whether `path` is a bundle of this package, or a copy of one. found: the digest of its bytes, for copies."""
    models = Path(str(resources.files("edge_oneshot"))) / "models"
    if path.resolve().parent == models.resolve():
        return True
    return found is not None and any(digest(p.read_bytes()) == found for p in models.glob("*.tflite"))


def find(found: str, state_dirs: Sequence[Path]) -> Trusted | None:
    """The record of this digest in the first of these state folders that has one; None if the bundle is not trusted.

    For a record that cannot be read, `runtime` is empty.
    """
    for folder in state_dirs:
        try:
            data = read_bytes(_record(folder, found), _MOST_BYTES)
        except (OSError, ValueError):
            continue
        with contextlib.suppress(ValueError, TypeError):
            values = parse_json(data)
            if isinstance(values, dict) and values.get("digest") == found:
                return Trusted(**{str(k): str(v) for k, v in values.items()})
        return Trusted(digest=found, kind="", name="", path="", trusted_at="", runtime="")
    return None


def record(model: Trusted, state_dir: Path) -> Path:
    """Record that a bundle is trusted. Returns the path of the record. Raises StorageError."""
    path = _record(state_dir, model.digest)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.parent.mkdir(exist_ok=True)
        new.write_text(json.dumps(asdict(model), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _give(path.parent, state_dir, 0o755)
        _give(new, state_dir, 0o644)
        new.replace(path)
    except OSError as e:
        with contextlib.suppress(OSError):
            new.unlink()
        reason = explain(e.errno or 0, e.strerror or str(e), path, "list of trusted models")
        raise StorageError(
            f"cannot record in {state_dir} that the model is trusted: {reason.why}", reason.hint
        ) from None
    return path


def _give(path: Path, state_dir: Path, mode: int) -> None:
    """Let the owner of the state folder, who is the user of the service, read what root has written."""
    path.chmod(mode)
    if os.geteuid() == 0:
        owner = state_dir.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _record(state_dir: Path, found: str) -> Path:
    return state_dir / FOLDER / f"{found.removeprefix('sha256:')}.json"
