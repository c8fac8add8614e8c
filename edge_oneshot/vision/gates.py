"""The quality gates: which captures are compared, and which become a template.

Each fault gives the measured value, the required value, and what the person can do. A poor probe costs matches: in no
condition that was measured did it raise the false match rate against good templates. But strangers who are captured as
poorly as a poor template match it, so the gates for enrollment are stricter (docs/explanation/evaluation.md).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from edge_oneshot.config import EnrollmentConfig, QualityConfig
from edge_oneshot.types import Face, Fault, Frame, Quality


@dataclass(frozen=True, slots=True, kw_only=True)
class Gates:
    """The limits of the measures of `Quality`. probe: for recognition. reference: for enrollment."""

    probe: QualityConfig = field(default_factory=QualityConfig)
    reference: EnrollmentConfig = field(default_factory=EnrollmentConfig)


def probe_faults(q: Quality, face: Face, frame: Frame, gates: QualityConfig, *, fills: bool) -> tuple[Fault, ...]:
    """Why a capture is not compared. fills: the face of a still picture that was found with a border; it may lie outside
    the picture for any share, as long as eyes, nose and mouth are inside."""
    return _faults((*_cropped(q, face, frame, 1.0 if fills else gates.max_cropped), *checks(q, gates)))


def reference_faults(
    q: Quality, face: Face, frame: Frame, gates: EnrollmentConfig, *, fills: bool
) -> tuple[Fault, ...]:
    """Why a capture does not become a template. fills: as for `probe_faults`."""
    hidden = (
        q.hidden <= gates.max_hidden,
        "hidden",
        f"an eye, the nose or the mouth is hidden with a probability of {q.hidden:.3f}, at most {gates.max_hidden:g} "
        "allowed: uncover the face, and keep the hands away from it",
    )
    cropped = _cropped(q, face, frame, gates.max_cropped_portrait if fills else gates.max_cropped)
    found = _faults((*cropped, *checks(q, gates)))
    return found or _faults((hidden,))  # in a blurred or dark picture the network takes much for hidden


Check = tuple[bool, str, str]  # passed, code, message


def _faults(checks: tuple[Check, ...]) -> tuple[Fault, ...]:
    return tuple(Fault(code=code, message=message) for passed, code, message in checks if not passed)


def _cropped(q: Quality, face: Face, frame: Frame, limit: float) -> Iterator[Check]:
    width, height = frame.size
    inside = all(0 <= x < width and 0 <= y < height for x, y in face.landmarks[:4])
    yield (
        inside and q.cropped <= limit,
        "cropped",
        f"{100 * q.cropped:.0f} % of the face outside the picture, at most {100 * limit:.0f} % "
        "and no eye, nose or mouth allowed: move to the middle",
    )


def checks(q: Quality, gates: QualityConfig | EnrollmentConfig) -> Iterator[Check]:
    """The gates of recognition and enrollment alike, but for the share outside the picture."""
    above = q.pitch_deg > 0
    yield (
        q.inter_eye_px >= gates.min_inter_eye_px,
        "too_far",
        f"{q.inter_eye_px:.0f} px between the eyes, {gates.min_inter_eye_px:g} needed: come closer",
    )
    yield (
        abs(q.yaw_deg) <= gates.max_yaw_deg,
        "turned",
        f"face turned by about {abs(q.yaw_deg):.0f} degrees, at most {gates.max_yaw_deg:g} allowed: look at the camera",
    )
    yield (
        abs(q.pitch_deg) <= gates.max_pitch_deg,
        "tilted",
        f"the camera sees the face from about {abs(q.pitch_deg):.0f} degrees {'above' if above else 'below'}, at most "
        f"{gates.max_pitch_deg:g} allowed: look at the camera, or mount it {'lower' if above else 'higher'}",
    )
    yield (
        q.luma >= gates.min_luma,
        "too_dark",
        f"brightness {q.luma:.0f}, {gates.min_luma:g} needed: more light on the face",
    )
    yield (
        q.luma <= gates.max_luma,
        "too_bright",
        f"brightness {q.luma:.0f}, at most {gates.max_luma:g} allowed: less light on the face",
    )
    yield (
        q.contrast >= gates.min_contrast,
        "flat",
        f"contrast {q.contrast:.0f}, {gates.min_contrast:g} needed: brighter, even light; clean the lens",
    )
    yield (
        q.sharpness >= gates.min_sharpness,
        "blurred",
        f"sharpness {q.sharpness:.1f}, {gates.min_sharpness:g} needed: hold still, more light, check the focus",
    )
