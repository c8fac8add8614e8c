"""Every request that changes or asks something, in one place: the CLI's socket, the CLI without a daemon, and MQTT use it.

It runs in the thread that owns the pipeline and the gallery. A verb answers at once, except `enroll` from the camera and
`snapshot`, which wait for frames: they become the pending job, and there is one at a time.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from edge_oneshot.cameras.images import decode_image
from edge_oneshot.control.arguments import Arguments
from edge_oneshot.control.protocol import Request
from edge_oneshot.errors import ControlError, EdgeOneshotError, GalleryError
from edge_oneshot.events.build import fold_gallery_change
from edge_oneshot.events.journal import Journal
from edge_oneshot.gallery.archive import from_document, to_document
from edge_oneshot.gallery.naming import check_id, clean_name, propose_id
from edge_oneshot.gallery.people import People
from edge_oneshot.gallery.store import Enrolled
from edge_oneshot.matching.compare import References
from edge_oneshot.matching.decide import decide
from edge_oneshot.matching.forecast import growth, nearest
from edge_oneshot.recognition.enrollment import CaptureSession, Enrollment, enroll_from_frame, probe_from_frame
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service.jobs import EnrollJob, Job, SnapshotJob
from edge_oneshot.types import Decision, DecisionKind, Event, Frame, Identity, Sample

log = logging.getLogger(__name__)

ENROLL_TIMEOUT_S = 30.0
MAX_LAST_S = 366 * 86400.0


class Handler:
    """Answers requests. emit: takes the event of a change in the gallery. describe: what `status` answers.

    Verbs and their arguments are the methods below; docs/operations.md lists them.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        people: People,
        emit: Callable[[Event], None],
        describe: Callable[[], dict[str, Any]],
        set_paused: Callable[[bool], None] | None = None,
        journal: Journal | None = None,
        reload: Callable[[], dict[str, Any]] | None = None,
    ) -> None:
        self._pipeline, self._people, self._emit, self._describe = pipeline, people, emit, describe
        self._set_paused, self._journal, self._reload_now = set_paused, journal, reload
        self.job: Job | None = None
        self._verbs: dict[str, Callable[[Request], None]] = {
            "enroll": self._enroll,
            "cancel": self._cancel,
            "snapshot": self._snapshot,
            "list": self._list,
            "show": self._show,
            "rename": self._rename,
            "forget": self._forget,
            "check": self._check,
            "export": self._export,
            "import": self._import,
            "verify": self._verify,
            "identify": self._identify,
            "status": self._status,
            "pause": self._pause,
            "resume": self._pause,
            "explain": self._explain,
            "reload": self._reload,
        }

    def start(self, request: Request) -> None:
        """Answer a request, or make it the pending job. Every failure becomes an error answer."""
        try:
            verb = self._verbs.get(request.verb)
            if verb is None:
                raise ControlError(f"no such request: {request.verb!r}", f"known: {', '.join(self._verbs)}")
            self._people.refresh()
            verb(request)
        except EdgeOneshotError as e:
            request.fail(e)
        except Exception as e:
            # A fault of this program. One request must not end the daemon, on which doors hang: its sender and the log hear of it.
            log.exception("the request %r failed", request.verb)
            request.fail(
                EdgeOneshotError(
                    f"{request.verb}: internal error: {type(e).__name__}: {e}", "report it, with the daemon's log"
                )
            )

    def offer(self, frame: Frame) -> None:
        """Give the pending job a frame."""
        if self.job is not None and self.job.offer(frame):
            self.job = None

    def tick(self, now_ns: int) -> None:
        """Let the pending job notice that its time is over, or that nobody waits for it any more."""
        if self.job is not None and self.job.tick(now_ns):
            self.job = None

    def stop(self) -> None:
        """The daemon stops: whoever waits for the pending job is told."""
        if self.job is not None:
            self.job.request.fail(ControlError("the daemon is stopping; nothing was done", "try again when it is back"))
            self.job = None

    # ---- people in

    def _enroll(self, request: Request) -> None:
        a = Arguments(request)
        identity = self._new_identity(a)
        replace = a.flag("replace")
        # Refused before the person is asked to stand still; the store asks again inside its transaction.
        self._people.gallery.check_free(identity, replace=replace)
        if a.has("image"):
            frame = decode_image(a.binary("image"), a.text("source", "the picture"))
            request.finish(
                self._store(enroll_from_frame(self._pipeline, frame, identity, self._people.references), replace)
            )
            return
        timeout_s = a.seconds("timeout_s", ENROLL_TIMEOUT_S)
        session = CaptureSession(
            self._pipeline, identity, self._people.references, prompt_ns=time.monotonic_ns(), timeout_s=timeout_s
        )
        self._begin(EnrollJob(request, session, lambda enrollment: self._store(enrollment, replace)))

    def _new_identity(self, a: Arguments) -> Identity:
        """Who is to be enrolled: with the id that was given, else the one that this name has already, else a new one."""
        name = clean_name(a.text("name"))
        if a.has("id"):
            return Identity(identity_id=check_id(a.text("id")), name=name)
        known = (i for i in self._people.gallery.identities() if i.name.casefold() == name.casefold())
        return next(known, None) or Identity(identity_id=propose_id(name), name=name)

    def _begin(self, job: Job) -> None:
        if self.job is not None:
            raise ControlError("another request is using the camera", "wait for it to end, or cancel it")
        self.job = job

    def _store(self, enrollment: Enrollment, replace: bool) -> dict[str, Any]:
        self._people.gallery.add(enrollment.identity, [enrollment.template], replace=replace)
        self._changed("enrolled", enrollment.identity)
        threshold, like = self._pipeline.threshold.value, enrollment.look_alike
        alarming = like is not None and like.score >= threshold
        return {
            "identity": enrollment.identity.identity_id,
            "name": enrollment.identity.name,
            "encoder_id": enrollment.template.encoder_id,
            "quality": enrollment.template.quality.measures(),
            "look_alike": {
                "identity": like.identity_id,
                "score": round(like.score, 4),
                "threshold": round(threshold, 4),
            }
            if alarming and like is not None
            else None,
            "frames": enrollment.frames,
            "self_score": None if enrollment.self_score is None else round(enrollment.self_score, 4),
            "weak": enrollment.self_score is not None and enrollment.self_score < threshold,
            "nearest": None if like is None else nearest(self._pipeline.rule.cohort, like, threshold),
        }

    def _changed(self, event_type: str, identity: Identity) -> None:
        self._people.refresh(force=True)
        self._tell(event_type, identity)

    def _tell(self, event_type: str, identity: Identity) -> None:
        now_ns, now = time.monotonic_ns(), datetime.now(UTC)
        self._emit(fold_gallery_change(event_type, identity, self._pipeline.encoder.encoder_id, now_ns, now))

    def _cancel(self, request: Request) -> None:
        if isinstance(self.job, EnrollJob):
            self.job.request.fail(ControlError("the enrollment was cancelled", "start it again"))
            self.job = None
            request.finish({"cancelled": True})
        else:
            request.finish({"cancelled": False})

    # ---- the gallery

    def _list(self, request: Request) -> None:
        request.finish({"identities": [self._summary(p) for p in self._people.gallery.people()]})

    def _summary(self, person: Enrolled) -> dict[str, Any]:
        own = [t for t in person.templates if self._people.comparable(t)]
        return {
            "identity": person.identity.identity_id,
            "name": person.identity.name,
            "created_at": person.created_at.isoformat(),
            "templates": len(person.templates),
            "needs_enrollment": not own,
        }

    def _show(self, request: Request) -> None:
        person = self._people.gallery.find(self._who(Arguments(request)).identity_id)
        request.finish(
            self._summary(person)
            | {
                "details": [
                    {
                        "template_id": t.template_id,
                        "created_at": t.created_at.isoformat(),
                        "encoder_id": t.encoder_id,
                        "comparable": self._people.comparable(t),
                        "quality": t.quality.measures(),
                    }
                    for t in person.templates
                ]
            }
        )

    def _who(self, a: Arguments) -> Identity:
        return self._people.gallery.lookup(a.text("name"))

    def _rename(self, request: Request) -> None:
        a = Arguments(request)
        identity, name = self._who(a), clean_name(a.text("to"))
        self._people.gallery.rename(identity.identity_id, name)
        self._people.refresh(force=True)
        request.finish({"identity": identity.identity_id, "name": name, "before": identity.name})

    def _forget(self, request: Request) -> None:
        identity = self._who(Arguments(request))
        self._people.gallery.remove(identity.identity_id)
        self._changed("forgotten", identity)
        request.finish({"identity": identity.identity_id, "name": identity.name})

    def _check(self, request: Request) -> None:
        """Who must be enrolled again, and who looks so alike that they would be taken for each other."""
        references, threshold = self._people.references, self._pipeline.threshold.value
        people = [self._summary(p) for p in self._people.gallery.people()]
        pairs = [{"identities": [a, b], "score": round(s, 4)} for a, b, s in references.alike(threshold)]
        request.finish(
            {
                "identities": len(people),
                "templates": len(references) + references.foreign,
                "threshold": round(threshold, 4),
                "needs_enrollment": [p["identity"] for p in people if p["needs_enrollment"]],
                "look_alikes": pairs,
                "growth": growth(self._pipeline.rule, references.template_counts),
            }
        )

    def _export(self, request: Request) -> None:
        request.finish({"document": to_document(self._people.gallery)})

    def _import(self, request: Request) -> None:
        a = Arguments(request)
        people = from_document(a.document("document"))
        for person in people:
            for template in person.templates:
                self._people.check(template)
        self._people.gallery.add_all([(p.identity, p.templates) for p in people], replace=a.flag("replace"))
        self._people.refresh(force=True)  # once: reading a thousand people a thousand times takes minutes
        for person in people:
            self._tell("enrolled", person.identity)
        own = self._pipeline.encoder.encoder_id
        stale = [p.identity.identity_id for p in people if all(t.encoder_id != own for t in p.templates)]
        request.finish({"identities": [p.identity.identity_id for p in people], "needs_enrollment": stale})

    # ---- comparing a picture

    def _verify(self, request: Request) -> None:
        """1:1: the claimed person's best template against the probe."""
        a = Arguments(request)
        identity = self._who(a)
        sample, probe = probe_from_frame(
            self._pipeline, decode_image(a.binary("image"), a.text("source", "the picture"))
        )
        card = self._pipeline.encoder.card
        own = [t for t in self._people.gallery.find(identity.identity_id).templates if self._people.comparable(t)]
        if not own:
            fix = f"edge-oneshot enroll --name {identity.name!r} --replace"
            raise GalleryError(f"{identity.identity_id!r} has no template of this encoder", fix)
        # The threshold of a gallery that holds this person alone: nobody else is looked at.
        decision = decide(
            probe, References(card.comparator, probe.encoder_id, own), self._pipeline.rule([len(own)]), card
        )
        request.finish({"identity": identity.identity_id, "name": identity.name} | _comparison(decision, sample))

    def _identify(self, request: Request) -> None:
        """1:N, open-set. The answer names somebody only when the threshold is met."""
        a = Arguments(request)
        sample, probe = probe_from_frame(
            self._pipeline, decode_image(a.binary("image"), a.text("source", "the picture"))
        )
        decision = decide(probe, self._people.references, self._pipeline.threshold, self._pipeline.encoder.card)
        found = decision.candidate.identity_id if decision.kind is DecisionKind.MATCH and decision.candidate else None
        name = None if found is None else self._people.names.get(found, found)
        foreign = {"templates_of_another_encoder": self._people.references.foreign}
        request.finish({"identity": found, "name": name} | _comparison(decision, sample) | foreign)

    # ---- the device

    def _status(self, request: Request) -> None:
        request.finish(self._describe())

    def _explain(self, request: Request) -> None:
        """Why the last tracks were told as they were, or not told."""
        a = Arguments(request)
        if self._journal is None:
            raise ControlError("nothing is kept to explain here", "ask the running daemon; see decision.explain_tracks")
        last_s = a.seconds("last_s", 600.0, longest_s=MAX_LAST_S) if a.has("last_s") else None
        request.finish(dict(self._journal.report(last_s, a.text("event_id") if a.has("event_id") else None)))

    def _pause(self, request: Request) -> None:
        if self._set_paused is None:
            raise ControlError("no daemon is running", "start it with `edge-oneshot run`")
        self._set_paused(request.verb == "pause")
        request.finish({"paused": request.verb == "pause"})

    def _reload(self, request: Request) -> None:
        """Read gallery and configuration again. Refused as a whole if there is a fault in it."""
        if self._reload_now is None:
            raise ControlError("no daemon is running", "start it with `edge-oneshot run`")
        request.finish(self._reload_now())

    def _snapshot(self, request: Request) -> None:
        self._begin(SnapshotJob(request, self._pipeline, Arguments(request).seconds("timeout_s", 10.0)))


def _comparison(decision: Decision, sample: Sample) -> dict[str, Any]:
    """What a person may know of a comparison: scores, never the name of somebody who did not match."""

    def rounded(value: float | None, digits: int = 4) -> float | None:
        return None if value is None else round(value, digits)

    return {
        "decision": decision.kind.value,
        "score": rounded(decision.score),
        "threshold": rounded(decision.threshold),
        "target_fmr": decision.target_fmr,
        "margin": rounded(decision.margin),
        "same_probability": rounded(decision.same_probability, 6),
        "runner_up_score": rounded(None if decision.runner_up is None else decision.runner_up.score),
        "quality": sample.quality.measures(),
        "pad": sample.pad.decision.value,
    }
