"""Who gets a place at our RTSP server, and that strangers can take none from those who know the password."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from keepsight.streams.rtsp import room
from keepsight.streams.rtsp.room import Room

from .test_rtsp_server import Client, playing

AUTHORISED = "Authorization: Bearer secret"


def set_up(url: str, *fields: str) -> str:
    lines = (f"SETUP {url}/track0 RTSP/1.0", "CSeq: 1", "Transport: RTP/AVP/TCP;unicast", *fields)
    return "\n".join(lines) + "\n\n"


@asynccontextmanager
async def connected(port: int, count: int) -> AsyncIterator[list[Client]]:
    async with AsyncExitStack() as exits:
        yield [await exits.enter_async_context(Client(port)) for _ in range(count)]


async def test_connections_that_say_nothing_keep_no_user_out(unused_tcp_port: int) -> None:
    async with (
        asyncio.timeout(20),
        playing(unused_tcp_port, "secret") as url,
        connected(unused_tcp_port, room.PLAYERS + room.STRANGERS) as silent,
        Client(unused_tcp_port) as user,
    ):
        assert " 200 " in await user.ask(set_up(url, AUTHORISED))
        assert await silent[0].reader.read() == b"", "the oldest made room"


async def test_who_only_asks_what_there_is_is_let_go_and_who_has_set_up_stays(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        asyncio.timeout(20),
        playing(unused_tcp_port, "secret") as url,
        Client(unused_tcp_port) as user,
    ):
        assert " 200 " in await user.ask(set_up(url, AUTHORISED))
        monkeypatch.setattr(room, "STRANGER_SECONDS", 0.5)
        async with Client(unused_tcp_port) as stranger:
            with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
                await ask_for_ever(stranger)
        assert " 200 " in await user.ask(f"GET_PARAMETER {url} RTSP/1.0\nCSeq: 3\n{AUTHORISED}\n\n")


async def ask_for_ever(client: Client) -> None:
    while True:
        await client.ask("OPTIONS * RTSP/1.0\nCSeq: 2\n\n")


async def test_one_player_too_many_is_told(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "PLAYERS", 2)
    async with (
        asyncio.timeout(20),
        playing(unused_tcp_port) as url,
        connected(unused_tcp_port, 3) as clients,
    ):
        said = [await client.ask(set_up(url)) for client in clients]
        assert [answer.split()[1] for answer in said] == ["200", "200", "453"]
        assert " 200 " in await clients[0].ask(set_up(url)), "it has its place already"


async def test_where_many_wait_the_one_who_came_first_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "STRANGERS", 2)
    port, inside, gone = Room(), asyncio.Semaphore(0), asyncio.Event()

    async def stay(address: str) -> None:
        try:
            async with port.enter(address):
                inside.release()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            gone.set()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = []
        for address in ("a", "b", "c"):
            tasks.append(group.create_task(stay(address)))
            await inside.acquire()
        await gone.wait()
        assert [task.done() or task.cancelling() > 0 for task in tasks] == [True, False, False]
        for task in tasks[1:]:
            task.cancel()


async def test_who_holds_many_places_loses_its_own_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "STRANGERS_OF_ONE_ADDRESS", 2)
    port = Room()
    gone: list[str] = []
    inside = asyncio.Semaphore(0)

    async def stay(name: str, address: str) -> None:
        try:
            async with port.enter(address):
                inside.release()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            gone.append(name)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        tasks = []
        for name, address in (("other", "b"), ("first", "a"), ("second", "a"), ("third", "a")):
            tasks.append(group.create_task(stay(name, address)))
            await inside.acquire()
        await tasks[1]
        assert gone == ["first"]
        for task in tasks:
            task.cancel()
