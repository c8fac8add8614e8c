"""Configuration: one TOML file -> frozen dataclasses, one per section. Strict: every fault is named, all at once.

The file's stem is the instance: /etc/edge-oneshot/front.toml configures `edge-oneshot@front.service`, its socket and
its outbox. Several instances share one gallery.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import os
import re
import socket
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from edge_oneshot.errors import ConfigError

SYSTEM_DIR = Path("/etc/edge-oneshot")
CAMERA_SCHEMES = ("picamera2", "v4l2", "rtsp", "rtsps", "file", "folder")
SLUG = re.compile(r"[a-z0-9_-]{1,64}")


def _key(
    default: Any,
    doc: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    slug: bool = False,
    example: Any = None,
) -> Any:
    """A key of a section: its default, one line for people (with the unit), and what it accepts (bounds included).

    example: shown in the example file where the default is None.
    """
    return field(
        default=default,
        metadata={"doc": doc, "low": low, "high": high, "choices": choices, "slug": slug, "example": example},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    slug: str = _key(
        "", "name of this device in topics, [a-z0-9_-]+; empty: the host name, and the instance", slug=True
    )
    name: str = _key("", "name for people; empty: the slug")
    state_dir: str = _key(
        "", "folder for gallery and outbox; empty: systemd's StateDirectory, or the user's data folder"
    )
    socket: str = _key("", "the daemon's control socket; empty: /run/edge-oneshot/<instance>.sock, or the user's own")


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    name: str = _key("cam0", "name of the camera in events, [a-z0-9_-]+", slug=True)
    uri: str = _key("picamera2:", "picamera2:[N], v4l2:/dev/video0, rtsp://…, file:VIDEO, or folder:DIR")
    width_px: int = _key(640, "asked width of the main stream, px", low=64, high=8192)
    height_px: int = _key(480, "asked height of the main stream, px", low=64, high=8192)
    fps: float = _key(10.0, "asked frames per second; files are paced to it", low=0.1, high=120)
    pace: str = _key("camera", "files and folders only: paced like a camera, or fast", choices=("camera", "fast"))
    rotation: int = _key(0, "degrees clockwise by which the picture is turned upright", choices=(0, 90, 180, 270))
    mirror: bool = _key(False, "flip left and right, after the rotation")
    stall_timeout_s: float = _key(5.0, "seconds without a frame until the camera counts as lost", low=0.5, high=120)
    give_up_s: float = _key(
        300.0, "seconds without a camera until the daemon exits 1 for systemd to start afresh", low=1, high=86400
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    encoder: str = _key("", "encoder bundle; empty: the shipped face encoder; a bare name: a shipped bundle")
    detector: str = _key("", "detector bundle that finds faces; empty: the shipped BlazeFace full range")
    refiner: str = _key(
        "", "detector bundle that looks at a found face again; empty: the shipped BlazeFace short range"
    )
    landmarks: str = _key("", "landmark bundle that places eyes, nose and mouth of a face; empty: the shipped one")
    cohort: str = _key(
        "", "file made by `edge-oneshot calibrate` that the thresholds are taken from; empty: the encoder's own card"
    )
    runtime: str = _key("auto", "TFLite runtime", choices=("auto", "litert", "tflite"))
    threads: int = _key(2, "threads of one inference", low=1, high=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    min_inter_eye_px: float = _key(24.0, "px between the eyes in the main stream, at least", low=0, high=1000)
    min_sharpness: float = _key(15.0, "variance of the Laplacian of the aligned face, at least", low=0, high=1e6)
    min_luma: float = _key(40.0, "mean brightness of the aligned face (0-255), at least", low=0, high=255)
    max_luma: float = _key(225.0, "mean brightness of the aligned face (0-255), at most", low=0, high=255)
    min_contrast: float = _key(12.0, "standard deviation of the brightness, at least", low=0, high=128)
    max_cropped: float = _key(
        0.25, "share of the aligned face that may lie beyond the border of the picture, at most", low=0, high=1
    )
    max_hidden: float = _key(
        0.7, "of who is enrolled: probability that an eye, the nose or the mouth is hidden, at most", low=0, high=1
    )
    max_yaw_deg: float = _key(60.0, "degrees that a face may be turned aside, at most", low=0, high=90)


FPIR_FROM, FPIR_TO = 1e-7, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionConfig:
    """How wrong it may be is stated in one way: target_fmr, target_fpir, threshold, or false matches per day of strangers."""

    target_fmr: float = _key(
        1e-4,
        "false match rate per comparison that you accept; the bundle's card gives the threshold",
        low=1e-7,
        high=0.5,
    )
    target_fpir: float | None = _key(
        None,
        "instead of target_fmr: false match rate per comparison with the whole gallery; the threshold rises as it grows",
        low=FPIR_FROM,
        high=FPIR_TO,
        example=0.01,
    )
    false_matches_per_day: float | None = _key(
        None,
        "instead of target_fmr: false matches per day that you accept; their share of the strangers is the target_fpir",
        low=1e-6,
        high=1e5,
        example=0.1,
    )
    expected_strangers_per_day: float | None = _key(
        None,
        "beside false_matches_per_day: visits per day by people who are not enrolled",
        low=0.01,
        high=1e6,
        example=50.0,
    )
    threshold: float | None = _key(
        None,
        "instead of target_fmr: a comparison score, with no stated rate; leave it out",
        low=-100,
        high=100,
        example=0.5,
    )
    confirm_frames: int = _key(3, "compared frames of a track before a match may be told", low=1, high=100)
    window_frames: int = _key(10, "newest compared frames of a track that are judged together", low=1, high=100)
    unknown_frames: int = _key(8, "good frames without a match before an unknown person is told", low=1, high=1000)
    gone_after_s: float = _key(2.0, "seconds out of sight before `gone` is told", low=0.1, high=3600)
    explain_tracks: int = _key(
        2000, "tracks kept for `edge-oneshot explain`, on disk, without pictures; 0: none", low=0, high=100000
    )

    @property
    def accepted_fpir(self) -> float | None:
        """The false positive identification rate that is accepted, however it was stated; None: it was not."""
        if self.false_matches_per_day is not None and self.expected_strangers_per_day is not None:
            return self.false_matches_per_day / self.expected_strangers_per_day
        return self.target_fpir

    @property
    def stated(self) -> str:
        """For people: what this file says of how wrong it may be, in its own keys."""
        if self.threshold is not None:
            return f"threshold = {self.threshold:g}"
        if self.false_matches_per_day is not None and self.expected_strangers_per_day is not None:
            return (
                f"false_matches_per_day = {self.false_matches_per_day:g} of expected_strangers_per_day = "
                f"{self.expected_strangers_per_day:g}: target_fpir {self.accepted_fpir:g}"
            )
        return (
            f"target_fmr = {self.target_fmr:g}" if self.target_fpir is None else f"target_fpir = {self.target_fpir:g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttConfig:
    enabled: bool = _key(True, "publish over MQTT")
    host: str = _key("localhost", "broker's host name or address")
    port: int = _key(0, "broker's port; 0: 1883, or 8883 with TLS", low=0, high=65535)
    prefix: str = _key("edge-oneshot", "first level of every topic, [a-z0-9_-]+", slug=True)
    username: str = _key("", "user name at the broker; empty: none")
    password_file: str = _key(
        "",
        "file whose first line is the password; systemd credentials work: a bare name is looked up in $CREDENTIALS_DIRECTORY",
    )
    tls: bool = _key(False, "encrypt; the broker's certificate is verified")
    ca_file: str = _key("", "PEM file of the authority that signed the broker's certificate; empty: the system's")
    cert_file: str = _key("", "PEM file of the device's own certificate, for brokers that ask for one")
    key_file: str = _key("", "PEM file of its private key; a bare name is looked up in $CREDENTIALS_DIRECTORY")
    protocol: str = _key(
        "auto", "MQTT version; auto: 5, and 3.1.1 at a broker that knows no 5", choices=("auto", "5", "3.1.1")
    )
    client_id: str = _key("", "client id; empty: edge-oneshot-<device>")
    keepalive_s: int = _key(30, "seconds between pings", low=5, high=3600)
    event_ttl_s: float = _key(
        10.0, "seconds after capture at which an event expires; a lock ignores it then", low=1, high=3600
    )
    event_max_age_s: float = _key(
        86400.0, "seconds after which an undelivered event is dropped, counted and logged", low=10, high=31536000
    )
    outbox_max_events: int = _key(
        10000, "undelivered events kept on disk; the oldest are dropped, counted and logged", low=10, high=1000000
    )
    health_every_s: float = _key(30.0, "seconds between health messages", low=1, high=3600)
    discovery: str = _key(
        "off",
        "announce to Home Assistant; component: for openHAB and older versions",
        choices=("device", "component", "off"),
    )
    discovery_prefix: str = _key("homeassistant", "first level of the discovery topics, [a-z0-9_-]+", slug=True)
    sign_key_file: str = _key(
        "", "key that signs events (`edge-oneshot mqtt new-key`); empty: unsigned; a bare name: see password_file"
    )
    snapshot: bool = _key(
        False, "send the face of each match and unknown as a JPEG to <prefix>/<device>/snapshot; biometric data"
    )
    requests: bool = _key(
        False, "take requests over MQTT; whoever may publish them may enroll himself: the log shows the ACL to set"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that a daemon or a command needs to know. `instance` and `path` say where it came from."""

    device: DeviceConfig = DeviceConfig()
    camera: CameraConfig = CameraConfig()
    model: ModelConfig = ModelConfig()
    quality: QualityConfig = QualityConfig()
    decision: DecisionConfig = DecisionConfig()
    mqtt: MqttConfig = MqttConfig()
    instance: str = "default"
    path: Path | None = None

    @property
    def system(self) -> bool:
        """Whether this configures the system's service and not a user's own run."""
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
            return Path(self.device.state_dir).expanduser()
        if "STATE_DIRECTORY" in os.environ:
            return Path(os.environ["STATE_DIRECTORY"].split(":")[0])
        if self.system:
            return Path("/var/lib/edge-oneshot")
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "edge-oneshot"

    @property
    def gallery_path(self) -> Path:
        return self.state_dir / "gallery.sqlite"

    @property
    def outbox_path(self) -> Path:
        return self.state_dir / f"outbox-{self.instance}.sqlite"

    @property
    def explain_path(self) -> Path:
        return self.state_dir / f"explain-{self.instance}.sqlite"

    @property
    def socket_path(self) -> Path:
        if self.device.socket:
            return Path(self.device.socket).expanduser()
        if self.system:
            return Path("/run/edge-oneshot") / f"{self.instance}.sock"
        return self.state_dir / f"{self.instance}.sock"


