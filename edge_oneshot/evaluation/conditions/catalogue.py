"""The conditions by name, and the frames of each. A frame depends on the portrait and the condition alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from edge_oneshot.errors import EdgeOneshotError, did_you_mean
from edge_oneshot.evaluation.conditions import degrade
from edge_oneshot.evaluation.conditions.scene import CLEAN_PX, Portrait, Scene, place
from edge_oneshot.evaluation.occluders import occlude
from edge_oneshot.types import UInt8Array

Random = np.random.Generator
Change = Callable[[Scene, Random], UInt8Array]
TRACK_FRAMES = 8
INFRARED_NOISE = 6.0
MARKS = ("image_left_eye", "image_right_eye", "nose", "mouth")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Condition:
    """name: for --conditions and JSON. title: for people. family: of the report. inter_eye_px: of the subject.

    light: brightness of the frame as a share of the picture's. cover: one of occluders.KINDS, in a held-out shape. frames:
    more than one is a track, with independent noise.
    """

    name: str
    title: str
    family: str
    inter_eye_px: float = CLEAN_PX
    light: float = 1.0
    roll_deg: float = 0.0
    cut: float = 0.0
    cover: str | None = None
    change: Change | None = None
    frames: int = 1

    def render(self, portrait: Portrait) -> tuple[Scene, list[UInt8Array]]:
        """The scene, which says where the subject is, and the frames, uint8 (H, W, 3) RGB."""
        portrait = portrait if self.cover is None else cover(portrait, self.cover)
        scene = place(portrait, self.inter_eye_px, roll_deg=self.roll_deg, cut=self.cut)
        key = zlib.crc32(self.name.encode())
        return scene, [self._frame(scene, np.random.default_rng([portrait.seed, key, i])) for i in range(self.frames)]

    def _frame(self, scene: Scene, random: Random) -> UInt8Array:
        pixels = scene.pixels if self.change is None else self.change(scene, random)
        return pixels if self.light == 1.0 else degrade.darken(pixels, self.light, random)


def cover(portrait: Portrait, kind: str) -> Portrait:
    """The portrait with an object over the face, which no training has shown in this shape."""
    random = np.random.default_rng([portrait.seed, zlib.crc32(kind.encode())])
    pixels = occlude(portrait.pixels, np.array([portrait.landmarks[n] for n in MARKS]), kind, random, held_out=True)
    return replace(portrait, pixels=pixels)


def _distances() -> list[Condition]:
    return [
        Condition(name=f"eyes-{px}", title=f"{px} px between the eyes", family="distance", inter_eye_px=float(px))
        for px in (43, 32, 24, 18, 14, 12, 10)
    ]


def _light() -> list[Condition]:
    found = [
        Condition(name=f"light-{share:g}", title=f"brightness x {share:g}", family="light", light=share)
        for share in (0.5, 0.25, 0.12)
    ]
    found.append(
        Condition(
            name="photons-0.12",
            title="brightness x 0.12, photon noise",
            family="light",
            change=lambda s, r: degrade.starve(s.pixels, 0.12, r),
        )
    )
    found.append(
        Condition(
            name="track-light-0.12",
            title=f"brightness x 0.12, {TRACK_FRAMES} frames",
            family="light",
            light=0.12,
            frames=TRACK_FRAMES,
        )
    )
    found.append(
        Condition(
            name="infrared",
            title="infrared-like grey",
            family="light",
            change=lambda s, r: degrade.infrared(s.pixels, INFRARED_NOISE, r),
        )
    )
    found.append(Condition(name="backlight", title="window behind", family="light", change=degrade.backlight))
    return found


def _both() -> list[Condition]:
    return [
        Condition(
            name=f"eyes-{px}-light-0.25",
            title=f"{px} px, brightness x 0.25",
            family="distance and light",
            inter_eye_px=float(px),
            light=0.25,
        )
        for px in (24, 18, 14)
    ]


def _pixels(name: str, title: str, do: Callable[[UInt8Array], UInt8Array]) -> Condition:
    return Condition(name=name, title=title, family="blur and compression", change=lambda scene, _: do(scene.pixels))


def _lens() -> list[Condition]:
    found = [_pixels(f"motion-{n}", f"motion blur {n} px", partial(degrade.move, length_px=n)) for n in (5, 9, 13)]
    for sigma in (1.5, 3.0):
        found.append(_pixels(f"focus-{sigma:g}", f"focus blur {sigma:g} px", partial(degrade.defocus, sigma_px=sigma)))
    for quality in (30, 15):
        found.append(_pixels(f"jpeg-{quality}", f"JPEG quality {quality}", partial(degrade.compress, quality=quality)))
    return found


def _pose() -> list[Condition]:
    turned = [
        Condition(name=f"roll-{d}", title=f"rotated by {d} degrees", family="pose", roll_deg=float(d))
        for d in (10, 20, 30)
    ]
    cut = [
        Condition(name=f"crop-{p}", title=f"{p} % cut by the edge", family="hidden parts", cut=p / 100)
        for p in (10, 20, 30)
    ]
    covers = {"cap": "cap", "mask": "surgical mask", "sunglasses": "sunglasses"}
    worn = [
        Condition(name=name, title=f"rendered {kind}", family="hidden parts", cover=kind)
        for name, kind in covers.items()
    ]
    return [*turned, *cut, *worn]


CONDITIONS: dict[str, Condition] = {c.name: c for c in (*_distances(), *_light(), *_both(), *_lens(), *_pose())}


def chosen(names: str) -> list[Condition]:
    """The conditions of a list such as `eyes-43,eyes-18`, or of a family, in the order of CONDITIONS; all if it is empty.

    Raises EdgeOneshotError for an unknown name.
    """
    families = {c.family for c in CONDITIONS.values()}
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    for name in wanted:
        if name not in CONDITIONS and name not in families:
            raise EdgeOneshotError(
                f"--conditions: expected names of {', '.join(CONDITIONS)}, got {name!r}{did_you_mean(name, CONDITIONS)}",
                "correct the list, or leave the option out for all conditions",
            )
    return [c for c in CONDITIONS.values() if not wanted or c.name in wanted or c.family in wanted]
