"""One clip as the tracker would live it: prompted in its first frame, then on its own, its own masks fed
back."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from keepsight.model.memory import EMPTY, NO_OBJECT_LOGIT, Entry, Memory, MemoryLayout
from keepsight.model.video_predictor import ImageFeatures

from .batches import Batch
from .learner import Answer, Learner, View
from .losses import reached_iou
from .prompting import corrections, draw, draw_prompts
from .recipe import Recipe

EDGE = 3.0
"""By how much logits are raised or lowered at most: at an outline, by about a pixel's worth."""


class Outcome(NamedTuple):
    """loss: scalar with gradient; iou: of the last frame, mean over visible objects; prompted: likewise frame
    0."""

    loss: Tensor
    iou: Tensor
    prompted: Tensor


def unroll(learner: Learner, batch: Batch, recipe: Recipe, random: torch.Generator) -> Outcome:
    views = views_of(learner, batch)
    losses, answer, prompted = prompted_frame(learner, views[0], batch.targets[:, 0], recipe, random)
    entries = [learner.remember(views[0], answer, prompted=True)]
    logits, found = answer.logits, prompted
    for t in range(1, len(views)):
        memory = joined(entries, worn(logits, recipe.corrupted, random), learner.layout)
        answer = learner.propagate(views[t], memory, batch.targets[:, t - 1], batch.targets[:, t])
        losses.append(answer.loss)
        found = answer.logits.masked_fill((answer.presence < 0)[:, None, None], NO_OBJECT_LOGIT)
        logits = found
        drifted = answer._replace(logits=worn(found, recipe.corrupted, random))
        entries.append(learner.remember(views[t], drifted, prompted=False))
    at_first, at_last = mean_iou(prompted, batch.targets[:, 0]), mean_iou(found, batch.targets[:, -1])
    return Outcome(torch.stack(losses).mean(), at_last, at_first)


def views_of(learner: Learner, batch: Batch) -> list[View]:
    """The frames of B clips, all encoded in one batch."""
    b, t = batch.images.shape[:2]
    every = learner.encode(batch.images.flatten(0, 1).float() / 255)
    levels = [level.view(b, t, *level.shape[1:]) for level in every.levels]
    frames = [ImageFeatures(tuple(level[:, i] for level in levels)) for i in range(t)]
    return [View(now, batch.clip_of, before) for now, before in zip(frames, [None, *frames], strict=False)]


def prompted_frame(
    learner: Learner, view: View, truth: Tensor, recipe: Recipe, random: torch.Generator
) -> tuple[list[Tensor], Answer, Tensor]:
    """Losses, the answer to be remembered, and the logits found in frame 0."""
    prompts = draw_prompts(truth, recipe.prompts, random)
    answer = learner.condition(view, None, prompts, truth)
    losses = [answer.loss]
    if torch.rand((), generator=random) < recipe.prompts.corrected:
        clicks = corrections(truth, answer.logits.detach(), random)
        found = answer.logits.detach()
        last = torch.where(prompts.has_mask[:, None, None], rough(truth, random), found)
        answer = learner.condition(view, last, clicks, truth)
        losses.append(answer.loss)
    true = truth * 20 - 10
    use_truth = prompts.has_mask | (draw(random, truth, len(truth)) < recipe.prompts.remembered_truth)
    remembered = answer._replace(
        logits=torch.where(use_truth[:, None, None], true, answer.logits),
        presence=torch.where(use_truth, 10.0, answer.presence),
    )
    return losses, remembered, answer.logits


def joined(entries: list[Entry], last: Tensor, layout: MemoryLayout) -> Memory:
    """A memory of a clip: its prompted frame in the first slot, then room for more, then the newest."""
    slots = laid_out(len(entries), layout.conditioning, layout.recent)
    pointers = laid_out(len(entries), layout.conditioning, layout.pointers - layout.conditioning)
    nothing = Entry(torch.zeros_like(entries[0].features), torch.zeros_like(entries[0].pointer))
    held = [*entries, nothing]  # EMPTY is -1, the last
    return Memory(
        features=torch.stack([held[i].features for i in slots], dim=1),
        written=torch.tensor(slots, device=last.device).expand(len(last), -1),
        pointers=torch.stack([held[i].pointer for i in pointers], dim=1),
        pointed=torch.tensor(pointers, device=last.device).expand(len(last), -1),
        logits=last,
        worth=torch.zeros(len(last), len(slots), device=last.device),
    )


