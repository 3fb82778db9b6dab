"""One camera never disturbs the others."""

from __future__ import annotations

import asyncio

from keepsight.streams.retry import Backoff, reconnecting
from keepsight.streams.types import SourceStatus
from tests.fakes import CollectingSink, FakeSource, make_frames

from .test_pipeline import SOON, Camera, indices, show, watch


async def test_a_camera_that_fails_as_nobody_foresaw_does_not_end_the_others() -> None:
    statuses: list[SourceStatus] = []
    heard = asyncio.Event()

    def hear(status: SourceStatus) -> None:
        statuses.append(status)
        heard.set()

    faulty = FakeSource([], live=True, refusal=UnicodeDecodeError("utf-8", b"\xb4", 0, 1, "no such byte"))
    bad = reconnecting(lambda: faulty, on_status=hear, backoff=Backoff(shortest=0.001))
    good, sink, stop = Camera(), CollectingSink(), asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(watch(bad, CollectingSink(), stop=stop))
        tasks.create_task(watch(good, sink, stop=stop))
        async with asyncio.timeout(SOON):
            await heard.wait()
        for frame in make_frames(3):
            await show(good, frame, sink)
        stop.set()
    assert indices(sink)[:3] == [0, 1, 2]
    assert statuses[0].reason.startswith("UnicodeDecodeError: ")
