"""The OpenAPI 3.1 description of the HTTP interface, from the dataclasses of the control protocol."""

from __future__ import annotations

from typing import Any

from edge_oneshot import __version__
from edge_oneshot.control.codec import MAX_TEXT, schema
from edge_oneshot.control.responses import Compared, Identified
from edge_oneshot.web.api import KINDS
from edge_oneshot.web.call import MAX_PICTURE

# Status -> what it means; docs/reference/http.md has the same list.
FAILURES = {
    "400": "`name` is missing or too long.",
    "401": "No token, or an unknown one.",
    "403": "The token is for metrics only.",
    "404": "No enrolled person has this name or identity.",
    "408": "The picture did not arrive in time.",
    "411": "The request has no Content-Length.",
    "413": f"The picture has more than {MAX_PICTURE} bytes.",
    "415": "The content type is not that of a picture.",
    "422": "The picture cannot be decoded, or shows no usable face, or more than one. `faults` has the reasons.",
    "429": "Too many requests; Retry-After has the seconds.",
    "502": "The daemon refused the request or did not answer.",
    "503": "The daemon is not running.",
}
COMMON = ("401", "403", "429")
PICTURE = ("408", "411", "413", "415", "422", "502", "503")


def document() -> dict[str, Any]:
    identify = "Compare a picture with every enrolled person (1:N, open-set). A person who does not match is not named."
    verify = "Compare a picture with one enrolled person (1:1)."
    name = {
        "name": "name",
        "in": "query",
        "required": True,
        "description": "name or identity of the claimed person",
        "schema": {"type": "string", "minLength": 1, "maxLength": MAX_TEXT},
    }
    description = {"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "edge-oneshot", "version": __version__, "description": "Face recognition for programs."},
        "security": [{"token": []}],
        "paths": {
            "/api/identify": {"post": _picture("identify", identify, "Identified", [], PICTURE)},
            "/api/verify": {"post": _picture("verify", verify, "Compared", [name], ("400", "404", *PICTURE))},
            "/api/openapi.json": {
                "get": {"operationId": "openapi", "responses": {"200": description, **_failures(COMMON)}}
            },
            "/metrics": {
                "get": {
                    "operationId": "metrics",
                    "summary": "Metrics for Prometheus.",
                    "responses": {
                        "200": {
                            "description": "Text format 0.0.4.",
                            "content": {"text/plain": {"schema": {"type": "string"}}},
                        },
                        **_failures(COMMON),
                    },
                }
            },
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Identified": schema(Identified),
                "Compared": schema(Compared),
                "Failure": {
                    "type": "object",
                    "required": ["error", "hint", "faults"],
                    "properties": {
                        "error": {"type": "string", "description": "what failed: expected and got"},
                        "hint": {"type": "string", "description": "the fix, or empty"},
                        "faults": {"type": "array", "items": {"type": "string"}},
                    },
                },
            },
        },
    }


def _picture(name: str, summary: str, answer: str, parameters: list[Any], failures: tuple[str, ...]) -> dict[str, Any]:
    body = {"schema": {"type": "string", "contentMediaType": "image/*", "minLength": 1}}
    return {
        "operationId": name,
        "summary": summary,
        "parameters": parameters,
        "requestBody": {"required": True, "content": dict.fromkeys(KINDS, body)},
        "responses": {
            "200": {
                "description": "Compared.",
                "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{answer}"}}},
            },
            **_failures((*COMMON, *failures)),
        },
    }


def _failures(codes: tuple[str, ...]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Failure"}}}
    found: dict[str, Any] = {}
    for code in sorted(codes):
        found[code] = {"description": FAILURES[code], "content": content}
        if code == "429":
            found[code]["headers"] = {"Retry-After": {"schema": {"type": "integer", "minimum": 1}}}
    return found
