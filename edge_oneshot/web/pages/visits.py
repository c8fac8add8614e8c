"""Visits: what the journals of the cameras recorded, with filters, and why each was reported as it was."""

from __future__ import annotations

from datetime import date
from itertools import groupby
from urllib.parse import urlencode

from starlette.responses import Response

from edge_oneshot.control import requests as rq
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.call import Call
from edge_oneshot.web.pages.tracks import RESULTS, Filter, Visit, people_in, visits_of, why

ON_A_PAGE = 40
EXPLAINED = 4  # tracks of one visit, the last ones


def show(call: Call) -> Response:
    visits, faults = [], []
    for camera in call.site.cameras.all:
        try:
            visits += visits_of(camera.slug, camera.tracks())
        except EdgeOneshotError as e:
            faults.append(e)
    names = _names(call)
    chosen = _filter(call)
    visits.sort(key=lambda v: v.last_at, reverse=True)
    found = [v for v in visits if chosen.passes(v)]
    start = min(int(call.query("from")) if call.query("from").isdecimal() else 0, len(found))
    shown = found[start : start + ON_A_PAGE]
    days = [(day, list(group)) for day, group in groupby(shown, key=lambda v: v.day)]
    people = sorted(people_in(visits) | set(names), key=lambda i: str(names.get(i, i)).casefold())
    return call.page(
        "visits.html",
        503 if faults and not visits else 200,
        days=days,
        total=len(found),
        kept=len(visits),
        names=names,
        people=people,
        chosen=chosen,
        results=RESULTS,
        explain=lambda visit: _why(call, visit, names),
        older=_link(call, start + ON_A_PAGE) if start + ON_A_PAGE < len(found) else "",
        newer=_link(call, max(0, start - ON_A_PAGE)) if start else "",
        titles={c.slug: c.name for c in call.site.cameras.all},
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
    return Filter(person=call.query("person"), camera=call.query("camera"), result=result, day=day)


def _why(call: Call, visit: Visit, names: dict[str, str]) -> list[list[str]]:
    return [why(track, call.site.words, names, call.owner) for track in visit.tracks[-EXPLAINED:]]


def _link(call: Call, start: int) -> str:
    query = {k: v for k, v in call.request.query_params.items() if k in ("person", "camera", "result", "day") and v}
    return f"/visits?{urlencode(query | {'from': start})}"
