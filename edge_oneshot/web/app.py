"""The application: its routes with the role that each needs, and the headers of every answer."""

from __future__ import annotations

import contextlib
import logging
from typing import Any

from anyio.to_thread import current_default_thread_limiter
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge_oneshot.web import api
from edge_oneshot.web.call import Call, _sign_in, route
from edge_oneshot.web.faults import FormError
from edge_oneshot.web.pages import account, backup, configuration, device, enroll, entry, live, people, visits
from edge_oneshot.web.site import STATIC, Site

log = logging.getLogger(__name__)

HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
THREADS = 16  # more than there are live views and sessions that work at once
NO_STORE = {"cache-control": "no-store"}
KEPT = {"cache-control": "public, max-age=31536000, immutable"}  # the address of a static file changes with its content


def routes() -> list[Route]:
    return [
        route("/", live.home, "viewer"),
        route("/pair", entry.pair, "anyone"),
        route("/pair", entry.do_pair, "anyone", post=True),
        route("/login", entry.login, "anyone"),
        route("/login", entry.do_login, "anyone", post=True),
        route("/logout", entry.do_logout, "viewer", post=True),
        route("/live", live.show, "viewer"),
        live.stream_route(),
        route("/people", people.show_all, "viewer"),
        route("/enroll", enroll.start, "owner"),
        route("/enroll", enroll.do_check, "owner", post=True, upload=True),
        route("/enroll/capture", enroll.do_capture, "owner", post=True),
        route("/enroll/picture", enroll.picture, "owner"),
        route("/enroll/store", enroll.do_store, "owner", post=True),
        route("/enroll/discard", enroll.do_discard, "owner", post=True),
        route("/people/{identity}", people.show_one, "viewer"),
        route("/people/{identity}/rename", people.do_rename, "owner", post=True),
        route("/people/{identity}/merge", people.do_merge, "owner", post=True),
        route("/people/{identity}/ignore", people.do_ignore, "owner", post=True),
        route("/people/{identity}/remove", people.remove, "owner"),
        route("/people/{identity}/remove", people.do_remove, "owner", post=True),
        route("/visits", visits.show, "viewer"),
        route("/visits/rates", visits.rates, "viewer"),
        route("/visits/picture", visits.picture, "viewer"),
        route("/visits/label", visits.do_label, "owner", post=True),
        route("/visits/enroll", visits.do_enroll, "owner", post=True),
        route("/visits/erase", visits.do_erase, "owner", post=True),
        route("/device", device.show, "viewer"),
        route("/device/log", device.log_tail, "owner"),
        route("/device/configuration", configuration.show, "owner"),
        route("/device/configuration", configuration.do_change, "owner", post=True),
        route("/device/backup", backup.show, "owner"),
        route("/device/backup", backup.do_backup, "owner", post=True),
        route("/device/restore", backup.do_restore, "owner", post=True, upload=True),
        route("/device/{action}", device.do_action, "owner", post=True),
        route("/account", account.show, "viewer"),
        route("/account/password", account.do_password, "viewer", post=True),
        route("/account/sessions", account.do_end_sessions, "viewer", post=True),
        route("/account/invite", account.do_invite, "owner", post=True),
        route("/account/remove", account.do_remove, "owner", post=True),
        *api.routes(),
        Route("/static/{name}", static, methods=["GET"]),
    ]


def static(request: Request) -> Response:
    """A file of the page's own. Its name is looked up in a list; no path is opened."""
    name = request.path_params["name"]
    if name not in STATIC:
        raise HTTPException(404)
    return Response(request.app.state.site.static[name], media_type=STATIC[name], headers=KEPT)


def make_app(site: Site) -> ASGIApp:
    app = Starlette(routes=routes(), exception_handlers={HTTPException: _http_fault, Exception: _defect}, debug=False)
    app.state.site = site
    return Guard(app, site)


async def _http_fault(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if api.serves(request):
        response = api.refuse(status, "no such address" if status == 404 else "this method is not allowed here")
    else:
        response = _fault_page(request, "fault.not_found" if status == 404 else "fault.method", status)
    response.headers.update(getattr(error, "headers", None) or {})  # Allow, with 405
    return response


async def _defect(request: Request, error: Exception) -> Response:
    """A defect of the page itself: the log gets the details, the browser does not."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    if api.serves(request):
        return api.refuse(500, "the page has a defect; its log has the details")
    return _fault_page(request, "fault.defect", 500)


def _fault_page(request: Request, key: str, status: int) -> Response:
    call = Call(request=request, site=request.app.state.site)
    with contextlib.suppress(Exception):  # what failed may be the log-in itself
        _sign_in(call)
    return call.page("fault.html", status, fault=FormError(key, ""))


class Guard:
    """Around everything: refuses foreign names in the Host header, and adds the security headers to each answer."""

    def __init__(self, app: ASGIApp, site: Site) -> None:
        self.app, self._site, self._limited = app, site, False
        self._headers = [(k.encode(), v.encode()) for k, v in HEADERS.items()]
        if site.secure:
            self._headers.append((b"strict-transport-security", b"max-age=31536000"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers: list[Any] = [h for h in message["headers"] if h[0].lower() != b"server"]
                if not any(h[0].lower() == b"cache-control" for h in headers):
                    headers += [(k.encode(), v.encode()) for k, v in NO_STORE.items()]
                message["headers"] = headers + self._headers
            await send(message)

        if not self._limited:  # each thread has memory of its own
            current_default_thread_limiter().total_tokens, self._limited = THREADS, True
        host = dict(scope["headers"]).get(b"host", b"").decode("latin-1").lower()
        if host_of(host) not in self._site.hosts:
            text = self._site.words("fault.host", host=host_of(host)[:80])
            await PlainTextResponse(text, 421)(scope, receive, send_with_headers)
            return
        await self.app(scope, receive, send_with_headers)


def host_of(header: str) -> str:
    """The name in a Host header, without the port and the brackets of an IPv6 address."""
    if header.startswith("["):
        return header[1:].partition("]")[0]
    return header.partition(":")[0]
