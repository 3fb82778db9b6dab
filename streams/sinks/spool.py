"""Events on disk until the broker has them, so that neither its outages nor our crashes lose any."""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog
from pydantic import ValidationError

from ..messages import EventMessage
from ..threads import Worker
from .outbox import NumberedEvent, Outbox

log = structlog.get_logger(__name__)

MAX_BYTES = 2**26
"""What a spool may hold, several times what EVENT_CAPACITY events need; past it the disk counts as full."""
OPENING_SECONDS = 10.0
"""A disk that takes longer to open a file is done without for the whole run."""
PATIENCE_SECONDS = 1.0
"""A disk that takes longer for a few kilobytes is not waited for this time."""
FAREWELL_SECONDS = 0.3
_AT_A_TIME = 500
_PAGE_BYTES = 4096

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""What SQLite says of a file that cannot be mended by trying again."""

FAILURES = (sqlite3.Error, OSError, TimeoutError)
"""What a disk that is full, gone, read-only or hanging raises, and a file that is damaged or in use."""


class Spool:
    """Numbered texts in a file of SQLite. Blocking; all calls come from one thread; each may raise FAILURES.

    With a write-ahead log and `synchronous = NORMAL` a transaction is with the operating system when `write`
    returns: it outlives our own end, however sudden. It does not wait for the disk: a loss of power may take
    the last ones, and leaves the rest whole. While it is open no other process can open it.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._connection: sqlite3.Connection | None = None

    def open(self) -> list[tuple[int, str]]:
        """Make the file where there is none; what was left in it, in order. One that is damaged is put
        aside, and one is made."""
        path = _at_home(self._path)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            return self._open(path)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", None) not in _DAMAGE:
                raise
            log.warning(
                "the file of events is damaged: put aside, and begun anew",
                reason=str(error),
                aside=str(_put_aside(path)),
            )
        return self._open(path)

    def _open(self, path: Path) -> list[tuple[int, str]]:
        connection = sqlite3.connect(path, timeout=0.1)
        try:
            for setting in (
                "locking_mode = EXCLUSIVE",
                f"page_size = {_PAGE_BYTES}",
                "journal_mode = WAL",
                "synchronous = NORMAL",
                f"max_page_count = {self._max_bytes // _PAGE_BYTES}",
            ):
                connection.execute(f"PRAGMA {setting}")
            connection.execute("CREATE TABLE IF NOT EXISTS events (number INTEGER PRIMARY KEY, message TEXT)")
            _check(connection)
            left = connection.execute("SELECT number, message FROM events ORDER BY number").fetchall()
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        return left

    def write(self, added: Sequence[tuple[int, str]], first: int) -> None:
        """Add what waits and remove what is before number `first`, both or neither."""
        assert self._connection is not None
        with self._connection as transaction:
            transaction.execute("DELETE FROM events WHERE number < ?", (first,))
            transaction.executemany("INSERT OR REPLACE INTO events VALUES (?, ?)", added)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _check(connection: sqlite3.Connection) -> None:
    """Raises DatabaseError for damage that else would only show when something is written there."""
    (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        error = sqlite3.DatabaseError(found)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error


def _put_aside(path: Path) -> Path:
    """Rename a damaged file, in place of one that was damaged before; its new name."""
    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    for ending in ("-wal", "-shm"):
        path.with_name(f"{path.name}{ending}").unlink(missing_ok=True)
    return aside


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # a user without a home
        raise OSError(f"{path}: {error}") from None


class Spooler:
    """Keeps a spool like an outbox, in a thread of its own: `async with Spooler(Spool(path), outbox, news)`.

    First what an earlier run left is put at the head of the outbox. An event is released to be sent once it
    is on disk. Where the disk fails that is said once and events are released without; writing is tried again
    with each new event, unless the last try still hangs in the thread: what waited there would be more and
    more. `news` is set whenever events were released.
    """

    def __init__(self, spool: Spool, outbox: Outbox, news: asyncio.Event, url: str) -> None:
        self._spool = spool
        self._outbox = outbox
        self._news = news
        self._url = url
        self._worker = Worker(f"mqtt spool {url}", stop_seconds=FAREWELL_SECONDS)
        self._keeping: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None
        self._opened = False
        self._written = 0  # events before this number were written
        self._cleared = 0  # and those before this one removed again
        self._said_failing = False

    @property
    def kept(self) -> int:
        """How many of the waiting events are on disk."""
        return max(0, self._written - self._outbox.first)

    def check(self) -> None:
        """Raises what a fault of its own raised."""
        if self._keeping is not None and self._keeping.done():
            self._keeping.result()

    async def __aenter__(self) -> Self:
        await self._worker.__aenter__()
        self._outbox.released = 0
        self._keeping = asyncio.create_task(self._keep(), name=f"mqtt spool {self._url}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._keeping is not None
        self._keeping.cancel()
        try:
            if self._opened:
                if self._writing is not None:
                    await asyncio.wait({self._writing}, timeout=FAREWELL_SECONDS)
                await self._catch_up(FAREWELL_SECONDS)
                async with asyncio.timeout(FAREWELL_SECONDS):
                    await self._worker.run(self._spool.close)
        except FAILURES as failure:
            self._complain(failure)
        finally:
            await self._worker.__aexit__(None, None, None)

    async def _keep(self) -> None:
        try:
            async with asyncio.timeout(OPENING_SECONDS):
                left = await self._worker.run(self._spool.open)
        except FAILURES as error:
            self._complain(error)
            self._release(math.inf)
            return
        self._written = self._outbox.restore(self._readable(left))
        self._opened = True
        self._release(self._written)
        while True:
            self._outbox.changed.clear()
            await self._catch_up(PATIENCE_SECONDS)
            await self._outbox.changed.wait()

    async def _catch_up(self, patience: float) -> None:
        """Writes until the spool is like the outbox, or the disk fails."""
        while self._written < self._outbox.after or self._cleared < self._outbox.first:
            first, added = self._outbox.first, self._outbox.since(self._written, _AT_A_TIME)
            try:
                await self._write(added, first, patience)
            except FAILURES as error:
                self._complain(error)
                self._release(self._outbox.after)
                return
            self._cleared = first
            self._written = added[-1].number + 1 if added else max(self._written, first)
            self._release(self._written)

    async def _write(self, added: Sequence[NumberedEvent], first: int, patience: float) -> None:
        """Raises FAILURES, at once where an earlier call has not ended yet."""
        if self._writing is not None and not self._writing.done():
            raise TimeoutError
        rows = [(one.number, one.message.model_dump_json()) for one in added]
        self._writing = asyncio.create_task(self._worker.run(self._spool.write, rows, first))
        self._writing.add_done_callback(self._hear)
        async with asyncio.timeout(patience):
            await asyncio.shield(self._writing)

    def _hear(self, write: asyncio.Task[None]) -> None:
        """What a write raises after nobody waits for it any more is no news; that it has ended is, to what
        waits to be written."""
        if not write.cancelled() and write.exception() is None:
            self._outbox.changed.set()

    def _release(self, number: float) -> None:
        self._outbox.released = max(self._outbox.released, number)
        self._news.set()

    def _readable(self, left: Sequence[tuple[int, str]]) -> list[NumberedEvent]:
        events = []
        for number, text in left:
            try:
                events.append(NumberedEvent(number, EventMessage.model_validate_json(text)))
            except ValidationError:
                log.warning("an event on disk cannot be read and is left out", url=self._url, number=number)
        return events

    def _complain(self, error: BaseException) -> None:
        if not self._said_failing:
            reason = str(error) or "the disk does not answer"
            log.warning("events are in memory only, a crash would lose them", url=self._url, reason=reason)
        self._said_failing = True
