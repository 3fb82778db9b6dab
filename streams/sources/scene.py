"""A drawn scene whose truth is known: textured things that move, cross, hide each other, leave and return."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..types import Image
from .painting import SHAPES, Pixels, muted, painted, texture, vivid

IndexedMask = NDArray[np.uint8]
"""(H, W) uint8: the id of the object seen at each pixel, 0 for the background."""
Matrix = NDArray[np.float64]
"""(2, 3): an affine map of (x, y)."""


@dataclass(frozen=True, slots=True)
class Path:
    """A smooth way in pixels: at t seconds (x, y) = centre + reach * sin(speed * t + phase)."""

    centre: tuple[float, float]
    reach: tuple[float, float]
    speed: tuple[float, float]
    phase: tuple[float, float]

    def at(self, t: float) -> tuple[float, float]:
        x, y = (
            c + r * math.sin(s * t + p)
            for c, r, s, p in zip(self.centre, self.reach, self.speed, self.phase, strict=True)
        )
        return x, y


@dataclass(frozen=True, slots=True)
class Thing:
    """One object: `picture` (h, w, 4) uint8 RGBA with soft edges, its way, its turning and breathing."""

    picture: Pixels
    path: Path
    turn: float
    breath: float

    def placement(self, t: float) -> Matrix:
        """From the picture to the frame at t seconds. At 0 the object is upright and at its own size."""
        scale = 1 + self.breath * math.sin(0.9 * t)
        matrix = cv2.getRotationMatrix2D((0, 0), math.degrees(self.turn * math.sin(0.7 * t)), scale)
        height, width = self.picture.shape[:2]
        matrix[:, 2] = np.array(self.path.at(t)) - matrix[:, :2] @ (width / 2, height / 2)
        return np.asarray(matrix)

    def silhouette(self, t: float) -> Patch:
        """Where it is at t seconds: a patch (h, w), 1 on the object and 0 around it."""
        alpha = _draw(self.picture[:, :, 3], self.placement(t))
        return Patch(alpha.x, alpha.y, (alpha.pixels > 127).astype(np.uint8))


@dataclass(frozen=True, slots=True)
class Patch:
    """Pixels (h, w) or (h, w, C) whose top left corner lies at (x, y) of the frame, perhaps outside."""

    x: int
    y: int
    pixels: Pixels

    def inside(self, size: tuple[int, int]) -> tuple[tuple[slice, slice], Pixels]:
        """What a frame of this size shows of it: the rows and columns of the frame, and the pixels there."""
        rows, columns = self.pixels.shape[:2]
        top, bottom = (min(max(y, 0), size[0]) for y in (self.y, self.y + rows))
        left, right = (min(max(x, 0), size[1]) for x in (self.x, self.x + columns))
        pixels = self.pixels[top - self.y : bottom - self.y, left - self.x : right - self.x]
        return (slice(top, bottom), slice(left, right)), pixels


@dataclass(frozen=True, slots=True)
class Scene:
    """All that is drawn: `things[k]` has the object id k + 1, later ones in front. Times in seconds."""

    size: tuple[int, int]
    background: Pixels
    drift: Path
    things: tuple[Thing, ...]

    def image(self, t: float) -> Image:
        """(H, W, 3) uint8 RGB."""
        frame = self._draw_background(t)
        for thing in self.things:
            where, pixels = _draw(thing.picture, thing.placement(t)).inside(self.size)
            if pixels.size:
                frame[where] = _blend(frame[where], pixels)
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGBA2RGB), np.uint8)

    def truth(self, t: float) -> IndexedMask:
        """(H, W) uint8: the object seen at each pixel."""
        return self._draw_truth(t)[0]

    def visible(self, t: float) -> dict[int, float]:
        """For each object id the part of it that is seen, 0 to 1: the rest is hidden or outside the frame."""
        truth, areas = self._draw_truth(t)
        seen = np.bincount(truth.ravel(), minlength=len(areas) + 1)
        return {object_id: float(seen[object_id] / area) for object_id, area in enumerate(areas, start=1)}

    def _draw_truth(self, t: float) -> tuple[IndexedMask, list[int]]:
        """The truth, and each object's area in pixels if nothing hid it."""
        truth = np.zeros(self.size, np.uint8)
        areas = []
        for object_id, thing in enumerate(self.things, start=1):
            patch = thing.silhouette(t)
            areas.append(max(1, int(np.count_nonzero(patch.pixels))))
            where, pixels = patch.inside(self.size)
            truth[where][pixels > 0] = object_id
        return truth, areas

    def _draw_background(self, t: float) -> Pixels:
        x, y = self.drift.at(t)
        zoom = 1.04 + 0.03 * math.sin(0.4 * t)
        matrix = np.array([[zoom, 0, x * zoom], [0, zoom, y * zoom]])
        return np.asarray(cv2.warpAffine(self.background, matrix, self.size[::-1]), np.uint8)


