"""Enrollment: a picture is checked, look-alikes are named, and only a confirmation stores the template."""

from __future__ import annotations

import contextlib
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response

from edge_oneshot.control import requests as rq
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.call import MAX_PICTURE, Call
from edge_oneshot.web.cameras import PICTURE_S, Stopped
from edge_oneshot.web.drafts import Draft
from edge_oneshot.web.faults import FormError

WAYS = ("new", "add", "replace")


def start(call: Call) -> Response:
    """The form. ?id= and ?way= come from the page of a person who is enrolled already."""
    identity, way = call.query("id"), call.query("way")
    name = call.query("name") if not identity else call.site.cameras.ask(rq.Show(name=f"id:{identity}")).name
    return _form(call, name=name, way=way, identity=identity, camera=call.query("camera"))


def _form(
    call: Call, *, name: str, way: str, identity: str = "", camera: str = "", status: int = 200, **values: Any
) -> Response:
    return call.page(
        "enroll.html",
        status,
        name=name,
        way=way if way in WAYS else "new",
        identity=identity,
        camera=call.site.cameras.find(camera),
        **{"child": False, **values},
    )


def do_check(call: Call) -> Response:
    """The picture of the form, from a file or from the camera of the phone."""
    return check_picture(call, call.picture)


def do_capture(call: Call) -> Response:
    """The next frame of the camera at the door."""
    camera = call.site.cameras.find(call.form.get("camera", ""))
    try:
        picture = camera.ask(rq.Capture(timeout_s=5.0), 10.0).jpeg
    except EdgeOneshotError as e:
        return _refused(call, e)
    return check_picture(call, picture)


def check_picture(call: Call, picture: bytes) -> Response:
    """Check a picture as the form says (name, way, id), and ask for a confirmation. Nothing is stored."""
    name, way, identity = call.form.get("name", "").strip(), call.form.get("way", "new"), call.form.get("id", "")
    child = call.form.get("accept_no_rate") == "yes"
    draft = Draft(account=call.who, name=name, way=way, identity=identity, picture=picture, accept_no_rate=child)
    draft.visit, draft.camera = call.form.get("visit", ""), call.form.get("camera", "")
    try:
        if identity:
            draft.name = name = call.site.cameras.ask(rq.Show(name=f"id:{identity}")).name
        if not name:
            raise FormError("enroll.name_missing", "name")
        if way not in WAYS or (way == "new") == bool(identity):
            raise FormError("fault.form", "")
        if not picture:
            raise FormError("enroll.picture_missing", "picture")
        if len(picture) > MAX_PICTURE:
            raise FormError("enroll.picture_too_large", "picture", most=MAX_PICTURE // 1_000_000)
        _refuse_taken(call, name, way)
        found = call.site.cameras.ask(_request(draft, dry_run=True), PICTURE_S)
    except EdgeOneshotError as e:
        return _refused(call, e)
    call.site.drafts.keep(draft)
    return _confirm(call, draft, found)


def _refuse_taken(call: Call, name: str, way: str) -> None:
    known = {p.name.casefold(): p.name for p in call.site.cameras.ask(rq.List()).identities}
    if way == "new" and name.casefold() in known:
        raise FormError("enroll.name_taken", "name", name=known[name.casefold()])


def _refused(call: Call, fault: EdgeOneshotError) -> Response:
    form = call.form
    status = 503 if isinstance(fault, Stopped) else 422
    child = "no error rate" in fault.message
    return _form(
        call,
        name=form.get("name", ""),
        way=form.get("way", "new"),
        identity=form.get("id", ""),
        camera=form.get("camera", ""),
        status=status,
        fault=fault,
        child=child,
    )


def _request(draft: Draft, dry_run: bool = False) -> rq.Enroll:
    return rq.Enroll(
        name=draft.name,
        id=draft.identity or None,
        image=draft.picture,
        replace=draft.way == "replace",
        add=draft.way == "add",
        accept_no_rate=draft.accept_no_rate,
        dry_run=dry_run,
    )


def _confirm(call: Call, draft: Draft, found: Any, status: int = 200, **values: Any) -> Response:
    names = {p.identity: p.name for p in call.site.cameras.ask(rq.List()).identities}
    alike = found.look_alike
    return call.page(
        "confirm.html",
        status,
        draft=draft,
        found=found,
        other=None if alike is None else names.get(alike.identity, alike.identity),
        nearest=None if found.nearest is None else names.get(found.nearest.identity, found.nearest.identity),
        **values,
    )


def picture(call: Call) -> Response:
    """The picture that waits for its confirmation, to its own account."""
    draft = call.site.drafts.find(call.query("draft"), call.who)
    if draft is None or draft.kind is None:
        raise HTTPException(404)
    return Response(draft.picture, media_type=draft.kind, headers={"content-disposition": "inline"})


def do_store(call: Call) -> Response:
    draft = call.site.drafts.find(call.form.get("draft", ""), call.who)
    if draft is None:
        return _form(call, name=call.form.get("name", ""), way="new", status=422, fault=FormError("enroll.expired", ""))
    if other := call.form.get("other", ""):
        # "It is the same person": one more template of that person instead of a new one.
        draft.identity, draft.way = other, "add"
    try:
        with call.site.edits:
            if draft.identity:  # renamed meanwhile, perhaps
                draft.name = call.site.cameras.ask(rq.Show(name=f"id:{draft.identity}")).name
            _refuse_taken(call, draft.name, draft.way)
            stored = call.site.cameras.ask(_request(draft), PICTURE_S)
    except FormError as e:
        return _refused(call, e)
    call.site.drafts.drop(draft.token)
    call.record({"new": "enrolled", "add": "template added", "replace": "enrolled again"}[draft.way], stored.identity)
    if draft.visit:
        _answer(call, draft, stored.identity)
    return call.go(f"/people/{stored.identity}", f"enroll.stored_{draft.way}", name=stored.name)


def _answer(call: Call, draft: Draft, identity: str) -> None:
    """Who was enrolled from the picture of a visit was the visitor. The enrollment stands if the daemon refuses the answer."""
    camera = call.site.cameras.find(draft.camera)
    with contextlib.suppress(EdgeOneshotError):
        labelled = camera.ask(rq.Label(visit=draft.visit, who="person", person=f"id:{identity}"))
        call.record("visit named", f"{labelled.visit}: {identity}")
    camera.visits_changed()


def do_discard(call: Call) -> Response:
    draft = call.site.drafts.find(call.form.get("draft", ""), call.who)
    if draft is not None:
        call.site.drafts.drop(draft.token)
    return call.go("/people", "enroll.discarded")
