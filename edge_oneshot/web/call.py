"""One request to the page: who sent it, its form, and the answers it may get. `route` checks everything before a handler."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote, urlencode

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.accounts import Account
from edge_oneshot.web.cameras import Stopped
from edge_oneshot.web.faults import FormError
from edge_oneshot.web.sessions import Session
from edge_oneshot.web.site import Site

MAX_PICTURE = 20_000_000  # bytes
MAX_BODY = MAX_PICTURE + 100_000
MAX_FORM = 20_000  # of a form without a file
FORM_S, MIN_BYTES_PER_S = 10.0, 100_000  # the time for a body; a slower browser is refused
MultiPartParser.spool_max_size = MAX_BODY  # an upload stays in memory: no picture is written to a disk
FORM_COOKIE = "form"
KNOWN_S = 365 * 86400.0  # for which a browser keeps the token that says that it has logged in before
Need = Literal["anyone", "viewer", "owner"]


class UploadTooLarge(EdgeOneshotError):
    pass


@dataclass(slots=True, kw_only=True)
class Call:
    """account, session: None on the pages before the log-in. form: the texts of a form. picture: the file in it, or b""."""

    request: Request
    site: Site
    account: Account | None = None
    session: Session | None = None
    form: dict[str, str] = field(default_factory=dict)
    picture: bytes = b""
    form_token: str = ""

    @property
    def owner(self) -> bool:
        return self.account is not None and self.account.role == "owner"

    @property
    def who(self) -> str:
        """The name of the account; "" before the log-in."""
        return "" if self.account is None else self.account.name

    @property
    def address(self) -> str:
        return "" if self.request.client is None else self.request.client.host

    @property
    def network(self) -> str:
        return network_of(self.address)

    def query(self, name: str) -> str:
        return self.request.query_params.get(name, "")[:200]

    def page(self, template: str, status: int = 200, **values: Any) -> Response:
        """A page. fault: an EdgeOneshotError to show above it."""
        notice = ""
        if self.session is not None:
            notice, self.session.notice = self.session.notice, ""
            csrf = self.session.csrf
        else:
            csrf = self.form_token
        fault = values.pop("fault", None)
        html = self.site.templates.get_template(template).render(
            account=self.account,
            owner=self.owner,
            csrf=csrf,
            notice=notice,
            path=self.request.url.path,
            form=values.pop("form", self.form),
            fault=None if fault is None else self.words_of(fault),
            field=getattr(fault, "field", ""),
            max_picture=MAX_PICTURE,
            **values,
        )
        response = HTMLResponse(html, status)
        if self.session is None:
            set_cookie(self.site, response, FORM_COOKIE, csrf, 3600)
        return response

    def words_of(self, fault: EdgeOneshotError) -> dict[str, Any]:
        """What failed, the reasons, and the fix, as sentences."""
        if isinstance(fault, FormError):
            return {"message": self.site.words(fault.key, **fault.values), "reasons": [], "hint": ""}
        reasons = [str(getattr(f, "message", f)) for f in getattr(fault, "faults", ())]
        return {
            "message": _sentence(fault.message),
            "reasons": list(map(_sentence, reasons)),
            "hint": _sentence(fault.hint),
        }

    def go(self, path: str, notice: str = "", **values: object) -> Response:
        """Load another page next. notice: key of the sentence that it shows once."""
        if notice and self.session is not None:
            self.session.notice = self.site.words(notice, **values)
        return RedirectResponse(path, 303)

    def record(self, what: str, about: str = "") -> None:
        self.site.audit.add(what, self.who, self.address, about)

    def refused(self, about: str) -> None:
        """Record a refusal; of an account alone, since strangers could fill the log."""
        if self.account is not None:
            self.site.audit.refused(self.who, self.address, about)


def network_of(address: str) -> str:
    """The address, for limits: of IPv6 the first 64 bits, since one device has as many addresses as it wants."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def _sentence(text: str) -> str:
    """With a capital letter, unless it begins with a key of the configuration or a path."""
    first = text.partition(" ")[0]
    return text if "." in first.rstrip(".") else text[:1].upper() + text[1:]


def set_cookie(site: Site, response: Response, name: str, value: str, seconds: float) -> None:
    response.set_cookie(
        name, value, max_age=round(seconds), path="/", secure=site.secure, httponly=True, samesite="strict"
    )


