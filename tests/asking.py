"""Requests to a recognizer, and a daemon that sees pictures, both in the process of the test."""

from __future__ import annotations

from typing import Any

from pictures import Pixels, empty_scene, frame

from edge_oneshot.config import Config, DecisionConfig
from edge_oneshot.control import requests as rq
from edge_oneshot.control.protocol import PendingRequest, answer_json, make_request, result_of
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service.compose import build_tracker
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.requests import Requests
from edge_oneshot.types import Event

STEP_NS = 100_000_000


def ask(recognizer: Recognizer, request: rq.Request[Any]) -> Any:
    """The response to a request. Raises what the request raises."""
    pending = PendingRequest(request)
    Requests(recognizer, lambda event: None).start(pending)
    return result_of(request, pending.answers.get(timeout=1))


def served(requests: Requests, verb: str, **arguments: Any) -> dict[str, Any]:
    """The answer of a request, both as JSON."""
    pending = PendingRequest(make_request(verb, arguments))
    requests.start(pending)
    return answer_json(pending.answers.get_nowait())


def watch(recognizer: Recognizer, *pictures: Pixels) -> list[Event]:
    """The events of a daemon that sees these pictures, and then no one."""
    config = Config(decision=DecisionConfig())
    daemon = Daemon(config, recognizer, build_tracker(config, recognizer), Reporter())
    events, ns = [], 10**12
    for pixels in (*pictures, *[empty_scene()] * 21):
        ns += STEP_NS
        events += daemon.step(frame(pixels, ns), ns)
    return events
