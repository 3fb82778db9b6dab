"""Clips drawn in loader processes and joined to batches; step and process decide what is drawn, so runs
repeat."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from .clips import ClipSettings, target_masks
from .library import Library
from .real_clips import draw_clip
from .recipe import Recipe


class Batch(NamedTuple):
    """images: (B, T, 3, H, W) uint8; targets: (N, T, H/2, W/2) float32 in [0, 1]; clip_of: (N,) int64."""

    images: Tensor
    targets: Tensor
    clip_of: Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(*(field.to(device, non_blocking=True) for field in self))


def make_batch(library: Library, recipe: Recipe, index: int, rank: int) -> Batch:
    """The `index`-th batch of a process; several make one step where a recipe accumulates."""
    random = np.random.default_rng((recipe.seed, index, rank))
    step = index // recipe.accumulate
    stage = recipe.stage_at(step)
    sizes = recipe.sizes_of(stage)
    size = sizes[np.random.default_rng((recipe.seed, step)).integers(len(sizes))]
    settings = ClipSettings(stage.frames, size, stage.objects)
    clips = [draw_clip(library, settings, random) for _ in range(stage.clips)]
    clip_of = np.repeat(np.arange(len(clips)), [len(clip.targets) for clip in clips])
    return Batch(
        images=torch.from_numpy(np.stack([clip.images for clip in clips]))
        .permute(0, 1, 4, 2, 3)
        .contiguous(),
        targets=torch.from_numpy(np.concatenate([target_masks(clip) for clip in clips])),
        clip_of=torch.from_numpy(clip_of),
    )


class Batches(IterableDataset[Batch]):
    """The batches of one process from the step `first` on."""

    def __init__(self, library: Library, recipe: Recipe, rank: int, first: int) -> None:
        self.library, self.recipe, self.rank, self.first = library, recipe, rank, first

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        start, stride = (worker.id, worker.num_workers) if worker else (0, 1)
        first, end = (step * self.recipe.accumulate for step in (self.first, self.recipe.steps))
        for index in range(first + start, end, stride):
            yield make_batch(self.library, self.recipe, index, self.rank)


def load(library: Library, recipe: Recipe, rank: int, first: int) -> DataLoader[Batch]:
    cv2.setNumThreads(1)  # before the loaders are forked: a pool of threads cannot be ended in a copy of it
    return DataLoader(
        Batches(library, recipe, rank, first),
        batch_size=None,
        num_workers=recipe.loaders,
        prefetch_factor=4 if recipe.loaders else None,
        worker_init_fn=leave_signals,
    )


def leave_signals(worker: int) -> None:
    """Ctrl-C is the trainer's to hear, who lets the loaders go."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
