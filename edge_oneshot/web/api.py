"""The HTTP interface for programs: identify and verify a picture, metrics, and the OpenAPI description of all this.

A program sends its token as `Authorization: Bearer …`. No cookie is read here, so no form of another site can use it. Responses
are those of the control socket (control/responses.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from edge_oneshot.control import requests as rq
from edge_oneshot.control.codec import MAX_TEXT, to_json
from edge_oneshot.errors import AcquisitionError, CameraError, EdgeOneshotError, GalleryError
from edge_oneshot.web.accounts import Scope, Token
from edge_oneshot.web.call import FORM_S, MAX_PICTURE, MIN_BYTES_PER_S, network_of
from edge_oneshot.web.cameras import PICTURE_S, Stopped
from edge_oneshot.web.site import Site

KINDS = ("image/jpeg", "image/png", "image/webp", "application/octet-stream")
METRICS_KIND = "text/plain; version=0.0.4; charset=utf-8"
# Which failure of the request itself gives which status; a token and a limit come before.
STATUS: tuple[tuple[type[EdgeOneshotError], int], ...] = (
    (GalleryError, 404),
    (AcquisitionError, 422),
    (CameraError, 422),
    (Stopped, 503),
)
Handler = Callable[[Request, Site, Token | None], Response]


def routes() -> list[Route]:
    return [
        _route("/api/identify", _identify, "api", post=True),
        _route("/api/verify", _verify, "api", post=True),
        _route("/api/openapi.json", _description, "api"),
        _route("/metrics", _metrics, "metrics"),
    ]


def serves(request: Request) -> bool:
    """Whether a program asked, not a browser: errors are JSON then."""
    return request.url.path == "/metrics" or request.url.path.startswith("/api/")


def refuse(status: int, error: str, hint: str = "", headers: dict[str, str] | None = None, **more: Any) -> Response:
    return JSONResponse({"error": error, "hint": hint, "faults": [], **more}, status, headers)


def _route(path: str, handler: Handler, scope: Scope, *, post: bool = False) -> Route:
    """scope: what the token must allow; `api` allows all."""

    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        token, refusal = await run_in_threadpool(_admit, request, site, scope)
        if refusal is not None:
            return refusal
        if not post:
            return await run_in_threadpool(handler, request, site, token)
        if not site.pictures.acquire(blocking=False):  # each takes memory
            return refuse(429, "too many pictures at the same time", "wait", {"retry-after": "1"})
        try:
            request.state.picture = await _body(request)
            return await run_in_threadpool(handler, request, site, token)
        except _Refusal as e:
            return e.response
        finally:
            site.pictures.release()

    endpoint.need = "token"  # type: ignore[attr-defined]
    return Route(path, endpoint, methods=["POST" if post else "GET"])


class _Refusal(Exception):
    def __init__(self, response: Response) -> None:
        self.response = response


def _admit(request: Request, site: Site, scope: Scope) -> tuple[Token | None, Response | None]:
    """The token, or why it is refused."""
    address = "" if request.client is None else request.client.host
    given = request.headers.get("authorization")
    kind, _, secret = (given or "").partition(" ")
    token = site.accounts.token(secret.strip()) if kind.lower() == "bearer" else None
    if token is None:
        if given is not None:  # a program with the right token at the same address is not slowed down
            if (wait_s := site.throttle.begin(f"token {network_of(address)}")) > 0:
                return None, _later("too many wrong tokens", wait_s)
            site.audit.seldom("wrong token", "", address, request.url.path)
        error = "a token is required" if given is None else "this token is not valid: it was revoked, or it is wrong"
        hint = "send Authorization: Bearer TOKEN; `edge-oneshot web token NAME` makes one"
        return None, refuse(401, error, hint, {"www-authenticate": "Bearer"})
    if token.scope not in (scope, "api"):
        site.audit.seldom("refused", token.name, address, request.url.path)
        return None, refuse(403, f"the token {token.name} is for metrics only", "make one with --scope api")
    if (wait_s := site.pace.wait_s(token.name)) > 0:
        return None, _later("too many requests with this token", wait_s)
    return token, None


def _later(error: str, wait_s: float) -> Response:
    return refuse(429, error, f"wait {wait_s:.0f} s", {"retry-after": str(int(wait_s) + 1)})


async def _body(request: Request) -> bytes:
    """The picture. Raises _Refusal."""
    headers = request.headers
    length, kind = headers.get("content-length", ""), headers.get("content-type", "").split(";")[0].strip().lower()
    if "transfer-encoding" in headers or not length.isdecimal():
        raise _Refusal(refuse(411, "expected a Content-Length", "send the picture in one piece, not in chunks"))
    if int(length) > MAX_PICTURE:
        fix = "send a smaller picture; 1600 px on the longer side are enough"
        raise _Refusal(refuse(413, f"expected at most {MAX_PICTURE} bytes, got {length}", fix))
    if kind not in KINDS:
        raise _Refusal(
            refuse(415, f"Content-Type: expected one of {', '.join(KINDS)}", "send the bytes of the picture")
        )
    picture = bytearray()
    try:
        async with asyncio.timeout(FORM_S + int(length) / MIN_BYTES_PER_S):
            async for part in request.stream():
                picture += part
    except (TimeoutError, ClientDisconnect):
        raise _Refusal(refuse(408, "the picture did not arrive in time", "send it again")) from None
    if not picture:
        raise _Refusal(refuse(422, "the picture is empty", "send the bytes of a JPEG or PNG file"))
    return bytes(picture)


def _identify(request: Request, site: Site, token: Token | None) -> Response:
    return _ask(request, site, token, rq.Identify(image=request.state.picture))


def _verify(request: Request, site: Site, token: Token | None) -> Response:
    name = request.query_params.get("name", "")
    if not 0 < len(name) <= MAX_TEXT:
        return refuse(
            400, f"name: expected text of 1 to {MAX_TEXT} characters in the query", "add ?name=… of the person"
        )
    return _ask(request, site, token, rq.Verify(name=name, image=request.state.picture))


def _ask(request: Request, site: Site, token: Token | None, wanted: rq.Request[Any]) -> Response:
    assert token is not None and request.client is not None
    site.audit.seldom(wanted.verb, f"token {token.name}", request.client.host, "")
    try:
        return JSONResponse(to_json(site.cameras.ask(wanted, PICTURE_S)))
    except EdgeOneshotError as e:
        status = next((status for kind, status in STATUS if isinstance(e, kind)), 502)
        faults = [str(getattr(f, "message", f)) for f in getattr(e, "faults", ())]
        return refuse(status, e.message, e.hint, faults=faults)


def _description(request: Request, site: Site, token: Token | None) -> Response:
    from edge_oneshot.web.openapi import document

    return JSONResponse(document())


def _metrics(request: Request, site: Site, token: Token | None) -> Response:
    from edge_oneshot.web.metrics import metrics

    return PlainTextResponse(metrics(site.cameras.all), headers={"content-type": METRICS_KIND})
