"""Track results -> events. Pure: the body of each type of event, and nothing about its delivery.

Nothing below the threshold has a name: `unknown` and `rejected` name no person, and a runner-up is only a score.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta

from edge_oneshot.events.clock import boot_id, new_event_id
from edge_oneshot.matching.threshold import Threshold
from edge_oneshot.matching.track import ResultKind, TrackResult
from edge_oneshot.types import Denied, Event, Identity


def track_event(
    result: TrackResult,
    names: Mapping[str, str],
    camera: str,
    encoder_id: str,
    now_ns: int,
    now: datetime,
    no_rate: Collection[str] = (),
    denied: Denied | None = None,
) -> Event:
    """The event of one result. names: identity_id -> name. now_ns and now: one moment on both clocks. encoder_id: of the
    current encoder, for a result without a comparison.

    no_rate: the identities for whom no error rate can be stated. denied: why the person of a match is not allowed.

    ts is the capture time of the track's last frame: the wall clock minus its distance from `now_ns`.
    """
    decision = result.observation.decision
    body: dict[str, object] = {}
    if result.identity_id is not None:
        body |= {"identity": result.identity_id, "name": names.get(result.identity_id, result.identity_id)}
    if result.kind in (ResultKind.MATCH, ResultKind.UNKNOWN):
        body |= {
            "score": _rounded(decision.score),
            "same_probability": _rounded(decision.same_probability, 6),
            "threshold": _rounded(decision.threshold),
            "target_fmr": decision.target_fmr,
            "target_fpir": decision.target_fpir,
            "rate": "none" if decision.rate is None else decision.rate.message(),
            "margin": _rounded(decision.margin),
            "runner_up_score": None if decision.runner_up is None else _rounded(decision.runner_up.score),
            "quality": result.observation.sample.quality.measures(),
        }
    if result.kind is ResultKind.MATCH and result.identity_id in no_rate:
        body["rate"] = "none"
    if denied is not None:
        body["reason"] = denied.value
    if result.kind is ResultKind.REJECTED:
        # Without a fault the best frame was compared: the person left before the track was decided.
        body["faults"] = [fault.code for fault in result.observation.sample.faults] or ["undecided"]
    if result.kind in (ResultKind.GONE, ResultKind.REJECTED):
        body["seconds"] = round((result.last_ns - result.first_ns) / 1e9, 1)
    pad = result.observation.sample.pad.decision.value  # not_performed: a photograph of an enrolled person can match
    body |= {"frames": result.frames, "track": result.track, "camera": camera, "pad": pad}
    body["encoder_id"] = decision.encoder_id or encoder_id
    # That a person has left is decided some seconds after the last frame, and is news from then on.
    absence = result.kind in (ResultKind.GONE, ResultKind.REJECTED)
    return Event(
        event_id=new_event_id(),
        event_type=result.kind.value if denied is None else "denied",
        ts=now - timedelta(microseconds=(now_ns - result.last_ns) / 1000),
        captured_ns=now_ns if absence else result.last_ns,
        boot_id=boot_id(),
        body=body,
    )


def confirmed_event(match: Event, by: str, now_ns: int, now: datetime) -> Event:
    """The event of a match that a second factor has confirmed just now. by: what has confirmed it."""
    body = {**match.body, "match_event_id": match.event_id, "confirmed_by": by}
    return Event(
        event_id=new_event_id(), event_type="confirmed", ts=now, captured_ns=now_ns, boot_id=boot_id(), body=body
    )


def threshold_event(
    before: float,
    threshold: Threshold,
    door: Mapping[str, object],
    camera: str,
    encoder_id: str,
    now_ns: int,
    now: datetime,
) -> Event:
    """The event of a threshold that this door has changed. before: its score. door: this door's own rates, JSON values."""
    rates = ("fmr", "fmr_low", "fmr_high", "fpir", "fpir_low", "fpir_high", "visits")
    body: dict[str, object] = {
        "from": _rounded(before),
        "to": _rounded(threshold.value),
        "raised": _rounded(threshold.raised),
        "target_fmr": threshold.target_fmr,
        "target_fpir": threshold.target_fpir,
        "rate": threshold.rate.message(),
        **{name: door[name] for name in rates},
        "camera": camera,
        "encoder_id": encoder_id,
    }
    return Event(
        event_id=new_event_id(),
        event_type="threshold_changed",
        ts=now,
        captured_ns=now_ns,
        boot_id=boot_id(),
        body=body,
    )


def gallery_event(event_type: str, identity: Identity, encoder_id: str, now_ns: int, now: datetime) -> Event:
    """The event of an enrollment or a removal: event_type is "enrolled" or "forgotten"."""
    body = {"identity": identity.identity_id, "name": identity.name, "encoder_id": encoder_id}
    return Event(
        event_id=new_event_id(), event_type=event_type, ts=now, captured_ns=now_ns, boot_id=boot_id(), body=body
    )


def _rounded(value: float | None, digits: int = 4) -> float | None:
    return None if value is None else round(value, digits)
