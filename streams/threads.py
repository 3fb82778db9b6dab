"""The one place with threads: a blocking reader as an async iterator, and a worker for blocking calls."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Generic, ParamSpec, Self, TypeVar

import structlog

from .mailbox import Mailbox

log = structlog.get_logger(__name__)

H = TypeVar("H")
T = TypeVar("T")
P = ParamSpec("P")

Opening = Callable[[threading.Event], AbstractContextManager[tuple[H, Iterator[T]]]]
"""Opens something blocking and gives what is known about it, and its items. The event asks it to stop."""
Calls = SimpleQueue[Callable[[], None] | None]
"""What a worker is to run; None ends it."""


class ThreadedReader(Generic[H, T]):
    """Reads in a daemon thread of its own: `head = await reader.open()`, then `async for item in reader`.

    `opening` is entered, read and left in that thread: some containers crash the process when another
    thread closes them. Live: a newer item replaces an unread one, counted in `dropped`; otherwise the
    thread waits while `capacity` items are unread. Its error is raised at `open` or, after the items before
    it, at the reader.
    """

    def __init__(
        self, opening: Opening[H, T], *, name: str, live: bool, capacity: int = 2, stop_seconds: float = 1.0
    ) -> None:
        self._opening = opening
        self._name = name
        self._live = live
        self._stop_seconds = stop_seconds
        self._mailbox: Mailbox[T] = Mailbox(live=live, capacity=capacity)
        self._passing: deque[T] = deque(maxlen=1 if live else None)
        self._room = threading.Semaphore(capacity)
        self._stopping = threading.Event()
        self._ended = asyncio.Event()
        self._overtaken = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._head: asyncio.Future[H] | None = None

    @property
    def dropped(self) -> int:
        return self._mailbox.dropped + self._overtaken

    async def open(self) -> H:
        """Starts the thread and waits until it has opened. Cancelling closes again."""
        self._loop = asyncio.get_running_loop()
        self._head = self._loop.create_future()
        threading.Thread(target=self._read, name=self._name, daemon=True).start()
        try:
            return await self._head
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Asks the thread to stop and waits `stop_seconds` for it.

        A thread blocked in a read for longer is left behind: it closes what it opened when the read
        returns, and does not keep the process alive.
        """
        self._stopping.set()
        self._room.release()
        if self._loop is None:
            return
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._ended.wait()
        except TimeoutError:
            log.warning("left a blocked reader behind", reader=self._name, waited_seconds=self._stop_seconds)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        item = await anext(self._mailbox)
        self._room.release()
        return item

    def _read(self) -> None:
        error: Exception | None = None
        try:
            with self._opening(self._stopping) as (head, items):
                self._tell(self._set_head, head)
                for item in items:
                    self._hand_over(item)
                    if self._stopping.is_set():
                        break
        except Exception as caught:
            _let_go(caught)
            error = caught
        self._tell(self._end, error)
        del error  # its trace holds this frame

    def _hand_over(self, item: T) -> None:
        if not self._live:
            self._room.acquire()
        if self._stopping.is_set():  # closing gave room to wake us, not to be filled
            return
        self._passing.append(item)
        self._tell(self._deliver)

    def _tell(self, say: Callable[..., None], *args: object) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(say, *args)
        except RuntimeError:  # the event loop has been closed
            self._stopping.set()

    # On the event loop from here on.

    def _set_head(self, head: H) -> None:
        assert self._head is not None
        if not self._head.done():
            self._head.set_result(head)

    def _deliver(self) -> None:
        """Called once per item. An item that is gone was overtaken by a newer one while the loop was busy."""
        if self._passing:
            self._mailbox.offer(self._passing.popleft())
        else:
            self._overtaken += 1

    def _end(self, error: Exception | None) -> None:
        assert self._head is not None
        if error is not None and not self._head.done():
            self._head.set_exception(error)
        self._mailbox.close(error)
        self._ended.set()


