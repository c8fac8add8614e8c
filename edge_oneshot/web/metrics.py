"""What Prometheus scrapes: the measures of each daemon's `status`. No label names a person; `camera` is the instance."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Sequence

from edge_oneshot.control.requests import Status
from edge_oneshot.control.responses import StatusReport
from edge_oneshot.errors import EdgeOneshotError
from edge_oneshot.web.cameras import Camera

ASK_S = 5.0
STATES = ("running", "paused", "camera_lost", "camera_frozen", "camera_dark")
# name -> (type, help); the names of units are those of Prometheus' naming rules.
FAMILIES = {
    "up": ("gauge", "1 if the daemon answers"),
    "info": ("gauge", "1; the version is a label"),
    "state": ("gauge", "1 for the state that the daemon is in"),
    "frames_per_second": ("gauge", "processed frames per second"),
    "stage_seconds": ("gauge", "time of a stage for one frame, as quantiles of the last frames"),
    "camera_age_seconds": ("gauge", "time since the last frame"),
    "temperature_celsius": ("gauge", "temperature of the processor"),
    "throttled": ("gauge", "throttling bits of the firmware; 0: none"),
    "resident_memory_bytes": ("gauge", "resident memory of the daemon"),
    "uptime_seconds": ("gauge", "time since the start of the daemon"),
    "frames_total": ("counter", "processed frames"),
    "events_total": ("counter", "published events"),
    "outbox_events": ("gauge", "events that wait for the broker"),
    "outbox_oldest_age_seconds": ("gauge", "age of the oldest waiting event"),
    "outbox_dropped_total": ("counter", "events dropped, too old or too many"),
    "outbox_refused": ("gauge", "events that the broker refuses"),
    "broker_connected": ("gauge", "1 if connected to the broker"),
    "gallery_identities": ("gauge", "enrolled people"),
    "gallery_templates": ("gauge", "stored templates"),
    "gallery_fault": ("gauge", "1 if the gallery cannot be changed"),
    "present_known": ("gauge", "enrolled people in sight"),
    "present_unknown": ("gauge", "unknown people in sight"),
    "threshold": ("gauge", "score from which a face matches"),
}
Sample = tuple[str, dict[str, str], float]  # family, labels, value


def metrics(cameras: Sequence[Camera]) -> str:
    """The text format 0.0.4. A daemon that does not answer has `up` 0 and nothing else."""
    samples = [sample for camera in cameras for sample in _of(camera)]
    lines = []
    for name, (kind, text) in FAMILIES.items():
        found = [s for s in samples if s[0] == name]
        if found:
            lines += [f"# HELP edge_oneshot_{name} {text}", f"# TYPE edge_oneshot_{name} {kind}"]
            lines += [f"edge_oneshot_{name}{{{_labels(labels)}}} {value:.10g}" for _, labels, value in found]
    page = resource.getrusage(resource.RUSAGE_SELF)
    lines += ["# HELP edge_oneshot_page_cpu_seconds_total processor time of the page"]
    lines += ["# TYPE edge_oneshot_page_cpu_seconds_total counter"]
    lines += [f"edge_oneshot_page_cpu_seconds_total {page.ru_utime + page.ru_stime:.10g}"]
    return "\n".join(lines) + "\n"


def _labels(labels: dict[str, str]) -> str:
    """Slugs and fixed words, so nothing must be escaped."""
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _of(camera: Camera) -> Iterator[Sample]:
    label = {"camera": camera.slug}
    try:
        report = camera.ask(Status(), ASK_S)
    except EdgeOneshotError:
        yield "up", label, 0
        return
    yield "up", label, 1
    yield "info", {**label, "version": report.version}, 1
    for state in STATES:
        yield "state", {**label, "state": state}, report.state == state
    for stage, times in report.stages_ms.items():
        for quantile, ms in (("0.5", times.p50), ("0.95", times.p95)):
            yield "stage_seconds", {**label, "stage": stage, "quantile": quantile}, ms / 1000
    for name, value in _plain(report).items():
        if value is not None:
            yield name, label, value


def _plain(r: StatusReport) -> dict[str, float | None]:
    return {
        "frames_per_second": r.fps,
        "camera_age_seconds": r.camera_age_s,
        "temperature_celsius": r.temperature_c,
        "throttled": r.throttled,
        "resident_memory_bytes": r.rss_bytes,
        "uptime_seconds": r.uptime_s,
        "frames_total": r.frames,
        "events_total": r.events,
        "outbox_events": r.outbox.depth,
        "outbox_oldest_age_seconds": r.outbox.oldest_age_s,
        "outbox_dropped_total": r.outbox.dropped,
        "outbox_refused": r.outbox.refused,
        "broker_connected": None if r.broker is None else r.broker == "online",
        "gallery_identities": r.gallery.identities,
        "gallery_templates": r.gallery.templates,
        "gallery_fault": bool(r.gallery.fault),
        "present_known": len(r.present.identities),
        "present_unknown": r.present.unknown,
        "threshold": r.threshold,
    }
