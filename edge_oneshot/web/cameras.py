"""The daemons that the page talks to: one for each camera, over its control socket."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from edge_oneshot import installation
from edge_oneshot.config import Config
from edge_oneshot.control import requests as rq
from edge_oneshot.control.client import ask
from edge_oneshot.control.requests import Request
from edge_oneshot.control.responses import Viewed
from edge_oneshot.control.review import VisitList
from edge_oneshot.errors import ControlError, EdgeOneshotError

R = TypeVar("R")
QUICK_S = 10.0  # for requests that the loop answers at once
PICTURE_S = 60.0  # for those whose picture is decoded first
VISITS_S = 5.0  # for this long the list of visits is reused
FRAME_S = 0.2  # at most five frames a second, whatever the number of browsers


class Stopped(ControlError):
    """No daemon listens."""


class Camera:
    """One daemon. slug: its instance. Its methods may be called by several threads."""

    def __init__(self, config: Config) -> None:
        self.config, self.slug = config, config.instance
        self.name = config.device.name or (config.instance if config.instance != "default" else config.camera.name)
        self._visits: tuple[float, VisitList | None] = (0.0, None)
        self._viewed: tuple[float, Viewed | None] = (0.0, None)
        self._looking, self._reading = threading.Lock(), threading.Lock()

    def ask(self, request: Request[R], timeout_s: float = QUICK_S) -> R:
        """The response. Raises Stopped, ControlError for a daemon that does not answer, and the request's own error."""
        response = ask(self.config.socket_path, request, lambda text: None, timeout_s)
        if response is None:
            raise Stopped(f"the daemon of {self.name} is not running", f"start it: {self.start_command}")
        return response

    @property
    def unit(self) -> str:
        return installation.unit_of(self.slug)

    @property
    def start_command(self) -> str:
        return installation.how_to_start(self.slug, self.config.path)

    def visits(self) -> VisitList:
        """The recorded visits. The daemon is asked at most every few seconds."""
        with self._reading:
            at, visits = self._visits
            if visits is None or time.monotonic() - at > VISITS_S:
                visits = self.ask(rq.Visits())
                self._visits = time.monotonic(), visits
            return visits

    def visits_changed(self) -> None:
        """Ask the daemon at the next `visits`."""
        with self._reading:
            self._visits = 0.0, None

    def view(self) -> Viewed:
        """The newest frame. All browsers share one request to the daemon."""
        with self._looking:
            at, viewed = self._viewed
            if viewed is None or time.monotonic() - at > FRAME_S * 0.9:
                viewed = self.ask(rq.View(timeout_s=5.0))
                self._viewed = time.monotonic(), viewed
            return viewed


class Cameras:
    """All cameras of this device. They share one gallery, so the first daemon that runs serves it."""

    def __init__(self, configs: Sequence[Config]) -> None:
        self.all = [Camera(config) for config in configs]

    def find(self, slug: str) -> Camera:
        """The camera of this instance, else the first one."""
        return next((c for c in self.all if c.slug == slug), self.all[0])

    def each(self, ask: Callable[[Camera], R]) -> tuple[list[R], list[str]]:
        """What every camera answers, and the names of those that gave no answer. Raises the fault if all failed."""
        done, failed, fault = list[R](), list[str](), None
        for camera in self.all:
            try:
                done.append(ask(camera))
            except EdgeOneshotError as e:
                failed.append(camera.name)
                fault = e
            camera.visits_changed()
        if fault is not None and not done:
            raise fault
        return done, failed

    def ask(self, request: Request[R], timeout_s: float = QUICK_S) -> R:
        """A request that concerns the gallery."""
        for camera in self.all[:-1]:
            try:
                return camera.ask(request, timeout_s)
            except Stopped:
                continue
        return self.all[-1].ask(request, timeout_s)


def state_folder(config: Config) -> Path:
    """Where the page keeps its accounts and its audit log."""
    return Path("/var/lib/edge-oneshot-web") if config.system else config.state_dir / "web"
