"""One clip as the tracker would live it: prompted in its first frame, then on its own, its own masks fed
back."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from keepsight.model.memory import NO_OBJECT_LOGIT, Entry, Memory
from keepsight.model.nano import Nano
from keepsight.model.nano_decoder import Decoded
from keepsight.model.video_predictor import ImageFeatures

from .batches import Batch
from .losses import loss_of, loss_of_reads, reached_iou
from .prompting import corrections, draw_prompts
from .recipe import Recipe


class Outcome(NamedTuple):
    """loss: scalar with gradient; iou: of the last frame, mean over visible objects; prompted: likewise frame
    0."""

    loss: Tensor
    iou: Tensor
    prompted: Tensor


def unroll(model: Nano, batch: Batch, recipe: Recipe, random: torch.Generator) -> Outcome:
    frames = encode_clip(model, batch)
    losses, logits, found = prompted_frame(model, frames[0], batch, recipe, random)
    prompted = mean_iou(found, batch.targets[:, 0])
    entries = [entry_of(model, frames[0], batch, logits)]
    for t in range(1, len(frames)):
        memory = joined(entries, corrupted(logits, recipe.corrupted, random))
        motion = model.motion(frames[t], frames[t - 1])
        evidence = model.evidence(frames[t], batch.clip_of, memory, motion)
        decoded = model.decoder(frames[t], batch.clip_of, evidence)
        moved = model.moved(motion, batch.targets[:, t - 1].unsqueeze(1), batch.clip_of)
        read = loss_of_reads(evidence, moved, batch.targets[:, t])
        losses.append(loss_of(decoded, batch.targets[:, t]) + recipe.reads * read)
        found = decoded.logits.masked_fill((decoded.presence < 0)[:, None, None], NO_OBJECT_LOGIT)
        logits = found
        entries.append(entry_of(model, frames[t], batch, corrupted(found, recipe.corrupted, random)))
    return Outcome(torch.stack(losses).mean(), mean_iou(found, batch.targets[:, -1]), prompted)


def encode_clip(model: Nano, batch: Batch) -> list[ImageFeatures]:
    """The features of each frame of B clips, all encoded in one batch."""
    b, t = batch.images.shape[:2]
    every = model.encode_image(batch.images.flatten(0, 1).float() / 255)
    levels = [level.view(b, t, *level.shape[1:]) for level in every.levels]
    return [ImageFeatures(tuple(level[:, i] for level in levels)) for i in range(t)]


def prompted_frame(
    model: Nano, features: ImageFeatures, batch: Batch, recipe: Recipe, random: torch.Generator
) -> tuple[list[Tensor], Tensor, Tensor]:
    """Losses, the logits to be remembered, and the logits found in frame 0."""
    truth = batch.targets[:, 0]
    prompts = draw_prompts(truth, recipe.prompts, random)
    last = torch.full_like(truth, NO_OBJECT_LOGIT)
    found = model.segment(features, batch.clip_of, last, prompts)
    losses = [loss_of(found, truth)]
    if torch.rand((), generator=random) < recipe.prompts.corrected:
        clicks = corrections(truth, found.logits.detach(), random)
        last = torch.where(prompts.has_mask[:, None, None], rough(truth, random), found.logits.detach())
        found = model.segment(features, batch.clip_of, last, clicks)
        losses.append(loss_of(found, truth))
    true = truth * 20 - 10
    use_truth = prompts.has_mask | (
        torch.rand(len(truth), generator=random) < recipe.prompts.remembered_truth
    )
    return losses, torch.where(use_truth[:, None, None], true, found.logits), found.logits


def entry_of(model: Nano, features: ImageFeatures, batch: Batch, logits: Tensor) -> Entry:
    scores = logits.new_ones(len(logits))
    prediction = model.with_pointer(features, batch.clip_of, Decoded(logits, scores, scores))
    return model.remember(features, batch.clip_of, prediction, torch.zeros(len(logits), dtype=torch.bool))


def joined(entries: list[Entry], last: Tensor) -> Memory:
    """A memory whose first slot is the prompted frame, all slots written."""
    features = torch.stack([entry.features for entry in entries], dim=1)
    pointers = torch.stack([entry.pointer for entry in entries], dim=1)
    written = torch.arange(len(entries)).expand(len(last), -1)
    return Memory(features, written, pointers, written, last, torch.zeros(written.shape))


def corrupted(logits: Tensor, chance: float, random: torch.Generator) -> Tensor:
    """With this chance for each object, the mask with a blob added or a part taken away, as drift would have
    it."""
    n, h, w = logits.shape
    centre, radius = torch.rand(n, 2, generator=random), 0.03 + 0.12 * torch.rand(n, generator=random)
    y = (torch.arange(h).view(1, h, 1) / h - centre[:, 1, None, None]) / radius[:, None, None]
    x = (torch.arange(w).view(1, 1, w) / w - centre[:, 0, None, None]) / radius[:, None, None]
    blob = (x.square() + y.square()) < 1
    hit = (torch.rand(n, generator=random) < chance)[:, None, None] & blob
    value = torch.where(torch.rand(n, generator=random) < 0.5, 6.0, -6.0)
    return torch.where(hit, value[:, None, None], logits)


def rough(truth: Tensor, random: torch.Generator) -> Tensor:
    """The true masks (N, H/2, W/2), grown or worn and with blobs: logits of their size."""
    true = truth.unsqueeze(1)
    worn = -F.max_pool2d(-true, 5, 1, 2)
    grown = F.max_pool2d(true, 5, 1, 2)
    mask = torch.where((torch.rand(len(truth), generator=random) < 0.5)[:, None, None, None], worn, grown)
    return corrupted(mask.squeeze(1) * 20 - 10, 0.7, random)


def mean_iou(logits: Tensor, truth: Tensor) -> Tensor:
    visible = truth.mean((1, 2)) > 0.001
    return (reached_iou(logits.detach(), truth) * visible).sum() / visible.sum().clamp(min=1)