Handler = Callable[[Call], Response]


def route(path: str, handler: Handler, need: Need, *, post: bool = False, upload: bool = False) -> Route:
    """A route for GET, or for POST. need: the least role. upload: a picture may be in the form.

    A POST must come from a page of this site, and carry the token of the session.
    """

    async def endpoint(request: Request) -> Response:
        site: Site = request.app.state.site
        call = Call(request=request, site=site)
        _sign_in(call)
        if need != "anyone" and call.account is None:
            return _to_log_in(call)
        if need == "owner" and not call.owner:
            call.refused(path)
            return call.page("fault.html", 403, fault=FormError("fault.owners_only", ""))
        try:
            if post and (refusal := await _read_form(call, MAX_BODY if upload else MAX_FORM)) is not None:
                return call.page("fault.html", 403, fault=refusal)
            return await run_in_threadpool(handler, call)
        except UploadTooLarge as e:
            return call.page("fault.html", 413, fault=e)
        except EdgeOneshotError as e:
            # A form that met a fault of the daemon is shown again, to be sent once more: nothing that was typed is lost.
            # But no password is sent back.
            again = post and "password" not in call.form
            return call.page("again.html" if again else "fault.html", 503 if isinstance(e, Stopped) else 502, fault=e)

    endpoint.need = need  # type: ignore[attr-defined]
    return Route(path, endpoint, methods=["POST" if post else "GET"])


def _sign_in(call: Call) -> None:
    """Find the session and its account; both stay None if the session is over or the password has changed."""
    site, cookies = call.site, call.request.cookies
    token = cookies.get(FORM_COOKIE, "")
    call.form_token = token if len(token) == 32 else secrets.token_urlsafe(24)
    session = site.sessions.find(cookies[site.cookie]) if site.cookie in cookies else None
    if session is None:
        return
    account = site.accounts.find(session.account)
    if account is None or account.stamp != session.stamp:
        site.sessions.end(session)
        return
    call.session, call.account = session, account


def _to_log_in(call: Call) -> Response:
    if not call.site.accounts.all:
        return RedirectResponse("/pair", 303)
    wanted = call.request.url.path if call.request.method == "GET" else "/"
    return RedirectResponse("/login" if wanted == "/" else f"/login?{urlencode({'next': wanted})}", 303)


async def _read_form(call: Call, most: int) -> FormError | None:
    """Read the form; why it is refused, or None. Raises UploadTooLarge."""
    headers = call.request.headers
    length = headers.get("content-length", "")
    # In chunks more may arrive than the length says: the server does not compare them.
    if "transfer-encoding" in headers or not length.isdecimal() or int(length) > most:
        raise UploadTooLarge(
            f"the upload was refused: expected at most {MAX_PICTURE // 1_000_000} MB, got more",
            "go back and choose a smaller picture, or one that the camera of the phone takes now",
        )
    if not _same_origin(headers):
        call.refused("another origin")
        return FormError("fault.origin", "")
    try:
        async with (
            asyncio.timeout(FORM_S + int(length) / MIN_BYTES_PER_S),
            call.request.form(max_files=1, max_fields=20, max_part_size=MAX_FORM) as form,
        ):
            for name, value in form.items():
                if isinstance(value, UploadFile):
                    call.picture = await value.read()
                else:
                    call.form[name] = value[:1000].encode().decode()  # no half of a surrogate pair
    except (HTTPException, UnicodeError, TimeoutError, ClientDisconnect):
        return FormError("fault.form", "")
    expected = call.session.csrf if call.session is not None else call.request.cookies.get(FORM_COOKIE, "")
    given = call.form.pop("csrf", "")
    if not expected or not hmac.compare_digest(given.encode(), expected.encode()):
        call.refused("token")
        return FormError("fault.token", "")
    return None


def _same_origin(headers: Mapping[str, str]) -> bool:
    """Whether a page of this site sent the form, by what the browser states. Programs without a browser state nothing."""
    if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        return False
    origin = headers.get("origin")
    return origin is None or origin.split("://")[-1] == headers.get("host", "")


def safe_path(path: str) -> str:
    """A path of this site to go on to; "/" for anything else."""
    ok = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return quote(path, safe="/?=&-_.%") if ok else "/"
