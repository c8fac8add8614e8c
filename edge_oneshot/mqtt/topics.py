"""Every topic that the daemon uses. Each variable level must be a slug, so no wildcard can get in."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.config import SLUG


def slug(what: str, text: str) -> str:
    """`text`, if it may be one level of a topic. Raises ValueError."""
    if not isinstance(text, str) or not SLUG.fullmatch(text):
        raise ValueError(f"{what}: expected 1 to 64 of a-z, 0-9, _ and -, got {text!r}")
    return text


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one device: `<prefix>/<device>/…`. docs/reference/mqtt.md says what each carries."""

    prefix: str
    device: str

    def __post_init__(self) -> None:
        slug("topic prefix", self.prefix)
        slug("device slug", self.device)

    @property
    def base(self) -> str:
        return f"{self.prefix}/{self.device}"

    @property
    def availability(self) -> str:
        """Retained, QoS 1. `online` after every accepted connection, `offline` on a clean stop; the will is `offline`."""
        return f"{self.base}/availability"

    @property
    def event(self) -> str:
        """Not retained, QoS 1. Every event, matches and unknown people included."""
        return f"{self.base}/event"

    @property
    def unknown(self) -> str:
        """Not retained, QoS 1. The event of an unknown person."""
        return f"{self.base}/unknown"

    @property
    def denied(self) -> str:
        """Not retained, QoS 1. The event of a person who was recognized and is not allowed. It never opens anything."""
        return f"{self.base}/denied"

    @property
    def presence(self) -> str:
        """Retained, QoS 1. Who is in sight: a state, never a trigger."""
        return f"{self.base}/presence"

    @property
    def health(self) -> str:
        """Retained, QoS 1. The state of the device: frame rate, latency, temperature, outbox."""
        return f"{self.base}/health"

    @property
    def info(self) -> str:
        """Retained, QoS 1. What the device is: version, encoder, threshold, capabilities."""
        return f"{self.base}/info"

    @property
    def snapshot(self) -> str:
        """Not retained, QoS 0. The last face as a JPEG; off by default (`mqtt.snapshot`)."""
        return f"{self.base}/snapshot"

    @property
    def snapshot_about(self) -> str:
        """Not retained, QoS 0. The event that the next `snapshot` shows: `event_id`, `event_type`, `ts`; of a match `identity`, `name`."""
        return f"{self.base}/snapshot/about"

    def match(self, identity_id: str) -> str:
        """Not retained, QoS 1. The match events of one person."""
        return f"{self.base}/match/{slug('identity', identity_id)}"

    def confirmed(self, identity_id: str) -> str:
        """Not retained, QoS 1. The matches of one person that a second factor has confirmed (`decision.second_factor_s`)."""
        return f"{self.base}/confirmed/{slug('identity', identity_id)}"

    def person_state(self, identity_id: str) -> str:
        """Retained, QoS 1. `ON` while the person is in sight, else `OFF`."""
        return f"{self.base}/person/{slug('identity', identity_id)}/state"

    def person_seen(self, identity_id: str) -> str:
        """Retained, QoS 1. When the person was last in sight (RFC 3339). A state, never a trigger."""
        return f"{self.base}/person/{slug('identity', identity_id)}/seen"

    def person_match(self, identity_id: str) -> str:
        """Retained, QoS 1. The `ts` of the person's last match. A state, never a trigger: it is sent again to each new subscriber."""
        return f"{self.base}/person/{slug('identity', identity_id)}/last_match"

    def of_person(self, identity_id: str) -> tuple[str, ...]:
        """All retained topics of one person."""
        return self.person_state(identity_id), self.person_seen(identity_id), self.person_match(identity_id)

    def request(self, verb: str) -> str:
        """Not retained, QoS 1. A request to the device; off by default (`mqtt.requests`)."""
        return f"{self.base}/request/{slug('verb', verb)}"

    def response(self, verb: str) -> str:
        """Not retained, QoS 1. The answers to requests."""
        return f"{self.base}/response/{slug('verb', verb)}"

    def of_event(self, event_type: str, identity_id: str | None) -> tuple[str, ...]:
        """The topics of an event: always `event`; match, confirmed, denied and unknown also have one of their own, as a trigger."""
        if event_type == "match":
            return self.match(identity_id or ""), self.event
        if event_type == "confirmed":
            return self.confirmed(identity_id or ""), self.event
        if event_type in ("denied", "unknown"):
            return self.denied if event_type == "denied" else self.unknown, self.event
        return (self.event,)
