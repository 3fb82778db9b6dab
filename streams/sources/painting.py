"""What drawn things look like: their outlines, and textures that a tracker can hold on to."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from ..types import Image

Floats = NDArray[np.floating]
Pixels = NDArray[np.uint8]


def _blob(rng: np.random.Generator, radius: float) -> Pixels:
    angle = np.linspace(0, 2 * math.pi, 180, endpoint=False)
    distance = np.ones_like(angle)
    for lobes in (2, 3, 5):
        distance += rng.uniform(0.04, 0.2 / math.sqrt(lobes)) * np.cos(lobes * angle + rng.uniform(0, 6.3))
    return _outline(angle, distance, radius)


def _polygon(rng: np.random.Generator, radius: float) -> Pixels:
    corners = int(rng.integers(4, 7))
    angle = (np.arange(corners) + rng.uniform(-0.25, 0.25, corners)) * 2 * math.pi / corners
    return _outline(angle, rng.uniform(0.75, 1.0, corners), radius)


def _ellipse(rng: np.random.Generator, radius: float) -> Pixels:
    angle = np.linspace(0, 2 * math.pi, 180, endpoint=False)
    flat, tilt = rng.uniform(0.5, 0.75), rng.uniform(0, math.pi)
    distance = flat / np.hypot(flat * np.cos(angle - tilt), np.sin(angle - tilt))
    return _outline(angle, distance, radius)


Shape = Callable[[np.random.Generator, float], Pixels]
"""Draws an outline of a radius in pixels: (S, S) uint8, 255 inside, with soft edges."""

SHAPES: tuple[Shape, ...] = (_blob, _polygon, _ellipse)


def _outline(angle: Floats, distance: Floats, radius: float) -> Pixels:
    """(S, S) uint8, filled inside the outline, which reaches `radius` pixels from the middle; soft edges."""
    side = 2 * math.ceil(radius + 2)
    reach = radius * distance / distance.max()
    points = np.stack([side / 2 + reach * np.cos(angle), side / 2 + reach * np.sin(angle)], axis=1)
    large = np.zeros((4 * side, 4 * side), np.uint8)
    cv2.fillPoly(large, [np.round(4 * points).astype(np.int32)], 255)
    return np.asarray(cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def painted(rng: np.random.Generator, shape: Pixels, colours: Floats, coarse: float) -> Pixels:
    """(h, w, 4) uint8 RGBA: a textured thing of a shape (h, w), darker towards its rim."""
    return np.dstack([_shade(texture(rng, shape.shape, colours, coarse), shape), shape])


def texture(rng: np.random.Generator, size: tuple[int, ...], colours: Floats, coarse: float) -> Image:
    """(h, w, 3) uint8: patches of the first two colours, spots of the third with clear edges, and grain.

    `colours` (3, 3) in [0, 1]; `coarse` is the size of the patches in pixels.
    """
    mix = _smooth_noise(rng, size, coarse)
    spots = _smooth_noise(rng, size, coarse / 2)
    grain = _smooth_noise(rng, size, max(2.0, coarse / 10))
    edge = np.clip((mix - 0.5) * 6 + 0.5, 0, 1)[:, :, None]
    picture = colours[0] * edge + colours[1] * (1 - edge)
    spot = np.clip((spots - 0.62) * 25, 0, 1)[:, :, None]
    picture = picture * (1 - spot) + colours[2] * spot
    picture *= 0.7 + 0.6 * grain[:, :, None]
    return np.asarray(np.clip(picture * 255, 0, 255), np.uint8)


def _smooth_noise(rng: np.random.Generator, size: tuple[int, ...], coarse: float) -> Floats:
    """(h, w) in [0, 1]: random grids of `coarse` pixels and finer, each half as strong as the one before."""
    height, width = size
    noise = np.zeros((height, width), np.float32)
    for octave in range(4):
        step = max(1.0, coarse / 2**octave)
        grid = rng.random((math.ceil(height / step) + 3, math.ceil(width / step) + 3), np.float32)
        large = cv2.resize(grid, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
        noise += large[:height, :width] / 2**octave
    low, high = np.percentile(noise, (1, 99))
    return np.asarray(np.clip((noise - low) / max(high - low, 1e-6), 0, 1), np.float32)


def _shade(picture: Image, shape: Pixels) -> Image:
    """The picture, darker towards the rim of the shape, as round things are."""
    depth = cv2.distanceTransform((shape > 127).astype(np.uint8), cv2.DIST_L2, 5)
    light = 0.45 + 0.55 * np.sqrt(np.clip(depth / (0.5 * depth.max()), 0, 1))
    return np.asarray(picture * light[:, :, None], np.uint8)


def vivid(rng: np.random.Generator, hue: float) -> Floats:
    """Three colours (3, 3) in [0, 1] of a thing: clear ones."""
    return _colours((hue, 0.75, 0.9), (hue + rng.uniform(0.03, 0.1), 0.9, 0.55), (hue + 0.5, 0.35, 1.0))


def muted(rng: np.random.Generator, hue: float) -> Floats:
    """Three colours (3, 3) in [0, 1] of what lies behind things."""
    green = hue + rng.uniform(0.15, 0.25)
    return _colours((green, 0.25, 0.55), (green + 0.1, 0.35, 0.35), (green, 0.15, 0.7))


def _colours(*hsv: tuple[float, float, float]) -> Floats:
    return np.array([colorsys.hsv_to_rgb(h % 1.0, s, v) for h, s, v in hsv], np.float32)