@dataclass(frozen=True, slots=True)
class Home:
    """Where an object is at time 0, and how far from there it may reach, in pixels."""

    x: float
    y: float
    room: float


def make_scene(size: tuple[int, int], objects: int, seed: int) -> Scene:
    """The scene of a seed; `size` (height, width) from 32 pixels. At time 0 all is in full view."""
    rng = np.random.default_rng(seed)
    homes = _homes(size, objects)
    hue = rng.random()
    things = tuple(_make_thing(rng, k, size, homes[k], hue + k * 0.381966) for k in range(objects))
    return Scene(size, *make_background(rng, size, hue, coarse=max(size) / 5), things)


def make_background(
    rng: np.random.Generator, size: tuple[int, int], hue: float, coarse: float
) -> tuple[Pixels, Path]:
    """A background (h, w, 4) uint8 RGBA somewhat larger than `size`, and how it drifts.

    `hue`, in [0, 1), is that of the things before it, which it avoids; `coarse` the pixels of its patches.
    """
    height, width = size
    margin = 0.15 * max(size)
    drift = Path((-margin, -margin), (0.7 * margin, 0.7 * margin), (0.35, 0.23), (rng.random(), rng.random()))
    picture = texture(rng, (height + int(2 * margin), width + int(2 * margin)), muted(rng, hue), coarse)
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA), np.uint8), drift


def _homes(size: tuple[int, int], objects: int) -> list[Home]:
    """Where the objects are at time 0: a grid, with room so that they neither touch nor leave the frame."""
    height, width = size
    columns = math.ceil(math.sqrt(objects * width / height))
    rows = math.ceil(objects / columns)
    cell_w, cell_h = width / columns, height / rows
    room = min(0.44 * min(cell_w, cell_h), 0.2 * min(size))
    return [Home((k % columns + 0.5) * cell_w, (k // columns + 0.5) * cell_h, room) for k in range(objects)]


def _make_thing(rng: np.random.Generator, k: int, size: tuple[int, int], home: Home, hue: float) -> Thing:
    radius = home.room * rng.uniform(0.8, 1.0)
    shape = SHAPES[k % len(SHAPES)](rng, radius)
    picture = painted(rng, shape, vivid(rng, hue), coarse=radius / 1.5)
    path = _make_path(rng, k, size, Home(home.x, home.y, radius))
    return Thing(picture, path, turn=rng.uniform(0.3, 0.9), breath=rng.uniform(0.05, 0.15))


def _make_path(rng: np.random.Generator, k: int, size: tuple[int, int], home: Home) -> Path:
    """Through its home at time 0. The last of each three objects sweeps out of the frame on both sides."""
    height, width = size
    radius = home.room
    leaves = k % 3 == 2
    reach = width / 2 + 1.8 * radius if leaves else width / 2 - 1.1 * radius
    x_phase = math.asin(np.clip((home.x - width / 2) / reach, -1, 1))
    if (k % 2 == 1) == leaves:  # neighbours set out in opposite directions
        x_phase = math.pi - x_phase
    sway = 0.12 * height
    y_centre = np.clip(0.5 * home.y + 0.25 * height, sway + radius, height - sway - radius)
    y_reach = max(sway, abs(home.y - y_centre))
    y_phase = math.asin(np.clip((home.y - y_centre) / y_reach, -1, 1))
    speed = 2 * math.pi / rng.uniform(6.5, 8.5), 2 * math.pi / rng.uniform(4.0, 7.0)
    return Path((width / 2, float(y_centre)), (reach, y_reach), speed, (x_phase, y_phase))


def _draw(picture: Pixels, placement: Matrix) -> Patch:
    """The picture where its placement puts it, on a patch just large enough, transparent around it."""
    rows, columns = picture.shape[:2]
    corners = placement @ np.array([[0, columns, 0, columns], [0, 0, rows, rows], [1, 1, 1, 1]])
    x, y = (int(value) for value in np.floor(corners.min(axis=1)))
    right, bottom = (int(value) for value in np.ceil(corners.max(axis=1)))
    to_patch = placement - np.array([[0, 0, x], [0, 0, y]])
    return Patch(x, y, np.asarray(cv2.warpAffine(picture, to_patch, (right - x, bottom - y)), np.uint8))


def _blend(under: Pixels, over: Pixels) -> Pixels:
    """(h, w, 4): `over` laid on `under` as opaque as its alpha says."""
    opaque = over[:, :, 3].astype(np.float32) * np.float32(1 / 255)
    return np.asarray(cv2.blendLinear(over, under, opaque, 1 - opaque), np.uint8)
