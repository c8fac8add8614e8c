"""A request of the command line: served by the running daemon, or without one, in this process and by the same code.

The daemon's loop and MQTT are imported where they are needed: a request without a camera starts faster, and needs less memory.
"""

from __future__ import annotations

import os
import pwd
import queue
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from edge_oneshot import installation
from edge_oneshot.config import Config
from edge_oneshot.control import requests as rq
from edge_oneshot.control.client import ask
from edge_oneshot.control.protocol import Answer, PendingRequest, Progress, result_of
from edge_oneshot.control.responses import Explained
from edge_oneshot.control.review import REVIEW
from edge_oneshot.errors import CameraError, ControlError, GalleryError
from edge_oneshot.events.explain import select
from edge_oneshot.events.journal import forget_in_journals, read_journal
from edge_oneshot.events.labels import forget_in_labels
from edge_oneshot.gallery.seen import LastSeen
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.album import forget_in_pictures
from edge_oneshot.service.door import open_door
from edge_oneshot.service.requests import Requests
from edge_oneshot.storage.keys import Keys

R = TypeVar("R")
OnProgress = Callable[[str], None]
DAEMON_ONLY = (rq.Status, rq.View, rq.Pause, rq.Resume, rq.Cancel, rq.Reload)


def perform(config: Config, request: rq.Request[R], on_progress: OnProgress, *, direct: bool = False) -> R:
    """Serve a request by the running daemon, which owns camera and gallery; else here. Raises the error of the request.

    direct: do not ask a daemon, for a request that names a camera of its own.
    """
    if not direct and (response := ask(config.socket_path, request, on_progress)) is not None:
        return response
    if isinstance(request, DAEMON_ONLY):
        raise ControlError(
            f"no daemon is running at {config.socket_path}",
            f"start it: {installation.how_to_start(config.instance, config.path)}; restart it if device.socket has changed",
        )
    return result_of(request, _serve(config, request, on_progress))


def _serve(config: Config, request: rq.AnyRequest, on_progress: OnProgress) -> Answer:
    pending = PendingRequest(request)
    if isinstance(request, rq.Explain):
        records = select(read_journal(config.explain_path, Keys(config.key_path)), request.last_s, request.event_id)
        pending.finish(Explained(tracks=records, kept=config.decision.explain_tracks, fault=""))
        return pending.answers.get()
    if isinstance(request, rq.Capture):  # returns a frame and its faces; without a comparison the gallery is not opened
        config = replace(config, decision=replace(config.decision, adapt=False))
        with Recognizer.open(config, gallery=":memory:") as recognizer:
            return _from_camera(config, recognizer, pending, on_progress)
    require_owner(config.state_dir)
    with Recognizer.open(config) as recognizer:
        if isinstance(request, rq.Enroll) and request.image is None:
            return _from_camera(config, recognizer, pending, on_progress)
        if isinstance(request, REVIEW):
            from edge_oneshot.service.compose import open_records

            with open_records(config) as kept:
                Requests(recognizer, lambda event: None, records=kept).start(pending)
                return pending.answers.get(timeout=30.0)
        with open_door(config, recognizer) as measured:
            Requests(recognizer, lambda event: None, door=measured, config=lambda: config).start(pending)
    answer = pending.answers.get(timeout=1.0)
    if (removed := _removed(request, answer)) is not None:
        from edge_oneshot.service.compose import forget_in_outboxes

        keys = Keys(config.key_path)
        forget_in_journals(config.state_dir, removed, keys)
        forget_in_outboxes(config.state_dir, removed, keys)
        forget_in_labels(config.state_dir, removed, keys)
        forget_in_pictures(config, removed)
        with closing(LastSeen(config.seen_path, keys)) as seen:
            seen.forget([removed])
    return answer


def _removed(request: rq.AnyRequest, answer: Answer) -> str | None:
    """The identity that the request removed. Raises the error of a failed request that removes."""
    if isinstance(request, rq.Forget):
        return result_of(request, answer).identity
    return result_of(request, answer).removed if isinstance(request, rq.Merge) else None


class _Answers:
    """Reads the answers of one request in each turn of the loop, and stops the loop after the last one."""

    def __init__(self, pending: PendingRequest, on_progress: OnProgress, stop: threading.Event) -> None:
        self._pending, self._on_progress, self._stop = pending, on_progress, stop
        self.last: Answer | None = None

    def next_request(self) -> None:
        """A source without requests."""
        self.read()

    def read(self) -> None:
        while self.last is None:
            try:
                answer = self._pending.answers.get_nowait()
            except queue.Empty:
                return
            if isinstance(answer, Progress):
                self._on_progress(answer.text)
            else:
                self.last = answer
                self._stop.set()


def _from_camera(config: Config, recognizer: Recognizer, pending: PendingRequest, on_progress: OnProgress) -> Answer:
    """Run the daemon's loop on the configured camera, without a broker, until the request is answered.

    Raises CameraError as soon as the camera is lost.
    """
    from edge_oneshot.cameras.latest import LatestFrame
    from edge_oneshot.service.compose import build_tracker
    from edge_oneshot.service.daemon import Daemon
    from edge_oneshot.service.reporter import Reporter

    config = replace(config, camera=replace(config.camera, give_up_s=0.0))
    stop = threading.Event()
    answers = _Answers(pending, on_progress, stop)
    reporter = Reporter()
    daemon = Daemon(config, recognizer, build_tracker(config, recognizer), reporter)
    # Before the camera is opened: a refused request needs none, and no frame of a file is older than the prompt.
    daemon.requests.start(pending)
    answers.read()
    if answers.last is None:
        with LatestFrame(config.camera) as camera:
            try:
                daemon.run(camera, [answers], stop)
            except CameraError as e:
                reason = camera.last_error or e
                raise CameraError(f"the camera is lost: {reason}", "run `edge-oneshot doctor`") from None
        answers.read()
    assert answers.last is not None, "the loop has failed the pending request when it ended"
    return answers.last


def require_owner(state_dir: Path) -> None:
    """Without a daemon only the gallery's owner acts on it: root would create files that the service cannot open."""
    if not state_dir.exists() or (owner := state_dir.stat().st_uid) == os.geteuid():
        return
    try:
        name = pwd.getpwuid(owner).pw_name
    except KeyError:
        name = f"#{owner}"
    fix = f"start the daemon, or run: sudo -u {name} edge-oneshot …"
    raise GalleryError(f"no daemon is running, and the gallery in {state_dir} belongs to {name}", fix)