def _let_go(error: BaseException | None) -> None:
    """Empties the frames that an error's trace holds: a decoder in one of them would live, with its threads,
    until the garbage collector comes by."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__context__


class Worker:
    """One daemon thread that runs blocking calls one after the other: `async with Worker("model") as worker:
    masks = await worker.run(predict, image)`.

    What waits is bounded by its callers: each waits for its own call. A call whose caller was cancelled is
    skipped if it has not begun. Leaving waits `stop_seconds` for the calls, then leaves a blocked thread
    behind. It may be entered again, with another thread.
    """

    def __init__(self, name: str, *, stop_seconds: float = 1.0) -> None:
        self._name = name
        self._stop_seconds = stop_seconds
        self._calls: Calls = SimpleQueue()
        self._open = False
        self._ended = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._calls, self._ended = SimpleQueue(), asyncio.Event()
        given = asyncio.get_running_loop(), self._calls, self._ended
        threading.Thread(target=_work, args=given, name=self._name, daemon=True).start()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._calls.put(None)
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._ended.wait()
        except TimeoutError:
            log.warning("left a blocked worker behind", worker=self._name, waited_seconds=self._stop_seconds)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `function` returns or raises in the thread. `RuntimeError` if the worker is not open."""
        if not self._open:
            raise RuntimeError(f"worker {self._name} is not open")
        outcome: Future[T] = Future()
        self._calls.put(lambda: _settle(outcome, lambda: function(*args, **kwargs)))
        return await asyncio.wrap_future(outcome)

    async def run_announced(
        self, begun: asyncio.Event, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """As `run`; `begun` is set when the thread has come to the call: others may have been before it."""
        loop = asyncio.get_running_loop()

        def announced() -> T:
            with contextlib.suppress(RuntimeError):  # the event loop has been closed
                loop.call_soon_threadsafe(begun.set)
            return function(*args, **kwargs)

        return await self.run(announced)


def _work(loop: asyncio.AbstractEventLoop, calls: Calls, ended: asyncio.Event) -> None:
    while (call := calls.get()) is not None:
        call()
        del call
    with contextlib.suppress(RuntimeError):  # the event loop has been closed
        loop.call_soon_threadsafe(ended.set)


class Lent(ThreadPoolExecutor):
    """Daemon threads, at most `most` at once, for the calls that asyncio and libraries give to a loop's
    default executor: to look up names above all. Nobody waits for them at the end: who asks a name server
    that does not answer is stuck for half a minute, and so is Python's own executor.
    """

    def __init__(self, most: int = 32) -> None:
        super().__init__(most)
        self._most = most
        self._busy = 0
        self._calls: deque[Callable[[], None]] = deque()
        self._turn = threading.Lock()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        outcome: Future[T] = Future()
        with self._turn:
            self._calls.append(lambda: _settle(outcome, lambda: fn(*args, **kwargs)))
            if self._busy < self._most:
                self._busy += 1
                threading.Thread(target=self._work, name="lent", daemon=True).start()
        return outcome

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Waits for nothing."""

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], None] | None:
        with self._turn:
            if self._calls:
                return self._calls.popleft()
            self._busy -= 1
            return None


def run_loop(main: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`, but it ends when `main` has, whatever threads it lent out still do."""

    async def lending() -> T:
        asyncio.get_running_loop().set_default_executor(Lent())
        return await main

    return asyncio.run(lending())


def _settle(outcome: Future[T], call: Callable[[], T]) -> None:
    if not outcome.set_running_or_notify_cancel():
        return
    try:
        outcome.set_result(call())
    except BaseException as error:
        outcome.set_exception(error)


def iterate(start: Callable[[], AsyncGenerator[T]]) -> Iterator[T]:
    """The items of an async generator for a plain `for` loop, also where an event loop runs around that.

    The generator lives on an event loop in a daemon thread and is closed, with the thread, when this one is,
    or when waiting for an item is interrupted.
    """
    loop = asyncio.new_event_loop()
    loop.set_default_executor(Lent())
    thread = threading.Thread(target=loop.run_forever, name="event loop", daemon=True)
    thread.start()
    items, one_at_a_time = start(), asyncio.Lock()
    coming: Future[T] | None = None
    try:
        while True:
            coming = asyncio.run_coroutine_threadsafe(_next(items, one_at_a_time), loop)
            try:
                item = _outcome(coming, thread)
            except StopAsyncIteration:
                return
            yield item
    finally:
        if coming is not None:
            coming.cancel()
        if thread.is_alive():
            _outcome(asyncio.run_coroutine_threadsafe(_close(items, one_at_a_time), loop), thread)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
        loop.close()


def _outcome(future: Future[T], thread: threading.Thread) -> T:
    """What a thread's event loop makes of it. Raises RuntimeError if the thread dies: nothing would come."""
    while not wait([future], timeout=1.0).done:
        if not thread.is_alive():
            raise RuntimeError("the event loop ended before its work was done")
    return future.result()


async def _next(items: AsyncGenerator[T], one_at_a_time: asyncio.Lock) -> T:
    async with one_at_a_time:
        return await anext(items)


async def _close(items: AsyncGenerator[T], one_at_a_time: asyncio.Lock) -> None:
    async with one_at_a_time:
        await items.aclose()
