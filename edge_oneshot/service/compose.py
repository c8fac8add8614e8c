"""Configuration -> wired parts. The only file that names concrete ones."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from edge_oneshot import __version__
from edge_oneshot.cameras.latest import LatestFrame
from edge_oneshot.config import Config
from edge_oneshot.control.protocol import Door
from edge_oneshot.control.server import ControlServer
from edge_oneshot.errors import ModelError
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.people import People
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.compare import References, score_all
from edge_oneshot.matching.threshold import Rule, Target
from edge_oneshot.matching.track import Tracker
from edge_oneshot.model.bundle import find_bundle, read_bundle, read_cohort
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.commands import MqttRequests, acl_lines
from edge_oneshot.mqtt.homeassistant import HomeAssistant
from edge_oneshot.mqtt.topics import Topics
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.reload import HangUp, plan
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.types import Embedding
from edge_oneshot.vision.detector import BlazeFaceDetector
from edge_oneshot.vision.landmarks import LandmarkPlacer
from edge_oneshot.vision.locate import FaceLocator
from edge_oneshot.vision.pad import find_pad

log = logging.getLogger(__name__)


def build_encoder(config: Config) -> TwinEncoder:
    """Raises ModelError."""
    bundle = read_bundle(find_bundle(config.model.encoder, "encoder"))
    return TwinEncoder(bundle, config.model.runtime, config.model.threads)


def build_locator(config: Config) -> FaceLocator:
    """Raises ModelError."""

    model = config.model

    def detector(path: Path) -> BlazeFaceDetector:
        return BlazeFaceDetector(read_bundle(path), model.runtime, model.threads)

    finder, refiner = detector(find_bundle(model.detector, "detector")), detector(find_bundle(model.refiner, "refiner"))
    placer = LandmarkPlacer(read_bundle(find_bundle(model.landmarks, "landmarks")), model.runtime, model.threads)
    if absent := set(placer.card.points) - set(refiner.card.landmarks):
        raise ModelError(
            f"{refiner.card.name} decoder.landmarks: expected {sorted(absent)} too, since {placer.card.name} starts from them, "
            f"got {list(refiner.card.landmarks)}",
            "set model.refiner or model.landmarks to another bundle",
        )
    return FaceLocator(finder, refiner, placer)


def build_pipeline(config: Config) -> Pipeline:
    """Raises ModelError: a bad bundle, or one whose card gives no threshold while the configuration sets none."""
    encoder = build_encoder(config)
    locator = build_locator(config) if encoder.card.regions == "face" else None
    if locator is not None and (
        absent := ({"nose"} | set(encoder.card.alignment)) - set(locator.refiner.card.landmarks)
    ):
        raise ModelError(
            f"{locator.refiner.card.name} decoder.landmarks: expected {sorted(absent)} too, since the encoder aligns by them "
            f"and the quality gate measures by the nose, got {list(locator.refiner.card.landmarks)}",
            "set model.refiner to another bundle",
        )
    return Pipeline(encoder, locator, config.quality, build_rule(config, encoder), find_pad(config.model.pad))


def build_rule(config: Config, encoder: TwinEncoder) -> Rule:
    """The threshold set by hand, else what the user accepts and the cohort that was measured. Raises ModelError."""
    decision, card = config.decision, encoder.card
    cohort = (
        read_cohort(Path(config.model.cohort).expanduser(), encoder.encoder_id) if config.model.cohort else card.cohort
    )
    if decision.threshold is not None:
        return Rule(target=Target(score=decision.threshold), thresholds=card.thresholds, cohort=cohort)
    if card.thresholds is None and cohort is None:
        raise ModelError(
            f"{card.name} thresholds: expected a table in the card, got none",
            "convert the model with --certify, set model.cohort, or set decision.threshold",
        )
    fpir = decision.accepted_fpir
    target = Target(fmr=decision.target_fmr) if fpir is None else Target(fpir=fpir)
    return Rule(target=target, thresholds=card.thresholds, cohort=cohort)


def build_people(config: Config, pipeline: Pipeline) -> People:
    """The enrolled people; the pipeline's threshold follows them. Raises GalleryError."""
    encoder = pipeline.encoder
    return People(Gallery(config.gallery_path), encoder.card, encoder.encoder_id, pipeline.follow)


def build_tracker(config: Config, pipeline: Pipeline, references: Callable[[], References]) -> Tracker:
    """references: gives today's gallery."""
    comparator = pipeline.encoder.card.comparator

    def alike(a: Embedding, b: Embedding) -> bool:
        return bool(score_all(comparator, a.vector[None], b.vector)[0] >= pipeline.threshold.value)

    def score(identity_id: str, embedding: Embedding) -> float | None:
        return references().score(identity_id, embedding)

    return Tracker(config.decision, alike, score, unit=comparator.kind == "cosine")


@contextmanager
def reporter(config: Config) -> Iterator[tuple[Reporter, list[Door]]]:
    """A started reporter, and MQTT's door for requests if it is open; on leaving, `offline` is told and the outbox closed."""
    topics = Topics(config.mqtt.prefix, config.device_slug)
    if not config.mqtt.enabled:
        yield Reporter(topics, None, None), []
        return
    outbox = Outbox(config.outbox_path, max_events=config.mqtt.outbox_max_events, max_age_s=config.mqtt.event_max_age_s)
    try:
        link = MqttLink(config.mqtt, config.device_slug, outbox)
        mqtt, name = config.mqtt, config.device.name or config.device_slug
        home = (
            None
            if mqtt.discovery == "off"
            else HomeAssistant(link, mqtt.discovery, mqtt.discovery_prefix, name, __version__)
        )
        doors: list[Door] = [MqttRequests(link)] if mqtt.requests else []
        if doors:
            log.info(
                "requests over MQTT are on; the broker's access list must say who may send them:\n%s",
                "\n".join(acl_lines(topics, mqtt.username)),
            )
        link.start()
        try:
            yield Reporter(topics, outbox, link, home), doors
        finally:
            link.stop()
    finally:
        outbox.close()


def run_daemon(load: Callable[[], Config]) -> int:
    """Run until SIGTERM, SIGINT or the end of a file. Raises what keeps the daemon from starting, or from going on.

    load: reads the configuration, now and when a reload is asked for. SIGHUP asks for one, but where a terminal that is
    closed sends it to what was started there: that ends the daemon as SIGTERM does.
    """
    config = load()
    stop, hang_up = threading.Event(), HangUp()
    ends = (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if os.isatty(0) else ()))
    signal.signal(signal.SIGHUP, hang_up.ask)
    for number in ends:
        signal.signal(number, lambda *_: stop.set())
    pipeline = build_pipeline(config)
    people = build_people(config, pipeline)
    server = ControlServer(config.socket_path)
    try:
        with (
            LatestFrame(config.camera) as camera,
            reporter(config) as (report, doors),
            closing(Journal(config.explain_path, config.decision)) as kept,
        ):
            daemon = Daemon(
                config,
                pipeline,
                people,
                build_tracker(config, pipeline, lambda: people.references),
                report,
                kept,
                lambda running: plan(running, load(), lambda c: build_rule(c, pipeline.encoder)),
            )
            return daemon.run(camera, [server, hang_up, *doors], stop)
    finally:
        server.close()
        people.gallery.close()
