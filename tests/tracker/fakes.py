"""A predictor that tracks by colour, and painted frames: the fold can be tested to the pixel with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from keepsight.model.memory import EMPTY, Entry, Memory, MemoryLayout, MemoryShape
from keepsight.model.video_predictor import ImageFeatures, Prediction, Prompts, VideoPredictor
from keepsight.streams.types import Command, Frame, Image, Mask, Prompt, Result
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.state import TrackerState, initial
from keepsight.tracker.step import DEFAULTS, step

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)
Colour = tuple[int, int, int]
Square = tuple[Colour, int, int, int]
"""Colour, left, top and side, in pixels."""
TOLERANCE = 0.2
LOGITS = 10.0, -6.2
"""On and off an object. With this ratio bilinear interpolation by 4 keeps the corners of a square."""


class ColourPredictor:
    """An object is all that has its colour; the colour is the object pointer.

    Presence is 6 where anything has the colour and -6 where nothing has; predicted IoU falls from 1 as the
    colour fades, to 0 where it is lost. A prompt without a positive sign says that the object is not there.
    `side`: a square input of so many pixels instead of the frame's size; `doubts`: prompts get presence -6.
    `calls` tells the verbs that were called, each with its number of objects.
    """

    def __init__(
        self, layout: MemoryLayout | None = None, side: int | None = None, doubts: bool = False
    ) -> None:
        self.layout = layout or MemoryLayout(conditioning=2, recent=3, pointers=5)
        self.side = side
        self.doubts = doubts
        self.calls: list[tuple[str, int]] = []

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        if self.side is not None:
            return self.side, self.side
        height, width = (max(16, length // 16 * 16) for length in frame_size)
        return height, width

    def memory_shape(self, input_size: tuple[int, int]) -> MemoryShape:
        height, width = input_size
        return MemoryShape(3, (height // 16, width // 16), 3, (height // 4, width // 4))

    def encode_image(self, images: Tensor) -> ImageFeatures:
        self.calls.append(("encode", len(images)))
        return ImageFeatures((F.avg_pool2d(images, 4),))

    def relate(self, features: ImageFeatures, previous: ImageFeatures) -> ImageFeatures:
        self.calls.append(("relate", len(previous.levels[0])))
        return features._replace(motion=(features.levels[0] - previous.levels[0],))

    def condition(
        self, features: ImageFeatures, image_of: Tensor, frame: int, memory: Memory, prompts: Prompts
    ) -> Prediction:
        self.calls.append(("condition", len(image_of)))
        picture = features.levels[0][image_of]
        shown = weights(prompts, picture.shape[-2:])
        total = shown.sum((1, 2))
        colour = torch.einsum("nhw,nchw->nc", shown, picture) / total.clamp(min=1e-6).unsqueeze(1)
        seen = segment(picture, torch.where(total.unsqueeze(1) > 0, colour, last_colour(memory, self.layout)))
        absent = (total == 0) | self.doubts
        return seen._replace(presence=torch.where(absent, -6.0, seen.presence))

    def propagate(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        frame: int,
        memory: Memory,
        previous: ImageFeatures | None,
    ) -> Prediction:
        self.calls.append(("propagate", len(image_of)))
        assert bool((memory.written != EMPTY).any(1).all()), "an object without a memory cannot be propagated"
        if previous is not None:
            assert previous.levels[0].shape == features.levels[0].shape
        if features.motion is not None:
            assert previous is not None
            assert torch.equal(features.motion[0], features.levels[0] - previous.levels[0]), (
                "another's motion"
            )
        return segment(features.levels[0][image_of], last_colour(memory, self.layout))

    def remember(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        prediction: Prediction,
        prompted: Tensor,
        prompts: Prompts | None = None,
    ) -> Entry:
        self.calls.append(("remember", len(image_of)))
        height, width = features.levels[0].shape[-2:]
        colour = prediction.pointer[:, :, None, None].expand(-1, -1, height // 4, width // 4)
        return Entry(colour, prediction.pointer)


def weights(prompts: Prompts, size: tuple[int, int]) -> Tensor:
    """Where a prompt says the object is (N, h, w): its mask, its points' cells, the middle of its box."""
    h, w = size
    found = F.adaptive_avg_pool2d(prompts.masks, size) * prompts.has_mask[:, None, None]
    corner, opposite = (prompts.labels == code for code in (2, 3))
    middle = (prompts.points * (corner | opposite).unsqueeze(2)).sum(1) / 2
    places = torch.cat((prompts.points, middle.unsqueeze(1)), dim=1)
    counts = torch.cat((prompts.labels == 1, corner.any(1, keepdim=True)), dim=1)
    cells = (places * torch.tensor((w, h))).long().clamp(min=0)
    flat = cells[..., 1].clamp(max=h - 1) * w + cells[..., 0].clamp(max=w - 1)
    return found + torch.zeros(len(found), h * w).scatter_add_(1, flat, counts.float()).view(-1, h, w)


