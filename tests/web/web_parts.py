"""The page without a browser: Starlette's client, and a real daemon in a thread that serves a real control socket."""

from __future__ import annotations

import queue
import re
import threading
import time
from pathlib import Path
from typing import Any

from pictures import Pixels, frame
from starlette.testclient import TestClient

from edge_oneshot.config import Config, load_config
from edge_oneshot.control.server import ControlServer
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.recognition.compose import build_rule
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker, open_records
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reload import Plan, plan
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.web.accounts import Accounts
from edge_oneshot.web.app import make_app
from edge_oneshot.web.audit import Audit
from edge_oneshot.web.cameras import Cameras
from edge_oneshot.web.site import Site, host_names

PASSWORD = "three words and more"
STEP_NS = 100_000_000


class DaemonThread(threading.Thread):
    """A daemon without a camera thread: `show` gives it frames. faults: verb -> the error that it answers with."""

    def __init__(self, config: Config, pipeline: Pipeline) -> None:
        super().__init__(name="test daemon", daemon=True)
        self.config, self._pipeline = config, pipeline
        self.faults: dict[str, EdgeOneshotError] = {}
        self.silent: set[str] = set()  # verbs that get no answer
        self._frames: queue.Queue[Pixels] = queue.Queue()
        self._stop_now, self._ready = threading.Event(), threading.Event()
        self.start()
        assert self._ready.wait(30)

    def show(self, *pictures: Pixels) -> None:
        """Frames that the daemon processes; returns when it has."""
        for pixels in pictures:
            self._frames.put(pixels)
        self._frames.join()

    def run(self) -> None:
        rule = build_rule(self.config, self._pipeline.encoder)
        with (
            open_records(self.config) as records,
            Recognizer(self._pipeline, rule, Gallery(self.config.gallery_path)) as recognizer,
        ):
            tracker = build_tracker(self.config, recognizer)
            daemon = Daemon(self.config, recognizer, tracker, Reporter(), records, plan_reload=self._plan)
            server = ControlServer(self.config.socket_path)
            self._ready.set()
            ns = time.monotonic_ns()
            while not self._stop_now.is_set():
                while (pending := server.next_request()) is not None:
                    if (fault := self.faults.get(pending.request.verb)) is not None:
                        pending.fail(fault)
                    elif pending.request.verb not in self.silent:
                        daemon.requests.start(pending)
                try:
                    pixels = self._frames.get(timeout=0.01)
                except queue.Empty:
                    continue
                ns = max(ns + STEP_NS, time.monotonic_ns())
                daemon.step(frame(pixels, ns), ns)
                self._frames.task_done()
            daemon.requests.stop()
            server.close()

    def _plan(self, running: Config) -> Plan:
        return plan(running, load_config(running.path), lambda c: build_rule(c, self._pipeline.encoder))

    def stop(self) -> None:
        self._stop_now.set()
        self.join(20)


class Browser:
    """One browser: a client that keeps cookies, and the forms of the page that it has loaded."""

    def __init__(self, site: Site, host: str = "localhost") -> None:
        self.site = site
        self.client = TestClient(make_app(site), base_url=f"http://{host}", follow_redirects=False)
        self.html = ""

    def get(self, path: str, **options: Any) -> Any:
        response = self.client.get(path, **options)
        if response.status_code == 303:
            return self.get(response.headers["location"])
        self.html = response.text
        return response

    @property
    def token(self) -> str:
        found = re.search(r'name="csrf" value="([^"]+)"', self.html)
        assert found is not None, self.html
        return found[1]

    def hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.html)
        assert found is not None, self.html
        import html

        return html.unescape(found[1])

    def post(self, path: str, fields: dict[str, str] | None = None, **options: Any) -> Any:
        """Send a form with the token of the last page; follows one redirection."""
        response = self.client.post(path, data={"csrf": self.token, **(fields or {})}, **options)
        if response.status_code == 303:
            return self.get(response.headers["location"])
        self.html = response.text
        return response

    def post_from(self, page: str, path: str, fields: dict[str, str]) -> Any:
        """`post` with the token of another page."""
        self.get(page)
        return self.post(path, fields)

    def pair(self, name: str = "anna", role: Any = "owner") -> Any:
        code = self.site.accounts.new_code(role)
        self.get("/pair")
        fields = {"code": code, "name": name, "password": PASSWORD, "again": PASSWORD}
        return self.post("/pair", fields)

    @property
    def text(self) -> str:
        """What a person reads: the page without its tags."""
        import html

        return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", self.html)))

    def close(self) -> None:
        self.client.close()


def make_site(folder: Path, *configs: Config, **options: Any) -> Site:
    return Site(
        cameras=Cameras(configs),
        accounts=Accounts(folder / "accounts.json"),
        audit=Audit(folder / "audit.log"),
        hosts=host_names(),
        **options,
    )
