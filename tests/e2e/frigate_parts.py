"""A small stand-in for Frigate, built from its documented HTTP API (0.14 to 0.16), and its messages over MQTT."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class FrigateServer:
    """events: id -> {"snapshot": JPEG or None, "sub_label": …}. asked: each request as (method, path). own: face_recognition."""

    def __init__(self, port: int = 0) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.written: list[tuple[str, dict[str, Any]]] = []
        self.config: dict[str, Any] = {"face_recognition": {"enabled": False}, "cameras": {"porch": {}, "garden": {}}}
        self.answer: tuple[int, dict[str, str]] | None = None  # instead of every other answer
        self._server = ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="frigate")
        self._thread.start()
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._take("GET")

            def do_POST(self) -> None:
                self._take("POST")

            def _take(self, method: str) -> None:
                outer.asked.append((method, self.path))
                outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                status, kind, data = outer.serve(method, self.path, body)
                self.send_response(status)
                for name, value in (outer.answer or (0, {}))[1].items():
                    self.send_header(name, value)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *words: Any) -> None:
                pass

        return Handler

    def serve(self, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        if self.answer is not None:
            return self.answer[0], "text/plain", b""
        path, _, query = path.partition("?")
        if (method, path) == ("GET", "/api/config"):
            return _json(200, self.config)
        found = re.fullmatch(r"/api/events/([\w.-]+)(/snapshot\.jpg|/sub_label)?", path)
        event = None if found is None else self.events.get(found[1])
        if found is None or event is None:
            return _json(404, {"success": False, "message": "Event not found"})
        if found[2] is None:
            return _json(200, {"id": found[1], "label": "person", "sub_label": event.get("sub_label")})
        if found[2] == "/snapshot.jpg":
            assert "bbox=0" in query and "timestamp=0" in query, "a box over the face would be compared, too"
            picture = event.get("snapshot")
            return _json(404, {"success": False}) if picture is None else (200, "image/jpeg", picture)
        data = json.loads(body)
        score = data.get("subLabelScore")
        if not isinstance(data.get("subLabel"), str) or len(data["subLabel"]) > 100 or not 0 < score <= 1:
            return _json(400, {"success": False, "message": "invalid"})
        event["sub_label"] = data["subLabel"]
        self.written.append((found[1], data))
        return _json(200, {"success": True, "message": f"Event {found[1]} sub label set to {data['subLabel']}"})


def _json(status: int, value: object) -> tuple[int, str, bytes]:
    return status, "application/json", json.dumps(value).encode()


def message(event_id: str = "1607123955.475377-mxklsc", kind: str = "update", taken: float = 1.0, **after: Any) -> Any:
    """A message of `frigate/events`, with the fields of Frigate's documentation. taken: time of the snapshot."""
    now = {
        "id": event_id,
        "camera": "porch",
        "frame_time": 1607123962.08,
        "snapshot": {"frame_time": taken, "box": [415, 489, 528, 700], "area": 12728, "score": 0.78, "attributes": []},
        "label": "person",
        "sub_label": None,
        "top_score": 0.958984375,
        "false_positive": False,
        "start_time": 1607123955.475377,
        "end_time": None,
        "score": 0.87890625,
        "box": [432, 496, 544, 854],
        "current_zones": ["yard"],
        "entered_zones": ["yard"],
        "has_snapshot": True,
        "has_clip": False,
        "stationary": False,
    }
    return {"type": kind, "before": now, "after": now | after}
