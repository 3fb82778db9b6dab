"""Frames as JPEG for viewers: each is encoded once for all of them, and not at all where nobody looks."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from ..drawing import overlay
from ..threads import Worker
from ..trails import Pasts, seen
from ..types import Box, Image, Mask, Result
from .news import News

Scale = Literal["large", "small", "none"]
"""As it is, up to `LARGE` pixels wide; small, for many beside each other; or what is in it without a picture,
for who sees it in another way."""

PICTURED: tuple[Scale, ...] = ("large", "small")
LARGE, SMALL = 1920, 480
_SIZES: Mapping[Scale, tuple[int, int]] = {"large": (LARGE, 80), "small": (SMALL, 70)}
"""Width at most, and the JPEG's quality."""
OUTLINE_POINTS = 200
"""An outline of more corners is made coarser."""
Outline = list[float]
"""x, y, x, y, … of a closed line, in thousandths of the frame's width and height."""


class ClosedError(Exception):
    """No more pictures come: the camera is there no more."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A frame as a viewer gets it: JPEG bytes with the overlay in them, or none, and whose result it is.

    outlines: by object id, where each object is seen, one closed line a part.
    """

    result: Result
    jpeg: bytes
    outlines: Mapping[int, list[Outline]]


class Pictures:
    """The newest result as a picture, for any number of viewers: `await pictures.after(last, "large")`.

    `offer` never waits. What is offered while nobody waits is not drawn, and what is offered while one is
    drawn replaces what was offered before.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._newest: Result | None = None
        self._pasts: Pasts = {}
        self._offered = News()
        self._drawing: dict[Scale, asyncio.Task[Picture]] = {}
        self._drawn: dict[Scale, Picture] = {}
        self._closed = False
        self.encoded = 0
        """How many pictures were encoded so far."""

    @property
    def newest(self) -> Result | None:
        return self._newest

    def offer(self, result: Result) -> None:
        self._newest = result
        self._pasts = seen(self._pasts, result)
        self._offered.tell()

    async def after(self, last: Result | None, scale: Scale) -> Picture:
        """The newest picture, once there is one of another result than `last`. Raises ClosedError."""
        while self._newest is None or self._newest is last:
            if self._closed:
                raise ClosedError
            await self._offered.coming().wait()
        drawn = self._drawn.get(scale)
        if drawn is None or drawn.result is not self._newest:
            drawn = await self._draw(scale)
        return drawn if drawn.result is not last else await self.after(last, scale)

    def close(self) -> None:
        """Nothing more is drawn; who waits for it is cancelled, and who waits for a result is told."""
        self._closed = True
        self._offered.tell()
        for task in tuple(self._drawing.values()):
            task.cancel()

    async def _draw(self, scale: Scale) -> Picture:
        """One at a time, shared: who comes while a picture is drawn waits for that one."""
        task = self._drawing.get(scale)
        if task is None:
            assert self._newest is not None
            self.encoded += scale != "none"
            task = asyncio.create_task(
                self._worker.run(draw, self._newest, self._pasts, scale), name=f"draw {scale}"
            )
            self._drawing[scale] = task
            task.add_done_callback(lambda done: self._keep(scale, done))
        return await asyncio.shield(task)

    def _keep(self, scale: Scale, done: asyncio.Task[Picture]) -> None:
        del self._drawing[scale]
        if not done.cancelled() and done.exception() is None:
            self._drawn[scale] = done.result()


def draw(result: Result, pasts: Pasts, scale: Scale) -> Picture:
    """The picture of a result: with its overlay, encoded."""
    outlines = {
        track.object_id: outlines_of(track.mask)
        for track in result.tracks
        if track.box and track.object_id not in result.removed
    }
    if scale == "none":
        return Picture(result, b"", outlines)
    width, quality = _SIZES[scale]
    return Picture(result, jpeg(shrunk(overlay(result, pasts), width), quality), outlines)


def shrunk(image: Image, width: int) -> Image:
    """The image (H, W, 3), at most `width` pixels wide."""
    if image.shape[1] <= width:
        return image
    height = max(1, round(image.shape[0] * width / image.shape[1]))
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def jpeg(image: Image, quality: int = 80) -> bytes:
    """image (H, W, 3) uint8 RGB as JPEG."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (cv2.IMWRITE_JPEG_QUALITY, quality)
    )
    assert done, "every picture can be a JPEG"
    return bytes(data)


def outlines_of(mask: Mask) -> list[Outline]:
    """Where a mask (H, W) is, as closed lines around its parts; holes are left out, and so are specks."""
    height, width = mask.shape
    contours, _ = cv2.findContours(mask.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    largest = max((cv2.contourArea(contour) for contour in contours), default=0.0)
    kept = [contour for contour in contours if cv2.contourArea(contour) >= 0.02 * largest]
    scale = np.array([1000 / width, 1000 / height])
    lines = (
        _simple(np.asarray(contour, np.int32)[:, 0], max(1.0, max(width, height) / 640))
        for contour in kept[:8]
    )
    return [np.round((line + 0.5) * scale, 1).ravel().tolist() for line in lines]


def _simple(line: NDArray[np.int32], tolerance: float) -> NDArray[np.int32]:
    """The line (P, 2) with fewer corners, up to `tolerance` pixels beside it."""
    simple = np.asarray(cv2.approxPolyDP(line, tolerance, True), np.int32)[:, 0]
    return simple if len(simple) <= OUTLINE_POINTS else _simple(simple, 2 * tolerance)


def cut_out(result: Result, box: Box, side: int) -> Image:
    """What a box of a result's frame holds, with some room around it, square, at most `side` pixels wide."""
    image = result.frame.image
    height, width = image.shape[:2]
    x0, y0, x1, y1 = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    half = max(8.0, 0.6 * max(x1 - x0, y1 - y0))
    half = min(half, height / 2, width / 2)
    x = min(max((x0 + x1) / 2, half), width - half)
    y = min(max((y0 + y1) / 2, half), height - half)
    crop = image[int(y - half) : max(int(y + half), int(y - half) + 1), int(x - half) : int(x + half) + 1]
    return shrunk(np.ascontiguousarray(crop), side)
