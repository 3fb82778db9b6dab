"""Events on disk: what is written stays until it is removed, and a bad disk costs a warning and no event."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from keepsight.streams.sinks import spool as spool_module
from keepsight.streams.sinks.outbox import Outbox
from keepsight.streams.sinks.spool import Spool, Spooler
from tests.logs import Log

from .results import result

SAID = ["events are in memory only, a crash would lose them"]


def outbox() -> Outbox:
    return Outbox(("n", "c", "r"))


class Keeper(Spooler):
    """A spooler whose releases can be waited for."""

    def __init__(self, spool: Spool, events: Outbox) -> None:
        self.events, self.news = events, asyncio.Event()
        super().__init__(spool, events, self.news, "mqtt://test")

    async def released(self, number: int) -> None:
        """Returns when the events before `number` may be sent."""
        async with asyncio.timeout(10):
            while self.events.released < number:
                self.news.clear()
                await self.news.wait()


def sent(events: Outbox) -> list[str]:
    """The ids of all events that may be sent, which are taken out."""
    released = events.next_events(10_000)
    for item in released:
        events.sent(item)
    return [item.message.event_id for item in released]


def test_what_was_written_is_there_again_and_what_was_removed_is_not(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep" / "a.sqlite")
    assert spool.open() == []
    spool.write([(0, "a"), (1, "b")], 0)
    spool.write([(2, "c")], 1)
    spool.close()
    again = Spool(tmp_path / "deep" / "a.sqlite")
    assert again.open() == [(1, "b"), (2, "c")]
    again.close()


def test_a_spool_that_is_in_use_cannot_be_opened(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite")
    spool.open()
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        Spool(tmp_path / "a.sqlite").open()
    spool.close()


def test_a_spool_that_is_full_says_so_and_keeps_what_it_has(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a.sqlite", max_bytes=2**16)
    spool.open()
    spool.write([(0, "x" * 30_000)], 0)
    with pytest.raises(sqlite3.Error, match="full"):
        spool.write([(1, "x" * 60_000)], 0)
    spool.write([(2, "y")], 0)
    spool.close()
    assert [number for number, _ in Spool(tmp_path / "a.sqlite").open()] == [0, 2]


async def test_events_are_sent_once_they_are_on_disk_and_leave_it_once_they_are_sent(tmp_path: Path) -> None:
    events, spool = outbox(), Spool(tmp_path / "a.sqlite")
    async with Keeper(spool, events) as keeper:
        events.put(result(0, events=("new", "update")))
        assert events.next_events(9) == []
        await keeper.released(2)
        assert keeper.kept == 2
        assert sent(events) == ["n/c/r/0", "n/c/r/1"]
        assert keeper.kept == 0
    left = Spool(tmp_path / "a.sqlite")
    assert left.open() == []
    left.close()


async def test_what_one_run_could_not_send_the_next_one_does_before_its_own(tmp_path: Path) -> None:
    first = Outbox(("n", "c", "first"))
    async with Keeper(Spool(tmp_path / "a.sqlite"), first) as keeper:
        first.put(result(0, events=("new", "lost", "end")))
        await keeper.released(3)
        first.sent(first.next_events(1)[0])
    assert keeper.kept == 2
    second = outbox()
    async with Keeper(Spool(tmp_path / "a.sqlite"), second) as keeper:
        second.put(result(0, events=("new",)))
        await keeper.released(4)
        assert sent(second) == ["n/c/first/1", "n/c/first/2", "n/c/r/0"]


async def test_events_that_are_dropped_leave_the_disk_too(tmp_path: Path) -> None:
    events = Outbox(("n", "c", "r"), capacity=5)
    async with Keeper(Spool(tmp_path / "a.sqlite"), events) as keeper:
        for index in range(20):
            events.put(result(index, events=("update",)))
            await keeper.released(index + 1)
    assert events.dropped == 15
    left = Spool(tmp_path / "a.sqlite")
    assert [number for number, _ in left.open()] == [15, 16, 17, 18, 19]
    left.close()


async def test_a_disk_that_is_full_is_said_once_and_stops_no_event(tmp_path: Path, log: Log) -> None:
    events = outbox()
    async with Keeper(Spool(tmp_path / "a.sqlite", max_bytes=2**15), events) as keeper:
        for index in range(300):
            events.put(result(index, events=("update",)))
            if index % 50 == 0:
                await keeper.released(index + 1)
        await keeper.released(300)
        assert 0 < keeper.kept < 300
        assert len(sent(events)) == 300
    assert log.warnings == SAID
    assert "full" in log.entries[0]["reason"]


async def test_a_disk_with_room_again_is_used_again(tmp_path: Path, log: Log) -> None:
    events = outbox()
    async with Keeper(Spool(tmp_path / "a.sqlite", max_bytes=2**15), events) as keeper:
        for index in range(300):
            events.put(result(index, events=("update",)))
        await keeper.released(300)
        sent(events)
        events.put(result(300, events=("end",)))
        await keeper.released(301)
        assert keeper.kept == 1
    assert log.warnings == SAID


@pytest.mark.parametrize("place", ["file/a.sqlite", "folder.sqlite"])
async def test_a_place_that_cannot_be_written_is_said_once_and_stops_no_event(
    tmp_path: Path, log: Log, place: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.sqlite").mkdir()
    events = outbox()
    async with Keeper(Spool(tmp_path / place), events) as keeper:
        for index in range(10):
            events.put(result(index, events=("update",)))
        await keeper.released(10)
        assert len(sent(events)) == 10
        assert keeper.kept == 0
    assert log.warnings == SAID


def damage(path: Path, at: int) -> bytes:
    """Overwrite a page of the file; its bytes from then on."""
    data = bytearray(path.read_bytes())
    data[at : at + 4096] = b"\xaa" * 4096
    path.write_bytes(data)
    return bytes(data)


@pytest.mark.parametrize("page", [0, 1, 2])
async def test_a_damaged_file_is_put_aside_and_events_are_on_disk_again(
    tmp_path: Path, log: Log, page: int
) -> None:
    path, spool = tmp_path / "a.sqlite", Spool(tmp_path / "a.sqlite")
    spool.open()
    spool.write([(number, "x" * 1000) for number in range(20)], 0)
    spool.close()
    damaged = damage(path, page * 4096)
    for number in (1, 2):  # the next run finds it whole
        events = outbox()
        async with Keeper(Spool(path), events) as keeper:
            events.put(result(0, events=("new",)))
            await keeper.released(number)
            assert keeper.kept == number
    assert log.warnings == ["the file of events is damaged: put aside, and begun anew"]
    assert (tmp_path / "a.sqlite.damaged").read_bytes() == damaged


async def test_an_event_that_cannot_be_read_is_left_out(tmp_path: Path, log: Log) -> None:
    events = outbox()
    async with Keeper(Spool(tmp_path / "a.sqlite"), events) as keeper:
        events.put(result(0, events=("new", "lost", "end")))
        await keeper.released(3)
    spool = Spool(tmp_path / "a.sqlite")
    spool.open()
    spool.write([(1, "{")], 0)
    spool.close()
    again = outbox()
    async with Keeper(Spool(tmp_path / "a.sqlite"), again) as keeper:
        await keeper.released(3)
        assert sent(again) == ["n/c/r/0", "n/c/r/2"]
    assert log.warnings == ["an event on disk cannot be read and is left out"]


class HangingSpool(Spool):
    """A disk that does not answer until it may."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may_write = threading.Event()
        self.writes = threading.Event()

    def write(self, added: Sequence[tuple[int, str]], first: int) -> None:
        self.writes.set()
        self.may_write.wait()
        super().write(added, first)


