"""Pictures of any sizes through the image encoder: those of one input size together, through one buffer."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from keepsight.model.image_predictor import ImagePredictor
from keepsight.model.video_predictor import ImageFeatures
from keepsight.streams.types import Image

from .image import EncodedImage
from .transforms import sample_of, shrunk

BATCH = 8
LOOK_AHEAD = 4
"""How many batches of pictures are looked at together to find those of one size."""
LOOK_AHEAD_BYTES = 2**28
"""Or fewer, where they are this large already."""


class InputBuffer:
    """Room for model inputs, used again for every batch; it is as large as the largest batch so far."""

    def __init__(self, like: Tensor) -> None:
        """like: where the inputs are wanted, and of which dtype."""
        self._pixels = torch.empty(0, dtype=torch.uint8)
        self._inputs = like.new_empty(0)

    def fill(self, pictures: Sequence[Image], size: tuple[int, int]) -> Tensor:
        """pictures, each (h, w, 3) uint8, as (B, 3, H, W) in [0, 1] at `size`; good until the next call."""
        shape = len(pictures), *size, 3
        count = math.prod(shape)
        if count > len(self._pixels):
            self._pixels = torch.empty(count, dtype=torch.uint8, pin_memory=self._inputs.is_cuda)
            self._inputs = self._inputs.new_empty(count)
        pixels, inputs = self._pixels[:count].view(shape), self._inputs[:count].view(shape)
        for row, picture in zip(pixels, pictures, strict=True):
            row.copy_(torch.from_numpy(shrunk(picture, size)))
        return inputs.copy_(pixels).div_(255).permute(0, 3, 1, 2)


def encode_pictures(
    model: ImagePredictor, pictures: Iterable[Image], batch: int = BATCH
) -> Iterator[EncodedImage]:
    """Every picture encoded, in the order they come.

    At most `LOOK_AHEAD` batches of pictures, and their features, are held at any time. Raises ValueError for
    a batch of less than one.
    """
    if batch < 1:
        raise ValueError(f"a batch of {batch} pictures: give at least 1")
    buffer = InputBuffer(sample_of(model))
    for window in windows(pictures, LOOK_AHEAD * batch):
        yield from encode_window(model, window, batch, buffer)


def windows(pictures: Iterable[Image], most: int) -> Iterator[list[Image]]:
    """The pictures in groups of `most`, or fewer where they are large."""
    window: list[Image] = []
    for picture in pictures:
        window.append(picture)
        if len(window) == most or sum(one.nbytes for one in window) >= LOOK_AHEAD_BYTES:
            yield window
            window = []
    if window:
        yield window


@torch.inference_mode()
def encode_window(
    model: ImagePredictor, pictures: Sequence[Image], batch: int, buffer: InputBuffer
) -> list[EncodedImage]:
    """All pictures encoded, in their order; those of one input size in batches."""
    sizes = [model.input_size((picture.shape[0], picture.shape[1])) for picture in pictures]
    features: dict[int, ImageFeatures] = {}
    for size in dict.fromkeys(sizes):
        alike = [index for index, other in enumerate(sizes) if other == size]
        for part in (alike[start : start + batch] for start in range(0, len(alike), batch)):
            together = model.encode_image(buffer.fill([pictures[index] for index in part], size))
            features |= {index: row_of(together, row) for row, index in enumerate(part)}
    return [
        EncodedImage(model, picture, features[index], sizes[index]) for index, picture in enumerate(pictures)
    ]


def row_of(features: ImageFeatures, row: int) -> ImageFeatures:
    """The features of one image of a batch, as a batch of one."""
    return ImageFeatures(tuple(level[row : row + 1] for level in features.levels))
