"""The threads that run a model: one tracks in a frame while another encodes the next.

A frame can be encoded before the one before it has been tracked. Two threads that each keep to half of a
CPU's cores lose no time to each other; threads that share every operation wait for each other at the end of
it, hundreds of times a frame.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from keepsight.streams.threads import Worker

T = TypeVar("T")
R = TypeVar("R")


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


class TwoAtOnce:
    """A map whose items the calling thread and one more take turns at, each with as many of PyTorch's threads
    as the calling one has: what comes of an item does not depend on who had it. Where those of the calling
    thread are more than half of the cores, or the other thread is busy, it does all of them."""

    def __init__(self) -> None:
        self._other = ThreadPoolExecutor(1, "second")

    def __call__(self, function: Callable[[T], R], items: Iterable[T]) -> list[R]:
        import torch

        left = deque(enumerate(items))
        done: dict[int, R] = {}
        threads, grading = torch.get_num_threads(), not torch.is_inference_mode_enabled()

        def work() -> None:
            while left:
                try:
                    place, item = left.popleft()
                except IndexError:  # the other one was quicker
                    return
                done[place] = function(item)

        def help_out() -> None:
            torch.set_num_threads(threads)
            with torch.inference_mode(not grading):
                work()

        if len(left) < 2 or 2 * threads > cores():
            work()
        else:
            helping = self._other.submit(help_out)
            try:
                work()
            finally:
                left.clear()
                if not helping.cancel():  # it has begun
                    helping.result()
        return [done[place] for place in sorted(done)]


def _keep_to_half() -> None:
    """In the calling thread, and never to more threads than PyTorch was told to use."""
    import torch

    told = torch.get_num_threads()  # asked first: a thread's first question sets its number
    torch.set_num_threads(max(1, min(told, cores() // 2)))


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