def last_colour(memory: Memory, layout: MemoryLayout) -> Tensor:
    """The colour (N, 3) that was prompted last."""
    newest = memory.pointed[:, : layout.conditioning].argmax(1)
    return memory.pointers[torch.arange(len(newest)), newest]


def segment(picture: Tensor, colour: Tensor) -> Prediction:
    """All cells of picture (N, 3, h, w) that are like colour (N, 3)."""
    distance = (picture - colour[:, :, None, None]).abs().amax(1)
    inside = distance < TOLERANCE
    area = inside.sum((1, 2))
    fading = (distance * inside).sum((1, 2)) / area.clamp(min=1) / TOLERANCE
    there = area > 0
    logits = torch.where(inside, *LOGITS)
    return Prediction(logits, (1 - fading) * there, torch.where(there, 6.0, -6.0), colour)


def paint(squares: Sequence[Square], size: tuple[int, int] = (64, 96)) -> Image:
    """Squares on black, later ones in front."""
    image = np.zeros((*size, 3), np.uint8)
    for colour, left, top, side in squares:
        image[top : top + side, left : left + side] = colour
    return image


def area(image: Image, colour: Colour) -> Mask:
    """The pixels that have exactly this colour."""
    same: Mask = (image == np.array(colour, np.uint8)).all(axis=2)
    return same


def a_frame(index: int, *squares: Square, size: tuple[int, int] = (64, 96), rate: float = 10.0) -> Frame:
    """A painted frame of a stream with `rate` frames/s."""
    return frame_of(paint(squares, size), index, rate)


def frame_of(image: Image, index: int = 0, rate: float = 10.0) -> Frame:
    time = index / rate
    return Frame(image, index, 0, time, 1_000_000 + time, "generated", time)


ON_RED = Prompt(points=((0.05, 0.1),), labels=(True,))
"""A click on a red square in the upper left corner."""


def red_and_green(index: int) -> Frame:
    """Red moves right and green moves down, 4 pixels a frame."""
    return a_frame(index, (RED, 4 * index, 0, 16), (GREEN, 80, 4 * index, 16))


def follow(
    model: VideoPredictor,
    frames: Sequence[Frame],
    commands: Mapping[int, Sequence[Command]],
    settings: TrackerSettings = DEFAULTS,
    room: int = 4,
) -> tuple[TrackerState, list[Result]]:
    """Step all frames, with the commands of each by its index, in a tracker with so much room."""
    state, results = initial(room), []
    for frame in frames:
        state, result = step(model, state, frame, commands.get(frame.index, ()), settings)
        results.append(result)
    return state, results


def ids(result: Result) -> list[int]:
    return [track.object_id for track in result.tracks]


def reasons(result: Result) -> list[str]:
    return [refusal.reason for refusal in result.refusals]
