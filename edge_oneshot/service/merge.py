"""The request `merge`: two people of the gallery who are one."""

from __future__ import annotations

import uuid
from dataclasses import replace

from edge_oneshot.control.requests import Merge
from edge_oneshot.control.responses import Merged
from edge_oneshot.errors import GalleryError
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import Identity


def merged(recognizer: Recognizer, request: Merge) -> tuple[Merged, Identity]:
    """Give the templates of one person to the other, and remove the first; the response, and who was removed.

    Raises GalleryError: the two do not match each other, and `force` is false; or there are too many templates.
    """
    people, references = recognizer.people, recognizer.references
    source, target = people.gallery.lookup(request.name), people.gallery.lookup(request.into)
    if source == target:
        raise GalleryError(f"{source.name!r} was not merged: expected two people, got one", "name two different people")
    moved = people.own(source)
    if not moved:
        raise GalleryError(
            f"{source.name!r} was not merged: expected templates of the current encoder, got none",
            "enroll the person again, or remove this entry",
        )
    scores = [references.score(target.identity_id, template.embedding) for template in moved]
    score = max((s for s in scores if s is not None), default=None)
    threshold = recognizer.threshold.value
    if (score is None or score < threshold) and not request.force:
        got = "none" if score is None else f"{score:.3f}"
        raise GalleryError(
            f"{source.name!r} was not merged into {target.name!r}: expected a score of {threshold:.3f} or more, got {got}: "
            "they do not match each other",
            "check that they are one person; --force (force in requests) merges them anyway",
        )
    # The ids of templates are unique, and both people exist for a moment: a failure in between loses nothing.
    copies = [replace(t, identity_id=target.identity_id, template_id=str(uuid.uuid4())) for t in moved]
    kept = people.gallery.captures_of(source.identity_id)  # without them `migrate` could not make the new ones anew
    captures = {c.template_id: kept[t.template_id] for c, t in zip(copies, moved, strict=True) if t.template_id in kept}
    people.add(target, copies, beside=True, captures=captures)
    if source.identity_id in people.access and target.identity_id not in people.access:
        people.set_access(target.identity_id, people.access[source.identity_id])  # a merge ends no one's rules
    people.remove(source.identity_id)
    response = Merged(
        identity=target.identity_id,
        name=target.name,
        removed=source.identity_id,
        moved=len(moved),
        templates=len(people.own(target)),
    )
    return response, source
