"""Things that move before a camera that stands still, found by what differs from the background.

The background is a mixture of Gaussians a pixel (Zivkovic, "Improved adaptive Gaussian mixture model for
background subtraction", ICPR 2004, as OpenCV's MOG2), which also tells shadows. Shake is taken out first, by
phase correlation with the background. What is found must be large enough, last, and get somewhere; where the
light has changed and all else is as before, as under clouds, there is nothing.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Box, Image, Mask

WIDTH = 320
"""Frames are looked at in this width."""
SHADOW = 127
"""What MOG2 marks shadows with."""
MOST_BLOBS = 64
LIGHT_SPREAD = 0.12
"""Where the logarithms of how much brighter it is vary by no more than this (standard deviation), in each of
the three colours, and are on average no further apart, only the light has changed."""
LIGHT_MOST = 0.7
"""Nor by more than this: light halves or doubles, it does not turn white into black."""
SAME_STRUCTURE = 0.85
"""Where image and background go up and down together like this (correlation), the same thing is seen."""
IMPROVEMENT = 0.8
"""To how much of itself the difference from the background must fall for a shift to be one."""
ALIKE = 0.05
"""Pictures that differ by less (mean of grey values, 0 to 255) are the same: noise tells of no shift."""
SURE = 0.05
"""How much of two pictures must agree on a shift (0 to 1)."""
RECENT_SECONDS = 3.0
"""A thing must have got somewhere within such a time: one that has stopped moves no more."""
GROWTH = 2.5
"""A thing that is so many times as large as in the frame before is not the same thing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MotionSettings:
    """smallest, largest: a thing's area in parts of the frame; persist_seconds: how long it must be seen;
    travel: how far its centre must have got by then, in diagonals of the frame, so that leaves and flags are
    left out; warm_up_seconds: how long the background is learned before anything counts; memory_seconds: how
    long it takes to become background; sudden: the part of the frame that changes at once when the light
    does, or the camera is moved: then the background is learned anew; shake: the most a camera shakes, in
    parts of the width.
    """

    smallest: float = 0.001
    largest: float = 0.4
    persist_seconds: float = 0.4
    travel: float = 0.02
    warm_up_seconds: float = 1.0
    memory_seconds: float = 20.0
    sudden: float = 0.5
    shake: float = 0.05


@dataclass(frozen=True, slots=True, eq=False)
class Blob:
    """Something that moves. mask: (h, w) bool at the looked-at size; first, at: where its centre was when it
    was first seen and is now, in diagonals; since: when that was, in seconds; number: the same in all frames
    in which it is followed."""

    mask: Mask
    box: Box
    first: tuple[float, float]
    at: tuple[float, float]
    since: float
    number: int


class MovingThings:
    """Looks at the frames of one stream, in order. `look` blocks for some milliseconds: not for the loop."""

    def __init__(self, settings: MotionSettings | None = None) -> None:
        self.settings = settings or MotionSettings()
        self._blobs: tuple[Blob, ...] = ()
        self._model: cv2.BackgroundSubtractorMOG2 | None = None
        self._size: tuple[int, ...] = ()
        self._began = 0.0
        self._numbers = itertools.count()
        self._last: float | None = None

    def look(self, image: Image, time: float) -> tuple[Blob, ...]:
        """The things that have moved for long enough in image (H, W, 3) uint8 RGB; `time` in seconds."""
        small = _small(image)
        if self._model is None or self._size != small.shape:
            return self._begin(small, time)
        shift = _shift(self._background(), small, self.settings.shake)
        if shift is None:
            return self._begin(small, time)
        if shift != (0.0, 0.0):
            small = _shifted(small, (-shift[0], -shift[1]))
        passed = 0.0 if self._last is None else max(0.0, time - self._last)
        self._last = time
        warming = time - self._began < self.settings.warm_up_seconds
        rate = 0.1 if warming else min(1.0, passed / self.settings.memory_seconds)
        marks = self._model.apply(small, learningRate=rate)
        moving = _cleaned(np.asarray(marks > SHADOW))
        if moving.mean() > self.settings.sudden:
            return self._begin(small, time)
        parts = [] if warming else self._parts(moving, time)
        background = self._background()
        lit = [blob for blob in parts if not _only_light(small, background, blob.mask)]
        self._blobs = _followed(self._blobs, lit)
        return tuple(blob for blob in self._blobs if self._counts(blob, time))

    def _begin(self, small: Image, time: float) -> tuple[Blob, ...]:
        """Learn the background from this frame on."""
        self._model = cv2.createBackgroundSubtractorMOG2(history=500, varThreshold=25, detectShadows=True)
        self._model.apply(small, learningRate=1.0)
        self._size = small.shape
        self._blobs, self._began, self._last = (), time, time
        return ()

    def _parts(self, moving: NDArray[np.uint8], time: float) -> list[Blob]:
        """The connected parts of a sensible size, largest first."""
        height, width = moving.shape
        diagonal = math.hypot(height, width)
        number, labels, stats, centres = cv2.connectedComponentsWithStats(moving, connectivity=8)
        area = stats[:, cv2.CC_STAT_AREA] / (height * width)
        fit = [k for k in range(1, number) if self.settings.smallest <= area[k] <= self.settings.largest]
        found = []
        for k in sorted(fit, key=lambda k: -area[k])[:MOST_BLOBS]:
            x, y, w, h = (int(stats[k, one]) for one in range(4))
            centre = float(centres[k][0]) / diagonal, float(centres[k][1]) / diagonal
            box = x / width, y / height, (x + w) / width, (y + h) / height
            found.append(Blob(np.asarray(labels == k), box, centre, centre, time, next(self._numbers)))
        return found

    def _background(self) -> Image:
        assert self._model is not None
        return np.asarray(self._model.getBackgroundImage(), np.uint8)

    def _counts(self, blob: Blob, time: float) -> bool:
        lasted = time - blob.since >= self.settings.persist_seconds - 1e-6
        return lasted and math.dist(blob.first, blob.at) >= self.settings.travel


