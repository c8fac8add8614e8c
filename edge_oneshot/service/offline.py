"""A request without a daemon: served here and now, by the same handler."""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_oneshot.cameras.latest import LatestFrame, State
from edge_oneshot.config import Config
from edge_oneshot.control.client import ask
from edge_oneshot.control.protocol import Request, raise_error
from edge_oneshot.errors import CameraError, ControlError, GalleryError
from edge_oneshot.events.explain import select
from edge_oneshot.events.journal import forget_in_files, read_journal
from edge_oneshot.service.compose import build_people, build_pipeline
from edge_oneshot.service.daemon import TICK_S
from edge_oneshot.service.requests import ENROLL_TIMEOUT_S, Handler


def _require_owner(state_dir: Path) -> None:
    """Without a daemon only the gallery's owner acts on it: root would leave files behind that the service cannot open."""
    if not state_dir.exists() or (owner := state_dir.stat().st_uid) == os.geteuid():
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    fix = f"start the daemon, or: sudo -u {name} edge-oneshot …"
    raise GalleryError(f"no daemon runs, and the gallery in {state_dir} belongs to {name}", fix)


def perform(
    config: Config, verb: str, arguments: dict[str, Any], on_progress: Callable[[str], None], *, direct: bool = False
) -> dict[str, Any]:
    """Serve one request: by the running daemon, which owns camera and gallery, else here and now with the same handler.

    direct: do not ask a daemon, for a request that names a camera of its own. Raises the error of the request.
    """
    timeout_s = 30.0 + float(arguments.get("timeout_s", ENROLL_TIMEOUT_S))
    if not direct and (data := ask(config.socket_path, verb, arguments, on_progress, timeout_s)) is not None:
        return data
    if verb in ("status", "pause", "resume", "cancel", "reload"):
        raise ControlError(
            f"no daemon is running at {config.socket_path}",
            "start it with `edge-oneshot run` or systemctl; if that place is new in the configuration, restart it",
        )
    if verb == "explain":
        records = select(read_journal(config.explain_path), arguments.get("last_s"), arguments.get("event_id"))
        return {"tracks": records, "kept": config.decision.explain_tracks, "fault": ""}
    _require_owner(config.state_dir)
    pipeline = build_pipeline(config)
    people = build_people(config, pipeline)
    try:
        handler = Handler(pipeline, people, lambda event: None, dict)
        request = Request(verb=verb, arguments=arguments)
        handler.start(request)
        if handler.job is not None:
            _feed(handler, config, request, on_progress)
        answer = _answer(request, on_progress)
        if verb == "forget":
            forget_in_files(config.state_dir, answer["identity"])
        return answer
    finally:
        people.gallery.close()


def _feed(handler: Handler, config: Config, request: Request, on_progress: Callable[[str], None]) -> None:
    """Give the pending job frames until it is answered. Raises CameraError when there is no camera to do it with."""
    with LatestFrame(config.camera) as camera:
        while handler.job is not None:
            frame = camera.get(TICK_S)
            if frame is not None:
                handler.offer(frame)
            elif camera.state is State.ENDED:
                handler.tick(time.monotonic_ns() + round(3600e9))  # no more frames: decide on those there were
            elif camera.state is State.LOST:
                raise CameraError(f"the camera is lost: {camera.last_error}", "run `edge-oneshot doctor`")
            handler.tick(time.monotonic_ns())
            while not request.answers.empty():
                answer = request.answers.get()
                if "progress" not in answer:
                    request.answers.put(answer)
                    break
                on_progress(answer["progress"])


def _answer(request: Request, on_progress: Callable[[str], None]) -> dict[str, Any]:
    while True:
        answer = request.answers.get(timeout=1.0)
        if "progress" in answer:
            on_progress(answer["progress"])
        elif answer["status"] == "ok":
            data = answer["data"]
            return data if isinstance(data, dict) else {}
        else:
            raise_error(answer)
