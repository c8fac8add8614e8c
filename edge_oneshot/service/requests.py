"""Every request, served in one place: for the control socket, for MQTT, and for a command without a daemon.

It runs in the thread that owns the recognizer. A request is answered at once, except `enroll` from the camera and
`capture`, which wait for frames: they become the pending job, and there is one at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from edge_oneshot.config import Config
from edge_oneshot.control import requests as rq
from edge_oneshot.control import responses as rs
from edge_oneshot.control.parts import PersonSummary
from edge_oneshot.control.protocol import PendingRequest
from edge_oneshot.control.review import REVIEW
from edge_oneshot.errors import ControlError, EdgeOneshotError
from edge_oneshot.events.build import gallery_event
from edge_oneshot.gallery.archive import to_document
from edge_oneshot.gallery.naming import clean_name
from edge_oneshot.gallery.store import Enrolled as Person
from edge_oneshot.recognition.enrollment import Enrollment
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import site
from edge_oneshot.service.access import set_access, shown
from edge_oneshot.service.answers import comparison, enrolled_response, template_details
from edge_oneshot.service.check import checked
from edge_oneshot.service.door import Door
from edge_oneshot.service.imported import imported
from edge_oneshot.service.jobs import CaptureJob, EnrollJob, Job
from edge_oneshot.service.merge import merged
from edge_oneshot.service.migrate import migrate
from edge_oneshot.service.pictures import picture_of
from edge_oneshot.service.records import Records
from edge_oneshot.service.review import Review
from edge_oneshot.service.views import Views
from edge_oneshot.types import Event, Frame, Identity

log = logging.getLogger(__name__)

NO_DAEMON = ("no daemon is running", "start it with `edge-oneshot run`")
NO_RECORDS = ("no track records are kept here", "ask the running daemon; see decision.explain_tracks")


class Requests:
    """Serves requests. emit: takes the event of a change in the gallery.

    status, set_paused, reload, confirm: what only a running daemon can do; None without one. records: what is kept of visits.
    door: what measures this door. config: the configuration in force, for the forecast after an enrollment.
    """

    def __init__(
        self,
        recognizer: Recognizer,
        emit: Callable[[Event], None],
        *,
        status: Callable[[], rs.StatusReport] | None = None,
        set_paused: Callable[[bool], None] | None = None,
        records: Records | None = None,
        reload: Callable[[], rs.Reloaded] | None = None,
        door: Door | None = None,
        confirm: Callable[[Identity, str], rs.Confirmed] | None = None,
        config: Callable[[], Config] | None = None,
    ) -> None:
        self._recognizer, self._emit = recognizer, emit
        self._status_now, self._set_paused, self._reload_now = status, set_paused, reload
        self._door, self._confirm_now, self._records, self._config = door, confirm, records, config
        self._review = None if records is None else Review(recognizer, records)
        self._width_px: int | None = None  # of the frames that the pending job got
        self.job: Job | None = None
        self.views = Views()
        # Each returns the response, or None where the request became the pending job.
        self._serve: dict[type, Callable[[Any], object]] = {
            rq.Cancel: self._cancel,
            rq.List: self._list,
            rq.Show: self._show,
            rq.Rename: self._rename,
            rq.Forget: self._forget,
            rq.Merge: self._merge,
            rq.Check: self._check,
            rq.Migrate: lambda _: migrate(recognizer),
            rq.ResetDoor: self._reset_door,
            rq.ResetAdaptation: self._reset_adaptation,
            rq.Export: lambda _: rs.Exported(document=to_document(recognizer.people.gallery)),
            rq.Import: self._import,
            rq.SetAccess: lambda request: set_access(recognizer, request),
            rq.Confirm: self._confirm,
            rq.Status: self._status,
            rq.Pause: lambda request: self._pause(request.paused),
            rq.Resume: lambda _: self._pause(False),
            rq.Explain: self._explain,
            rq.Reload: self._reload,
        }

    def start(self, pending: PendingRequest) -> None:
        """Answer a request, or make it the pending job. Every failure becomes an error answer."""
        request = pending.request
        try:
            self._recognizer.people.refresh()
            if isinstance(request, rq.Capture):
                self._begin(CaptureJob(pending, self._recognizer.pipeline, request.timeout_s))
            elif isinstance(request, rq.View):
                self.views.begin(pending, request.timeout_s)
            elif isinstance(request, rq.Enroll):
                self._enroll(pending, request)
            elif isinstance(request, REVIEW):
                if self._review is None:
                    raise ControlError(*NO_RECORDS)
                self._review.start(pending)
            elif isinstance(request, rq.Verify):
                pending.finish(self._verify(request, picture_of(pending)))
            elif isinstance(request, rq.Identify):
                pending.finish(self._identify(picture_of(pending)))
            else:
                pending.finish(self._serve[type(request)](request))
        except EdgeOneshotError as e:
            pending.fail(e)
        except Exception as e:
            # A defect in one request must not stop the daemon: the client and the log get the error.
            log.exception("the request %r failed", request.verb)
            message = f"{request.verb}: internal error: {type(e).__name__}: {e}"
            pending.fail(EdgeOneshotError(message, "report it with the daemon's log"))

    def offer(self, frame: Frame, repeated: bool = False) -> None:
        """Give the pending job a frame. repeated: it is the same picture as the one before."""
        self._width_px = frame.size[0]
        if self.job is not None and self.job.offer(frame, repeated):
            self.job = None

    def tick(self, now_ns: int) -> None:
        """End the pending job if its time is over or its client has gone. now_ns: time.monotonic_ns."""
        self.views.tick(now_ns)
        if self.job is not None and self.job.tick(now_ns):
            self.job = None

    def stop(self) -> None:
        """Fail the pending job and the waiting views, since the daemon stops."""
        self.views.stop()
        if self.job is not None:
            self.job.pending.fail(ControlError("the daemon is stopping; nothing was stored", "try again when it runs"))
            self.job = None

    # ---- enrollment

    def _enroll(self, pending: PendingRequest, request: rq.Enroll) -> None:
        recognizer, kept = self._recognizer, {"replace": request.replace, "beside": request.add}
        identity = recognizer.new_identity(request.name, request.id)
        # Refused before the person is asked to stand still; the store checks again inside its transaction.
        recognizer.people.check_free(identity, **kept)

        def store(enrollment: Enrollment) -> rs.Enrolled:
            if not request.dry_run:
                recognizer.store(enrollment, **kept)
                self._publish("enrolled", enrollment.identity)
            config = None if self._config is None else self._config()
            return enrolled_response(enrollment, recognizer, config, self._width_px)

        accept_no_rate = request.accept_no_rate
        if request.image is not None:
            frame = picture_of(pending)
            pending.finish(store(recognizer.enrollment_of(identity, frame, accept_no_rate=accept_no_rate)))
            return
        session = recognizer.capture_session(identity, request.timeout_s, accept_no_rate=accept_no_rate)
        self._begin(EnrollJob(pending, session, store))

    def _begin(self, job: Job) -> None:
        if self.job is not None:
            raise ControlError("another request is using the camera", "wait until it ends, or cancel it")
        self.job = job

    def _publish(self, event_type: str, identity: Identity) -> None:
        now_ns, now = time.monotonic_ns(), datetime.now(UTC)
        self._emit(gallery_event(event_type, identity, self._recognizer.encoder_id, now_ns, now))

    def _cancel(self, _: rq.Cancel) -> rs.Cancelled:
        if not isinstance(self.job, EnrollJob):
            return rs.Cancelled(cancelled=False)
        self.job.pending.fail(ControlError("the enrollment was cancelled", "start it again"))
        self.job = None
        return rs.Cancelled(cancelled=True)

    # ---- the gallery

    def _list(self, _: rq.List) -> rs.People:
        return rs.People(identities=[PersonSummary(**self._summary(p)) for p in self._people()])

    def _people(self) -> list[Person]:
        return self._recognizer.people.gallery.people()

    def _summary(self, person: Person) -> dict[str, Any]:
        return {
            "identity": person.identity.identity_id,
            "name": person.identity.name,
            "created_at": person.created_at.isoformat(),
            "templates": len(person.templates),
            "needs_enrollment": not any(self._recognizer.people.comparable(t) for t in person.templates),
            "old_template": person.identity.identity_id in self._recognizer.people.old,
            "no_rate": person.identity.identity_id in self._recognizer.people.no_rate,
            "ignored": self._records is not None and person.identity.identity_id in self._records.ignored,
            **shown(self._recognizer, person.identity.identity_id),
        }

    def _show(self, request: rq.Show) -> rs.PersonDetails:
        people = self._recognizer.people
        person = people.gallery.find(people.gallery.lookup(request.name).identity_id)
        return rs.PersonDetails(**self._summary(person), details=template_details(people, person))

    def _rename(self, request: rq.Rename) -> rs.Renamed:
        people = self._recognizer.people
        identity, name = people.gallery.lookup(request.name), clean_name(request.to)
        people.rename(identity.identity_id, name)
        return rs.Renamed(identity=identity.identity_id, name=name, before=identity.name)

    def _forget(self, request: rq.Forget) -> rs.Forgotten:
        people = self._recognizer.people
        identity = people.gallery.lookup(request.name)
        people.remove(identity.identity_id)
        self._publish("forgotten", identity)
        return rs.Forgotten(identity=identity.identity_id, name=identity.name)

    def _merge(self, request: rq.Merge) -> rs.Merged:
        response, removed = merged(self._recognizer, request)
        self._publish("forgotten", removed)
        return response

    def _check(self, _: rq.Check) -> rs.Checked:
        people = [self._summary(p) for p in self._people()]
        stale = [p["identity"] for p in people if p["needs_enrollment"]]
        return checked(self._recognizer, len(people), stale, None if self._door is None else self._door.report())

    def _reset_door(self, _: rq.ResetDoor) -> rs.DoorReset:
        if self._door is None:
            raise ControlError("this door is not measured here", "ask the running daemon")
        visits, events = self._door.reset()
        for event in events:
            self._emit(event)
        return rs.DoorReset(visits=visits, threshold=round(self._recognizer.threshold.value, 4))

    def _reset_adaptation(self, _: rq.ResetAdaptation) -> rs.AdaptationReset:
        visits, events = site.reset(self._recognizer, self._door)
        for event in events:
            self._emit(event)
        return rs.AdaptationReset(visits=visits)

    def _import(self, request: rq.Import) -> rs.Imported:
        response, added = imported(self._recognizer, request)
        for identity in added:
            self._publish("enrolled", identity)
        return response

    # ---- comparing a picture

    def _verify(self, request: rq.Verify, frame: Frame) -> rs.Compared:
        return rs.Compared(**comparison(self._recognizer.verify(request.name, frame)))

    def _identify(self, frame: Frame) -> rs.Identified:
        found = self._recognizer.identify_one(frame)
        return rs.Identified(**comparison(found), templates_of_another_encoder=self._recognizer.references.foreign)

    # ---- the device

    def _status(self, _: rq.Status) -> rs.StatusReport:
        if self._status_now is None:
            raise ControlError(*NO_DAEMON)
        return self._status_now()

    def _confirm(self, request: rq.Confirm) -> rs.Confirmed:
        if self._confirm_now is None:
            raise ControlError(*NO_DAEMON)
        return self._confirm_now(self._recognizer.people.gallery.lookup(request.name), request.by)

    def _explain(self, request: rq.Explain) -> rs.Explained:
        if self._records is None or self._records.journal is None:
            raise ControlError(*NO_RECORDS)
        return rs.Explained(**self._records.journal.report(request.last_s, request.event_id))

    def _pause(self, paused: bool) -> rs.Paused:
        if self._set_paused is None:
            raise ControlError(*NO_DAEMON)
        self._set_paused(paused)
        return rs.Paused(paused=paused)

    def _reload(self, _: rq.Reload) -> rs.Reloaded:
        if self._reload_now is None:
            raise ControlError(*NO_DAEMON)
        return self._reload_now()
