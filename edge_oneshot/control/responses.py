"""The response of every request of the control protocol, and the parts of responses (control/requests.py)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_oneshot.control.codec import Json, out


@dataclass(frozen=True, slots=True, kw_only=True)
class LookAlike:
    identity: str
    score: float
    threshold: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearest:
    identity: str
    score: float
    threshold: float
    cohort_share: float | None = out("share of the cohort's non-mated pairs that score lower; null without a cohort")


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedRate:
    against: Literal["matched", "everybody"] = out("matched: people of the same sex and age band in `group`")
    group: str | None = out("the group of the cohort that decided the threshold; null against everybody")
    fmr: float | None = out("stated false match rate of one comparison, else null")
    fpir: float | None = out("stated false match rate against the whole gallery, else null")
    everybody_fmr: float | None = out(
        "that of one comparison with any person, or an upper bound; null without a cohort"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSummary:
    identity: str
    name: str
    created_at: str = out("RFC 3339")
    templates: int = out("stored templates, of any encoder")
    needs_enrollment: bool = out("true if none of them can be compared")
    old_template: bool = out("true if compared by the encoder of an old template, until enrolled again", False)
    no_rate: bool = out("true if no error rate can be stated for this person", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateDetails:
    template_id: str
    created_at: str
    encoder_id: str
    comparable: bool = out("false: of an encoder that is not in use, or damaged")
    quality: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlikePair:
    identities: tuple[str, ...] = out("two identities")
    score: float
    apart_at: float | None = out(
        "lowest threshold at which these templates do not match each other; null for old templates", None
    )
    fnmr: float | None = out("expected share of enrolled people's captures missed there; null if not measured", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class GrowthState:
    identities: int
    threshold: float
    fpir: float = out("expected share of strangers' captures that match an enrolled person; strangers as in `rate`")
    fnir: float | None = out("expected share of enrolled people's captures that are missed; null if not measured")
    extrapolated: bool
    everybody_fpir: float | None = out("the same share for any strangers", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class OldEncoder:
    encoder: str = out("name in its model card")
    encoder_id: str
    identities: list[str] = out("the people whom it compares")
    threshold: float
    growth: GrowthState | None = out("error rates now; null without a cohort", None)
    rate: StatedRate | None = out("the stated error rate, and against whom this encoder keeps it", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFace:
    box: list[float] = out("[x0, y0, x1, y1], px")
    landmarks: list[list[float]] = out("[[x, y], …], px")
    detection_score: float
    quality: dict[str, float]
    faults: list[str] = out("one sentence for each gate that refuses the face")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    before: Json
    now: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryCounts:
    identities: int
    templates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorState:
    """This door's own error rates at the threshold in force, from the scores of unknown visitors."""

    visits: int = out("visits of unknown people that were counted")
    needed: int = out("visits below which no rate is stated")
    days: int = out("days with such a visit, at most 90")
    raised: float = out("how much the threshold in force is above the one that the card gives")
    fmr: float | None = out("false match rate of one comparison; null: too few visits")
    fmr_low: float | None = out("lower end of its 95 % interval")
    fmr_high: float | None = out("upper end of its 95 % interval")
    fpir: float | None = out("rate of visits by strangers that match anyone of the gallery")
    fpir_low: float | None = out("lower end of its 95 % interval")
    fpir_high: float | None = out("upper end of its 95 % interval")
    missed: float | None = out("estimated share of these visits that were enrolled people who were missed")
    above: bool = out("true if the lower end of the interval is above the stated rate")


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
    decision: Literal["match", "non_match", "not_compared"]
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified(Compared):
    templates_of_another_encoder: int = out("templates that were not compared", 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    size: list[int] = out("[width, height], px")
    faces: list[FoundFace]
    jpeg: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    identities: list[str]
    unknown: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    p50: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    depth: int
    oldest_age_s: float | None
    dropped: int
    refused: int
    fault: str


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
    rate: StatedRate | None = out("the stated error rate, and against whom it is kept", None)
    door: DoorState | None = out("this door's own error rates; null if they cannot be measured", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused:
    paused: bool


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
