"""Configuration -> the parts of a recognizer. Together with service/compose.py the only place that chooses concrete parts."""

from __future__ import annotations

import os
from pathlib import Path

from edge_oneshot.config import Config
from edge_oneshot.errors import ConfigError, ModelError
from edge_oneshot.gallery.site import Site
from edge_oneshot.gallery.store import Gallery
from edge_oneshot.matching.threshold import Rule, Strangers, Target
from edge_oneshot.model.bundle import FACE_ENCODERS, Bundle, find_bundle, read_cohort
from edge_oneshot.model.encoder import TwinEncoder
from edge_oneshot.recognition.checked import load_bundle
from edge_oneshot.recognition.older import OlderEncoders
from edge_oneshot.recognition.pipeline import Pipeline
from edge_oneshot.storage.keys import NO_KEYS, Keys
from edge_oneshot.vision.detector import BlazeFaceDetector
from edge_oneshot.vision.gates import Gates
from edge_oneshot.vision.locate import FaceLocator, LandmarkPlacer
from edge_oneshot.vision.pad import find_pad


def build_encoder(config: Config) -> TwinEncoder:
    """Raises ModelError."""
    return load_encoder(config, load_bundle(find_bundle(config.model.encoder, "encoder"), config))


def load_encoder(config: Config, bundle: Bundle) -> TwinEncoder:
    """Raises ModelError."""
    return TwinEncoder(bundle, config.model.runtime, config.model.threads)


def build_locator(config: Config) -> FaceLocator:
    """Raises ModelError."""

    model = config.model

    def detector(path: Path) -> BlazeFaceDetector:
        return BlazeFaceDetector(load_bundle(path, config), model.runtime, model.threads)

    finder, refiner = detector(find_bundle(model.detector, "detector")), detector(find_bundle(model.refiner, "refiner"))
    placer = LandmarkPlacer(
        load_bundle(find_bundle(model.landmarks, "landmarks"), config), model.runtime, model.threads
    )
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
    gates = Gates(probe=config.quality, reference=config.enrollment)
    return Pipeline(encoder, locator, gates, find_pad(config.model.pad), far=config.camera.range == "far")


def build_older(config: Config, pipeline: Pipeline) -> OlderEncoders:
    """The encoders of old templates: model.old_encoder and the shipped ones. Raises ModelError for the configured one."""
    named = [find_bundle(config.model.old_encoder, "encoder")] if config.model.old_encoder else []
    shipped = [find_bundle(name, "encoder") for name in FACE_ENCODERS]
    older = OlderEncoders(
        dict.fromkeys([*named, *shipped]),
        pipeline,
        lambda path: load_bundle(path, config),
        lambda bundle: load_encoder(config, bundle),
    )
    for path in named:
        older.check(load_bundle(path, config))
    return older


def build_rule(config: Config, encoder: TwinEncoder) -> Rule:
    """The threshold set by hand, else what the user accepts and the cohort that was measured. Raises ModelError."""
    decision, card = config.decision, encoder.card
    if decision.adapt and card.comparator.kind != "cosine":
        raise ModelError(
            f"{card.name} comparator: expected cosine, since decision.adapt is true, got {card.comparator.kind}",
            "set decision.adapt = false, or use another encoder",
        )
    cohort = (
        read_cohort(Path(config.model.cohort).expanduser(), encoder.encoder_id) if config.model.cohort else card.cohort
    )
    strangers: Strangers = "everybody" if decision.strangers == "everybody" else "matched"
    if decision.threshold is not None:
        target = Target(score=decision.threshold)
        return Rule(target=target, thresholds=card.thresholds, cohort=cohort, strangers=strangers)
    if card.thresholds is None and cohort is None:
        raise ModelError(
            f"{card.name} thresholds: expected a table in the card, got none",
            "convert the model with --certify DIR, which also measures thresholds; or set model.cohort or decision.threshold",
        )
    fpir = decision.accepted_fpir
    target = Target(fmr=decision.target_fmr) if fpir is None else Target(fpir=fpir)
    return Rule(target=target, thresholds=card.thresholds, cohort=cohort, strangers=strangers)


def open_site(config: Config, encoder: TwinEncoder) -> Site | None:
    """What was learned of this site's strangers; None if decision.adapt is false."""
    if not config.decision.adapt:
        return None
    return Site(config.adaptation_path, encoder.card.dimension, encoder.encoder_id)


def open_gallery(config: Config, path: str | os.PathLike[str] | None = None) -> Gallery:
    """The configured gallery, or another one. Raises StorageError, ConfigError."""
    if path is None:
        keep = config.gallery.keep_capture == "sealed"
        gallery = Gallery(config.gallery_path, Keys(config.key_path), keep_captures=keep)
        if keep and not gallery.sealed:
            gallery.close()
            raise ConfigError(
                'gallery.keep_capture: expected "off", since the gallery is not sealed, got "sealed"',
                'stop the service and run `edge-oneshot gallery seal`, or set gallery.keep_capture = "off"',
            )
        return gallery
    path = Path(path)
    # Another gallery may be sealed with the key of the device, but need not be.
    return Gallery(path, Keys(config.key_path, required=False) if path.exists() else NO_KEYS)
