"""Drawn scenes in which one hard thing happens: look-alikes cross, an object is hidden, an object leaves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import cv2
import numpy as np

from ..types import Image
from .painting import SHAPES, Pixels, Shape, muted, painted, texture, vivid
from .scene import IndexedMask, Path, Scene, Thing, make_background

HardKind = Literal["crossing", "occlusion", "exit"]
KINDS: tuple[HardKind, ...] = get_args(HardKind)

SIZE = 240, 320
"""(height, width) in pixels of every hard scene. All other lengths here are pixels of it."""
FRAMES, RATE = 100, 25.0
"""How many frames they have, and how many a second."""
HIDDEN_FRAMES = 30
"""How long an occlusion hides its object to the last pixel."""
SETTLED_FRAMES = 5
"""How many of the last frames show all that is to be followed in full."""
FOLLOWED = 1, 2
"""The ids of the objects to be followed; the truth knows the wall that hides one of them as a third."""
AWAY = 1
"""The id of the object that is hidden, or leaves."""


@dataclass(frozen=True, slots=True)
class HardScene:
    """The scene of a kind and a seed. All that is to be followed is in full view in its first frame and in
    its last ten."""

    kind: HardKind
    seed: int
    scene: Scene

    @property
    def name(self) -> str:
        return f"{self.kind} {self.seed}"

    def image(self, index: int) -> Image:
        """(H, W, 3) uint8 RGB: frame `index` of `FRAMES`."""
        return self.scene.image(index / RATE)

    def truth(self, index: int) -> IndexedMask:
        """(H, W) uint8: the object seen at each pixel of frame `index`."""
        return self.scene.truth(index / RATE)


def make_hard_scene(kind: HardKind, seed: int) -> HardScene:
    """The scene of a kind and a seed from 0: always the same, to the byte."""
    rng = np.random.default_rng((KINDS.index(kind), seed))
    hue = rng.random()
    things = _MAKERS[kind](rng, hue)
    background = make_background(rng, SIZE, hue, coarse=rng.uniform(20, 90))
    return HardScene(kind, seed, Scene(SIZE, *background, things))


def _crossing(rng: np.random.Generator, hue: float) -> tuple[Thing, ...]:
    """Two of a kind come from the two sides and pass, the second in front of the first."""
    shape, radius, heading = _any_shape(rng), rng.uniform(20, 31), _side(rng)
    x, y = SIZE[1] / 2 + rng.uniform(-8, 8), SIZE[0] / 2 + rng.uniform(-12, 12)
    aside = rng.uniform(-0.25, 0.25) * radius
    things = []
    for side in (-1, 1):
        picture = _paint(rng, shape, radius * rng.uniform(0.92, 1.08), hue + rng.uniform(-0.03, 0.03))
        reach = side * heading * rng.uniform(96, 112), rng.uniform(-38, 38)
        speed = RATE * math.pi / rng.uniform(96, 108)
        phase = -speed * rng.uniform(45, 52) / RATE
        things.append(_mover(rng, picture, Path((x, y + side * aside), reach, (speed,) * 2, (phase,) * 2)))
    return tuple(things)


def _occlusion(rng: np.random.Generator, hue: float) -> tuple[Thing, ...]:
    """The first goes by behind a wall; the second stays in view."""
    radius, hidden = rng.uniform(18, 28), int(rng.integers(31, 39))
    lane, free = _lanes(rng, SIZE[0])
    reach = _side(rng) * rng.uniform(max(92, 3.6 * radius + 12), 116)
    speed = RATE * math.pi / rng.uniform(102, 112)
    phase = -speed * (hidden + HIDDEN_FRAMES / 2) / RATE
    way = Path((SIZE[1] / 2, lane), (reach, rng.uniform(3, 9)), (speed, rng.uniform(0.8, 2.2)), (phase, 0))
    passing = _mover(rng, _paint(rng, _any_shape(rng), radius, hue), way)
    return passing, _bystander(rng, hue, _stroll(rng, SIZE[1], free)), _wall(rng, hue, passing, hidden)


def _exit(rng: np.random.Generator, hue: float) -> tuple[Thing, ...]:
    """The first leaves by one of the four sides and returns there; the second stays in view."""
    upright = rng.random() < 0.4  # by the top or the bottom
    length, width = SIZE if upright else SIZE[::-1]
    radius = rng.uniform(18, 29)
    lane, free = _lanes(rng, width)
    centre, reach, speed, phase = _there_and_back(rng, length * rng.uniform(0.42, 0.62), length + radius + 3)
    if _side(rng) < 0:
        centre, reach = length - centre, -reach
    way = Path((centre, lane), (reach, rng.uniform(3, 9)), (speed, rng.uniform(0.8, 2.2)), (phase, 0))
    stay = _stroll(rng, length, free)
    if upright:
        way, stay = _transposed(way), _transposed(stay)
    return _mover(rng, _paint(rng, _any_shape(rng), radius, hue), way), _bystander(rng, hue, stay)


_MAKERS: dict[HardKind, Callable[[np.random.Generator, float], tuple[Thing, ...]]] = {
    "crossing": _crossing,
    "occlusion": _occlusion,
    "exit": _exit,
}


def _there_and_back(
    rng: np.random.Generator, home: float, outside: float
) -> tuple[float, float, float, float]:
    """Centre, reach, speed and phase of a way along one axis: from `home` at time 0 to beyond `outside`, for
    16 to 28 frames about the middle of the scene, and back."""
    turning, away = rng.uniform(46, 51) / RATE, rng.uniform(8, 14) / RATE
    speed = RATE * math.pi / rng.uniform(50, 56)
    reach = (outside - home) / (math.cos(speed * away) - math.cos(speed * turning))
    return outside - reach * math.cos(speed * away), reach, speed, math.pi / 2 - speed * turning


def _stroll(rng: np.random.Generator, length: float, lane: float) -> Path:
    """A way that goes slowly to and fro along its lane and never leaves the frame."""
    reach, speed = (rng.uniform(0.05, 0.25) * length, 5.0), (rng.uniform(0.6, 1.6), rng.uniform(0.8, 2.2))
    return Path((length / 2, lane), reach, speed, (rng.uniform(0, 6.3), rng.uniform(0, 6.3)))


def _transposed(path: Path) -> Path:
    """The way with x and y exchanged."""
    pairs = path.centre, path.reach, path.speed, path.phase
    return Path(*((second, first) for first, second in pairs))


def _lanes(rng: np.random.Generator, width: float) -> tuple[float, float]:
    """Where across the frame one object goes, and where another may without meeting it."""
    lane, free = (0.68 + rng.uniform(-0.02, 0.02)) * width, 0.24 * width
    return (lane, free) if _side(rng) > 0 else (width - lane, width - free)


def _side(rng: np.random.Generator) -> int:
    return 1 if rng.random() < 0.5 else -1


def _any_shape(rng: np.random.Generator) -> Shape:
    return SHAPES[int(rng.integers(len(SHAPES)))]


def _paint(rng: np.random.Generator, shape: Shape, radius: float, hue: float) -> Pixels:
    return painted(rng, shape(rng, radius), vivid(rng, hue), coarse=radius / rng.uniform(1, 2.5))


def _mover(rng: np.random.Generator, picture: Pixels, path: Path) -> Thing:
    return Thing(picture, path, turn=rng.uniform(-0.8, 0.8), breath=rng.uniform(0.03, 0.12))


def _bystander(rng: np.random.Generator, hue: float, path: Path) -> Thing:
    """An object of a colour of its own."""
    return _mover(rng, _paint(rng, _any_shape(rng), rng.uniform(16, 25), hue + rng.uniform(0.3, 0.7)), path)


def _wall(rng: np.random.Generator, hue: float, passing: Thing, hidden: int) -> Thing:
    """What hides `passing` from frame `hidden` on for just `HIDDEN_FRAMES`: as wide as all that the object
    covers in them, so that one frame earlier or later it, which never stops there, looks out at a side."""
    covered = np.array([_extent(passing, (hidden + k) / RATE) for k in range(HIDDEN_FRAMES)])
    (left, top), (right, bottom) = covered[:, :2].min(axis=0), covered[:, 2:].max(axis=0)
    top, bottom = top - rng.integers(4, 12), bottom + rng.integers(4, 12)
    if rng.random() < 0.5:  # it stands on the near border of the frame
        top, bottom = (top, SIZE[0]) if top + bottom > SIZE[0] else (0, bottom)
    colours = muted(rng, hue + rng.uniform(0.2, 0.8)) * rng.uniform(0.5, 1.1)
    picture = texture(rng, (bottom - top, right - left), colours, coarse=rng.uniform(12, 60))
    cv2.rectangle(picture, (0, 0), (int(right - left) - 1, int(bottom - top) - 1), (30, 30, 30), 2)
    middle = (left + right) / 2, (top + bottom) / 2
    still = Path((float(middle[0]), float(middle[1])), (0, 0), (0, 0), (0, 0))
    return Thing(np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA), np.uint8), still, turn=0, breath=0)


def _extent(thing: Thing, t: float) -> tuple[int, int, int, int]:
    """The box around its pixels at t seconds: left, top, right and bottom, the last two outside."""
    patch = thing.silhouette(t)
    x, y, width, height = cv2.boundingRect(patch.pixels)
    return patch.x + x, patch.y + y, patch.x + x + width, patch.y + y + height