WAYS = (
    "target_fmr",
    "target_fpir",
    "false_matches_per_day",
    "threshold",
)  # of stating how wrong it may be: one of them
SECTIONS = tuple(f.name for f in dataclasses.fields(Config) if f.name not in ("instance", "path"))


def section_keys(section: str) -> tuple[dataclasses.Field[Any], ...]:
    """The keys of a section, in order, with default and metadata (`doc`, `low`, `high`, `choices`)."""
    return dataclasses.fields(get_type_hints(Config)[section])


def load_config(path: Path | None) -> Config:
    """Read and check `path`; None gives the defaults. Raises ConfigError with every fault of the file."""
    if path is None:
        return Config()
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(
            f"no configuration at {path}", "copy deploy/config.example.toml there, or name one with --config"
        ) from None
    except (OSError, UnicodeDecodeError) as e:
        raise ConfigError(f"cannot read {path}: {e}", "check the path and its permissions") from None
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as e:  # not only TOMLDecodeError: endless digits, endless nesting
        raise ConfigError(f"{path} is not valid TOML: {e}", "mend the line it names") from None
    return parse_config(data, path)


def parse_config(data: dict[str, Any], path: Path | None = None) -> Config:
    """Check a parsed TOML document. Raises ConfigError with every fault."""
    faults: list[str] = []
    sections: dict[str, Any] = {}
    for name, values in data.items():
        if name not in SECTIONS:
            faults.append(f"[{name}]: no such section{_did_you_mean(name, SECTIONS)}")
        elif not isinstance(values, dict):
            faults.append(f"{name}: expected a section [{name}], got {values!r}")
        else:
            sections[name] = _parse_section(name, values, faults)
    instance = path.stem if path else "default"
    if not SLUG.fullmatch(instance):
        faults.append(f"file name: expected [a-z0-9_-]+.toml (its stem names the instance), got {path and path.name}")
    decision = data.get("decision")
    stated = [way for way in WAYS if way in decision] if isinstance(decision, dict) else []
    if len(stated) > 1:
        faults.append(
            f"decision: expected one statement of how wrong it may be, got {' and '.join(stated)}; keep one of them"
        )
    config = None
    if not faults:
        config = Config(**sections, instance=instance, path=path)
        faults += contradictions(config)
    if faults or config is None:
        where = path or "the configuration"
        raise ConfigError(f"{where} has {len(faults)} fault{'s' * (len(faults) != 1)}", faults=tuple(faults))
    return config


