"""The part of Frigate's HTTP API that the bridge needs (https://docs.frigate.video/integrations/api, Frigate 0.14 to 0.16)."""

from __future__ import annotations

import http.client
import json
import re
import urllib.error
import urllib.request
from typing import Any

from edge_oneshot.errors import EdgeOneshotError

TIMEOUT_S = 10.0
MOST_BYTES = 20_000_000
MOST_LABEL = 100  # characters of a sub label
EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")


class FrigateError(EdgeOneshotError):
    """gone: the event, or its snapshot, does not exist (any more); trying again is of no use. unreachable: nothing answered."""

    def __init__(self, message: str, hint: str = "", *, gone: bool = False, unreachable: bool = False) -> None:
        super().__init__(message, hint)
        self.gone, self.unreachable = gone, unreachable


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection would take the token to another host."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


class Frigate:
    """url: as http://frigate:5000, without /api. token: for port 8971, which requires a log-in; "" for port 5000."""

    def __init__(self, url: str, token: str = "") -> None:
        self.url, self._token = url.rstrip("/"), token
        self.cameras: frozenset[str] = frozenset()  # the names, once `own_faces` has asked
        self._opener = urllib.request.build_opener(_NoRedirect())

    def own_faces(self) -> set[str]:
        """The cameras for which Frigate recognizes faces itself (0.16 and later)."""
        config = self._json("/api/config")
        everywhere = _enabled(config, False)
        cameras = config.get("cameras")
        if not isinstance(cameras, dict):
            raise FrigateError(f"{self.url}/api/config: expected cameras, got something else", "check --url")
        self.cameras = frozenset(cameras)
        return {name for name, camera in cameras.items() if _enabled(camera, everywhere)}

    def snapshot(self, event_id: str) -> bytes:
        """The best picture of an event so far, a JPEG without box and time, cut to the object."""
        return self._get(f"/api/events/{_checked(event_id)}/snapshot.jpg?bbox=0&timestamp=0&crop=1&quality=95")

    def sub_label(self, event_id: str) -> str:
        """The sub label that an event has now; "" without one."""
        found = self._json(f"/api/events/{_checked(event_id)}").get("sub_label")
        return label_of(found)

    def label(self, event_id: str, name: str, score: float) -> None:
        """Set the sub label. score: in (0, 1]."""
        body = {"subLabel": name[:MOST_LABEL], "subLabelScore": min(1.0, max(0.001, round(score, 3)))}
        self._get(f"/api/events/{_checked(event_id)}/sub_label", json.dumps(body).encode())

    def _json(self, path: str) -> dict[str, Any]:
        try:
            found = json.loads(self._get(path))
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise FrigateError(f"{self.url}{path}: expected a JSON object, got something else", "check --url")
        return found

    def _get(self, path: str, body: bytes | None = None) -> bytes:
        """GET, or POST of a JSON body. Raises FrigateError."""
        headers = {"content-type": "application/json"} if body is not None else {}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as answer:
                data: bytes = answer.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as e:
            e.close()
            raise self._refused(path, e.code) from None
        except (OSError, ValueError, http.client.HTTPException) as e:
            reason = getattr(e, "reason", None) or e
            hint = "check --url, and that Frigate runs"
            raise FrigateError(f"cannot reach Frigate at {self.url}: {reason}", hint, unreachable=True) from None
        if len(data) > MOST_BYTES:
            raise FrigateError(f"{path}: expected at most {MOST_BYTES} bytes, got more", "", gone=True)
        return data

    def _refused(self, path: str, code: int) -> FrigateError:
        if code in (401, 403):
            fix = "give --token-file with the token of an admin, or the port 5000, which needs none"
            return FrigateError(f"Frigate refuses {path}: HTTP {code}", fix)
        return FrigateError(f"{self.url}{path}: HTTP {code}", "read Frigate's log", gone=code in (400, 404))


def label_of(found: object) -> str:
    """A sub label as Frigate sends it: null, a name, or a name with its score in a list."""
    if isinstance(found, list) and found:
        found = found[0]
    return found if isinstance(found, str) else ""


def _enabled(section: Any, default: bool) -> bool:
    faces = section.get("face_recognition") if isinstance(section, dict) else None
    return bool(faces.get("enabled", default)) if isinstance(faces, dict) else default


def _checked(event_id: str) -> str:
    """The id as one part of a path. Raises FrigateError for what is no id: it came over MQTT."""
    if not EVENT_ID.fullmatch(event_id):
        raise FrigateError(f"event id: expected letters, digits, . and -, got {event_id[:60]!r}", gone=True)
    return event_id
