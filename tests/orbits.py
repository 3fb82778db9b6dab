"""A clip of two things that go round in small circles for ever, and where each of them is."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np

from keepsight.streams.types import Box, Image
from keepsight.tracker.iou import box_iou

from .clips import write_clip

RATE = 15
FRAMES = 90
"""One round. The clip may be played over and over, and begun anywhere: nothing jumps far."""
THINGS = {1: ((0.3, 0.5), (225, 60, 40)), 2: ((0.7, 0.5), (40, 90, 230))}
"""By object id: the middle of its circle, and its colour."""
REACH, HALF = 0.06, 0.11
"""Radius of the circles, and half the side of the things, in heights of the frame."""
PATH_STEPS = 30
ENCODERS = {"h264": "libx264", "h265": "libx265", "mjpeg": "mjpeg"}
OPTIONS = {
    "h264": {"preset": "veryfast", "tune": "zerolatency", "g": f"{RATE}"},
    "h265": {"preset": "ultrafast", "tune": "zerolatency", "x265-params": f"keyint={RATE}:log-level=none"},
    "mjpeg": {},
}


def film(path: Path, size: tuple[int, int] = (480, 640), codec: str = "h264") -> Path:
    """Writes the clip as Matroska, which takes every codec."""
    ground = background(size)
    write_clip(
        path,
        frames=FRAMES,
        size=size,
        rate=RATE,
        codec=ENCODERS[codec],
        pixels="yuvj420p" if codec == "mjpeg" else "yuv420p",
        options=OPTIONS[codec],
        draw=lambda index, _: draw(ground, index / FRAMES),
    )
    return path


def background(size: tuple[int, int]) -> Image:
    """(H, W, 3) of size (height, width): dim coloured clouds."""
    coarse = np.random.default_rng(5).integers(70, 150, (9, 12, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC), np.uint8)


def draw(ground: Image, round_part: float) -> Image:
    """The picture after a part, 0 to 1, of a round: a disc and a square with a mark in it."""
    picture, (height, width) = ground.copy(), ground.shape[:2]
    for number, (_, colour) in THINGS.items():
        x0, y0, x1, y1 = box_of(number, round_part, (height, width))
        left, top, right, bottom = (round(v) for v in (x0 * width, y0 * height, x1 * width, y1 * height))
        middle, radius = ((left + right) // 2, (top + bottom) // 2), (right - left) // 2
        if number == 1:
            cv2.circle(picture, middle, radius, colour, -1, cv2.LINE_AA)
        else:
            cv2.rectangle(picture, (left, top), (right, bottom), colour, -1)
        cv2.circle(picture, middle, radius // 3, tuple(value // 2 for value in colour), -1, cv2.LINE_AA)
    return picture


def box_of(number: int, round_part: float, size: tuple[int, int]) -> Box:
    """Where a thing is after a part of a round."""
    (x, y), _ = THINGS[number]
    squeeze = size[0] / size[1]
    angle = 2 * math.pi * (round_part + 0.5 * number)
    x, y = x + squeeze * REACH * math.cos(angle), y + REACH * math.sin(angle)
    return x - squeeze * HALF, y - HALF, x + squeeze * HALF, y + HALF


def is_on(number: int, box: Box, size: tuple[int, int]) -> bool:
    """Whether a box lies on a thing, wherever on its circle that is: an IoU of a half or more."""
    places = (box_of(number, step / PATH_STEPS, size) for step in range(PATH_STEPS))
    return max(box_iou(box, place) for place in places) >= 0.5
