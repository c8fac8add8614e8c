"""Before and after: pairing with the code from the terminal, log-in, log-out."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from edge_oneshot.errors import StorageError
from edge_oneshot.web.accounts import Account
from edge_oneshot.web.call import FORM_COOKIE, KNOWN_S, Call, safe_path, set_cookie
from edge_oneshot.web.faults import FormError
from edge_oneshot.web.sessions import LIFE_S


def pair(call: Call) -> Response:
    return call.page("pair.html", first=not call.site.accounts.all)


def do_pair(call: Call) -> Response:
    form, first = call.form, not call.site.accounts.all
    address = f"pair {call.network}"
    try:
        _wait(call, call.site.throttle.wait_s(address))
        if form.get("password", "") != form.get("again", ""):
            raise FormError("pair.not_the_same", "again")
        account = call.site.accounts.pair(form.get("code", ""), form.get("name", ""), form.get("password", ""))
    except (FormError, StorageError) as e:
        if isinstance(e, FormError) and e.key == "pair.wrong_code":
            call.site.throttle.failed(address)
            call.record("wrong code")
        return call.page("pair.html", 422, fault=e, first=first)
    return _let_in(call, account, "paired", "/people")


def login(call: Call) -> Response:
    if call.account is not None:
        return call.go("/")
    if not call.site.accounts.all:
        return call.go("/pair")
    return call.page("login.html", next=safe_path(call.query("next")))


def do_login(call: Call) -> Response:
    name, next_path = call.form.get("name", "").strip().lower(), safe_path(call.form.get("next", "/"))
    keys = _limits(call, name[:64])
    try:
        _wait(call, call.site.throttle.begin(*keys))
        with call.site.hashing:  # each check takes 16 MiB and a good part of a second
            account = call.site.accounts.check(name, call.form.get("password", ""))
        if account is None:
            call.record("wrong password", name[:64])
            raise FormError("login.wrong", "password")
    except FormError as e:
        status = 429 if e.key == "login.wait" else 422
        return call.page("login.html", status, fault=e, next=next_path)
    call.site.throttle.succeeded(*keys)
    return _let_in(call, account, "log-in", next_path)


def _limits(call: Call, name: str) -> tuple[str, ...]:
    """What counts the wrong passwords. A browser that has logged in before has a count of its own: nobody else can use it up."""
    if call.site.accounts.knows(name, call.request.cookies.get(call.site.known_cookie, "")):
        return (f"known {name}",)
    return (f"login {call.network}", f"account {name}")


def do_logout(call: Call) -> Response:
    assert call.session is not None
    call.site.sessions.end(call.session)
    call.record("log-out")
    response = RedirectResponse("/login", 303)
    response.delete_cookie(call.site.cookie, path="/", secure=call.site.secure, httponly=True, samesite="strict")
    response.headers["clear-site-data"] = '"cache"'
    return response


def _wait(call: Call, wait_s: float) -> None:
    if wait_s > 0:
        raise FormError("login.wait", "password", n=round(wait_s) + 1)


def _let_in(call: Call, account: Account, what: str, path: str) -> Response:
    """A new session, whatever session the browser had before."""
    if call.session is not None:
        call.site.sessions.end(call.session)
    token = call.site.sessions.start(account, call.request.headers.get("user-agent", ""))
    call.account = account
    call.record(what)
    response = RedirectResponse(path, 303)
    set_cookie(call.site, response, call.site.cookie, token, LIFE_S)
    set_cookie(call.site, response, call.site.known_cookie, call.site.accounts.browser_token(account.name), KNOWN_S)
    response.delete_cookie(FORM_COOKIE, path="/", secure=call.site.secure, httponly=True, samesite="strict")
    return response
