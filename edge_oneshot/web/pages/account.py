"""The account: password, browsers that are logged in; for owners also the other accounts and the audit log."""

from __future__ import annotations

from starlette.responses import Response

from edge_oneshot.errors import EdgeOneshotError, StorageError
from edge_oneshot.web.accounts import ROLES
from edge_oneshot.web.call import KNOWN_S, Call, set_cookie
from edge_oneshot.web.faults import FormError

ENTRIES = 40


def show(call: Call, fault: EdgeOneshotError | None = None, code: str = "", role: str = "") -> Response:
    site = call.site
    return call.page(
        "account.html",
        422 if fault else 200,
        fault=fault,
        form={},
        sessions=site.sessions.of(call.who),
        session=call.session,
        accounts=site.accounts.all if call.owner else [],
        entries=site.audit.last(ENTRIES) if call.owner else [],
        code=code,
        role=role,
        roles=ROLES,
    )


def do_password(call: Call) -> Response:
    form, site = call.form, call.site
    key = f"password {call.who}"
    try:
        if (wait_s := site.throttle.begin(key)) > 0:
            raise FormError("login.wait", "before", n=round(wait_s) + 1)
        with site.hashing:
            right = site.accounts.check(call.who, form.get("before", ""))
        if right is None:
            raise FormError("account.wrong_password", "before")
        site.throttle.succeeded(key)
        if form.get("password", "") != form.get("again", ""):
            raise FormError("pair.not_the_same", "again")
        site.accounts.set_password(call.who, form.get("password", ""))
    except (FormError, StorageError) as e:
        return show(call, e)
    call.record("password changed")
    account = site.accounts.find(call.who)
    assert account is not None and call.session is not None
    call.session.stamp = account.stamp  # this browser stays; all others must log in again
    response = call.go("/account", "account.password_changed")
    set_cookie(site, response, site.known_cookie, site.accounts.browser_token(call.who), KNOWN_S)
    return response


def do_end_sessions(call: Call) -> Response:
    """End the session with this number, or all but the present one."""
    number = call.form.get("number", "")
    ended = call.site.sessions.end_where(
        lambda s: s.account == call.who and s is not call.session and number in (s.number, "")
    )
    call.record("sessions ended", str(ended))
    return call.go("/account", "account.sessions_ended", n=ended)


def do_invite(call: Call) -> Response:
    role = call.form.get("role", "")
    if role not in ROLES:
        return show(call, FormError("fault.form", ""))
    try:
        code = call.site.accounts.new_code(role)
    except StorageError as e:
        return show(call, e)
    call.record("code made", role)
    return show(call, code=code, role=role)


def do_remove(call: Call) -> Response:
    name = call.form.get("account", "")
    try:
        call.site.accounts.remove(name)
    except (FormError, StorageError) as e:
        return show(call, e)
    call.record("account removed", name)
    return call.go("/account", "account.removed", name=name)