def contradictions(c: Config) -> list[str]:
    """Keys that are fine alone and wrong together."""
    faults = []
    if c.decision.confirm_frames > c.decision.window_frames:
        faults.append(
            f"decision.confirm_frames: expected at most window_frames ({c.decision.window_frames}), got {c.decision.confirm_frames}"
        )
    if c.decision.gone_after_s < 2 / c.camera.fps:
        faults.append(
            f"decision.gone_after_s: expected at least two frames at camera.fps ({2 / c.camera.fps:g} s), or every frame "
            f"shows somebody new, got {c.decision.gone_after_s:g}"
        )
    faults += _strangers(c.decision)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+):", c.camera.uri)
    if scheme and scheme[1].lower() not in CAMERA_SCHEMES:
        faults.append(f"camera.uri: expected {', '.join(f'{s}:' for s in CAMERA_SCHEMES)} or a path, got {scheme[0]}…")
    if c.quality.min_luma >= c.quality.max_luma:
        faults.append(
            f"quality.min_luma: expected less than max_luma ({c.quality.max_luma:g}), got {c.quality.min_luma:g}"
        )
    if c.mqtt.password_file and not c.mqtt.username:
        faults.append("mqtt.username: expected a name beside password_file, got none")
    if (c.mqtt.ca_file or c.mqtt.cert_file) and not c.mqtt.tls:
        faults.append("mqtt.tls: expected true beside ca_file or cert_file, got false")
    if bool(c.mqtt.cert_file) != bool(c.mqtt.key_file):
        faults.append("mqtt.cert_file and mqtt.key_file: expected both or neither, got one")
    return faults


