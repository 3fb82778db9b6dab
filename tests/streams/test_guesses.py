"""Who guesses passwords at what listens, and pages of other sites where there is none."""

from __future__ import annotations

import asyncio
from base64 import b64encode

import pytest
from aiohttp import ClientSession

from keepsight.streams.base import SinkError, SourceError
from keepsight.streams.guesses import Guesses
from keepsight.streams.listening import parse_listening
from keepsight.streams.sinks import open_sink
from keepsight.streams.sources import open_source
from keepsight.streams.webrtc.whip_server import WhipListener


def publishing(at: str) -> WhipListener:
    return WhipListener(parse_listening(f"whip-server://{at}", port=0, name=""))


@pytest.mark.parametrize("scheme", ["rtsp-server", "whip-server"])
@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.168.0.7", "cameras.local"])
def test_what_the_network_reaches_needs_a_password_that_is_not_short(scheme: str, host: str) -> None:
    make = open_sink if scheme == "rtsp-server" else open_source
    with pytest.raises((SinkError, SourceError), match="needs a password of 8 characters") as caught:
        make(f"{scheme}://me:seven77@{host}:8000/door")
    assert "seven77" not in str(caught.value)
    make(f"{scheme}://me:eightieth@{host}:8000/door")


def test_on_this_machine_alone_any_password_will_do() -> None:
    assert parse_listening("whip-server://:x@localhost/door", port=1, name="").password == "x"


def test_who_guessed_five_times_waits_and_others_do_not() -> None:
    guesses, at = Guesses(), parse_listening("whip-server://:right@:1/door", port=1, name="")
    assert [guesses.objection(at, "a", "Bearer wrong") for _ in range(6)] == [401] * 5 + [429]
    assert guesses.objection(at, "a", "Bearer right") == 429
    assert guesses.objection(at, "b", "Bearer right") is None
    assert [guesses.objection(at, "c", None) for _ in range(9)] == [401] * 9  # players ask first without


async def test_passwords_are_not_guessed_fast_over_whip(unused_tcp_port: int) -> None:
    at = f"127.0.0.1:{unused_tcp_port}/door"
    async with asyncio.timeout(20), publishing(f":right@{at}"), ClientSession() as client:
        answers = []
        for _ in range(6):
            async with client.post(
                f"http://{at}", data="v=0", headers={"Authorization": "Bearer wrong"}
            ) as said:
                answers.append(said.status)
    assert answers == [401] * 5 + [429]


async def test_passwords_are_not_guessed_fast_over_rtsp(unused_tcp_port: int) -> None:
    at = f"127.0.0.1:{unused_tcp_port}/door"
    asked = f"DESCRIBE rtsp://{at} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic bWU6d3Jvbmc=\r\n\r\n"
    async with asyncio.timeout(20), open_sink(f"rtsp-server://me:right@{at}"):
        answers = []
        for _ in range(6):
            reader, writer = await asyncio.open_connection("127.0.0.1", unused_tcp_port)
            writer.write(asked.encode())
            answers.append((await reader.readuntil(b"\r\n\r\n")).split(b" ")[1])
            writer.close()
    assert answers == [b"401"] * 5 + [b"429"]


async def test_a_player_who_was_let_in_plays_on_whoever_guesses_from_the_same_address(
    unused_tcp_port: int,
) -> None:
    at = f"127.0.0.1:{unused_tcp_port}/door"
    right, wrong = (b64encode(said).decode() for said in (b"me:right", b"me:wrong"))

    async def asks(said: str, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> bytes:
        reader, writer = connection
        writer.write(
            f"GET_PARAMETER rtsp://{at} RTSP/1.0\r\nCSeq: 1\r\nAuthorization: Basic {said}\r\n\r\n".encode()
        )
        return (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]

    async with asyncio.timeout(20), open_sink(f"rtsp-server://me:right@{at}"):
        player, stranger = [await asyncio.open_connection("127.0.0.1", unused_tcp_port) for _ in range(2)]
        assert await asks(right, player) == b"200"
        assert [await asks(wrong, stranger) for _ in range(6)] == [b"401"] * 5 + [b"429"]
        assert await asks(right, player) == b"200"
        assert await asks(right, stranger) == b"429"
        for _, writer in (player, stranger):
            writer.close()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example:8081"}, 403),  # DNS rebinding: a name of theirs for our address
        ({"Host": "evil.example:8081", "Origin": "http://evil.example:8081"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://[x"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({}, 406),  # let in, and then it is no offer
    ],
)
async def test_pages_of_other_sites_do_not_publish_where_there_is_no_password(
    headers: dict[str, str], status: int, unused_tcp_port: int
) -> None:
    at = f"127.0.0.1:{unused_tcp_port}/door"
    sdp = {"Content-Type": "application/sdp"}
    async with asyncio.timeout(20), publishing(at), ClientSession() as client:
        async with client.post(f"http://{at}", data="v=0", headers=sdp | headers) as said:
            assert said.status == status
        async with client.delete(f"http://{at}/nobody", headers=headers) as said:
            assert said.status == (404 if status == 406 else status)
