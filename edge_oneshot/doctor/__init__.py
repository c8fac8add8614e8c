"""`edge-oneshot doctor`: checks everything that the daemon needs, and gives the fix for each fault.

Every check has a time limit. Native code (interpreter, camera library, driver) runs in a process of its own, so a crash
or a hang becomes a line of the report.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edge_oneshot.shown import plain, redact

if TYPE_CHECKING:
    from edge_oneshot.config import Config

Status = Literal["ok", "warning", "fault"]
BROKER_LIMIT_S = 45.0  # name resolution, then for each of two protocols 5 s to connect and 10 s to subscribe
PAD = "not performed: a photograph of an enrolled person matches (99.7 % of prints in an external test)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the report, without passwords and control characters. fix: what to do; empty if there is nothing to fix."""

    check: str
    status: Status
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        for name in ("message", "fix"):
            object.__setattr__(self, name, plain(redact(getattr(self, name))))

    def as_dict(self) -> dict[str, str]:
        return {"check": self.check, "status": self.status, "message": self.message, "fix": self.fix}


def ok(check: str, message: str) -> Finding:
    return Finding(check=check, status="ok", message=message)


def warning(check: str, message: str, fix: str) -> Finding:
    return Finding(check=check, status="warning", message=message, fix=fix)


def fault(check: str, message: str, fix: str) -> Finding:
    return Finding(check=check, status="fault", message=message, fix=fix)


def examine(config: Config, probe_limit_s: float = 60.0) -> Iterator[Finding]:
    """All findings, each as soon as it is known. probe_limit_s: time limit of models and camera together."""
    from edge_oneshot.doctor import broker, credentials, daemon, device, files, fleet, seal
    from edge_oneshot.doctor.child import probe

    state, finding = daemon.ask_status(config)
    yield finding
    performed = False
    for finding in probe(config, open_camera=state is None, limit_s=probe_limit_s):
        performed = performed or finding.check == "attacks"
        yield finding
    if state is not None:
        yield daemon.camera(state)
        yield from daemon.gallery(config, state)
        yield from daemon.trends(state)
    yield within(BROKER_LIMIT_S, "broker", lambda: broker.check(config, state))
    yield device.clock()
    yield from device.permissions(config)
    yield from credentials.check(config)
    yield from seal.check(config)
    yield from files.check(config)
    yield from fleet.check(config)
    yield device.disk(config)
    yield from device.power()
    if not performed:
        yield warning(
            "attacks",
            f"presentation attack detection: {PAD}",
            "do not let a lock depend on a match alone: set decision.second_factor_s, or model.pad to a PAD plug-in",
        )


def within(limit_s: float, check: str, look: Callable[[], Finding]) -> Finding:
    """The finding of `look`, or a fault if it takes longer than limit_s; its thread then ends with the process."""
    result: list[Finding] = []

    def run() -> None:
        try:
            result.append(look())
        except Exception as e:  # a check that fails is a finding, too
            result.append(fault(check, f"the check itself failed: {type(e).__name__}: {e}", "report this as a bug"))

    thread = threading.Thread(target=run, name=f"doctor {check}", daemon=True)
    thread.start()
    thread.join(limit_s)
    if not result:
        return fault(check, f"no answer within {limit_s:g} s", "check name resolution and the network")
    return result[0]
