"""A running fleet follows its deployment file: read again when it changes, and at SIGHUP."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from keepsight.streams.base import SinkError, SourceError

from ..config import read_deployment
from ..config_file import changes
from ..fleet import Fleet
from ..validation import ConfigError
from .console import err, is_debugging


@asynccontextmanager
async def following(fleet: Fleet, file: Path | None) -> AsyncIterator[None]:
    """While the block runs, the fleet is what the file says; without one nothing happens."""
    if file is None:
        yield
        return
    hangup, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    tasks = [asyncio.create_task(_look(fleet, file)), asyncio.create_task(_obey(fleet, file, hangup))]
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGHUP)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _look(fleet: Fleet, file: Path) -> None:
    async for _ in changes(file):
        await read_again(fleet, file)


async def _obey(fleet: Fleet, file: Path, hangup: asyncio.Event) -> None:
    while True:
        await hangup.wait()
        hangup.clear()
        await read_again(fleet, file)


async def read_again(fleet: Fleet, file: Path) -> None:
    """Run what the file says now; what is wrong with it is said, and the streams go on as they are."""
    try:
        change = str(await fleet.apply(read_deployment(file)))
    except (ConfigError, SourceError, SinkError) as error:
        say(f"keepsight: {error} (what ran before goes on)")
        return
    except Exception as error:  # or the file would be followed no more, and nobody would know
        if is_debugging():
            err.print_exception()
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"keepsight: {file} could not be followed: {cause} (what ran before goes on)")
        return
    if change:
        say(f"{file}: {change}")


def say(line: str) -> None:
    """Above the progress bar."""
    err.print(line, soft_wrap=True)
