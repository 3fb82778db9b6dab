from __future__ import annotations

import asyncio

import pytest

from keepsight.streams.mailbox import Mailbox


async def test_a_live_mailbox_keeps_the_newest_item_and_counts_the_others() -> None:
    mailbox: Mailbox[int] = Mailbox(live=True)
    for item in range(5):
        await mailbox.put(item)
    assert await anext(mailbox) == 4
    assert mailbox.dropped == 4
    assert len(mailbox) == 0


async def test_a_live_mailbox_merges_what_it_drops_into_what_replaces_it() -> None:
    mailbox: Mailbox[list[str]] = Mailbox(live=True, merge=lambda unread, newer: unread + newer)
    for event in ("new", "lost", "recovered"):
        await mailbox.put([event])
    assert await anext(mailbox) == ["new", "lost", "recovered"]
    await mailbox.put(["end"])
    assert await anext(mailbox) == ["end"]


async def test_a_mailbox_of_a_file_makes_the_producer_wait_and_loses_nothing() -> None:
    mailbox: Mailbox[int] = Mailbox(live=False, capacity=2)
    deepest = 0

    async def produce() -> None:
        nonlocal deepest
        for item in range(20):
            await mailbox.put(item)
            deepest = max(deepest, len(mailbox))
        mailbox.close()

    async with asyncio.TaskGroup() as group:
        group.create_task(produce())
        received = [item async for item in mailbox]
    assert received == list(range(20))
    assert deepest == 2
    assert mailbox.dropped == 0


async def test_a_full_mailbox_of_a_file_refuses_what_cannot_wait() -> None:
    mailbox: Mailbox[int] = Mailbox(live=False, capacity=1)
    mailbox.offer(1)
    with pytest.raises(asyncio.QueueFull):
        mailbox.offer(2)


async def test_closing_ends_the_reading_after_what_is_queued() -> None:
    mailbox: Mailbox[int] = Mailbox(live=False)
    await mailbox.put(1)
    await mailbox.put(2)
    mailbox.close()
    assert [item async for item in mailbox] == [1, 2]


async def test_closing_with_an_error_raises_it_after_what_is_queued() -> None:
    mailbox: Mailbox[int] = Mailbox(live=False)
    await mailbox.put(1)
    mailbox.close(ValueError("broken"))
    assert await anext(mailbox) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(mailbox)


async def test_closing_wakes_a_waiting_reader() -> None:
    mailbox: Mailbox[int] = Mailbox(live=True)

    async def read() -> list[int]:
        return [item async for item in mailbox]

    async with asyncio.TaskGroup() as group:
        reader = group.create_task(read())
        group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: mailbox.close())
    assert reader.result() == []


async def test_a_reader_that_gives_up_never_blocks_its_producer() -> None:
    mailbox: Mailbox[int] = Mailbox(live=False, capacity=1)
    await mailbox.put(1)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        group.create_task(mailbox.put(2))
        group.create_task(asyncio.sleep(0)).add_done_callback(lambda _: mailbox.close())
    await mailbox.put(3)
    assert mailbox.dropped == 2


async def test_a_cancelled_read_loses_no_item() -> None:
    mailbox: Mailbox[int] = Mailbox(live=True)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await anext(mailbox)
    await mailbox.put(7)
    assert await anext(mailbox) == 7
