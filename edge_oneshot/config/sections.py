"""The sections of the configuration, one dataclass each. Every key has a default, a line of documentation and bounds."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.config.key import key as _key


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceConfig:
    slug: str = _key(
        "",
        "name of this device in topics, [a-z0-9_-]+; empty: the host name, and the instance if it is not default",
        slug=True,
    )
    name: str = _key("", "display name of this device; empty: the slug")
    state_dir: str = _key(
        "",
        "folder of gallery and outbox; empty: the StateDirectory of systemd, or the data folder of the user",
        path="file",
    )
    log_identities: bool = _key(
        False,
        "name identities in the log lines of events in the journal of systemd (message and field IDENTITY); a log on a terminal "
        "always names them",
    )
    socket: str = _key(
        "",
        "control socket; empty: /run/edge-oneshot/<instance>.sock, or <state_dir>/<instance>.sock for a user's own daemon",
        path="file",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraConfig:
    name: str = _key("cam0", "name of the camera in events, [a-z0-9_-]+", slug=True)
    uri: str = _key(
        "picamera2:",
        "picamera2:[N], v4l2:/dev/video0, rtsp://…, file:VIDEO, folder:DIR (folder:DIR?loop: again and again), or the URI of a "
        "camera plug-in",
    )
    width_px: int = _key(640, "requested width of the main stream, px", low=64, high=8192)
    height_px: int = _key(480, "requested height of the main stream, px", low=64, high=8192)
    range: str = _key(
        "near",
        "how far away faces are searched for; near: from about 20 px between the eyes, in 640x480; far: from about 10 px in "
        "any size, at the cost of now and then a second search per frame",
        choices=("near", "far"),
    )
    exposure: str = _key(
        "camera",
        "exposure of a picamera2 camera; camera: for the whole picture; faces: up to 2 stops brighter while faces are dark",
        choices=("camera", "faces"),
    )
    fps: float = _key(
        10.0, "requested frames per second; videos and folders are shown at most at this rate", low=0.1, high=120
    )
    pace: str = _key(
        "camera",
        "speed of videos and folders; camera: that of a live camera; fast: as fast as possible",
        choices=("camera", "fast"),
    )
    rotation: int = _key(0, "rotation that makes the picture upright, degrees clockwise", choices=(0, 90, 180, 270))
    mirror: bool = _key(False, "flip left and right, after the rotation")
    stall_timeout_s: float = _key(
        5.0, "seconds without a frame after which the camera counts as lost", low=0.5, high=120
    )
    give_up_s: float = _key(
        300.0,
        "seconds without a camera after which the daemon exits with code 1, and systemd restarts it",
        low=1,
        high=86400,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    encoder: str = _key(
        "", "encoder bundle: a path, or the name of a shipped bundle; empty: the shipped face encoder", path="bundle"
    )
    old_encoder: str = _key(
        "",
        "encoder bundle that encoder named before: people with a template of it are compared by it until enrolled again; "
        "empty: only the shipped ones",
        path="bundle",
    )
    detector: str = _key("", "detector bundle that finds faces; empty: the shipped BlazeFace full range", path="bundle")
    refiner: str = _key(
        "", "detector bundle that refines each face found; empty: the shipped BlazeFace short range", path="bundle"
    )
    landmarks: str = _key(
        "", "landmark bundle that locates eyes, nose and mouth; empty: the shipped one", path="bundle"
    )
    cohort: str = _key(
        "", "file from `edge-oneshot calibrate` that gives the thresholds; empty: the card of the encoder", path="file"
    )
    pad: str = _key(
        "", "presentation attack detection: the name of an installed plug-in; empty: none, and a photograph can match"
    )
    runtime: str = _key("auto", "TFLite runtime", choices=("auto", "litert", "tflite"))
    threads: int = _key(2, "threads of one inference", low=1, high=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryConfig:
    key_file: str = _key(
        "",
        "file with the key of a sealed gallery, made by `edge-oneshot gallery seal`; outside device.state_dir; empty: "
        "/etc/edge-oneshot/keys/gallery.key, or ~/.config/edge-oneshot/gallery.key for a user's own daemon; with "
        "device.state_dir: gallery-XXXXXXXX.key in that folder; the systemd credential gallery-key takes precedence",
        path="file",
    )
    keep_capture: str = _key(
        "off",
        "sealed: keep the captures of an enrollment, encrypted and never shown, so that `gallery migrate` can make templates for a "
        "new encoder; needs a sealed gallery; off: keep none, and delete the kept ones",
        choices=("off", "sealed"),
    )
    expire_days: int = _key(
        0,
        "remove people who were not recognized for more than this number of days, which count only while the daemon runs; 0: never",
        low=0,
        high=36500,
        example=365,
    )


FPIR_FROM, FPIR_TO = 1e-7, 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionConfig:
    """The accepted error, stated in one way: target_fmr, target_fpir, threshold, or false matches per day."""

    target_fmr: float = _key(
        1e-3,
        "accepted false match rate of one comparison; the card of the encoder gives the threshold",
        low=1e-7,
        high=0.5,
    )
    target_fpir: float | None = _key(
        None,
        "instead of target_fmr: accepted false match rate against the whole gallery; the threshold rises as the gallery grows",
        low=FPIR_FROM,
        high=FPIR_TO,
        example=0.01,
    )
    false_matches_per_day: float | None = _key(
        None,
        "instead of target_fmr: accepted false matches per day; target_fpir is this divided by expected_strangers_per_day",
        low=1e-6,
        high=1e5,
        example=0.1,
    )
    expected_strangers_per_day: float | None = _key(
        None,
        "together with false_matches_per_day: visits per day by people who are not enrolled",
        low=0.01,
        high=1e6,
        example=50.0,
    )
    threshold: float | None = _key(
        None,
        "instead of target_fmr: a fixed comparison score, for experts; its error rate is not known",
        low=-100,
        high=100,
        example=0.5,
    )
    strangers: str = _key(
        "matched",
        "against whom the accepted error is kept; matched: people of the same sex and age band in the worst group of the "
        "cohort; everybody: any people",
        choices=("matched", "everybody"),
    )
    confirm_frames: int = _key(3, "least number of compared frames before a match is reported", low=1, high=100)
    window_frames: int = _key(10, "newest compared frames of a track that are evaluated together", low=1, high=100)
    unknown_frames: int = _key(
        8, "good frames in a row without a match before an unknown person is reported", low=1, high=1000
    )
    gone_after_s: float = _key(2.0, "seconds out of sight before `gone` is reported", low=0.1, high=3600)
    second_factor_s: float = _key(
        0.0,
        "longest time in seconds between a match and its confirmation by a second factor (`confirm`); both together cause a "
        "`confirmed` event; 0: off",
        low=0,
        high=600,
        example=30.0,
    )
    door_raise: bool = _key(
        True,
        "raise the threshold, by at most 0.05, while this door's own false match rate is certainly above the stated one",
    )
    adapt: bool = _key(
        False,
        "learn from unknown visitors what this site's strangers have in common, and subtract it; keeps a sum of embeddings",
    )
    explain_tracks: int = _key(
        2000, "tracks kept on disk for `edge-oneshot explain`, without pictures; 0: none", low=0, high=100000
    )

    @property
    def accepted_fpir(self) -> float | None:
        """The accepted false positive identification rate: target_fpir, or the one that follows from the two rates per day."""
        if self.false_matches_per_day is not None and self.expected_strangers_per_day is not None:
            return self.false_matches_per_day / self.expected_strangers_per_day
        return self.target_fpir

    @property
    def stated(self) -> str:
        """The accepted error as this file states it, in its own keys, for messages."""
        if self.threshold is not None:
            return f"threshold = {self.threshold:g}"
        if self.false_matches_per_day is not None and self.expected_strangers_per_day is not None:
            return (
                f"false_matches_per_day = {self.false_matches_per_day:g} with expected_strangers_per_day = "
                f"{self.expected_strangers_per_day:g}, which is target_fpir {self.accepted_fpir:g}"
            )
        return (
            f"target_fmr = {self.target_fmr:g}" if self.target_fpir is None else f"target_fpir = {self.target_fpir:g}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttConfig:
    enabled: bool = _key(True, "publish over MQTT")
    host: str = _key("localhost", "host name or IP address of the broker, without scheme and port")
    port: int = _key(0, "port of the broker; 0: 1883, or 8883 with TLS", low=0, high=65535)
    prefix: str = _key("edge-oneshot", "first level of every topic, [a-z0-9_-]+", slug=True)
    username: str = _key("", "user name at the broker; empty: none")
    password_file: str = _key(
        "",
        "file whose first line is the password; a name without / is a systemd credential: a file in $CREDENTIALS_DIRECTORY",
        path="name",
    )
    tls: bool = _key(False, "encrypt the connection and verify the certificate of the broker")
    ca_file: str = _key(
        "",
        "PEM file of the authority that signed the certificate of the broker; empty: the authorities of the system",
        path="file",
    )
    cert_file: str = _key("", "PEM file of the certificate of this device, for brokers that require one", path="file")
    key_file: str = _key(
        "", "PEM file of the private key of cert_file; a name without /: see password_file", path="name"
    )
    protocol: str = _key(
        "auto", "MQTT version; auto: 5, or 3.1.1 if the broker does not support 5", choices=("auto", "5", "3.1.1")
    )
    client_id: str = _key("", "client id; empty: edge-oneshot-<device>")
    keepalive_s: int = _key(30, "seconds between pings", low=5, high=3600)
    event_ttl_s: float = _key(
        10.0, "seconds after capture at which an event expires; a lock must ignore an expired event", low=1, high=3600
    )
    event_max_age_s: float = _key(
        86400.0, "seconds after which an undelivered event is dropped, counted and logged", low=10, high=31536000
    )
    outbox_max_events: int = _key(
        10000,
        "greatest number of undelivered events on disk; the oldest are dropped, counted and logged",
        low=10,
        high=1000000,
    )
    health_every_s: float = _key(30.0, "seconds between health messages", low=1, high=3600)
    discovery: str = _key(
        "off",
        "announce this device to Home Assistant; component: for openHAB and older versions",
        choices=("device", "component", "off"),
    )
    discovery_prefix: str = _key("homeassistant", "first level of the discovery topics, [a-z0-9_-]+", slug=True)
    sign_key_file: str = _key(
        "",
        "file of the key that signs events (`edge-oneshot mqtt new-key`); empty: unsigned; a name without /: see password_file",
        path="name",
    )
    snapshot: bool = _key(
        False,
        "publish the face of each match, denied and unknown as a JPEG to <prefix>/<device>/snapshot; this is biometric data",
    )
    requests: bool = _key(
        False,
        "accept requests over MQTT; anyone who may publish them can enroll themselves: set the access list that the log shows",
    )
