"""A support report: a tar archive with what finds a fault, and nothing personal.

Numbers, kinds and states are taken by name from structured sources. Texts are left out, or they are of this program and go
through a `Mask`. tests/unit/test_support_report.py plants names, keys, addresses and pictures, and looks for them.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from edge_oneshot import doctor
from edge_oneshot.config import Config
from edge_oneshot.control.client import ask
from edge_oneshot.control.requests import List
from edge_oneshot.doctor import BROKER_LIMIT_S, credentials, daemon, site
from edge_oneshot.doctor.mask import Mask, of_config, of_device, of_secrets
from edge_oneshot.errors import ConfigError, EdgeOneshotError, StorageError
from edge_oneshot.gallery.schema import SCHEMA as GALLERY
from edge_oneshot.gallery.store import GalleryView
from edge_oneshot.storage.copy import Copy
from edge_oneshot.storage.keys import Keys

LIMIT_S = 30.0  # for each part but `doctor`
README = """A report of edge-oneshot for its maintainers.

versions.json  the program, its packages, the system
config.json    which keys are set; values of numbers, switches and choices; no text
doctor.json    what `edge-oneshot doctor` found, with names, addresses and paths of this site replaced
health.json    the state of the running daemon, and its trends
tracks.json    counts of the last tracks: events, gates, scores
log.json       the last records of the service's log: the texts of the program without the values in them
files.json     sizes and modes of the files of the service; their disk
models.json    ids of the model bundles

It holds no template, name, identity, address, secret or picture. A part that could not be read says so.
"""


@contextmanager
def reserve(path: Path) -> Iterator[BinaryIO]:
    """A new file at `path` (0600); it is removed again if the `with` block raises. Raises StorageError, also if it exists."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise StorageError(f"cannot write {path}: it exists", "name a file that does not exist") from None
    except OSError as e:
        raise StorageError(f"cannot write {path}: {e.strerror}", "name a file in a folder that you may write") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except BaseException as e:
        path.unlink(missing_ok=True)
        if isinstance(e, OSError):
            raise StorageError(f"cannot write {path}: {e.strerror}", "free space, or name another disk") from None
        raise


def create(out: BinaryIO, parts: Mapping[str, bytes]) -> None:
    """Write the parts as a tar archive. Its entries name no user. Raises OSError."""
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for name, data in parts.items():
            entry = tarfile.TarInfo(f"edge-oneshot-support/{name}")
            entry.size, entry.mtime, entry.mode = len(data), int(time.time()), 0o600
            archive.addfile(entry, io.BytesIO(data))


def collect(
    config: Config | None, faults: ConfigError | None, probe_limit_s: float, say: Callable[[str], None]
) -> dict[str, bytes]:
    """File name -> content. config: None if it has `faults`. probe_limit_s: as doctor.examine. say: shows the progress.

    Every part has a time limit, and one that fails is replaced by its reason.
    """
    parts: dict[str, Any] = {"versions.json": limited(LIMIT_S, site.versions)}
    known = config or Config()
    mask = Mask([*of_device(known.state_dir), *_private(known)])
    if config is None:
        parts["config.json"] = {"faults": [] if faults is None else site.faulty_keys(faults)}
    else:
        parts["config.json"] = site.settings(config)
        say("running `doctor`, which takes up to two minutes")
        doctor_s = probe_limit_s + BROKER_LIMIT_S + LIMIT_S
        parts["doctor.json"] = limited(doctor_s, lambda: [f.as_dict() for f in doctor.examine(config, probe_limit_s)])
        say("reading state, log and files")
        parts["health.json"] = limited(LIMIT_S, lambda: site.health(config))
        parts["tracks.json"] = limited(LIMIT_S, lambda: site.tracks(config))
        parts["models.json"] = limited(LIMIT_S, lambda: site.models(config))
    parts["log.json"] = limited(LIMIT_S, site.log)
    parts["files.json"] = limited(LIMIT_S, lambda: site.files(known))
    texts = {name: json.dumps(part if name == "versions.json" else mask.values(part), indent=1, ensure_ascii=False)
             for name, part in parts.items()}  # fmt: skip
    return {"README.txt": README.encode()} | {name: (text + "\n").encode() for name, text in texts.items()}


def limited(seconds: float, work: Callable[[], Any]) -> Any:
    """The result of `work`, or {"failed": why}. A thread that takes longer ends with the process."""
    result: list[Any] = []

    def run() -> None:
        try:
            result.append(work())
        except Exception as e:  # any part may fail on a device that has a fault; the text may quote anything
            result.append({"failed": type(e).__name__})

    thread = threading.Thread(target=run, name="support report", daemon=True)
    thread.start()
    thread.join(seconds)
    return result[0] if result else {"failed": f"no answer within {seconds:g} s"}


def _private(config: Config) -> list[tuple[str, str]]:
    paths = [path for path in credentials.files(config) if path != config.path]
    secrets = of_secrets([*paths, config.key_path])
    found = [*of_config(config), *secrets]
    people = limited(LIMIT_S, lambda: _people(config))
    return found + [(word, "person") for word in people if isinstance(people, list)]


def _people(config: Config) -> list[str]:
    """Names and ids of the enrolled people, as far as this user may know them."""
    try:
        answer = ask(config.socket_path, List(), lambda text: None, daemon.ANSWER_LIMIT_S)
    except EdgeOneshotError:
        answer = None
    if answer is not None:
        return [word for person in answer.identities for word in (person.identity, person.name)]
    if not os.access(config.gallery_path, os.R_OK):
        return []
    with closing(Copy(config.gallery_path, GALLERY, keys=Keys(config.key_path))) as copy:
        return [word for i in GalleryView(copy).identities() for word in (i.identity_id, i.name)]