def _small(image: Image) -> Image:
    height, width = image.shape[:2]
    if width <= WIDTH:
        return image
    size = (WIDTH, max(8, round(height * WIDTH / width)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)


def _shift(background: Image, image: Image, most: float) -> tuple[float, float] | None:
    """How far image has shifted against background (h, w, 3), in pixels (x, y); (0, 0) where that is less
    than half a pixel or taking it out does not help; None where it is more than a shake."""
    reference, grey = _soft(background), _soft(image)
    size = grey.shape[1], grey.shape[0]
    apart = cv2.absdiff(grey, reference).mean()
    if apart < ALIKE:
        return 0.0, 0.0
    window = cv2.createHanningWindow(size, cv2.CV_32F)
    # it may write into what it is given
    (x, y), agreed = cv2.phaseCorrelate(reference.copy(), grey.copy(), window)
    if agreed < SURE or math.hypot(x, y) < 0.5:
        return 0.0, 0.0
    if _unexplained(reference, grey, (x, y)) > IMPROVEMENT * apart:
        return 0.0, 0.0
    return None if math.hypot(x, y) > most * size[0] else (x, y)


def _unexplained(
    reference: NDArray[np.float32], grey: NDArray[np.float32], shift: tuple[float, float]
) -> float:
    """How much of a picture (h, w) differs from the reference once its shift is taken out: what then lies
    beside the reference counts by how much it stands out. A thing before black is not explained by a shift
    that takes it out of the picture."""
    x, y = shift
    everywhere = np.ones_like(grey)
    inside, stays = (_shifted(everywhere, by, cv2.BORDER_CONSTANT) > 0.5 for by in ((-x, -y), (x, y)))
    within = cv2.absdiff(_shifted(grey, (-x, -y)), reference)[inside].sum()
    beside = np.abs(grey - np.median(grey))[~stays].sum()
    return float(within + beside) / grey.size


def _soft(image: Image) -> NDArray[np.float32]:
    """Grey (h, w), without the noise of single pixels."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.GaussianBlur(grey, (0, 0), 1.5), np.float32)


def _shifted(
    image: NDArray[Any], by: tuple[float, float], border: int = cv2.BORDER_REPLICATE
) -> NDArray[Any]:
    """An image (h, w) or (h, w, 3) moved by (x, y) pixels, its border repeated unless told otherwise."""
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float32)
    size = image.shape[1], image.shape[0]
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=border))


def _cleaned(moving: Mask) -> NDArray[np.uint8]:
    """Without single pixels, and with the gaps within a thing closed."""
    marks = moving.astype(np.uint8)
    opened = cv2.morphologyEx(marks, cv2.MORPH_OPEN, np.ones((2, 2), np.uint8))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (7, 9))
    return np.asarray(cv2.morphologyEx(opened, cv2.MORPH_CLOSE, kernel), np.uint8)


def _only_light(image: Image, background: Image, mask: Mask) -> bool:
    """Whether image and background (h, w, 3) differ in the mask as by a change of light alone."""
    now, before = image[mask].astype(np.float32), background[mask].astype(np.float32)
    if _correlation(now.mean(1), before.mean(1)) > SAME_STRUCTURE:
        return True
    ratio = np.log((now + 8) / (before + 8))
    change = ratio.mean(0)
    alike = float(ratio.std(0).max()) < LIGHT_SPREAD and float(np.ptp(change)) < LIGHT_SPREAD
    return alike and float(np.abs(change).max()) < LIGHT_MOST


def _correlation(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Pearson's, of two lists of numbers; 0 where one does not vary."""
    spread = float(one.std() * other.std())
    return float(((one - one.mean()) * (other - other.mean())).mean()) / spread if spread else 0.0


def _followed(before: tuple[Blob, ...], now: list[Blob]) -> tuple[Blob, ...]:
    """The blobs of now with the history of the nearest before, each given once. A thing may move by its own
    length from one frame to the next."""
    left = list(before)
    followed = []
    for blob in now:
        nearest = min(left, key=lambda old: math.dist(blob.at, old.at), default=None)
        if nearest is not None and math.dist(blob.at, nearest.at) < max(_length(blob), _length(nearest)):
            left.remove(nearest)
            if 1 / GROWTH < blob.mask.sum() / nearest.mask.sum() < GROWTH:
                blob = _after(nearest, blob)
        followed.append(blob)
    return tuple(followed)


def _after(old: Blob, blob: Blob) -> Blob:
    """The blob with the history of `old`; what was long ago is forgotten: it must get somewhere again."""
    recent = blob.since - old.since < RECENT_SECONDS
    first, since = (old.first, old.since) if recent else (blob.at, blob.since)
    return replace(blob, first=first, since=since, number=old.number)


def _length(blob: Blob) -> float:
    """The longer side of a blob's box, in diagonals."""
    height, width = blob.mask.shape
    x0, y0, x1, y1 = blob.box
    longer: float = max((x1 - x0) * width, (y1 - y0) * height)
    return longer / math.hypot(height, width)


def overlap(one: Mask, other: Mask) -> float:
    """The intersection of two masks (h, w) in parts of the smaller of them; 0 where one is empty."""
    smaller = min(int(one.sum()), int(other.sum()))
    return float((one & other).sum() / smaller) if smaller else 0.0
