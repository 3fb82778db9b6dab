"""A sink that writes files: blocking code in a thread of its own, with its failures told as `SinkError`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, Protocol, Self, TypeVar

import av
import structlog

from ..base import SinkError
from ..threads import Worker
from ..types import Result
from ..wording import refusal

log = structlog.get_logger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

CLOSE_SECONDS = 0.3
"""How long finishing an output may take once the run was cancelled: a dead network disk takes for ever."""


def time_to_close(error: BaseException | None) -> asyncio.Timeout:
    """For the block that finishes an output whose run ended with `error`: bounded where it was cancelled."""
    return asyncio.timeout(CLOSE_SECONDS if isinstance(error, asyncio.CancelledError) else None)


class Writer(Protocol):
    """Blocking output. All calls come from one thread: `open`, then `write` for each result, then `close`.

    Each may raise OSError, `av.FFmpegError` or `SinkError`. `close` is called also after an error in `write`.
    Without `writes_events` no `closing` result comes: each frame once.
    """

    writes_events: bool

    def open(self) -> None: ...

    def write(self, result: Result) -> None: ...

    def close(self) -> None: ...


class WriterSink:
    """A `Writer` as a `Sink`. `write` returns when the result has been written; it raises `SinkError` where
    the disk is full or the file cannot be written."""

    def __init__(self, url: str, writer: Writer) -> None:
        self._url = url
        self._writer = writer
        self._worker = Worker(f"sink {url}")
        self._exits = AsyncExitStack()

    @property
    def url(self) -> str:
        return self._url

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as exits:
            await exits.enter_async_context(self._worker)
            await self._call(self._writer.open)
            self._exits = exits.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._exits:
            try:
                async with time_to_close(error):
                    await self._call(self._writer.close)
            except TimeoutError:
                log.warning("output not finished", sink=self._url, reason="writing hangs")
            except SinkError as failure:
                if error is None:
                    raise
                if str(failure) != str(error):  # what `error` says need not be said twice
                    log.warning("output not finished", reason=str(failure))

    async def write(self, result: Result) -> None:
        """A frame that was told before is written again only by who writes events."""
        if not result.closing or self._writer.writes_events:
            await self._call(self._writer.write, result)

    async def _call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await self._worker.run(function, *args, **kwargs)
        except (OSError, av.FFmpegError) as error:
            raise SinkError(f"{self._url}: cannot be written: {refusal(error)}") from error


def claim(path: Path) -> bool:
    """Find out that `path` can be written, its folders made; whether it is new. OSError where it cannot be.

    What it holds stays until there is a result to take its place: a run that cannot begin destroys nothing.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    new = not path.exists()
    path.open("ab").close()
    return new