def _strangers(d: DecisionConfig) -> list[str]:
    """False matches per day and strangers per day: both or neither, and a rate that can be a target_fpir."""
    matches, strangers = d.false_matches_per_day, d.expected_strangers_per_day
    if matches is None and strangers is None:
        return []
    if strangers is None:
        return [
            "decision.expected_strangers_per_day: expected beside false_matches_per_day, got none; "
            "how many visits a day are by people who are not enrolled?"
        ]
    if matches is None:
        return [
            "decision.false_matches_per_day: expected beside expected_strangers_per_day, got none; how many a day do you accept?"
        ]
    if not FPIR_FROM <= matches / strangers <= FPIR_TO:
        return [
            f"decision.false_matches_per_day: expected {FPIR_FROM * strangers:g} to {FPIR_TO * strangers:g}, which is {FPIR_FROM:g} to "
            f"{FPIR_TO:g} of expected_strangers_per_day ({strangers:g}), got {matches:g}; change one of the two"
        ]
    return []


def _parse_section(name: str, values: dict[str, Any], faults: list[str]) -> Any:
    cls = get_type_hints(Config)[name]
    hints = get_type_hints(cls)
    known = {f.name: f for f in section_keys(name)}
    accepted = {}
    for key, value in values.items():
        if key not in known:
            faults.append(f"{name}.{key}: no such key{_did_you_mean(key, known)}")
        elif fault := _fault(hints[key], known[key].metadata, value):
            faults.append(f"{name}.{key}: expected {fault}, got {value!r}")
        else:
            accepted[key] = float(value) if hints[key] in (float, float | None) else value
    return cls(**accepted)


def _fault(kind: Any, meta: Any, value: Any) -> str | None:
    """What was expected, or None if `value` is acceptable."""
    wanted: tuple[str, bool] = {
        bool: ("true or false", isinstance(value, bool)),
        int: ("a whole number", isinstance(value, int) and not isinstance(value, bool)),
        str: ("text", isinstance(value, str)),
    }.get(kind, ("a number", _is_number(value)))
    word, ok = wanted
    if not ok:
        return word
    if meta["choices"] and value not in meta["choices"]:
        return f"one of {', '.join(map(str, meta['choices']))}"
    if meta["low"] is not None and not meta["low"] <= value <= meta["high"]:
        return f"{word} from {meta['low']:g} to {meta['high']:g}"
    if meta["slug"] and value and not SLUG.fullmatch(value):
        return "only a-z, 0-9, _ and -, at most 64 of them"
    return None


def _is_number(value: Any) -> bool:
    """A finite number that fits a float; TOML's whole numbers may have hundreds of digits."""
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _did_you_mean(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else f"; known: {', '.join(known)}"


def example_toml() -> str:
    """A complete file with every key at its default, commented out, and its explanation."""
    lines = ["# edge-oneshot: every key with its default. Remove the # before a key to change it."]
    for section in SECTIONS:
        lines += ["", f"[{section}]"]
        for key in section_keys(section):
            choices = key.metadata["choices"]
            doc = key.metadata["doc"] + (f": {' | '.join(map(str, choices))}" if choices else "")
            value = toml_value(key.metadata["example"]) if key.default is None else toml_value(key.default)
            lines += [f"# {doc}", f"#{key.name} = {value}"]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A configuration value as TOML writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)
