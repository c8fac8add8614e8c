"""`gallery migrate`: templates of an old encoder are made anew by the present one, from captures that were kept.

Each person is stored in one transaction and is compared by the old template until then. So an interruption at any moment loses
nobody, and the same request continues.
"""

from __future__ import annotations

import time
from pathlib import Path

from edge_oneshot.control.responses import Migrated
from edge_oneshot.gallery.store import Enrolled
from edge_oneshot.model.bundle import FACE_ENCODER_UNTIL, find_bundle
from edge_oneshot.recognition.kept import from_bytes, remake
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Template

TIME_S = 3.0  # of one request: the loop looks at no frame meanwhile


def candidates(recognizer: Recognizer) -> tuple[dict[str, Enrolled], list[str]]:
    """The people without a template of the present encoder: those of whom captures are kept, by id, and the ids of the others."""
    gallery = recognizer.people.gallery
    kept = gallery.with_captures()
    found, others = {}, []
    for person in gallery.people():
        if all(t.encoder_id != recognizer.encoder_id for t in person.templates):
            identity_id = person.identity.identity_id
            if gallery.stored_as(identity_id) in kept:
                found[identity_id] = person
            else:
                others.append(identity_id)
    return found, others


def migrate(recognizer: Recognizer) -> Migrated:
    """Make templates anew for as many people as the time allows, one at least. Raises StorageError."""
    people, end = recognizer.people, time.monotonic() + TIME_S
    found, again = candidates(recognizer)
    done: list[str] = []
    left = 0
    for identity_id, person in found.items():
        if done and time.monotonic() > end:
            left += 1
            continue
        kept = people.gallery.captures_of(identity_id)
        made = {t.template_id: _remake(recognizer, t, kept.get(t.template_id)) for t in person.templates}
        templates = [t for t in made.values() if t is not None]
        if len(templates) < len(made):  # a person keeps all templates, for the day and for the night
            again.append(identity_id)
            continue
        captures = {t.template_id: kept[old] for old, t in made.items() if t is not None}
        people.gallery.add(person.identity, templates, replace=True, captures=captures)
        done.append(identity_id)
    if done:
        people.refresh(force=True)
    no_rate = tuple(i for i in done if i in people.no_rate)
    return Migrated(identities=done, left=left, needs_enrollment=sorted(again), no_rate=no_rate)


def _remake(recognizer: Recognizer, old: Template, kept: bytes | None) -> Template | None:
    if kept is None:
        return None
    try:
        return remake(recognizer.pipeline, old, from_bytes(kept))
    except ValueError:  # of a later release
        return None


def shipped_until(path: Path) -> str | None:
    """The date up to which releases contain this bundle; None for a bundle of your own."""
    found = {find_bundle(name, "encoder").resolve(): date for name, date in FACE_ENCODER_UNTIL.items()}
    return found.get(path.resolve())
