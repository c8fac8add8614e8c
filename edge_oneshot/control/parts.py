"""The parts of responses (control/responses.py)."""

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
class RangeForecast:
    light: Literal["day", "dusk"] = out("dusk: a quarter of the brightness of the day")
    metres: float | None = out(
        "distance at which 9 of 10 people who are recognized close up still are; null: fewer are"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a person who was just enrolled can expect."""

    sentences: list[str] = out("all of it, in words")
    ranges: list[RangeForecast] = out("by light; empty: not measured for these models and settings")
    taken_for: float | None = out(
        "expected share of pictures of `nearest` that also match this person; null: not measured"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedRate:
    against: Literal["matched", "everybody"] = out("matched: people of the same sex and age band in `group`")
    group: str | None = out("the group of the cohort that decided the threshold; null against everybody")
    fmr: float | None = out("stated false match rate of one comparison, else null")
    fpir: float | None = out("stated false match rate against the whole gallery, else null")
    everybody_fmr: float | None = out("that of one comparison with any person, at most; null without a cohort")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeniedPerson:
    identity: str
    name: str
    reason: str = out("expired, not_yet, door, time, clock or rules (docs/how-to/access-rules.md)")


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonSummary:
    identity: str
    name: str
    created_at: str = out("RFC 3339")
    templates: int = out("stored templates, of any encoder")
    needs_enrollment: bool = out("true if none of them can be compared")
    old_template: bool = out("true if compared by the encoder of an old template, until enrolled again", False)
    no_rate: bool = out("true if no error rate can be stated for this person", False)
    ignored: bool = out("true if this daemon publishes no event of this person", False)
    access: dict[str, Json] | None = out("the access rules of the person; null: none", None)
    denied: str | None = out("why the person is not allowed here now, else null", None)


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
    apart_at: float | None = out("lowest threshold at which these templates do not match; null for old templates", None)
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
    until: str | None = out("releases up to this date contain the encoder; null for a bundle of your own", None)
    can_migrate: tuple[str, ...] = out("of `identities`, those whose templates `migrate` can replace", ())


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFace:
    box: list[float] = out("[x0, y0, x1, y1], px")
    landmarks: list[list[float]] = out("[[x, y], …], px")
    detection_score: float
    quality: dict[str, float]
    faults: list[str] = out("one sentence for each gate that refuses the face")
    to_enroll: list[str] = out("the same for enrollment")


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedFace:
    box: list[float] = out("[x0, y0, x1, y1], px")
    inter_eye_px: float
    decision: Literal["match", "denied", "non_match", "not_compared"] = out(
        "on this frame alone; for a face that was not encoded in it, on the last frame in which it was"
    )
    identity: str | None = out("of a match, else null")
    name: str | None
    score: float | None
    threshold: float
    faults: list[str] = out("one sentence for each gate that refuses the face")
    to_enroll: list[str] = out("the same for enrollment")
    denied: DeniedPerson | None = out("the person who was recognized, and is not allowed here now, else null", None)
    hint: str = out("what the person can do first, in one sentence; empty: nothing", "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    before: Json
    now: Json


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
class Trend:
    """How one measure has developed over the last hours."""

    first: float
    last: float
    least: float
    most: float
    per_hour: float | None = out("slope (Theil-Sen); null for less than an hour")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trends:
    """Samples of the last day at most, one in five minutes. A measure is null where the system does not state it."""

    hours: float = out("between the first and the last sample")
    rss_bytes: Trend | None = out("resident memory")
    threads: Trend | None
    files: Trend | None = out("open file descriptors")
    disk_free_bytes: Trend | None = out("free on the disk of the state folder")
    outbox_depth: Trend | None = out("undelivered events")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptationState:
    """What was learned of this site's strangers."""

    visits: int = out("visits of unknown people that were looked at")
    counted: int = out("of these, different visitors; a person counts once")
    needed: int = out("visitors after which learning is complete")
    version: str = out("names what is subtracted; empty: nothing yet")
    before: float | None = out(
        "mean score of two of the visitors without the adaptation; null: nothing is subtracted yet"
    )
    after: float | None = out("the same with the adaptation")
