"""The whole configuration: its sections, and the paths that follow from them."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from edge_oneshot.config.access import AccessConfig
from edge_oneshot.config.limits import EnrollmentConfig, QualityConfig
from edge_oneshot.config.paths import config_home, data_home, expand
from edge_oneshot.config.sections import (
    CameraConfig,
    DecisionConfig,
    DeviceConfig,
    GalleryConfig,
    ModelConfig,
    MqttConfig,
)
from edge_oneshot.config.visits import VisitsConfig
from edge_oneshot.errors import ConfigError

SYSTEM_DIR = Path("/etc/edge-oneshot")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The whole configuration. path: the file, None for the defaults. instance: the name of the file without .toml."""

    device: DeviceConfig = field(default_factory=DeviceConfig)
    camera: CameraConfig = field(default_factory=CameraConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    gallery: GalleryConfig = field(default_factory=GalleryConfig)
    quality: QualityConfig = field(default_factory=QualityConfig)
    enrollment: EnrollmentConfig = field(default_factory=EnrollmentConfig)
    decision: DecisionConfig = field(default_factory=DecisionConfig)
    access: AccessConfig = field(default_factory=AccessConfig)
    visits: VisitsConfig = field(default_factory=VisitsConfig)
    mqtt: MqttConfig = field(default_factory=MqttConfig)
    instance: str = "default"
    path: Path | None = None

    @property
    def system(self) -> bool:
        """Whether this configures the system service, and not a daemon that a user started."""
        return self.path is not None and self.path.parent == SYSTEM_DIR

    @property
    def device_slug(self) -> str:
        if self.device.slug:
            return self.device.slug
        host = re.sub(r"[^a-z0-9_-]+", "-", socket.gethostname().split(".")[0].lower()).strip("-") or "device"
        return host if self.instance == "default" else f"{host}-{self.instance}"

    @property
    def state_dir(self) -> Path:
        if self.device.state_dir:
            return self._path(self.device.state_dir)
        if "STATE_DIRECTORY" in os.environ:
            return Path(os.environ["STATE_DIRECTORY"].split(":")[0])
        if self.system:
            return Path("/var/lib/edge-oneshot")
        return data_home() / "edge-oneshot"

    def _path(self, text: str) -> Path:
        try:
            return Path(expand(text, None if self.path is None else self.path.parent))
        except ValueError as e:
            raise ConfigError(f"expected {e}") from None

    @property
    def gallery_path(self) -> Path:
        return self.state_dir / "gallery.sqlite"

    @property
    def key_path(self) -> Path:
        """The key file of a sealed gallery. All instances share one gallery, and so one key.

        The gallery of another state folder has another key: the name then has 8 hex digits of a hash of that folder.
        """
        if self.gallery.key_file:
            return self._path(self.gallery.key_file)
        other = hashlib.sha256(bytes(self.state_dir)).hexdigest()[:8] if self.device.state_dir else ""
        folder = SYSTEM_DIR / "keys" if self.system else config_home() / "edge-oneshot"
        return folder / (f"gallery-{other}.key" if other else "gallery.key")

    @property
    def seen_path(self) -> Path:
        return self.state_dir / "seen.sqlite"

    @property
    def outbox_path(self) -> Path:
        return self.state_dir / f"outbox-{self.instance}.sqlite"

    @property
    def explain_path(self) -> Path:
        return self.state_dir / f"explain-{self.instance}.sqlite"

    @property
    def adaptation_path(self) -> Path:
        return self.state_dir / f"adaptation-{self.instance}.sqlite"

    @property
    def door_path(self) -> Path:
        return self.state_dir / f"door-{self.instance}.sqlite"

    @property
    def labels_path(self) -> Path:
        return self.state_dir / f"labels-{self.instance}.sqlite"

    @property
    def pictures_path(self) -> Path:
        return self.state_dir / f"pictures-{self.instance}.sqlite"

    @property
    def socket_path(self) -> Path:
        if self.device.socket:
            return self._path(self.device.socket)
        if self.system:
            return Path("/run/edge-oneshot") / f"{self.instance}.sock"
        return self.state_dir / f"{self.instance}.sock"


SECTIONS = tuple(f.name for f in dataclasses.fields(Config) if f.name not in ("instance", "path"))


def section_keys(section: str) -> tuple[dataclasses.Field[Any], ...]:
    """The keys of a section in order, each with its default and metadata (`doc`, `low`, `high`, `choices`, `example`)."""
    return dataclasses.fields(get_type_hints(Config)[section])
