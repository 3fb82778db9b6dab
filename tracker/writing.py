"""The files of what is played again: opened together, written one result after another, finished together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

from keepsight.streams.base import Sink, SinkError
from keepsight.streams.types import Result

Write = Callable[[Result], Awaitable[None]]


class WriteError(Exception):
    """An output that could be opened cannot be written or finished: a full disk. The message is one line."""


@asynccontextmanager
async def writing(sinks: Iterable[Sink]) -> AsyncIterator[Write]:
    """What gives a result to all sinks; leaving finishes them. Raises SinkError where one cannot be opened,
    and WriteError where that comes later."""
    is_open = False

    async def write(result: Result) -> None:
        for sink in opened:
            await sink.write(result)

    try:
        async with AsyncExitStack() as exits:
            opened = [await exits.enter_async_context(sink) for sink in sinks]
            is_open = True
            yield write
    except SinkError as error:
        if not is_open:
            raise
        raise WriteError(str(error)) from error
