"""Every request of the control protocol as a dataclass. The socket, MQTT and the documentation share them.

The class of a request names its verb and its response; its fields are the arguments. control/codec.py turns both into JSON.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_oneshot.control.access import SetAccess as SetAccess
from edge_oneshot.control.codec import Json, arg
from edge_oneshot.control.request import Request as Request
from edge_oneshot.control.responses import (
    AdaptationReset,
    Cancelled,
    Captured,
    Checked,
    Compared,
    Confirmed,
    DoorReset,
    Enrolled,
    Explained,
    Exported,
    Forgotten,
    Identified,
    Imported,
    Merged,
    Migrated,
    Paused,
    People,
    PersonDetails,
    Reloaded,
    Renamed,
    StatusReport,
    Viewed,
)
from edge_oneshot.control.review import DoorRates as DoorRates
from edge_oneshot.control.review import ErasePictures as ErasePictures
from edge_oneshot.control.review import Ignore as Ignore
from edge_oneshot.control.review import Label as Label
from edge_oneshot.control.review import VisitPicture as VisitPicture
from edge_oneshot.control.review import Visits as Visits

ENROLL_TIMEOUT_S, FRAME_TIMEOUT_S, MAX_WAIT_S, YEAR_S = 30.0, 10.0, 600.0, 366 * 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Enroll(Request[Enrolled]):
    """Enroll a person from a picture, or from the camera if there is none."""

    verb = "enroll"
    response = Enrolled
    name: str = arg("the person's name")
    id: str | None = arg("identity in topics, [a-z0-9_-]+; without it one is made from the name", None)
    image: bytes | None = arg("a picture file; without it the camera is used", None)
    source: str = arg("what the picture is called in messages", "the picture")
    timeout_s: float = arg("seconds to wait for a good frame of the camera", ENROLL_TIMEOUT_S, at_most=MAX_WAIT_S)
    replace: bool = arg("replace the template of a person who is enrolled already", False)
    add: bool = arg("give a person who is enrolled already one more template", False)
    accept_no_rate: bool = arg(
        "enroll also a person for whom no error rate can be stated, such as a small child", False
    )
    dry_run: bool = arg("check the capture and name look-alikes, and store nothing", False)

    @property
    def waits_s(self) -> float:
        return self.timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel(Request[Cancelled]):
    """Cancel the enrollment that waits for frames."""

    verb = "cancel"
    response = Cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class List(Request[People]):
    """List the enrolled people."""

    verb = "list"
    response = People


@dataclass(frozen=True, slots=True, kw_only=True)
class Show(Request[PersonDetails]):
    """Show one person's templates."""

    verb = "show"
    response = PersonDetails
    name: str = arg("name or identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rename(Request[Renamed]):
    """Change a person's name; the identity in topics stays."""

    verb = "rename"
    response = Renamed
    name: str = arg("name or identity")
    to: str = arg("the new name")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge(Request[Merged]):
    """Give the templates of one entry to another of the same person, and remove the first."""

    verb = "merge"
    response = Merged
    name: str = arg("name or identity of the entry that is removed")
    into: str = arg("name or identity of the entry that stays")
    force: bool = arg("merge also two people who do not match each other", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget(Request[Forgotten]):
    """Remove a person and overwrite the templates."""

    verb = "forget"
    response = Forgotten
    name: str = arg("name or identity")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check(Request[Checked]):
    """Find people who must be enrolled again, and pairs who would match each other."""

    verb = "check"
    response = Checked


@dataclass(frozen=True, slots=True, kw_only=True)
class Migrate(Request[Migrated]):
    """Replace old templates by templates of the current encoder, made from kept captures (gallery.keep_capture)."""

    verb = "migrate"
    response = Migrated


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetDoor(Request[DoorReset]):
    """Erase the scores of this door's visitors, and take back the raise of the threshold. Measuring begins again."""

    verb = "reset-door"
    response = DoorReset


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetAdaptation(Request[AdaptationReset]):
    """Erase what was learned of this site's strangers (decision.adapt), and begin again."""

    verb = "reset-adaptation"
    response = AdaptationReset


@dataclass(frozen=True, slots=True, kw_only=True)
class Export(Request[Exported]):
    """Export every person."""

    verb = "export"
    response = Exported


@dataclass(frozen=True, slots=True, kw_only=True)
class Import(Request[Imported]):
    """Enroll every person of an exported document, or none of them."""

    verb = "import"
    response = Imported
    document: dict[str, Json] = arg("what `export` returned")
    replace: bool = arg("replace the templates of people who are enrolled already", False)
    missing: bool = arg("skip people who are enrolled already", False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verify(Request[Compared]):
    """Compare a picture with one enrolled person (1:1)."""

    verb = "verify"
    response = Compared
    name: str = arg("name or identity of the claimed person")
    image: bytes = arg("a picture file")
    source: str = arg("what the picture is called in messages", "the picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identify(Request[Identified]):
    """Compare a picture with every enrolled person (1:N, open-set)."""

    verb = "identify"
    response = Identified
    image: bytes = arg("a picture file")
    source: str = arg("what the picture is called in messages", "the picture")


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirm(Request[Confirmed]):
    """Confirm a match with a second factor (a phone, a tag, a button); see decision.second_factor_s."""

    verb = "confirm"
    response = Confirmed
    name: str = arg("name or identity")
    by: str = arg("what confirmed the match, for the event: `phone`, `tag`", "request")


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(Request[Captured]):
    """Return the next frame as a JPEG with the faces found in it. Nothing is stored."""

    verb = "capture"
    response = Captured
    timeout_s: float = arg("seconds to wait for a frame", FRAME_TIMEOUT_S, at_most=MAX_WAIT_S)

    @property
    def waits_s(self) -> float:
        return self.timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class View(Request[Viewed]):
    """Return the next frame with its recognition results, while recognition continues. One request per frame of a live view."""

    verb = "view"
    response = Viewed
    timeout_s: float = arg("seconds to wait for a frame", FRAME_TIMEOUT_S, at_most=MAX_WAIT_S)

    @property
    def waits_s(self) -> float:
        return self.timeout_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Status(Request[StatusReport]):
    """Report the state of the running daemon."""

    verb = "status"
    response = StatusReport


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(Request[Paused]):
    """Pause recognition until `resume`, or until the daemon is restarted. Meanwhile no event is published."""

    verb = "pause"
    response = Paused
    paused: bool = arg("false: resume, as `resume` does; for a switch with one topic", True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume(Request[Paused]):
    """Resume recognition."""

    verb = "resume"
    response = Paused


@dataclass(frozen=True, slots=True, kw_only=True)
class Explain(Request[Explained]):
    """Return the records of recent tracks: what was seen, and why it was published or not."""

    verb = "explain"
    response = Explained
    last_s: float | None = arg("only tracks seen within the last seconds", None, at_most=YEAR_S)
    event_id: str | None = arg("only the track that this event came from", None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload(Request[Reloaded]):
    """Read the gallery and the configuration again. A configuration with a fault is refused as a whole."""

    verb = "reload"
    response = Reloaded


AnyRequest = Request[Any]
REQUESTS: dict[str, type[AnyRequest]] = {
    kind.verb: kind
    for kind in (
        *(Enroll, Cancel, List, Show, Rename, Merge, Forget, Check, Migrate, ResetDoor, ResetAdaptation),
        *(Export, Import, Verify, Identify, SetAccess),
        *(Confirm, Capture, View, Status, Pause, Resume, Explain, Reload),
        *(Visits, Label, VisitPicture, ErasePictures, DoorRates, Ignore),
    )
}
