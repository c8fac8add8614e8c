"""The request `import`: people of an exported file."""

from __future__ import annotations

from itertools import count

from edge_oneshot.control.requests import Import
from edge_oneshot.control.responses import Imported
from edge_oneshot.gallery.archive import from_document
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import system
from edge_oneshot.types import Identity

EVERY = 100  # people; ten thousand take seconds, on a small device half a minute


def imported(recognizer: Recognizer, request: Import) -> tuple[Imported, list[Identity]]:
    """Store all people of a document, or none; the response, and who was stored. Raises GalleryError, StorageError."""
    people, steps = recognizer.people, count(1)

    def progress() -> None:
        if next(steps) % EVERY == 0:
            system.notify("WATCHDOG=1")

    persons = from_document(request.document, progress)
    if request.missing:
        persons = [p for p in persons if p.identity.identity_id not in people.names]
    for person in persons:
        for template in person.templates:
            people.check(template)
    rules = {p.identity.identity_id: p.access for p in persons if p.access}
    people.add_all(
        [(p.identity, p.templates) for p in persons], replace=request.replace, access=rules, progress=progress
    )
    identities = [p.identity.identity_id for p in persons]
    compared = {i for part in people.parts for i in part.identity_ids}
    response = Imported(
        identities=identities,
        needs_enrollment=[i for i in identities if i not in compared],
        old_templates=[i for i in identities if i in people.old],
        no_rate=tuple(i for i in identities if i in people.no_rate),
    )
    return response, [p.identity for p in persons]
