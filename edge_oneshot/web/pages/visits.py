"""Visits: what the cameras recorded, why each was reported as it was, who it was, and this door's error rates from that."""

from __future__ import annotations

from datetime import date
from itertools import groupby
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.responses import Response

from edge_oneshot.control import requests as rq
from edge_oneshot.control.review import RESULTS, Filter, Labelled
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.call import Call, safe_path
from edge_oneshot.web.cameras import PICTURE_S, Camera
from edge_oneshot.web.faults import FormError
from edge_oneshot.web.pages import enroll
from edge_oneshot.web.pages.tracks import Shown, why

ON_A_PAGE = 40
EXPLAINED = 4  # tracks of one visit, the last ones
PICTURES = 4  # of one visit


def show(call: Call, fault: EdgeOneshotError | None = None, status: int = 200) -> Response:
    lists, faults = {}, [] if fault is None else [fault]
    for camera in call.site.cameras.all:
        try:
            lists[camera.slug] = camera.visits()
        except EdgeOneshotError as e:
            faults.append(e)
    visits = [Shown(camera=slug, visit=v) for slug, found in lists.items() for v in found.visits]
    visits.sort(key=lambda v: v.visit.first_at, reverse=True)
    names, chosen = _names(call), _filter(call)
    of_camera = call.query("camera")
    found = [v for v in visits if chosen.passes(v.visit) and of_camera in ("", v.camera)]
    start = min(int(call.query("from")) if call.query("from").isdecimal() else 0, len(found))
    shown = found[start : start + ON_A_PAGE]
    return call.page(
        "visits.html",
        503 if faults and not visits else status,
        days=[(day, list(group)) for day, group in groupby(shown, key=lambda v: v.day)],
        total=len(found),
        kept=len(visits),
        names=names,
        people=sorted(names, key=lambda i: names[i].casefold()),
        chosen=chosen,
        chosen_camera=of_camera,
        results=RESULTS,
        explain=lambda visit: [why(t, call.site.words, names, call.owner) for t in visit.tracks[-EXPLAINED:]],
        older=_link(call, start + ON_A_PAGE) if start + ON_A_PAGE < len(found) else "",
        newer=_link(call, max(0, start - ON_A_PAGE)) if start else "",
        titles={c.slug: c.name for c in call.site.cameras.all},
        todo=sum(Filter(todo=True).passes(v.visit) for v in visits) if call.owner else 0,
        pictures={slug: v.pictures for slug, v in lists.items() if v.pictures is not None},
        most=PICTURES,
        opened=call.query("open"),
        here=_link(call, start) if call.request.method == "GET" else "/visits",
        fault=faults[0] if faults else None,
    )


def _names(call: Call) -> dict[str, str]:
    try:
        return {p.identity: p.name for p in call.site.cameras.ask(rq.List()).identities}
    except EdgeOneshotError:
        return {}


def _filter(call: Call) -> Filter:
    """An invalid value chooses nothing less."""
    try:
        day = date.fromisoformat(call.query("day"))
    except ValueError:
        day = None
    result = call.query("result") if call.query("result") in RESULTS else ""
    return Filter(person=call.query("person"), result=result, day=day, todo=call.owner and call.query("todo") == "yes")


def _link(call: Call, start: int) -> str:
    keys = ("person", "camera", "result", "day", "todo")
    query = {k: v for k, v in call.request.query_params.items() if k in keys and v}
    return f"/visits?{urlencode(query | ({'from': start} if start else {}))}"


# ---- who it was


def do_label(call: Call) -> Response:
    form, camera = call.form, call.site.cameras.find(call.form.get("camera", ""))
    who, visit = form.get("who", ""), form.get("visit", "")
    try:
        if who.startswith("id:"):
            request = rq.Label(visit=visit, who="person", person=who)
        elif who in ("stranger", "unclear", "none"):
            request = rq.Label(visit=visit, who=who)  # type: ignore[arg-type]
        else:
            raise FormError("visits.choose", "who")
        labelled = camera.ask(request)
    except FormError as e:
        return show(call, e, 422)
    camera.visits_changed()
    call.record(
        "visit named", f"{labelled.visit}: {labelled.label.identity or labelled.label.who if labelled.label else '-'}"
    )
    return call.go(_back(call, labelled.visit), _saved(labelled))


def _saved(labelled: Labelled) -> str:
    return "visits.unsaved" if labelled.label is None else "visits.saved" if labelled.counts else "visits.saved_outside"


def _back(call: Call, visit: str) -> str:
    """The list as it was, with this visit open."""
    path = safe_path(call.form.get("back", "/visits"))
    path = path if path.partition("?")[0] == "/visits" else "/visits"
    return f"{path}{'&' if '?' in path else '?'}{urlencode({'open': visit})}#v{urlencode({'': visit})[1:]}"


def do_enroll(call: Call) -> Response:
    """A template of the picture of a visit: of a new person, or one more of a person; both are checked first."""
    camera = call.site.cameras.find(call.form.get("camera", ""))
    jpeg = camera.ask(rq.VisitPicture(picture=call.form.get("picture", ""))).jpeg
    return enroll.check_picture(call, jpeg)


# ---- pictures


def picture(call: Call) -> Response:
    camera = call.site.cameras.find(call.query("camera"))
    try:
        jpeg = camera.ask(rq.VisitPicture(picture=call.query("picture"))).jpeg
    except EdgeOneshotError as e:
        raise HTTPException(404) from e
    return Response(jpeg, media_type="image/jpeg", headers={"content-disposition": "inline"})


def do_erase(call: Call) -> Response:
    """At every camera; a daemon that does not answer is named."""
    done, failed = call.site.cameras.each(_erase)
    call.record("pictures erased", str(sum(done)))
    notice = "visits.erased_partly" if failed else "visits.erased"
    return call.go("/visits", notice, n=sum(done), cameras=", ".join(failed))


def _erase(camera: Camera) -> int:
    return 0 if camera.visits().pictures is None else camera.ask(rq.ErasePictures(), PICTURE_S).erased


# ---- rates


def rates(call: Call) -> Response:
    camera = call.site.cameras.find(call.query("camera"))
    try:
        found: Any = camera.ask(rq.DoorRates())
    except EdgeOneshotError as e:
        return call.page("rates.html", 503, camera=camera, rates=None, fault=e)
    return call.page("rates.html", camera=camera, rates=found)
