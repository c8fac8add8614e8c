"""The files of the state folder: whether they can be opened, and the rows that could not be read. Nothing is written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing

from edge_oneshot.config import Config
from edge_oneshot.doctor import Finding, fault, ok, warning
from edge_oneshot.errors import StorageError
from edge_oneshot.events.journal import SCHEMA as JOURNAL
from edge_oneshot.events.labels import SCHEMA as LABELS
from edge_oneshot.events.outbox import SCHEMA as OUTBOX
from edge_oneshot.events.pictures import SCHEMA as PICTURES
from edge_oneshot.gallery.door import SCHEMA as DOOR
from edge_oneshot.gallery.schema import SCHEMA as GALLERY
from edge_oneshot.gallery.seen import SCHEMA as SEEN
from edge_oneshot.gallery.site import SCHEMA as ADAPTATION
from edge_oneshot.storage.copy import Copy
from edge_oneshot.storage.keys import NO_KEYS, Keys

FIX = {
    "gallery": "`edge-oneshot gallery list` shows who needs to enroll again (enroll --replace); rename who lost the name",
    "outbox": "nothing to do: these events are kept in the file, and are not sent",
    "journal": "nothing to do: these records are kept in the file until a person is removed",
    "labels": "nothing to do: these answers are not counted",
    "visit pictures": "nothing to do: these pictures are not shown, and erased with the others",
    "door record": "nothing to do: these days are not counted",
    "record of last visits": "nothing to do: for these people the days of gallery.expire_days begin again",
    "adaptation": "nothing to do: the adaptation to this site begins again",
}


def check(config: Config) -> Iterator[Finding]:
    """One line for each file that can be read by this user."""
    c = config
    paths = [c.gallery_path, c.outbox_path, c.explain_path, c.labels_path, c.pictures_path, c.seen_path]
    paths += [c.door_path, c.adaptation_path]
    schemas = (GALLERY, OUTBOX, JOURNAL, LABELS, PICTURES, SEEN, DOOR, ADAPTATION)
    sound, sealed = [], Keys(config.key_path)
    for path, schema in zip(paths, schemas, strict=True):
        if not os.access(path, os.R_OK):
            continue
        keys = sealed if schema in (GALLERY, OUTBOX, JOURNAL, LABELS, SEEN) else NO_KEYS
        try:
            with closing(Copy(path, schema, keys=keys)) as copy:
                damaged = copy.count_set_aside()
        except StorageError as e:
            yield fault("files", e.message, e.hint)
            continue
        if damaged:
            rows = f"{damaged} row{'s' * (damaged != 1)}"
            yield warning(
                "files",
                f"{path}: {rows} could not be read and {'is' if damaged == 1 else 'are'} set aside",
                FIX[schema.kind],
            )
        else:
            sound.append(schema.kind)
    if sound:
        yield ok("files", f"{', '.join(sound)}: every row has its checksum")
