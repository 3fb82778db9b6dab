from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import threading
import weakref
from collections.abc import AsyncGenerator, Iterable, Iterator

import pytest
from structlog.testing import capture_logs

from keepsight.streams.threads import Lent, ThreadedReader, Worker, iterate, run_loop


class Shelf:
    """Something to read in a thread: remembers which threads opened, read and closed it."""

    def __init__(self, items: Iterable[int], failure: Exception | None = None) -> None:
        self.items = items
        self.failure = failure
        self.threads: list[str] = []
        self.taken = 0
        self.closed = threading.Event()

    @contextlib.contextmanager
    def open(self, stopping: threading.Event) -> Iterator[tuple[str, Iterator[int]]]:
        self._note()
        try:
            yield "shelf", self._read()
        finally:
            self._note()
            self.closed.set()

    def _read(self) -> Iterator[int]:
        for item in self.items:
            self.taken += 1
            yield item
        self._note()
        if self.failure is not None:
            raise self.failure

    def _note(self) -> None:
        self.threads.append(threading.current_thread().name)


def reader_of(shelf: Shelf, *, live: bool = False, stop_seconds: float = 5.0) -> ThreadedReader[str, int]:
    return ThreadedReader(shelf.open, name="reader", live=live, stop_seconds=stop_seconds)


async def test_what_a_thread_reads_arrives_in_order_and_complete() -> None:
    reader = reader_of(Shelf(range(100)))
    assert await reader.open() == "shelf"
    assert [item async for item in reader] == list(range(100))
    await reader.close()
    assert reader.dropped == 0


async def test_a_container_is_opened_read_and_closed_by_one_thread_of_its_own() -> None:
    shelf = Shelf(range(3))
    reader = reader_of(shelf)
    await reader.open()
    assert [item async for item in reader] == [0, 1, 2]
    await reader.close()
    assert shelf.threads == ["reader"] * 3


async def test_the_thread_of_a_file_reads_only_a_little_ahead() -> None:
    shelf = Shelf(itertools.count())
    reader = reader_of(shelf)
    await reader.open()
    for _ in range(10):
        await anext(reader)
    assert shelf.taken <= 10 + 3  # two unread items and the one in the thread's hands
    await reader.close()


async def test_the_thread_of_a_live_stream_keeps_the_newest_item() -> None:
    shelf = Shelf(range(100))
    reader = reader_of(shelf, live=True)
    await reader.open()
    await asyncio.to_thread(shelf.closed.wait)
    assert [item async for item in reader] == [99]
    assert reader.dropped == 99
    await reader.close()


async def test_a_live_stream_holds_one_item_even_while_the_event_loop_is_busy() -> None:
    shelf = Shelf(range(100))
    reader = reader_of(shelf, live=True)
    await reader.open()
    shelf.closed.wait()  # blocks the loop on purpose
    await asyncio.sleep(0)  # lets in what the thread has told meanwhile
    assert [item async for item in reader] == [99]
    assert reader.dropped == 99


async def test_an_error_at_opening_is_raised_where_it_is_opened() -> None:
    @contextlib.contextmanager
    def refuse(stopping: threading.Event) -> Iterator[tuple[str, Iterator[int]]]:
        raise OSError("no such device")
        yield "", iter(())

    reader = ThreadedReader(refuse, name="reader", live=False)
    with pytest.raises(OSError, match="no such device"):
        await reader.open()


async def test_an_error_while_reading_is_raised_after_what_was_read() -> None:
    reader = reader_of(Shelf(range(2), failure=OSError("cable pulled")))
    await reader.open()
    assert [await anext(reader), await anext(reader)] == [0, 1]
    with pytest.raises(OSError, match="cable pulled"):
        await anext(reader)
    await reader.close()


async def test_leaving_early_stops_the_thread_and_closes_what_it_reads() -> None:
    shelf = Shelf(itertools.count())
    reader = reader_of(shelf)
    await reader.open()
    await anext(reader)
    await reader.close()
    assert shelf.closed.is_set()


async def test_a_thread_that_blocks_is_left_behind_after_a_bounded_time() -> None:
    release = threading.Event()
    shelf = Shelf(iter(lambda: int(release.wait(30)), 1))
    reader = reader_of(shelf, stop_seconds=0.01)
    await reader.open()
    with capture_logs() as logs:
        await reader.close()
    assert [entry["event"] for entry in logs] == ["left a blocked reader behind"]
    assert not shelf.closed.is_set()
    release.set()
    assert await asyncio.to_thread(shelf.closed.wait, 5)


