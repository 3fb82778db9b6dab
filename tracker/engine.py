"""The threads that run a model: one tracks in a frame while another encodes the next.

Between two frames only the memory passes on, so the image encoder need not wait for the frame before. Two
threads that each keep to half of a CPU's cores lose no time to each other; threads that share every
operation wait for each other at the end of it, hundreds of times a frame.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from keepsight.streams.threads import Worker


class ModelThreads:
    """encoder: encodes frames ahead; tracker: owns the model and does everything else with it."""

    def __init__(self, encoder: Worker, tracker: Worker) -> None:
        self.encoder = encoder
        self.tracker = tracker
        self._shared = False

    async def share_cores(self) -> None:
        """Keep each to half of the cores. To be called once PyTorch may be imported."""
        if self._shared:
            return
        self._shared = True
        cores = await self.tracker.run(_threads)
        for worker in (self.encoder, self.tracker):
            await worker.run(_use, max(1, cores // 2))
        _use(cores)  # what was set last is what threads to come begin with: they are none of ours


@asynccontextmanager
async def model_threads(stop_seconds: float = 1.0) -> AsyncIterator[ModelThreads]:
    """Leaving waits `stop_seconds` for what is being computed, then leaves a blocked thread behind."""
    async with (
        Worker("encoder", stop_seconds=stop_seconds) as encoder,
        Worker("model", stop_seconds=stop_seconds) as tracker,
    ):
        yield ModelThreads(encoder, tracker)


def _threads() -> int:
    import torch

    return torch.get_num_threads()


def _use(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
