"""Whether a daemon runs, and the state that it reports."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edge_oneshot import installation
from edge_oneshot.config import Config
from edge_oneshot.control.client import ask
from edge_oneshot.control.parts import Trend
from edge_oneshot.control.requests import Status
from edge_oneshot.control.responses import StatusReport
from edge_oneshot.doctor import Finding, fault, ok, warning
from edge_oneshot.errors import EdgeOneshotError

ANSWER_LIMIT_S = 10.0
SYSTEMCTL_LIMIT_S = 10.0
TREND_AFTER_H = 6.0  # below, the start of the daemon and a single visit count too much
FULL_WITHIN_DAYS = 14.0


SHOWS_NOTHING = {
    "camera_frozen": (
        "the camera has delivered the same picture for 60 s or more",
        "restart the camera; if it comes back, check its cable and its software",
    ),
    "camera_dark": (
        "the picture has been black for 10 s or more",
        "remove the lens cap or what covers the camera, or add light",
    ),
}


def ask_status(config: Config) -> tuple[StatusReport | None, Finding]:
    """What a running daemon answers to `status` (None: there is none to ask), and the finding."""
    try:
        state = ask(config.socket_path, Status(), lambda text: None, ANSWER_LIMIT_S)
    except EdgeOneshotError as e:
        return None, fault("daemon", e.message, e.hint)
    unit = "edge-oneshot.service" if config.instance == "default" else f"edge-oneshot@{config.instance}.service"
    supervised = _unit(unit) if config.system else {}
    if state is None:
        return None, _absent(config, unit, supervised)
    text = f"{state.state}, up {state.uptime_s:.0f} s, {state.frames} frames"
    if supervised.get("ActiveState") == "active":
        watchdog = supervised.get("WatchdogUSec", "0")
        text += f"; supervised by {unit}" + (
            f" (watchdog {watchdog}, {supervised.get('NRestarts', '?')} restarts)" if watchdog != "0" else ""
        )
    if state.state.startswith("camera_"):
        return state, warning("daemon", text, "see the line `camera`")
    return state, ok("daemon", text)


def gallery(config: Config, state: StatusReport) -> Iterator[Finding]:
    """Whether the gallery can be changed, and people should be enrolled again after a change of the encoder."""
    if state.gallery.fault:
        yield fault("gallery", f"{state.gallery.fault}; the people in it are recognized", "see the line `disk`")
    damaged = {name: count for name, count in (state.set_aside or {}).items() if count}
    if damaged and not os.access(config.gallery_path, os.R_OK):  # else the lines `files` say more
        counted = ", ".join(f"{count} in {name}" for name, count in damaged.items())
        yield warning("files", f"rows that could not be read are set aside: {counted}", "sudo edge-oneshot doctor")
    if state.old_templates:
        yield warning(
            "gallery",
            f"{state.old_templates} of {state.gallery.identities} people have an old template: its encoder runs beside the "
            "current one for each face",
            "`edge-oneshot gallery check` lists them, and says who can be migrated and who must enroll again",
        )


def trends(state: StatusReport) -> Iterator[Finding]:
    """Whether the daemon needs more and more of something. Nothing for less than six hours."""
    found = state.trends
    if found is None or found.hours < TREND_AFTER_H:
        return
    disk, per_hour = found.disk_free_bytes, _per_hour(found.disk_free_bytes)
    if disk is not None and per_hour < 0 and (days := -disk.last / per_hour / 24) < FULL_WITHIN_DAYS:
        yield warning(
            "trends",
            f"the disk loses {-per_hour / 1e6:.1f} MB per hour and will be full in {days:.1f} days",
            "find what grows: sudo du -xh --max-depth=2 /var | sort -h | tail",
        )
    for name, trend, most, unit in (
        ("resident memory", found.rss_bytes, 4e6, 1e6),
        ("the number of threads", found.threads, 0.5, 1),
        ("the number of open files", found.files, 0.5, 1),
    ):
        if (rise := _per_hour(trend)) > most:
            yield warning(
                "trends",
                f"{name} has risen by {rise / unit:.1f}{' MB' * (unit > 1)} per hour for {found.hours:.0f} h",
                "restart the service, and report it with the file of `edge-oneshot support-report`",
            )


def _per_hour(trend: Trend | None) -> float:
    return 0.0 if trend is None or trend.per_hour is None else trend.per_hour


def camera(state: StatusReport) -> Finding:
    """The camera as the daemon that owns it sees it."""
    age = state.camera_age_s
    if state.state == "camera_lost" or age is None:
        return fault(
            "camera",
            "the daemon gets no frames",
            "read the reason in `journalctl -u 'edge-oneshot*'`; check cable and power",
        )
    if state.state == "paused":
        return ok("camera", "owned by the daemon, which is paused")
    if state.state in SHOWS_NOTHING:
        return fault("camera", *SHOWS_NOTHING[state.state])
    fps = state.fps
    return ok("camera", f"owned by the daemon: last frame {age:.1f} s ago" + (f", {fps:.1f} per second" if fps else ""))


def _absent(config: Config, unit: str, supervised: dict[str, str]) -> Finding:
    if not config.system or not supervised:
        return ok("daemon", f"no daemon runs (no answer at {config.socket_path}); commands work without one")
    state, result, code = (
        supervised.get("ActiveState", "?"),
        supervised.get("Result", "?"),
        supervised.get("ExecMainStatus", "?"),
    )
    if supervised.get("LoadState") == "not-found":
        return fault("daemon", f"{unit} is not installed", installation.how_to_repair())
    if state == "inactive":
        return warning("daemon", f"{unit} is not started", f"sudo systemctl enable --now {unit}")
    return fault(
        "daemon",
        f"{unit} does not run: {state}, {result}, exit code {code}, {supervised.get('NRestarts', '?')} restarts",
        f"read the reason in `journalctl -u {unit} -n 20`",
    )


def _unit(unit: str) -> dict[str, str]:
    """The properties of the unit; {} if systemd does not run or does not answer."""
    if not Path("/run/systemd/system").is_dir():
        return {}
    properties = "LoadState,ActiveState,Result,ExecMainStatus,NRestarts,WatchdogUSec"
    try:
        answer = subprocess.run(
            ["systemctl", "show", unit, f"--property={properties}"],
            capture_output=True,
            text=True,
            timeout=SYSTEMCTL_LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.split("=", 1) for line in answer.stdout.splitlines() if "=" in line)
