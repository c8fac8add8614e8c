"""Light, sensor, lens and compression: pure functions uint8 (H, W, 3) RGB -> the same. random: the source of all noise."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageFilter

from edge_oneshot.evaluation.conditions.scene import Scene
from edge_oneshot.types import Float32Array, UInt8Array
from edge_oneshot.vision.align import LUMA

READ_NOISE = 4.0  # standard deviation in grey levels, of a small sensor at high gain
FULL_WELL = 4000.0  # electrons at white, of a 1.4 um pixel
GAMMA = 2.2


def noisy(pixels: Float32Array, sigma: float, random: np.random.Generator, *, grey: bool = False) -> UInt8Array:
    """Add Gaussian noise of `sigma` grey levels to float32 (H, W, 3), and clip. grey: the same for all channels."""
    noise = random.standard_normal((*pixels.shape[:2], 1 if grey else 3), dtype=np.float32)
    return np.clip(np.rint(pixels + np.float32(sigma) * noise), 0, 255).astype(np.uint8)


def darken(pixels: UInt8Array, factor: float, random: np.random.Generator) -> UInt8Array:
    """8-bit values times `factor`, with read noise: a camera that has reached its longest exposure."""
    return noisy(pixels.astype(np.float32) * np.float32(factor), READ_NOISE, random)


def starve(pixels: UInt8Array, factor: float, random: np.random.Generator) -> UInt8Array:
    """As `darken` to the same mean values, with photon noise: `factor` ** GAMMA of the light, and then the gamma curve.

    The photons of a pixel are Poisson distributed around its linear light; FULL_WELL of them make white.
    """
    light = (pixels / np.float32(255)) ** np.float32(GAMMA) * np.float32(factor**GAMMA)
    photons = random.poisson(light * FULL_WELL).astype(np.float32) / np.float32(FULL_WELL)
    return noisy(255 * photons ** np.float32(1 / GAMMA), READ_NOISE, random)


def infrared(pixels: UInt8Array, sigma: float, random: np.random.Generator) -> UInt8Array:
    """Grey, with a bright middle (the lamp is beside the lens), a slight glow, and noise of `sigma` grey levels."""
    grey = pixels @ LUMA
    glow = np.asarray(Image.fromarray(grey.astype(np.uint8)).filter(ImageFilter.GaussianBlur(9)), dtype=np.float32)
    height, width = grey.shape
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    lamp = 1.05 - 0.3 * (x**2 + y**2) / 2
    lit = ((0.85 * grey + 0.15 * glow) * lamp).astype(np.float32)
    return noisy(np.repeat(lit[..., None], 3, axis=2), sigma, random, grey=True)


def backlight(scene: Scene, random: np.random.Generator) -> UInt8Array:
    """A bright window behind the subject: the exposure follows it, so the face has 0.3 of its brightness, under a veil."""
    height, width = scene.pixels.shape[:2]
    (x0, y0), d = scene.eyes, scene.inter_eye_px
    y, x = np.ogrid[:height, :width]
    head = ((x - x0) / (1.35 * d)) ** 2 + ((y - (y0 + 0.4 * d)) / (1.9 * d)) ** 2
    body = np.where(y > y0 + 1.2 * d, ((x - x0) / (3.0 * d)) ** 2 + ((y - (y0 + 4.6 * d)) / (2.9 * d)) ** 2, 9.0)
    neck = np.where((y > y0) & (y < y0 + 3 * d), np.abs(x - x0) / (0.85 * d), 9.0)
    subject = np.clip((1.15 - np.minimum(np.minimum(head, body), neck)) / 0.3, 0, 1)[..., None].astype(np.float32)
    pixels = scene.pixels.astype(np.float32)
    window, shade = 255 - (255 - pixels) * np.float32(0.15), pixels * np.float32(0.3) + np.float32(14)
    return noisy(subject * shade + (1 - subject) * window, 2.0, random)


def move(pixels: UInt8Array, length_px: int) -> UInt8Array:
    """Horizontal motion over `length_px` (odd) while the shutter is open: the mean of so many neighbours."""
    half = length_px // 2
    wide = np.pad(pixels.astype(np.int32), ((0, 0), (half + 1, half), (0, 0)), mode="edge").cumsum(
        axis=1, dtype=np.int32
    )
    mean = (wide[:, length_px:] - wide[:, :-length_px]) / length_px
    moved: UInt8Array = np.rint(mean).astype(np.uint8)
    return moved


def defocus(pixels: UInt8Array, sigma_px: float) -> UInt8Array:
    """A lens out of focus: Gaussian blur."""
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(sigma_px)))


def compress(pixels: UInt8Array, quality: int) -> UInt8Array:
    """JPEG with 4:2:0 chroma."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling=2)
    return np.asarray(Image.open(buffer).convert("RGB"))
