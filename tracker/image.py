"""A still picture that was encoded once and can be asked any number of times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keepsight.model.image_predictor import (
    ImagePrediction,
    ImagePredictor,
    ImagePrompts,
    ranked,
    surest,
)
from keepsight.model.stability import stability
from keepsight.model.video_predictor import ImageFeatures
from keepsight.streams.types import Box, Geometry, Image, Mask, Point

from .confidence import STABILITY_MARGIN, Opinions, confidence, margin
from .transforms import to_masks, to_prompts

Logits = NDArray[np.float32]
AT_ONCE = 32
"""Prompts that are decoded in one batch, which bounds the memory needed."""
MASK_LOGIT = 10.0
"""Logit inside a mask that is given as True and False; outside its negative."""


@dataclass(frozen=True, slots=True)
class Masks:
    """What one prompt may mean, best first: `masks, iou, low_res_logits = …`.

    masks: (K, H, W) bool of the picture's size; iou: (K,) float32 predicted, in [0, 1]; low_res_logits:
    (K, h, w) float32, which a later prompt can refine. How sure the model is of them: presence, the
    probability that there is such an object at all; stability and margin (K,) float32 in [0, 1], see
    `Opinions`; and confidence (K,) float32 in [0, 1], one number made of these, without a calibration: those
    that lie beside weights were made on video.
    """

    masks: NDArray[np.bool_]
    iou: NDArray[np.float32]
    low_res_logits: Logits
    presence: float
    stability: NDArray[np.float32]
    margin: NDArray[np.float32]
    confidence: NDArray[np.float32]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter((self.masks, self.iou, self.low_res_logits))

    def __len__(self) -> int:
        return 3  # of what it is unpacked into


@dataclass(frozen=True, slots=True, kw_only=True)
class ImagePrompt(Geometry):
    """What is wanted of a picture: points, a box, an earlier mask, or several of them together.

    `logits`: an earlier mask as one of `Masks.low_res_logits`: (h, w). It says more than `mask`, which is the
    same as True and False (H, W).
    """

    logits: Logits | None = field(default=None, compare=False)

    @property
    def is_empty(self) -> bool:
        return self.logits is None and not self.points and self.box is None and self.mask is None


@dataclass(frozen=True, slots=True, eq=False)
class EncodedImage:
    """A picture (H, W, 3) uint8 RGB, what the model's encoder says of it, and the size it was seen at."""

    model: ImagePredictor
    picture: Image
    features: ImageFeatures
    input_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the picture and of every mask."""
        return self.picture.shape[0], self.picture.shape[1]

    @property
    def mask_size(self) -> tuple[int, int]:
        """(h, w) of the model's logits."""
        return self.model.memory_shape(self.input_size).mask

    def predict(
        self,
        points: Sequence[Point] = (),
        labels: Sequence[int] | None = None,
        box: Box | None = None,
        mask: Mask | Logits | None = None,
        multimask: bool | None = None,
    ) -> Masks:
        """The masks for one object, coordinates in [0, 1].

        labels: 1 for a point on the object, 0 for one that is not; all 1 where left out. mask: an earlier
        mask to refine, either (H, W) bool of the picture's size or (h, w) float, one of `low_res_logits`.
        multimask: False for the one mask of a clear prompt, True for the three of an ambiguous one (where the
        model has them), None for three where there is a single point and nothing else. Raises ValueError for
        what is outside the picture, or of a wrong size.
        """
        marks = tuple(bool(label) for label in labels) if labels is not None else (True,) * len(points)
        binary, logits = told_apart(mask)
        prompt = ImagePrompt(
            points=tuple((float(x), float(y)) for x, y in points),
            labels=marks,
            box=box,
            mask=binary,
            logits=logits,
        )
        return self.predict_many([prompt], multimask)[0]

    def predict_many(self, prompts: Sequence[Geometry], multimask: bool | None = None) -> list[Masks]:
        """The masks for each of N objects, decoded together: `ImagePrompt`s, or `Prompt`s as a tracker takes
        them. An object's masks do not depend on the others, nor on the order of its points."""
        for prompt in prompts:
            check(prompt, self.size, self.mask_size)
        parts = (prompts[start : start + AT_ONCE] for start in range(0, len(prompts), AT_ONCE))
        return [masks for part in parts for masks in self._decode(part, multimask)]

    @torch.inference_mode()
    def _decode(self, prompts: Sequence[Geometry], multimask: bool | None) -> list[Masks]:
        device = self.features.levels[-1].device
        image_of = torch.zeros(len(prompts), dtype=torch.int64, device=device)
        asked = to_image_prompts(prompts, self.mask_size, device)
        found = self.model.candidates(self.features, image_of, asked)
        one, several = (on_cpu(choice) for choice in (surest(found), ranked(found)))
        wanted = [is_ambiguous(prompt) if multimask is None else multimask for prompt in prompts]
        return [as_masks(several if want else one, row, self.size) for row, want in enumerate(wanted)]