def laid_out(frames: int, conditioning: int, recent: int) -> list[int]:
    """The frame in each slot: the first, EMPTY where others could have been prompted, and at most `recent` of
    the newest."""
    return [0, *[EMPTY] * (conditioning - 1), *range(max(1, frames - recent), frames)]


def corrupted(logits: Tensor, chance: float, random: torch.Generator) -> Tensor:
    """The mask as drift would have it: with this chance for each object, a blob is added or a part taken
    away, and with the same chance the whole grows a little wider or narrower."""
    n, h, w = logits.shape
    centre, radius = draw(random, logits, n, 2), 0.03 + 0.12 * draw(random, logits, n)
    rows, columns = (torch.arange(side, device=logits.device) / side for side in (h, w))
    y = (rows.view(1, h, 1) - centre[:, 1, None, None]) / radius[:, None, None]
    x = (columns.view(1, 1, w) - centre[:, 0, None, None]) / radius[:, None, None]
    blob = (x.square() + y.square()) < 1
    hit = (draw(random, logits, n) < chance)[:, None, None] & blob
    value = torch.where(draw(random, logits, n) < 0.5, 6.0, -6.0)
    edge = EDGE * (2 * draw(random, logits, n) - 1) * (draw(random, logits, n) < chance)
    return torch.where(hit, value[:, None, None], logits + edge[:, None, None])


def half_hidden(logits: Tensor, chance: float, random: torch.Generator) -> Tensor:
    """With this chance for each object, all that lies beyond a line through the mask is lost, as when
    something has passed in front of it."""
    cut = (draw(random, logits, len(logits)) < chance)[:, None, None] & beyond_a_line(logits, random)
    return torch.where(cut, -6.0, logits)


def worn(logits: Tensor, chance: float, random: torch.Generator) -> Tensor:
    """A mask that is fed back: drifted, and half as often half hidden."""
    return half_hidden(corrupted(logits, chance, random), chance / 2, random)


def beyond_a_line(logits: Tensor, random: torch.Generator) -> Tensor:
    """One side of a line through each mask, (N, H, W) bool: a tenth to two thirds of its extent along a
    direction. Nothing of masks that are empty."""
    n, h, w = logits.shape
    angle = 2 * math.pi * draw(random, logits, n)
    rows, columns = (torch.arange(side, device=logits.device, dtype=logits.dtype) for side in (h, w))
    along = (
        rows.view(1, h, 1) * angle.sin()[:, None, None] + columns.view(1, 1, w) * angle.cos()[:, None, None]
    )
    inside = logits > 0
    low = along.masked_fill(~inside, math.inf).amin((1, 2))
    high = along.masked_fill(~inside, -math.inf).amax((1, 2))
    share = 0.1 + 0.57 * draw(random, logits, n)
    return (along > (high - share * (high - low))[:, None, None]) & inside.any(2).any(1)[:, None, None]


def rough(truth: Tensor, random: torch.Generator) -> Tensor:
    """The true masks (N, H/2, W/2), grown or worn and with blobs: logits of their size."""
    true = truth.unsqueeze(1)
    worn = -F.max_pool2d(-true, 5, 1, 2)
    grown = F.max_pool2d(true, 5, 1, 2)
    mask = torch.where((draw(random, truth, len(truth)) < 0.5)[:, None, None, None], worn, grown)
    return corrupted(mask.squeeze(1) * 20 - 10, 0.7, random)


def mean_iou(logits: Tensor, truth: Tensor) -> Tensor:
    visible = truth.mean((1, 2)) > 0.001
    return (reached_iou(logits.detach(), truth) * visible).sum() / visible.sum().clamp(min=1)
