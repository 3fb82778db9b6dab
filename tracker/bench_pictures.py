"""How fast still pictures go through a model: in batches, and one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from keepsight.streams.types import Image

from .api import Tracker
from .image import EncodedImage

SIZES = ((480, 640), (720, 1280), (1280, 720), (600, 600), (768, 1024), (333, 500))
"""(height, width) of the pictures, in turn."""
BOX = (0.25, 0.25, 0.75, 0.75)
ROUNDS = 3


class Throughput(NamedTuple):
    """Pictures/s, encoded and asked for one box each: the best of `ROUNDS` rounds, taken in turns."""

    one_by_one: float
    in_batches: float

    @property
    def ratio(self) -> float:
        return self.in_batches / self.one_by_one


def throughput(tracker: Tracker, count: int) -> Throughput:
    """Of `count` pictures of mixed sizes."""
    pictures = list(mixed_pictures(count))
    ways: tuple[Callable[[], None], ...] = (
        lambda: ask(tracker.image(picture) for picture in pictures),
        lambda: ask(tracker.images(pictures)),
    )
    for way in ways:
        way()  # the first time is slower
    times = [[seconds(way) for way in ways] for _ in range(ROUNDS)]
    return Throughput(*(count / min(column) for column in zip(*times, strict=True)))


def ask(images: Iterator[EncodedImage]) -> None:
    for image in images:
        image.predict(box=BOX)


def seconds(way: Callable[[], None]) -> float:
    started = time.perf_counter()
    way()
    return time.perf_counter() - started


def mixed_pictures(count: int, sizes: Sequence[tuple[int, int]] = SIZES) -> Iterator[Image]:
    """Coloured noise, a size after the other."""
    random = np.random.default_rng(0)
    for number in range(count):
        height, width = sizes[number % len(sizes)]
        blocks = random.integers(0, 255, (12, 16, 3), np.uint8)
        yield np.asarray(cv2.resize(blocks, (width, height)), np.uint8)
