"""Device: how each camera's daemon is, and its log; pause, resume, reload."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

from starlette.responses import Response

from edge_oneshot.control import requests as rq
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.shown import plain, redact, redact_uri
from edge_oneshot.web.call import Call
from edge_oneshot.web.cameras import Camera
from edge_oneshot.web.faults import FormError

LOG_LINES = 120
ACTIONS: dict[str, type[rq.AnyRequest]] = {"pause": rq.Pause, "resume": rq.Resume, "reload": rq.Reload}


def show(call: Call, fault: EdgeOneshotError | None = None) -> Response:
    camera = call.site.cameras.find(call.query("camera") or call.form.get("camera", ""))
    report = None
    try:
        report = camera.ask(rq.Status())
    except EdgeOneshotError as e:
        fault = fault or e
    return call.page(
        "device.html",
        503 if report is None else 200,
        camera=camera,
        report=report,
        config=camera.config,
        disk=shutil.disk_usage(_existing(camera)),
        uri=redact_uri(camera.config.camera.uri),
        fault=fault,
    )


def _existing(camera: Camera) -> Any:
    folder = camera.config.state_dir
    return next(p for p in (folder, *folder.parents) if p.exists())


def do_action(call: Call) -> Response:
    action = call.request.path_params["action"]
    camera = call.site.cameras.find(call.form.get("camera", ""))
    if action not in ACTIONS:
        return show(call, FormError("fault.form", ""))
    try:
        camera.ask(ACTIONS[action](), 30.0)
    except EdgeOneshotError as e:
        return show(call, e)
    call.record(action, camera.slug)
    return call.go(f"/device?camera={camera.slug}", f"device.done_{action}", name=camera.name)


def log_tail(call: Call) -> Response:
    camera = call.site.cameras.find(call.query("camera"))
    lines, fault = [], None
    try:
        lines = _journal(camera) if camera.config.system else []
        if not lines:
            fault = FormError("device.no_log_here" if not camera.config.system else "device.no_log", "")
    except (OSError, subprocess.SubprocessError):
        fault = FormError("device.no_log", "")
    return call.page("log.html", camera=camera, lines=lines, fault=fault)


def _journal(camera: Camera) -> list[str]:
    """The last lines of the daemon's log in systemd's journal, oldest first, without passwords."""
    command = ["journalctl", "--unit", camera.unit, "--lines", str(LOG_LINES), "--output", "short-iso", "--no-pager"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, errors="replace", check=True)
    return [plain(redact(line)) for line in done.stdout.splitlines() if not line.startswith("-- ")]