def told_apart(mask: Mask | Logits | None) -> tuple[Mask | None, Logits | None]:
    """An earlier mask as True and False, or as logits."""
    array = None if mask is None else np.asarray(mask)
    if array is not None and np.issubdtype(array.dtype, np.floating):
        return None, array.astype(np.float32)
    return cast(Mask | None, array), None


def is_ambiguous(prompt: Geometry) -> bool:
    """Whether several objects may be meant: one point says neither where a thing begins nor where it ends."""
    alone = prompt.box is None and prompt.mask is None and earlier_logits(prompt) is None
    return alone and len(prompt.points) == 1


def check(prompt: Geometry, size: tuple[int, int], mask_size: tuple[int, int]) -> None:
    """Raises ValueError for a prompt that cannot be asked of a picture of `size`, logits being (h, w)."""
    logits, mask = earlier_logits(prompt), prompt.mask
    if prompt.is_empty:
        raise ValueError("a prompt needs points, a box or a mask")
    if logits is not None and logits.shape != mask_size:
        raise ValueError(
            f"logits of shape {logits.shape}: those of this picture are {mask_size}, one at a time"
        )
    if logits is not None and not np.isfinite(logits).all():
        raise ValueError("logits that are not all finite")
    if mask is None:
        return
    if mask.dtype != np.bool_:
        raise ValueError(f"a mask of {mask.dtype}: give bool of the picture's size, or float logits")
    if mask.shape != size:
        shown, wanted = ("×".join(map(str, shape[::-1])) for shape in (mask.shape, size))
        raise ValueError(
            f"the mask is {shown} but the picture is {wanted}: give a mask of the picture's size"
        )
    if not mask.any():
        raise ValueError("the mask is empty: mark at least one pixel of the object")


def earlier_logits(prompt: Geometry) -> Logits | None:
    return prompt.logits if isinstance(prompt, ImagePrompt) else None


def to_image_prompts(
    prompts: Sequence[Geometry], mask_size: tuple[int, int], device: torch.device
) -> ImagePrompts:
    """N prompts as one batch; see `to_prompts`."""
    shown = to_prompts(prompts, mask_size, device)
    prior = (2 * shown.masks - 1) * MASK_LOGIT
    has_prior = shown.has_mask.clone()
    for row, logits in enumerate(map(earlier_logits, prompts)):
        if logits is not None:
            prior[row], has_prior[row] = torch.from_numpy(np.ascontiguousarray(logits, np.float32)), True
    return ImagePrompts(shown.points, shown.labels, prior, has_prior)


def on_cpu(found: ImagePrediction) -> ImagePrediction:
    """As float32 in the computer's own memory."""
    return ImagePrediction(*(field.float().cpu() for field in found))


def as_masks(found: ImagePrediction, row: int, size: tuple[int, int]) -> Masks:
    """The masks of one prompt at the picture's `size`."""
    logits: Tensor = found.logits[row]
    masks, _ = to_masks(logits.numpy(), size)
    iou, presence = found.iou[row].numpy(), float(found.presence[row].sigmoid())
    steady = stability(logits, STABILITY_MARGIN).float().numpy()
    clear = np.array([margin(one) for one in logits.numpy()], np.float32)
    told = zip(iou.tolist(), steady.tolist(), clear.tolist(), strict=True)
    sure = [confidence(Opinions(how_good, presence, *others)) for how_good, *others in told]
    return Masks(masks, iou, logits.numpy(), presence, steady, clear, np.array(sure, np.float32))
