"""The threads that run a model: one tracks in a frame while another encodes the next.

A frame can be encoded before the one before it has been tracked. Two threads that each keep to half of a
CPU's cores lose no time to each other; threads that share every operation wait for each other at the end of
it, hundreds of times a frame.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keepsight.streams.threads import Worker


class ModelThreads:
    """encoder: encodes frames ahead; tracker: does everything else with the model."""

    def __init__(self, encoder: Worker, tracker: Worker) -> None:
        self.encoder = encoder
        self.tracker = tracker

    async def share_cores(self) -> None:
        """Keep each to half of the cores, and threads of the process that begin to use PyTorch later, too. To
        be called once PyTorch may be imported."""
        for worker in (self.tracker, self.encoder):
            await worker.run(_keep_to_half)


@asynccontextmanager
async def model_threads(stop_seconds: float = 1.0) -> AsyncIterator[ModelThreads]:
    """Leaving waits `stop_seconds` for each of the two, then leaves a blocked thread behind."""
    async with (
        Worker("encoder", stop_seconds=stop_seconds) as encoder,
        Worker("model", stop_seconds=stop_seconds) as tracker,
    ):
        yield ModelThreads(encoder, tracker)


def _keep_to_half() -> None:
    """In the calling thread, and never to more threads than PyTorch was told to use."""
    import torch

    told = torch.get_num_threads()  # asked first: a thread's first question sets its number
    torch.set_num_threads(max(1, min(told, cores() // 2)))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
