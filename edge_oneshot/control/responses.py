"""The response of every request of the control protocol (control/requests.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_oneshot.control.codec import Json, out
from edge_oneshot.control.parts import (
    AdaptationState,
    AlikePair,
    Change,
    DeniedPerson,
    DoorState,
    Forecast,
    FoundFace,
    GrowthState,
    LookAlike,
    Nearest,
    OldEncoder,
    OutboxState,
    Percentiles,
    PersonSummary,
    StatedRate,
    TemplateDetails,
    Trends,
    ViewedFace,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryCounts:
    identities: int
    templates: int
    fault: str = out("why the gallery cannot be changed; empty = none", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    identity: str
    name: str
    encoder_id: str
    quality: dict[str, float] = out("measures of the capture")
    look_alike: LookAlike | None = out("another enrolled person who would match this one, else null")
    frames: int = out("frames that the template was made of", 1)
    self_score: float | None = out("lowest score of the template against the best frames; null for one frame", None)
    weak: bool = out("true if self_score is below the threshold", False)
    nearest: Nearest | None = out("the most similar other person, else null", None)
    no_rate: bool = out("true if no error rate can be stated for this person", False)
    own_score: float | None = out("score against the person's templates of before; null if there were none", None)
    unlike: bool = out("true if own_score is below the threshold", False)
    forecast: Forecast | None = out("what the person can expect at this camera", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelled:
    cancelled: bool = out("false: no enrollment was waiting")


@dataclass(frozen=True, slots=True, kw_only=True)
class People:
    identities: list[PersonSummary]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonDetails(PersonSummary):
    details: list[TemplateDetails]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renamed:
    identity: str
    name: str
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    identity: str = out("of the entry that stays")
    name: str
    removed: str = out("identity of the entry that was removed")
    moved: int = out("templates that were moved")
    templates: int = out("templates of the current encoder that the person has now")


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    identity: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked(GalleryCounts):
    threshold: float
    needs_enrollment: list[str] = out("identities whose templates cannot be compared")
    look_alikes: list[AlikePair] = out("pairs of people who would match each other")
    growth: list[GrowthState] | None = out("error rates now and with 100 more people; null without a cohort", None)
    no_rate: tuple[str, ...] = out("identities for whom no error rate can be stated", ())
    fnmr: float | None = out("expected share of enrolled people's captures missed now; null if not measured", None)
    rate: StatedRate | None = out("the stated error rate, and against whom it is kept", None)
    old_encoders: list[OldEncoder] | None = out("encoders in use for people with an old template", None)
    door: DoorState | None = out("this door's own error rates; null if they cannot be measured", None)
    sealed: bool = out("whether gallery, journal and outbox are sealed with the key of the device", False)
    adaptation: AdaptationState | None = out("to this site's strangers; null unless decision.adapt", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrated:
    identities: list[str] = out("people whose templates were replaced")
    left: int = out("people whose templates can still be replaced: send the request again")
    needs_enrollment: list[str] = out("people with an old template and no kept captures")
    no_rate: tuple[str, ...] = out("of `identities`, those for whom no error rate can be stated", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorReset:
    visits: int = out("visits whose counts were erased")
    threshold: float = out("in force from now on")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    document: Json = out("the gallery as one JSON document; it holds biometric data")


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    identities: list[str]
    needs_enrollment: list[str] = out("imported people whose templates cannot be compared")
    old_templates: list[str] | None = out("imported people who are compared by an old template", None)
    no_rate: tuple[str, ...] = out("imported people for whom no error rate can be stated", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    identity: str | None = out("verify: the claimed person; identify: the match, null if there is none")
    name: str | None
    decision: Literal["match", "denied", "non_match", "not_compared"] = out(
        "denied: see `denied`; it never opens anything"
    )
    score: float | None = out("comparison score; null if the gallery has no comparable template")
    threshold: float
    target_fmr: float | None
    margin: float | None = out("score - threshold")
    same_probability: float | None
    runner_up_score: float | None
    quality: dict[str, float]
    pad: str = out("not_performed, bona_fide or attack")
    encoder_id: str = out("of the encoder whose score and threshold these are", "")
    no_rate: bool = out("true if no error rate can be stated for `identity`", False)
    rate: StatedRate | None = out("the stated error rate; null if none can be stated for this person", None)
    denied: DeniedPerson | None = out("the person who was recognized, and is not allowed here now, else null", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified(Compared):
    templates_of_another_encoder: int = out("templates that were not compared", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    size: list[int] = out("[width, height], px")
    faces: list[FoundFace]
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewed:
    size: list[int] = out("[width, height] of the frame, px; the boxes refer to it")
    state: str = out("as in `status`; enrolling while a request uses the camera")
    faces: list[ViewedFace] = out("empty while paused or enrolling")
    jpeg: bytes = out("the frame, at most 800 px wide")
    hint: str = out("the sentence of the enrollment that uses the camera, else empty", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    identities: list[str]
    unknown: int
    denied: list[str] = out("people in sight who are not allowed by their access rules; not among `identities`", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusReport:
    schema: int
    state: str = out("running, paused, camera_lost, camera_frozen or camera_dark")
    fps: float | None
    stages_ms: dict[str, Percentiles]
    camera_age_s: float | None = out("since the last frame")
    temperature_c: float | None
    throttled: int | None = out("the firmware's throttling bits; 0 = none")
    rss_bytes: int | None
    uptime_s: float
    outbox: OutboxState
    encoder_id: str
    gallery: GalleryCounts
    ts: str
    version: str
    instance: str
    device: str
    frames: int
    events: int
    present: Present
    broker: str | None = out("state of the connection; null without MQTT")
    threshold: float
    accepted: str = out("the error rate that the configuration states")
    target_fmr: float | None
    target_fpir: float | None
    threshold_extrapolated: bool
    old_templates: int = out("people who are compared by the encoder of an old template", 0)
    refused_topics: tuple[str, ...] = out("topics that the broker does not take, with the reason; at most 10", ())
    rate: StatedRate | None = out("the stated error rate, and against whom it is kept", None)
    set_aside: dict[str, int] | None = out("rows of each file that could not be read", None)
    door: DoorState | None = out("this door's own error rates; null if they cannot be measured", None)
    sealed: bool = out("whether gallery, journal and outbox are sealed with the key of the device", False)
    adaptation: AdaptationState | None = out("to this site's strangers; null unless decision.adapt", None)
    trends: Trends | None = out("of the last hours", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    paused: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    identity: str
    name: str
    confirmed: bool = out("true: a `confirmed` event was published; false: the confirmation waits for a match")
    within_s: float = out("seconds for which the confirmation is valid: decision.second_factor_s")
    denied: str | None = out("why the person is not allowed here now, and nothing waits; else null", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    tracks: list[Json] = out("records of tracks, oldest first, those in sight last")
    kept: int = out("how many ended tracks are kept")
    fault: str = out("why records cannot be written, else empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reloaded:
    changed: dict[str, Change] = out("configuration key -> value before and now")
    restart_needed: list[str] = out("changed keys that take effect at the next start")
    threshold: float
    gallery: GalleryCounts


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationReset:
    visits: int = out("visits that had been looked at")
