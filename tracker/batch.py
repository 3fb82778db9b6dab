"""The model's verbs on all objects of one frame at once, and the rows of the memory they read and write."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from keepsight.model.memory import NO_OBJECT_LOGIT, Entry, Memory, rows, write_conditioning, write_recent
from keepsight.model.selective_memory import write_selected
from keepsight.model.video_predictor import ImageFeatures, Prediction, Prompts, VideoPredictor
from keepsight.streams.types import Geometry

from .commands import shows_an_object
from .transforms import to_prompts


@dataclass(frozen=True, slots=True)
class Scene:
    """One encoded frame beside the memory of its objects.

    previous: features of the frame before, None if there are none of this size; index: the frame's;
    input_size: the (H, W) it was encoded at; visible: the presence logit from which an object is there.
    """

    model: VideoPredictor
    features: ImageFeatures
    previous: ImageFeatures | None
    memory: Memory
    index: int
    input_size: tuple[int, int]
    visible: float

    @property
    def sure(self) -> float:
        """The presence logit of what is known to be there."""
        return max(0.0, self.visible)

    @property
    def device(self) -> torch.device:
        return self.memory.written.device

    def index_of(self, numbers: Sequence[int]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.int64, device=self.device)

    def image_of(self, objects: int) -> Tensor:
        """All N objects are in the one image: (N,) int64."""
        return torch.zeros(objects, dtype=torch.int64, device=self.device)


class Found(NamedTuple):
    """What a frame shows of N objects. slots: their rows of the memory; prompted: by what prompt, None where
    by memory alone."""

    slots: tuple[int, ...]
    prompted: tuple[Geometry | None, ...]
    prediction: Prediction


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def propagate(scene: Scene, slots: Sequence[int]) -> Found | None:
    """Look for the remembered objects in `slots`; None if there are none."""
    if not slots:
        return None
    index = scene.index_of(slots)
    prediction = scene.model.propagate(
        scene.features, scene.image_of(len(slots)), scene.index, rows(scene.memory, index), scene.previous
    )
    return _kept(scene, index, Found(tuple(slots), (None,) * len(slots), prediction))


def redrawn(scene: Scene, found: Found, logits: NDArray[np.float32], rows: Sequence[int]) -> Found:
    """The finding with other masks in some rows: logits (N, h, w), those of all. What has one is visible."""
    drawn = torch.from_numpy(logits).to(found.prediction.logits)
    presence = found.prediction.presence.clone()
    for row in rows:
        if (drawn[row] > 0).any():
            presence[row].clamp_(min=scene.sure)
    prediction = found.prediction._replace(logits=drawn, presence=presence)
    return _kept(scene, scene.index_of(found.slots), found._replace(prediction=prediction))


def condition(scene: Scene, asks: Mapping[int, Geometry]) -> Found | None:
    """Segment the objects that were prompted or corrected, by slot; None if there are none.

    Who shows where an object is knows that it is there: a doubted presence is raised.
    """
    if not asks:
        return None
    slots = sorted(asks)
    index = scene.index_of(slots)
    prompts = to_prompts([asks[slot] for slot in slots], scene.input_size, scene.device)
    prediction = scene.model.condition(
        scene.features, scene.image_of(len(slots)), scene.index, rows(scene.memory, index), prompts
    )
    sure = torch.tensor([shows_an_object(asks[slot]) for slot in slots], device=scene.device)
    presence = torch.where(sure, prediction.presence.clamp(min=scene.sure), prediction.presence)
    shown = tuple(asks[slot] for slot in slots)
    return _kept(scene, index, Found(tuple(slots), shown, prediction._replace(presence=presence)))


def _kept(scene: Scene, index: Tensor, found: Found) -> Found:
    """The finding with the masks of absent objects emptied, its logits kept as the memory's last ones."""
    absent = (found.prediction.presence < scene.visible).view(-1, 1, 1)
    logits = found.prediction.logits.masked_fill(absent, NO_OBJECT_LOGIT)
    scene.memory.logits[index] = logits.to(scene.memory.logits.dtype)
    return found._replace(prediction=found.prediction._replace(logits=logits))


def merged(propagated: Found | None, conditioned: Found | None) -> Found:
    """All objects, by rising slot; what was prompted stands over what was propagated. One is not None."""
    if propagated is None or conditioned is None:
        alone = propagated or conditioned
        assert alone is not None
        return alone
    both = Found(
        propagated.slots + conditioned.slots,
        propagated.prompted + conditioned.prompted,
        Prediction(
            *(torch.cat(pair) for pair in zip(propagated.prediction, conditioned.prediction, strict=True))
        ),
    )
    last = {slot: row for row, slot in enumerate(both.slots)}
    return part(both, [last[slot] for slot in sorted(last)])


def remember_prompted(scene: Scene, found: Found) -> None:
    """Write those of the finding that were prompted to the conditioning slots, in place."""
    kept = [row for row, shown in enumerate(found.prompted) if shown is not None]
    if kept:
        found = part(found, kept)
        shown = [geometry for geometry in found.prompted if geometry is not None]
        prompts = to_prompts(shown, scene.input_size, scene.device)
        at, entry = scene.index_of(found.slots), _entry(scene, found, prompts)
        write_conditioning(scene.memory, scene.model.layout, at, scene.index, entry)


def remember_tracked(scene: Scene, found: Found, kept: Sequence[int], worth: Sequence[float] | None) -> None:
    """Write rows `kept` of the finding to the recent slots, in place: over the oldest, or, where `worth` says
    what each is worth, so that a selection is kept."""
    if not kept:
        return
    found = part(found, kept)
    at, entry = scene.index_of(found.slots), _entry(scene, found, None)
    if worth is None:
        write_recent(scene.memory, scene.model.layout, at, scene.index, entry)
    else:
        write_selected(scene.memory, scene.model.layout, at, scene.index, entry, torch.tensor(worth))


def _entry(scene: Scene, found: Found, prompts: Prompts | None) -> Entry:
    prompted = torch.full((len(found.slots),), prompts is not None, device=scene.device)
    image_of = scene.image_of(len(found.slots))
    return scene.model.remember(scene.features, image_of, found.prediction, prompted, prompts)


def part(found: Found, kept: Sequence[int]) -> Found:
    """The given rows of a finding."""
    if len(kept) == len(found.slots) and all(row == place for place, row in enumerate(kept)):
        return found
    index = torch.tensor(kept, dtype=torch.int64, device=found.prediction.iou.device)
    return Found(
        tuple(found.slots[row] for row in kept),
        tuple(found.prompted[row] for row in kept),
        Prediction(*(field.index_select(0, index) for field in found.prediction)),
    )
