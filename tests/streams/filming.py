"""A camera that never ends, written to sinks, for tests of what watches it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

import numpy as np

from keepsight.streams.base import Sink
from keepsight.streams.types import Frame, Result

from .results import result

SIZE = (120, 160)


@asynccontextmanager
async def filming(
    *sinks: Sink, size: tuple[int, int] = SIZE, rate: float = 25, epoch: int = 0, noisy: bool = False
) -> AsyncIterator[None]:
    """Writes results to the sinks, `rate` a second, until the block is left; noise fills a connection."""
    made = [noise(size, index) if noisy else result(index, size=size) for index in range(10)]

    async def film() -> None:
        for index in range(1_000_000):
            at = made[index % len(made)]
            time = 1000 * epoch + index / rate
            frame = replace(at.frame, index=index, epoch=epoch, time=time)
            await asyncio.gather(*(sink.write(replace(at, frame=frame)) for sink in sinks))
            await asyncio.sleep(1 / rate)

    task = asyncio.create_task(film())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def noise(size: tuple[int, int], seed: int) -> Result:
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    return Result(Frame(image, 0, 0, 0.0, 1_700_000_000.0, "generated", 0.0))


async def eventually(is_so: Callable[[], bool]) -> None:
    """Waits for what another process does."""
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.05)
