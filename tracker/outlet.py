"""A sink beside a running stream: it drops only its own, and fails alone."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import structlog

from keepsight.streams.base import Ending, EndListener, Sink, SinkError
from keepsight.streams.mailbox import Mailbox
from keepsight.streams.types import Result

from .summary import Meter

log = structlog.get_logger(__name__)

WAITING_RESULTS = 4
"""Results of a file that may wait for one sink."""
MERGED = 1000
"""Events and answers to commands, of each the newest, that a live sink which falls behind still gets."""


class Outlet:
    """A sink, the mailbox before it, and what became of it."""

    def __init__(self, sink: Sink, live: bool, meter: Meter) -> None:
        self.url = sink.url
        self.fault: str | None = None
        self.left_out = 0
        """Frames of a live source for which this sink had no time."""
        self._sink = sink
        self._meter = meter
        self._mailbox: Mailbox[Result] = Mailbox(live=live, capacity=WAITING_RESULTS, merge=merge)
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def open(self, tasks: asyncio.TaskGroup) -> None:
        """Begin to write, in a task of its own. Raises SinkError where the sink cannot be opened."""
        tasks.create_task(self._write_all())
        await asyncio.shield(self._opened)  # who waits may be cancelled while the sink still opens

    async def put(self, result: Result) -> None:
        if self._mailbox.live and len(self._mailbox) and not result.closing:
            self.left_out += 1
        await self._mailbox.put(result)

    def close(self, ending: Ending) -> None:
        """Nothing more comes: what waits is written, then the output is finished. A sink that wants to know
        hears how the run ended."""
        if isinstance(self._sink, EndListener):
            self._sink.hear_of_end(ending)
        self._mailbox.close()

    async def _write_all(self) -> None:
        """Whatever goes wrong in a sink ends this sink alone."""
        try:
            async with self._sink:
                self._opened.set_result(None)
                async for result in self._mailbox:
                    started = time.perf_counter()
                    await self._sink.write(result)
                    self._meter.record_sink(time.perf_counter() - started)
        except Exception as error:
            self._fail(error)
        finally:
            self._mailbox.close()

    def _fail(self, error: Exception) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)
            return
        known = isinstance(error, SinkError)
        self.fault = str(error) if known else f"{self.url}: {type(error).__name__}: {error}"
        log.error("sink left out", sink=self.url, reason=self.fault, exc_info=None if known else error)


def merge(unread: Result, newer: Result) -> Result:
    """The newer result with the events and answers of the one it replaces: those must arrive. What was not
    told yet is not told by its closing."""
    return replace(
        unread if newer.closing else newer,
        events=(unread.events + newer.events)[-MERGED:],
        applied=(unread.applied + newer.applied)[-MERGED:],
        refusals=(unread.refusals + newer.refusals)[-MERGED:],
    )
