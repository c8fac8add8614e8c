"""The sections of the configuration, one dataclass each. Every key has a default, a line of documentation and bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


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
    pad: str = _key(
        "", "presentation attack detection: the name of an installed plug-in; empty: none, so a photograph can match"
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