async def test_a_disk_that_hangs_holds_up_neither_events_nor_leaving(tmp_path: Path, log: Log) -> None:
    events, spool = outbox(), HangingSpool(tmp_path / "a.sqlite")
    began = time.monotonic()
    async with Keeper(spool, events) as keeper:
        events.put(result(0, events=("new",)))
        await keeper.released(1)
        assert sent(events) == ["n/c/r/0"]
    assert time.monotonic() - began < 4
    spool.may_write.set()
    assert log.warnings[0] == SAID[0]


async def test_while_a_disk_hangs_nothing_more_is_given_to_it_and_afterwards_everything_is_written(
    tmp_path: Path, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "PATIENCE_SECONDS", 0.01)
    events, spool = outbox(), HangingSpool(tmp_path / "a.sqlite")
    async with Keeper(spool, events) as keeper:
        for index in range(20):
            events.put(result(index, events=("update",)))
            await keeper.released(index + 1)
        assert keeper._worker._calls.empty(), "each call would hold what it was to write"
        spool.may_write.set()
        while keeper.kept < 20:
            await asyncio.wait_for(keeper.news.wait(), 10)
            keeper.news.clear()
    assert log.warnings == SAID
    left = Spool(tmp_path / "a.sqlite")
    assert [number for number, _ in left.open()] == list(range(events.after))
    left.close()


async def test_a_slow_disk_that_is_left_while_it_writes_has_everything(tmp_path: Path, log: Log) -> None:
    events, spool = outbox(), HangingSpool(tmp_path / "a.sqlite")
    async with Keeper(spool, events):
        events.put(result(0, events=("new",)))
        await asyncio.to_thread(spool.writes.wait, 10)
        events.put(result(1, events=("end",)))
        asyncio.get_running_loop().call_soon(spool.may_write.set)  # while it is being left
    assert log.warnings == []
    left = Spool(tmp_path / "a.sqlite")
    assert [number for number, _ in left.open()] == [0, 1]
    left.close()
