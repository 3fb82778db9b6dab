"""Prompts on still images: an image is encoded once, then asked any number of times.

Segment Anything (Kirillov et al. 2023, section 3): a prompt that several objects answer to gets several
masks, each with a prediction of how good it is.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from .memory import MemoryShape
from .video_predictor import ImageFeatures


class ImagePrompts(NamedTuple):
    """What was shown of N objects, each in one image.

    points: (N, T, 2) and labels: (N, T) as in `Prompts`; prior: (N, *mask) logits of an earlier mask, in
    the mask size of `memory_shape`; has_prior: (N,) bool, False where `prior` says nothing.
    """

    points: Tensor
    labels: Tensor
    prior: Tensor
    has_prior: Tensor


class ImagePrediction(NamedTuple):
    """K masks for each of N prompts: logits (N, K, *mask); iou (N, K) predicted, in [0, 1]; presence (N,)
    logit that there is such an object at all."""

    logits: Tensor
    iou: Tensor
    presence: Tensor


class ImagePredictor(Protocol):
    """A model that segments still images. Like `VideoPredictor` it keeps nothing between calls."""

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) an image of (height, width) is resized to before `encode_image`."""
        ...

    def memory_shape(self, input_size: tuple[int, int]) -> MemoryShape:
        """Its `mask` is the size of logits at this input size."""
        ...

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """images: (B, 3, H, W) float RGB in [0, 1]."""
        ...

    def candidates(self, features: ImageFeatures, image_of: Tensor, prompts: ImagePrompts) -> ImagePrediction:
        """All masks that N prompts may mean, prompt i being on image `image_of[i]`. The first is the answer
        to a prompt that leaves no doubt; the rest, where a model has more, are made for those that do."""
        ...


def surest(found: ImagePrediction) -> ImagePrediction:
    """One mask for each prompt (K = 1): right where it leaves no doubt, as boxes and several points do."""
    return found._replace(logits=found.logits[:, :1], iou=found.iou[:, :1])


def ranked(found: ImagePrediction) -> ImagePrediction:
    """The masks for an ambiguous prompt, such as one click, by falling predicted IoU: three of SAM 2; the one
    there is, of a model without alternatives."""
    if found.iou.shape[1] == 1:
        return found
    logits, iou = found.logits[:, 1:], found.iou[:, 1:]
    order = iou.argsort(dim=1, descending=True, stable=True)
    best_first = logits.take_along_dim(order[:, :, None, None], dim=1)
    return found._replace(logits=best_first, iou=iou.take_along_dim(order, dim=1))
