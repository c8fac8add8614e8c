"""Backup and restore of the enrolled people: the file of `gallery export`, encrypted to a passphrase. Nothing is written to a disk."""

from __future__ import annotations

import json
from datetime import date
from types import ModuleType

from starlette.responses import Response

from edge_oneshot.control import requests as rq
from edge_oneshot.errors import EdgeOneshotError, GalleryError
from edge_oneshot.text_file import parse_json
from edge_oneshot.web.call import Call
from edge_oneshot.web.cameras import PICTURE_S
from edge_oneshot.web.faults import FormError

KIND = "application/json"


def _envelope() -> ModuleType:
    """Imported when it is used: what encrypts needs memory."""
    import edge_oneshot.gallery.envelope

    return edge_oneshot.gallery.envelope


def show(call: Call, fault: EdgeOneshotError | None = None) -> Response:
    envelope = _envelope()
    available = envelope.available()
    return call.page(
        "backup.html", 422 if fault else 200, fault=fault, available=available, least=envelope.MIN_PASSPHRASE
    )


def do_backup(call: Call) -> Response:
    """The file, as a download."""
    envelope = _envelope()
    form = call.form
    try:
        if not envelope.available():
            raise FormError("backup.no_cryptography", "")
        if form.get("password", "") != form.get("again", ""):
            raise FormError("pair.not_the_same", "again")
        document = call.site.cameras.ask(rq.Export(), PICTURE_S).document
        with call.site.hashing:
            sealed = envelope.for_passphrase(document, form.get("password", ""))
    except EdgeOneshotError as e:
        return show(call, e)
    call.record("people exported")
    name = f'attachment; filename="edge-oneshot-people-{date.today():%Y%m%d}.json"'
    return Response(json.dumps(sealed), media_type=KIND, headers={"content-disposition": name})


def do_restore(call: Call) -> Response:
    """Enroll the people of a file who are not enrolled now, or with `replace` all of them."""
    envelope = _envelope()
    try:
        if not call.picture:
            raise FormError("backup.file_missing", "file")
        document = _read(call.picture)
        if envelope.is_sealed(document):
            if not envelope.available():
                raise FormError("backup.no_cryptography", "")
            with call.site.hashing:
                document = envelope.open_document(document, lambda: call.form.get("password", ""), _no_key)
        replace = call.form.get("replace") == "yes"
        with call.site.edits:
            request = rq.Import(document=document, replace=replace, missing=not replace)
            done = call.site.cameras.ask(request, PICTURE_S)
    except EdgeOneshotError as e:
        return show(call, e)
    call.record("people imported", str(len(done.identities)))
    return call.go("/people", "backup.restored", n=len(done.identities))


def _read(data: bytes) -> dict[str, object]:
    try:
        document = parse_json(data.decode())
    except (UnicodeDecodeError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise FormError("backup.not_a_backup", "file")
    return document


def _no_key() -> bytes:
    raise GalleryError(
        "this file was encrypted to a recipient, and the page has no private key",
        "import it in the terminal: edge-oneshot gallery import FILE --key KEYFILE",
    )
