"""The limits of the quality gates: the sections [quality] and [enrollment]."""

from __future__ import annotations

from dataclasses import dataclass

from edge_oneshot.config.key import key as _key


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityConfig:
    """Limits for recognition. A poor capture loses matches and raises no false match rate, so they are wide."""

    min_inter_eye_px: float = _key(8.0, "least distance between the eyes in the main stream, px", low=0, high=1000)
    min_sharpness: float = _key(1.0, "least sharpness: variance of the Laplacian of the aligned face", low=0, high=1e6)
    min_luma: float = _key(5.0, "least mean brightness of the aligned face, 0-255", low=0, high=255)
    max_luma: float = _key(235.0, "greatest mean brightness of the aligned face, 0-255", low=0, high=255)
    min_contrast: float = _key(
        2.0, "least contrast: standard deviation of the brightness of the aligned face", low=0, high=128
    )
    max_cropped: float = _key(
        0.5, "greatest share of the aligned face that lies outside the picture, 0-1", low=0, high=1
    )
    max_yaw_deg: float = _key(60.0, "greatest angle by which a face is turned aside, degrees", low=0, high=90)
    max_pitch_deg: float = _key(
        40.0, "greatest angle from above or below at which the camera sees a face, degrees", low=0, high=90
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrollmentConfig:
    """Limits for enrollment. A template of a poor capture matches strangers who are captured as poorly."""

    min_inter_eye_px: float = _key(24.0, "as in [quality]", low=0, high=1000)
    min_sharpness: float = _key(15.0, "as in [quality]", low=0, high=1e6)
    min_luma: float = _key(40.0, "as in [quality]", low=0, high=255)
    max_luma: float = _key(225.0, "as in [quality]", low=0, high=255)
    min_contrast: float = _key(12.0, "as in [quality]", low=0, high=128)
    max_cropped: float = _key(0.15, "as in [quality]", low=0, high=1)
    max_cropped_portrait: float = _key(0.45, "as max_cropped, for a picture that the face fills", low=0, high=1)
    max_yaw_deg: float = _key(30.0, "as in [quality]", low=0, high=90)
    max_pitch_deg: float = _key(20.0, "as in [quality]", low=0, high=90)
    max_hidden: float = _key(
        0.99, "greatest probability that an eye, the nose or the mouth is hidden, 0-1", low=0, high=1
    )
