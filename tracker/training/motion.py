"""Smooth motion of a picture over a clip: affine, with an elastic part on top."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Motion:
    """How one layer moves over T frames, as maps from the output picture back into the layer.

    centre: (T, 2) where the layer's centre is, as (x, y) in output pixels; angle (T,) radians; scale (T, 2);
    bend: (T, g, g, 2) displacement of a coarse grid, in output pixels.
    """

    centre: Floats
    angle: Floats
    scale: Floats
    bend: Floats

    def maps(self, t: int, layer: tuple[int, int], output: tuple[int, int]) -> tuple[Floats, Floats]:
        """For each output pixel, the x and the y of the layer's pixel shown there: each (H, W) float32."""
        height, width = output
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        bend = cv2.resize(self.bend[t], (width, height), interpolation=cv2.INTER_CUBIC)
        dx = x - self.centre[t, 0] + bend[..., 0]
        dy = y - self.centre[t, 1] + bend[..., 1]
        cos, sin = np.cos(self.angle[t]), np.sin(self.angle[t])
        back_x = (cos * dx + sin * dy) / self.scale[t, 0] + layer[1] / 2
        back_y = (cos * dy - sin * dx) / self.scale[t, 1] + layer[0] / 2
        return back_x.astype(np.float32), back_y.astype(np.float32)


@dataclass(frozen=True, slots=True)
class Vigour:
    """How strongly a layer moves: travel and bend in output sides over the clip, turn in radians, growth as a
    factor's logarithm."""

    travel: float
    turn: float
    growth: float
    bend: float


def wave(random: np.random.Generator, frames: int, shape: tuple[int, ...] = ()) -> Floats:
    """Smooth random curves over `frames`, starting at 0, of a range of about 1: (frames, *shape)."""
    t = np.linspace(0, 1, frames).reshape(-1, *([1] * len(shape)))
    line = random.uniform(-0.7, 0.7, shape) * t
    turns, phase = random.uniform(0.3, 1.6, shape), random.uniform(0, 2 * np.pi, shape)
    swing = random.uniform(0, 0.5, shape) * (np.sin(2 * np.pi * turns * t + phase) - np.sin(phase))
    return np.asarray(line + swing, dtype=np.float32)


def sample_motion(
    random: np.random.Generator, frames: int, start: tuple[float, float], side: float, vigour: Vigour
) -> Motion:
    """A motion that starts with the layer's centre at `start` (x, y), upright or nearly, at scale 1."""
    bend = wave(random, frames, (4, 4, 2)) + random.normal(0, 0.3, (1, 4, 4, 2))
    return Motion(
        centre=np.asarray(np.array(start) + wave(random, frames, (2,)) * vigour.travel * side, np.float32),
        angle=np.asarray(random.normal(0, 0.15) + wave(random, frames) * vigour.turn, np.float32),
        scale=np.exp(
            wave(random, frames, (1,)) * vigour.growth + wave(random, frames, (2,)) * vigour.growth / 4
        ),
        bend=np.asarray(bend * vigour.bend * side, np.float32),
    )
