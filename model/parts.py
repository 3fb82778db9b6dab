"""Parts of a network that another runtime can call: named tensors of fixed shapes in and out, no state.

They follow the four verbs of `VideoPredictor`. What lies between them, the memory, stays the caller's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .memory import EMPTY, Memory, empty
from .nano import Nano
from .sam2 import Sam2
from .video_predictor import ImageFeatures, Prediction, Prompts

POINTS = 8
"""How many points and box corners of an object a decoder takes."""
DRAWS = 2
"""How many inputs are drawn for each part. The last conditioning slot is empty in the second only."""
FRAME = 100
"""The index of the frame that is drawn; what is remembered came before."""


class Image(NamedTuple):
    """image: (1, 3, H, W) RGB in [0, 1]."""

    image: Tensor


class Remembered(NamedTuple):
    """remembered: (N, C, h, w), one frame as a slot of the memory holds it."""

    remembered: Tensor


class Part(nn.Module):
    """What `compute` makes of a network's weights and a named tuple of tensors.

    samples: such inputs, drawn at random; outputs: the fields of the named tuple that comes out.
    """

    def __init__(
        self,
        name: str,
        network: nn.Module,
        compute: Callable[[Any, Any], tuple[Tensor, ...]],
        samples: tuple[tuple[Tensor, ...], ...],
        outputs: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.name = name
        self.network = network
        self.compute = compute
        self.samples = samples
        self.outputs = outputs

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of what goes in."""
        fields: tuple[str, ...] = self.samples[0]._fields  # type: ignore[attr-defined]
        return fields

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        kind: Any = type(self.samples[0])
        return tuple(self.compute(self.network, kind(*inputs)))


class Draw(NamedTuple):
    """A scene by chance: what is seen in an image (1, 3, H, W), what is remembered of N objects, and how they
    are shown. chance: (N,) bool."""

    images: Tensor
    features: ImageFeatures
    prediction: Prediction
    memory: Memory
    prompts: Prompts
    chance: Tensor


def draws(network: Nano | Sam2, frame_size: tuple[int, int], objects: int) -> tuple[Draw, ...]:
    """Scenes for the samples of a network's parts. frame_size: (height, width) of the frames, whose aspect
    some networks take over; the network is in evaluation mode and on the CPU."""
    size = network.input_size(frame_size)
    with torch.no_grad():
        return tuple(draw(network, size, objects, seed) for seed in range(DRAWS))


def draw(network: Nano | Sam2, size: tuple[int, int], objects: int, seed: int) -> Draw:
    """Objects shown by rectangles on blurred noise of `size` (H, W), and remembered from it."""
    random = torch.Generator().manual_seed(seed)
    noise = torch.rand(1, 3, size[0] // 16, size[1] // 16, generator=random)
    images = F.interpolate(noise, size, mode="bilinear")
    features = network.encode_image(images)
    nothing = empty(objects, network.layout, network.memory_shape(size), images)
    image_of, everyone = torch.zeros(objects, dtype=torch.int64), torch.ones(objects, dtype=torch.bool)
    shown = rectangles(objects, size, random)
    prediction = network.condition(features, image_of, 0, nothing, shown)
    entry = network.remember(features, image_of, prediction, everyone)
    of_frame = torch.rand(1, *nothing.features.shape[1:], generator=random)  # the same for all objects
    memory = nothing._replace(
        features=entry.features[:, None] * (0.9 + 0.2 * of_frame),
        pointers=entry.pointer[:, None] * (0.9 + 0.2 * torch.rand(nothing.pointers.shape, generator=random)),
        written=frames(nothing.written, network.layout.conditioning, spared=seed > 0),
        pointed=frames(nothing.pointed, network.layout.conditioning, spared=seed > 0),
        logits=prediction.logits,
    )
    return Draw(images, features, prediction, memory, shown, torch.rand(objects, generator=random) < 0.5)


def frames(slots: Tensor, conditioning: int, *, spared: bool) -> Tensor:
    """Which frames slots (N, S) hold: one after the other up to the present one; where `spared`, the last
    conditioning slot holds none."""
    index = torch.arange(slots.shape[1]) + FRAME - slots.shape[1]
    if spared and conditioning > 1:
        index[conditioning - 1] = EMPTY
    return index.repeat(len(slots), 1)


def rectangles(objects: int, size: tuple[int, int], random: torch.Generator) -> Prompts:
    """N objects as masks of rectangles, and as points and corners by chance, of which some are padding."""
    masks = torch.zeros(objects, *size)
    for mask in masks:
        y, x = (int(torch.randint(side // 2, (), generator=random)) for side in size)
        mask[y : y + size[0] // 2, x : x + size[1] // 2] = 1
    points = torch.rand(objects, POINTS, 2, generator=random)
    labels = torch.randint(-1, 4, (objects, POINTS), generator=random)
    return Prompts(points, labels, masks, torch.ones(objects, dtype=torch.bool))


def in_the_image(rows: Tensor) -> Tensor:
    """All N objects, one for each row, are in the one image: (N,) int64."""
    return torch.zeros(len(rows), dtype=torch.int64)
