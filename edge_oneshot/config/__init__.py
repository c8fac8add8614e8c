"""The configuration: one TOML file -> frozen dataclasses, one for each section. All faults of a file are reported at once.

The name of the file without .toml is the instance: /etc/edge-oneshot/front.toml configures `edge-oneshot@front.service`,
its socket and its outbox. All instances share one gallery.
"""

from __future__ import annotations

from edge_oneshot.config.access import AccessConfig
from edge_oneshot.config.example import example_toml, toml_value
from edge_oneshot.config.host import host_fault
from edge_oneshot.config.limits import EnrollmentConfig, QualityConfig
from edge_oneshot.config.paths import data_home
from edge_oneshot.config.reader import SLUG, contradictions, find_config, load_config, parse_config
from edge_oneshot.config.root import SECTIONS, SYSTEM_DIR, Config, section_keys
from edge_oneshot.config.sections import (
    CameraConfig,
    DecisionConfig,
    DeviceConfig,
    GalleryConfig,
    ModelConfig,
    MqttConfig,
)
from edge_oneshot.config.visits import VisitsConfig

__all__ = [
    "SECTIONS",
    "SLUG",
    "SYSTEM_DIR",
    "AccessConfig",
    "CameraConfig",
    "Config",
    "DecisionConfig",
    "DeviceConfig",
    "EnrollmentConfig",
    "GalleryConfig",
    "ModelConfig",
    "MqttConfig",
    "QualityConfig",
    "VisitsConfig",
    "contradictions",
    "data_home",
    "example_toml",
    "find_config",
    "host_fault",
    "load_config",
    "parse_config",
    "section_keys",
    "toml_value",
]
