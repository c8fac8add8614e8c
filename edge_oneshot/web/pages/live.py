"""Live: the camera's picture with boxes, names and hints, as server-sent events. It ends when the browser has gone."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from edge_oneshot.control.parts import ViewedFace
from edge_oneshot.control.responses import Viewed
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.call import Call, _sign_in
from edge_oneshot.web.cameras import FRAME_S, Camera
from edge_oneshot.web.words import Words

MOST_STREAMS = 8
RETRY_S = 3.0


def home(call: Call) -> Response:
    return call.go("/live")


def show(call: Call) -> Response:
    return call.page("live.html", camera=call.site.cameras.find(call.query("camera")))


def stream_route() -> Route:
    open_streams = 0

    async def stream(request: Request) -> Response:
        nonlocal open_streams
        call = Call(request=request, site=request.app.state.site)
        _sign_in(call)
        if call.account is None:
            return PlainTextResponse("", 401)
        if open_streams >= MOST_STREAMS:
            return PlainTextResponse(call.site.words("live.too_many"), 503)
        camera, words = call.site.cameras.find(call.query("camera")), call.site.words
        open_streams += 1

        async def events() -> AsyncIterator[str]:
            nonlocal open_streams
            try:
                while not await request.is_disconnected():
                    _sign_in(call)
                    if call.session is None or call.site.sessions.find(request.cookies[call.site.cookie]) is None:
                        return  # logged out meanwhile
                    started = asyncio.get_running_loop().time()
                    event = await run_in_threadpool(_event, camera, words)
                    yield f"data: {json.dumps(event)}\n\n"
                    pause_s = FRAME_S if "jpeg" in event else RETRY_S
                    await asyncio.sleep(max(0.0, started + pause_s - asyncio.get_running_loop().time()))
            finally:
                open_streams -= 1

        return StreamingResponse(events(), media_type="text/event-stream")

    stream.need = "viewer"  # type: ignore[attr-defined]
    return Route("/live/stream", stream, methods=["GET"])


def _event(camera: Camera, words: Words) -> dict[str, Any]:
    """What the browser shows: a frame with its faces and a hint, or a fault with its fix."""
    try:
        viewed = camera.view()
    except EdgeOneshotError as e:
        return {"fault": e.message, "fix": e.hint}
    faces = [
        {
            "box": face.box,
            "kind": face.decision if face.decision in ("match", "denied") else "poor" if face.faults else "unknown",
            "label": _label(face, words),
            "eyes": words("live.eyes", n=round(face.inter_eye_px)),
        }
        for face in viewed.faces
    ]
    state = words("state." + viewed.state) if "state." + viewed.state in words.keys else viewed.state
    jpeg = base64.b64encode(viewed.jpeg).decode("ascii")
    return {"jpeg": jpeg, "size": viewed.size, "faces": faces, "hint": hint(viewed, words), "state": state}


def _label(face: ViewedFace, words: Words) -> str:
    if face.denied is not None:
        return words("live.denied", name=face.denied.name)
    return face.name or words("live.poor" if face.faults else "live.unknown")


def hint(viewed: Viewed, words: Words) -> str:
    """One sentence: what the person in front of the camera can do."""
    if viewed.state == "enrolling":
        return words("live.hint_enrolling", hint=viewed.hint).rstrip()
    if viewed.state in ("paused", "camera_frozen", "camera_dark"):
        return words("live.hint_" + viewed.state)
    if not viewed.faces:
        return words("live.hint_nobody")
    first = viewed.faces[0]
    if first.faults:
        return words("live.hint_refused", hint=first.hint or first.faults[0])
    if first.to_enroll:
        return words("live.hint_enroll", hint=first.hint or first.to_enroll[0])
    if first.denied is not None:
        return words("live.hint_denied", name=first.denied.name, reason=words("denied." + first.denied.reason))
    if first.name is not None:
        return words("live.hint_match", name=first.name)
    return words("live.hint_good")
