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

PIXELS_ON_CPU, PIXELS_ON_GPU = 2**20, 2**24
"""Of the model's inputs that are encoded at once: one of 1024 x 1024 on a CPU, twelve of nano's; on a
GPU sixteen times as many."""
WINDOW = 32
"""How many pictures are looked at together to find those of one input size."""
WINDOW_BYTES = 2**28
"""Or fewer, where they are this large already."""


class InputBuffer:
    """Room for model inputs, used again for every batch; it is as large as the largest batch so far."""

    def __init__(self, like: Tensor) -> None:
        """like: where the inputs are wanted, and of which dtype."""
        self._pixels = torch.empty(0, dtype=torch.uint8)
        self._inputs = like.new_empty(0)

    def suits(self, size: tuple[int, int]) -> int:
        """How many inputs of (H, W) are well encoded at once on this device."""
        return max(1, (PIXELS_ON_GPU if self._inputs.is_cuda else PIXELS_ON_CPU) // math.prod(size))

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
    model: ImagePredictor, pictures: Iterable[Image], batch: int | None = None
) -> Iterator[EncodedImage]:
    """Every picture encoded, in the order they come; each as soon as the batch that it is in.

    batch: how many at most, None for as many as suit the device. At most `WINDOW` pictures, and their
    features, are held at any time. Raises ValueError for a batch of less than one.
    """
    if batch is not None and batch < 1:
        raise ValueError(f"a batch of {batch} pictures: give at least 1")
    buffer = InputBuffer(sample_of(model))
    for window in windows(pictures):
        yield from encode_window(model, window, batch, buffer)


def windows(pictures: Iterable[Image]) -> Iterator[list[Image]]:
    """The pictures in groups of `WINDOW`, or fewer where they are large."""
    window: list[Image] = []
    for picture in pictures:
        window.append(picture)
        if len(window) == WINDOW or sum(one.nbytes for one in window) >= WINDOW_BYTES:
            yield window
            window = []
    if window:
        yield window


def encode_window(
    model: ImagePredictor, pictures: Sequence[Image], batch: int | None, buffer: InputBuffer
) -> Iterator[EncodedImage]:
    """All pictures encoded, in their order: each together with later ones of its input size."""
    sizes = [model.input_size((picture.shape[0], picture.shape[1])) for picture in pictures]
    ready: dict[int, ImageFeatures] = {}
    for index, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
        if index not in ready:
            waiting = range(index, len(pictures))
            alike = [later for later in waiting if sizes[later] == size and later not in ready]
            part = alike[: batch or buffer.suits(size)]
            together = encode(model, buffer, [pictures[one] for one in part], size)
            ready |= {one: together.of_image(row) for row, one in enumerate(part)}
        yield EncodedImage(model, picture, ready.pop(index), size)


@torch.inference_mode()
def encode(
    model: ImagePredictor, buffer: InputBuffer, pictures: Sequence[Image], size: tuple[int, int]
) -> ImageFeatures:
    return model.encode_image(buffer.fill(pictures, size))
