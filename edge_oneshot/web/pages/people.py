"""People: the list, one person, rename, remove."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from edge_oneshot.control import requests as rq
from edge_oneshot.errors import EdgeOneshotError, GalleryError
from edge_oneshot.web.call import Call
from edge_oneshot.web.faults import FormError


def show_all(call: Call) -> Response:
    try:
        people = call.site.cameras.ask(rq.List()).identities
        alike, fault = _alike(call), None
    except EdgeOneshotError as e:
        return call.page("people.html", 503, people=None, alike={}, seen={}, fault=e)
    return call.page("people.html", people=people, alike=alike, seen=last_seen(call), fault=fault)


def _alike(call: Call) -> dict[str, list[str]]:
    """identity -> the people who would match as well."""
    found: dict[str, list[str]] = {}
    for pair in call.site.cameras.ask(rq.Check(), 30.0).look_alikes:
        for identity in pair.identities:
            found.setdefault(identity, []).extend(i for i in pair.identities if i != identity)
    return found


def last_seen(call: Call) -> dict[str, str]:
    """identity -> when a match was last reported, RFC 3339. Without the cameras whose daemon does not run."""
    seen: dict[str, str] = {}
    for camera in call.site.cameras.all:
        try:
            visits = camera.visits().visits
        except EdgeOneshotError:
            continue
        for visit in visits:
            if visit.identity is not None:
                seen[visit.identity] = max(seen.get(visit.identity, ""), visit.last_at)
    return seen


def show_one(call: Call) -> Response:
    return one(call, call.request.path_params["identity"])


def one(call: Call, identity: str, status: int = 200, **values: Any) -> Response:
    """The page of one person. values: a fault and the form that it concerns."""
    person = call.site.cameras.ask(rq.Show(name=f"id:{identity}"))
    values = {"tried": "", **values}
    return call.page(
        "person.html",
        status,
        person=person,
        alike=_alike(call).get(person.identity, []),
        seen=last_seen(call).get(person.identity),
        others=[p for p in call.site.cameras.ask(rq.List()).identities if p.identity != person.identity],
        **values,
    )


def unchanged(call: Call, identity: str) -> None:
    """Raises FormError if the person is not as the form showed: renamed, enrolled again or removed meanwhile."""
    before = call.form.get("before", "")
    person = call.site.cameras.ask(rq.Show(name=f"id:{identity}"))
    if mark(person) != before:
        raise FormError("people.changed", "to", name=person.name, templates=person.templates)


def mark(person: Any) -> str:
    """What a form shows of a person, to recognize a change."""
    return f"{person.templates}|{person.created_at}|{person.name}"


def do_rename(call: Call) -> Response:
    identity, to = call.request.path_params["identity"], call.form.get("to", "").strip()
    try:
        if not to:
            raise FormError("people.name_missing", "to")
        with call.site.edits:
            unchanged(call, identity)
            _refuse_taken(call, identity, to)
            renamed = call.site.cameras.ask(rq.Rename(name=f"id:{identity}", to=to))
    except (FormError, GalleryError) as e:
        return one(call, identity, 422, fault=e, tried=to)
    call.record("renamed", f"{identity}: {renamed.before} -> {renamed.name}")
    return call.go(f"/people/{identity}", "people.renamed", before=renamed.before, name=renamed.name)


def _refuse_taken(call: Call, identity: str, name: str) -> None:
    for other in call.site.cameras.ask(rq.List()).identities:
        if other.identity != identity and other.name.casefold() == name.casefold():
            raise FormError("people.name_taken", "to", name=other.name)


def do_merge(call: Call) -> Response:
    """This person is another one, who is enrolled as well."""
    identity, into = call.request.path_params["identity"], call.form.get("into", "")
    try:
        if not into.startswith("id:"):
            raise FormError("people.merge_choose", "into")
        with call.site.edits:
            unchanged(call, identity)
            merged = call.site.cameras.ask(rq.Merge(name=f"id:{identity}", into=into))
    except (FormError, GalleryError) as e:
        return one(call, identity, 422, fault=e)
    call.record("merged", f"{merged.removed} into {merged.identity}")
    return call.go(f"/people/{merged.identity}", "people.merged", name=merged.name, n=merged.templates)


def do_ignore(call: Call) -> Response:
    """At every camera; a daemon that does not answer is named."""
    identity, on = call.request.path_params["identity"], call.form.get("on") == "yes"
    done, failed = call.site.cameras.each(lambda camera: camera.ask(rq.Ignore(name=f"id:{identity}", on=on)))
    call.record("ignored" if on else "no longer ignored", identity)
    whole, partly = (
        ("people.ignored", "people.ignored_partly") if on else ("people.not_ignored", "people.not_ignored_partly")
    )
    return call.go(f"/people/{identity}", partly if failed else whole, name=done[0].name, cameras=", ".join(failed))


def remove(call: Call) -> Response:
    person = call.site.cameras.ask(rq.Show(name=f"id:{call.request.path_params['identity']}"))
    return call.page("remove.html", person=person)


def do_remove(call: Call) -> Response:
    identity = call.request.path_params["identity"]
    try:
        with call.site.edits:
            unchanged(call, identity)
            removed = call.site.cameras.ask(rq.Forget(name=f"id:{identity}"))
    except FormError as e:
        return one(call, identity, 422, fault=e)
    call.record("removed", f"{removed.identity} ({removed.name})")
    return call.go("/people", "people.removed", name=removed.name)
