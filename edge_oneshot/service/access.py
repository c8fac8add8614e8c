"""Access rules in requests: setting them, and what a person's entry shows of them."""

from __future__ import annotations

from typing import Any

from edge_oneshot.control.access import AccessSet, SetAccess
from edge_oneshot.errors import ControlError
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.types import AccessRules
from edge_oneshot.types.access import rules_from_json


def set_access(recognizer: Recognizer, request: SetAccess) -> AccessSet:
    """Raises ControlError for rules that cannot be read, GalleryError for a person who is not enrolled."""
    try:
        rules = rules_from_json(request.access)
    except ValueError as e:
        raise ControlError(f"set-access: {e}", "see docs/how-to/access-rules.md") from None
    people = recognizer.people
    person = people.gallery.lookup(request.name)
    people.set_access(person.identity_id, rules)
    return AccessSet(identity=person.identity_id, name=person.name, **shown(recognizer, person.identity_id))


def shown(recognizer: Recognizer, identity_id: str) -> dict[str, Any]:
    """The fields `access` and `denied` of a response."""
    rules: AccessRules | None = recognizer.people.access.get(identity_id)
    refusal = recognizer.refusal(identity_id)
    return {"access": rules.to_json() if rules else None, "denied": None if refusal is None else refusal.reason.value}
