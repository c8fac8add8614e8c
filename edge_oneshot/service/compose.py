"""Configuration -> a running daemon. Together with recognition/compose.py the only place that chooses concrete parts."""

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
from edge_oneshot.control.protocol import RequestSource
from edge_oneshot.control.server import ControlServer
from edge_oneshot.errors import ControlError, StorageError
from edge_oneshot.events.journal import Journal
from edge_oneshot.events.labels import Labels
from edge_oneshot.events.outbox import Outbox
from edge_oneshot.gallery.site import erase
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.track import Tracker
from edge_oneshot.mqtt.client import MqttLink
from edge_oneshot.mqtt.commands import MqttRequests, acl_lines
from edge_oneshot.mqtt.homeassistant import HomeAssistant
from edge_oneshot.mqtt.publisher import StatePublisher
from edge_oneshot.mqtt.unpublish import unpublish
from edge_oneshot.recognition.compose import build_rule
from edge_oneshot.recognition.recognizer import Recognizer
from edge_oneshot.service import system
from edge_oneshot.service.album import open_album
from edge_oneshot.service.daemon import Daemon
from edge_oneshot.service.door import open_door
from edge_oneshot.service.journald import connected
from edge_oneshot.service.key import with_key
from edge_oneshot.service.pictures import ahead_of_loop
from edge_oneshot.service.records import Records
from edge_oneshot.service.reload import HangUp, plan
from edge_oneshot.service.reporter import Reporter
from edge_oneshot.service.retention import open_retention
from edge_oneshot.storage.keys import NO_KEYS, Keys

log = logging.getLogger(__name__)


def build_tracker(config: Config, recognizer: Recognizer) -> Tracker:
    unit = recognizer.pipeline.encoder.card.comparator.kind == "cosine"
    return Tracker(
        config.decision,
        recognizer.alike,
        recognizer.score,
        unlike=recognizer.unlike,
        unit=unit,
        measured=recognizer.encoder_id,
    )


@contextmanager
def reporter(config: Config) -> Iterator[tuple[Reporter, list[RequestSource]]]:
    """A started reporter, and MQTT as a source of requests if it is enabled.

    On leaving, `offline` is published and the outbox closed.
    """
    mqtt = config.mqtt
    named = config.device.log_identities or not connected()
    if not mqtt.enabled:
        yield Reporter(named=named), []
        return
    outbox = Outbox(
        config.outbox_path,
        max_events=mqtt.outbox_max_events,
        max_age_s=mqtt.event_max_age_s,
        keys=Keys(config.key_path),
    )
    try:
        link = MqttLink(mqtt, config.device_slug, outbox)
        home = None
        if mqtt.discovery != "off":
            name = config.device.name or config.device_slug
            notes, mode, prefix = outbox.notes, mqtt.discovery, mqtt.discovery_prefix
            shown = {"requests": mqtt.requests, "pictures": mqtt.snapshot}
            home = HomeAssistant(link, notes, mode, prefix, name, __version__, **shown)
        sources: list[RequestSource] = [MqttRequests(link)] if mqtt.requests else []
        if sources:
            log.info(
                "requests over MQTT are enabled; the broker's access list must say who may send them:\n%s",
                "\n".join(acl_lines(link.topics, mqtt.username)),
            )
        link.publish_with(StatePublisher(link, home))
        link.start()
        try:
            yield Reporter(outbox.events, link, named=named), sources
        finally:
            link.stop()
    finally:
        outbox.close()


def unpublish_own(config: Config, *, force: bool) -> list[str]:
    """Empty every retained topic of this device, those that its outbox remembers included; returns them.

    Raises BrokerError, StorageError.
    """
    if not config.outbox_path.exists():
        return unpublish(config.mqtt, config.device_slug, force=force)
    with closing(Outbox(config.outbox_path, keys=Keys(config.key_path))) as outbox:
        remembered = {*outbox.topics.retained(), *outbox.topics.to_empty()}
        cleared = unpublish(config.mqtt, config.device_slug, force=force, remembered=remembered)
        for topic in remembered:
            outbox.topics.emptied(topic)
    return cleared


def forget_in_outboxes(state_dir: Path, identity_id: str, keys: Keys = NO_KEYS) -> None:
    """Remove a person from the outboxes of every instance while no daemon runs. A file that fails is logged."""
    for path in sorted(state_dir.glob("outbox-*.sqlite")):
        outbox = Outbox(path, keys=keys)
        outbox.events.forget(identity_id)
        outbox.close()


@contextmanager
def control(config: Config) -> Iterator[list[RequestSource]]:
    """The control socket. On a disk that is full or read-only the daemon works without it."""
    try:
        server = ControlServer(config.socket_path)
    except ControlError as e:
        if not e.disk:
            raise
        log.error("%s; the daemon runs without it, and commands cannot reach it", e)
        yield []
        return
    with closing(server):
        yield [server]


@contextmanager
def open_records(config: Config) -> Iterator[Records]:
    """Raises ConfigError if pictures are on without a key."""
    album, keys = open_album(config), Keys(config.key_path)
    with (
        closing(Journal(config.explain_path, config.decision, keys)) as journal,
        closing(Labels(config.labels_path, keys)) as labels,
        closing(Records(config, journal, labels, album)) as records,
    ):
        yield records


def forget_captures(gallery: Gallery) -> None:
    """Delete what was kept before gallery.keep_capture was switched off. On a full or read-only disk the next start does it."""
    try:
        gallery.forget_captures()
    except StorageError as e:
        log.error("kept captures cannot be deleted now: %s", e)


def run_daemon(load: Callable[[], Config]) -> int:
    """Run until SIGTERM, SIGINT or the end of a file. Raises the error that prevents a start, or that ends the daemon.

    load: reads the configuration, at the start and for each reload. SIGHUP asks for a reload; when standard input is a
    terminal, SIGHUP means that the terminal was closed, and ends the daemon as SIGTERM does.
    """
    system.return_large_blocks()
    config = load()
    if not config.decision.adapt:
        erase(config.adaptation_path)
    stop, hang_up = threading.Event(), HangUp()
    ends = (signal.SIGTERM, signal.SIGINT, *((signal.SIGHUP,) if os.isatty(0) else ()))
    signal.signal(signal.SIGHUP, hang_up.ask)
    for number in ends:
        signal.signal(number, lambda *_: stop.set())
    with (
        Recognizer.open(config) as recognizer,
        control(config) as servers,
        LatestFrame(config.camera) as camera,
        reporter(config) as (report, sources),
        open_records(config) as records,
        open_door(config, recognizer) as measured,
        open_retention(config) as retention,
    ):
        if config.gallery.keep_capture == "off":
            forget_captures(recognizer.people.gallery)
        daemon = Daemon(
            config,
            recognizer,
            build_tracker(config, recognizer),
            report,
            records,
            lambda running: plan(running, with_key(load()), lambda c: build_rule(c, recognizer.pipeline.encoder)),
            measured,
            retention,
        )
        return daemon.run(camera, ahead_of_loop([*servers, hang_up, *sources]), stop)