async def test_cancelling_an_opening_returns_soon_and_closes_later() -> None:
    release = threading.Event()
    closed = threading.Event()

    @contextlib.contextmanager
    def slow(stopping: threading.Event) -> Iterator[tuple[str, Iterator[int]]]:
        release.wait(30)
        yield "open at last", iter(range(3))
        closed.set()

    reader = ThreadedReader(slow, name="reader", live=False, stop_seconds=0.01)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await reader.open()
    release.set()
    assert await asyncio.to_thread(closed.wait, 5)


async def test_a_worker_runs_every_call_in_its_one_thread() -> None:
    async with Worker("model") as worker:
        names = [(await worker.run(threading.current_thread)).name for _ in range(3)]
    assert names == ["model"] * 3


async def test_a_worker_passes_arguments_results_and_errors() -> None:
    async with Worker("model") as worker:
        assert await worker.run(divmod, 7, 2) == (3, 1)
        with pytest.raises(ZeroDivisionError):
            await worker.run(divmod, 7, 0)


async def test_a_worker_skips_a_call_whose_caller_has_gone() -> None:
    begun, release = threading.Event(), threading.Event()
    called: list[str] = []

    def block() -> None:
        begun.set()
        release.wait(30)

    async with Worker("model", stop_seconds=5.0) as worker:
        first = asyncio.create_task(worker.run(block))
        await asyncio.to_thread(begun.wait)
        second = asyncio.create_task(worker.run(called.append, "second"))
        await asyncio.sleep(0)
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        release.set()
        await first
        await worker.run(called.append, "third")
    assert called == ["third"]


async def test_a_worker_that_blocks_is_left_behind_after_a_bounded_time() -> None:
    begun, release = threading.Event(), threading.Event()

    def block() -> None:
        begun.set()
        release.wait(30)

    with capture_logs() as logs:
        async with Worker("encoder", stop_seconds=0.01) as worker:
            call = asyncio.create_task(worker.run(block))
            await asyncio.to_thread(begun.wait)
    assert [entry["event"] for entry in logs] == ["left a blocked worker behind"]
    release.set()
    await call


async def test_a_worker_that_is_not_open_refuses_calls() -> None:
    async with Worker("model") as worker:
        pass
    with pytest.raises(RuntimeError, match="worker model is not open"):
        await worker.run(print)


class Held:
    """Something that is to be let go, as a decoder and its threads are."""


async def test_what_a_failed_reader_held_is_let_go_at_once() -> None:
    held: list[weakref.ref[Held]] = []

    def broken() -> Iterator[int]:
        decoder = Held()
        held.append(weakref.ref(decoder))
        yield 1
        try:
            raise KeyError
        except KeyError:
            raise ValueError("broken") from None

    @contextlib.contextmanager
    def opening(_: threading.Event) -> Iterator[tuple[str, Iterator[int]]]:
        yield "head", broken()

    gc.disable()
    try:
        reader = ThreadedReader(opening, name="broken", live=False)
        await reader.open()
        with pytest.raises(ValueError, match="broken") as raised:
            async for _ in reader:
                pass
        assert held[0]() is None
        assert raised.traceback[-1].name == "broken"  # what is a mistake can still be found
    finally:
        gc.enable()


def test_a_loop_does_not_wait_at_its_end_for_a_name_server_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()

    async def knock() -> str:
        asked, loop = asyncio.Event(), asyncio.get_running_loop()

        def look_up(*_: object, **__: object) -> list[object]:
            loop.call_soon_threadsafe(asked.set)
            answers.wait(60)
            return []

        monkeypatch.setattr("socket.getaddrinfo", look_up)
        knocking = asyncio.create_task(asyncio.open_connection("broker.example", 1883))
        await asked.wait()
        knocking.cancel()
        return "over"

    try:
        assert run_loop(knock()) == "over"
        assert not answers.is_set()
    finally:
        answers.set()


async def test_lent_threads_are_bounded_and_every_call_has_its_turn() -> None:
    lent, together = Lent(most=2), threading.Barrier(2)
    lock, busy, most = threading.Lock(), 0, 0

    def call(number: int) -> int:
        nonlocal busy, most
        with lock:
            busy += 1
            most = max(most, busy)
        together.wait(30)
        with lock:
            busy -= 1
        return number

    loop = asyncio.get_running_loop()
    calls = [loop.run_in_executor(lent, call, number) for number in range(6)]
    assert await asyncio.gather(*calls) == list(range(6))
    assert most == 2


def test_a_loop_over_items_whose_event_loop_has_ended_says_so_and_does_not_wait_for_ever():
    async def items() -> AsyncGenerator[int]:
        yield 1
        asyncio.get_running_loop().stop()
        await asyncio.Event().wait()

    coming = iterate(items)
    assert next(coming) == 1
    with pytest.raises(RuntimeError, match="event loop ended"):
        next(coming)
