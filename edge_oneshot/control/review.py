"""The requests of a review of visits, and their responses."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from edge_oneshot.control.codec import Json, arg, out
from edge_oneshot.control.request import Request

RESULTS = ("match", "denied", "unknown", "rejected", "nothing")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelRecord:
    who: str = out("person, stranger (not enrolled) or unclear")
    identity: str | None = out("of a person; null if removed since")
    outcome: str = out("right, missed, wrong_name, false_match or unclear")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitRecord:
    """A visit: the tracks that follow each other with the same result."""

    visit: str = out("names the visit in requests")
    first_at: str = out("RFC 3339")
    last_at: str
    in_sight: bool
    result: str = out("match, denied, unknown, rejected (undecided) or nothing (not reported)")
    identity: str | None = out("of a person who was recognized (match, denied); null if that person was removed since")
    score: float | None = out("best score; null if nothing was compared")
    threshold: float | None = out("what a match needed then")
    tracks: list[Json] = out("records as of `explain`, oldest first")
    pictures: list[str] = out("what `visit-picture` takes")
    label: LabelRecord | None = out("who it was; null: no label")
    asked: bool = out("true: part of the random sample, so a label is wanted")

    @property
    def day(self) -> date:
        """In local time."""
        return datetime.fromisoformat(self.first_at).astimezone().date()


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesState:
    kept: int
    size_bytes: int
    days: int = out("after which a picture is erased")
    megabytes: int = out("greatest size of all")
    fault: str = out("why no picture can be kept, else empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitList:
    visits: list[VisitRecord] = out("newest first")
    kept: int = out("how many ended tracks are kept")
    fault: str = out("why records or labels cannot be written, else empty")
    pictures: PicturesState | None = out("null: no pictures are kept (visits.pictures)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    visit: str
    label: LabelRecord | None = out("null: the label was removed")
    name: str | None = out("of the person")
    pictures: list[str] = out("of the visit")
    counts: bool = out("whether the label counts for this door's rates: the visit was drawn at random")


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitJpeg:
    visit: str
    jpeg: bytes = out("the face with some surroundings")


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturesErased:
    erased: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRate:
    """Of labelled visits of the random sample."""

    errors: int
    visits: int
    rate: float | None = out("errors / visits; null without visits")
    low: float = out("lower end of the 95 % interval (Wilson)")
    high: float
    claimed: float | None = out("the stated rate, of one picture; null if none is stated")
    needed: int | None = out("visits at which 30 errors are expected at the claim; null without a claim")
    enough: bool = out("whether there are 30 errors, or as many visits as `needed`")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRates:
    false_match: LabelledRate = out("visits by people who are not enrolled that matched someone")
    missed: LabelledRate = out("visits by enrolled people that were not reported as a match, or as another person")
    wrong_name: LabelledRate = out("of these, visits that were reported as another person")
    asked: int = out("visits of the sample that are still recorded")
    answered: int = out("of these, how many have a label")
    unclear: int = out("of the labels in the sample, those that are `unclear`")
    outside: int = out("labels outside the sample, which count in no rate")
    outside_errors: int = out("of these, how many say that the result was wrong")


@dataclass(frozen=True, slots=True, kw_only=True)
class Visits(Request[VisitList]):
    """List the recorded visits, with the reason for each result and the label of each."""

    verb = "visits"
    response = VisitList


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Request[Labelled]):
    """Say who a visitor was. This changes no template and no result; it counts for this door's error rates."""

    verb = "label"
    response = Labelled
    visit: str = arg("the visit")
    who: Literal["person", "stranger", "unclear", "none"] = arg(
        "person: an enrolled one; stranger: not enrolled; unclear: cannot tell; none: remove the label"
    )
    person: str | None = arg("name or identity of the person", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitPicture(Request[VisitJpeg]):
    """Return one picture of a visit."""

    verb = "visit-picture"
    response = VisitJpeg
    picture: str = arg("one of the `pictures` of a visit")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasePictures(Request[PicturesErased]):
    """Erase all pictures of visits."""

    verb = "erase-pictures"
    response = PicturesErased


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorRates(Request[LabelledRates]):
    """Report this door's error rates per visit, from the labels."""

    verb = "door-rates"
    response = LabelledRates


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    identity: str
    name: str
    ignored: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignore(Request[Ignored]):
    """Publish no event of a person at this camera, or publish them again. Visits are still recorded."""

    verb = "ignore"
    response = Ignored
    name: str = arg("name or identity")
    on: bool = arg("false: publish events again", True)


REVIEW = (Visits, Label, VisitPicture, ErasePictures, DoorRates, Ignore)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which visits to show; "" and None: all. todo: only those of the sample without a label."""

    person: str = ""
    result: str = ""
    day: date | None = None
    todo: bool = False

    def passes(self, visit: VisitRecord) -> bool:
        label = visit.label
        known = visit.identity if label is None or label.who == "unclear" else label.identity
        return (
            self.person in ("", visit.identity, known)
            and self.result in ("", visit.result)
            and self.day in (None, visit.day)
            and (not self.todo or (visit.asked and label is None))
        )
