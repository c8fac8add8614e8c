"""The report of `edge-oneshot bench --share`: the device and its speed, without anything that identifies the device or its owner.

No name, host name, serial number, address, path or picture is in it. Every field is listed in docs/how-to/evaluate.md.
"""

from __future__ import annotations

import contextlib
import os
import platform
from datetime import UTC, datetime
from typing import Any

from edge_oneshot.config import Config
from edge_oneshot.evaluation.benchmarking import FrameCost, Machine
from edge_oneshot.evaluation.results import to_json
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service import system

KIND, VERSION = "edge-oneshot bench", 1


def heat() -> dict[str, float | int | None]:
    """temperature_c: of the processor; throttled: bits of the Raspberry Pi firmware. None where there is no reading."""
    return {"temperature_c": system.temperature_c(), "throttled": system.throttled()}


def shared(
    config: Config, pipeline: Pipeline, about: Machine, cost: FrameCost, before: dict[str, Any], after: dict[str, Any]
) -> dict[str, Any]:
    """The report as JSON values. before, after: `heat` before and after the measurement."""
    models = {"encoder": pipeline.encoder.encoder_id}
    return {
        "kind": KIND,
        "version": VERSION,
        "day": datetime.now(UTC).date().isoformat(),
        "hardware": {
            "processor": about.processor,
            "machine": about.machine,
            "cores": about.cores,
            "memory_mb": _memory_mb(),
            "load": about.load,
        },
        "versions": {
            "edge_oneshot": about.edge_oneshot,
            "runtime": about.runtime,
            "numpy": about.numpy,
            "pillow": about.pillow,
            "python": about.python,
            "system": _system(),
        },
        "settings": {"threads": config.model.threads, "range": config.camera.range, "models": models},
        "cost": to_json(cost),
        "heat": {"before": before, "after": after},
    }


def _memory_mb() -> int | None:
    """Main memory, 10^6 bytes."""
    with contextlib.suppress(OSError, ValueError):
        return round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6)
    return None


def _system() -> str:
    """Such as "debian 12". Not the release of the kernel: its owner may have named it."""
    with contextlib.suppress(OSError):
        release = platform.freedesktop_os_release()
        return f"{release.get('ID', 'linux')} {release.get('VERSION_ID', '')}".strip()
    return platform.system().lower()
