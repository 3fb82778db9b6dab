"""Our RTSP server against independent players: ffprobe, ffmpeg, GStreamer, PyAV; and against nonsense."""

from __future__ import annotations

import asyncio
import errno
import json
import re
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.base import SinkError
from keepsight.streams.encoder import SharedEncoder, Unit
from keepsight.streams.h264 import nal_units
from keepsight.streams.rtsp import server as rtsp
from keepsight.streams.rtsp import transports
from keepsight.streams.rtsp.rtp import MOST_PAYLOAD, Packetizer, fragments
from keepsight.streams.rtsp.transports import Channels, Ports, bound_pair, offered
from keepsight.streams.sinks import open_sink
from keepsight.streams.sources import open_source

from .filming import SIZE, filming

NeedProgram = Callable[[str], str]


@asynccontextmanager
async def playing(port: int, password: str = "", rate: float = 25) -> AsyncIterator[str]:
    at = f"me:{password}@127.0.0.1:{port}" if password else f"127.0.0.1:{port}"
    async with open_sink(f"rtsp-server://{at}/door") as sink, filming(sink, rate=rate):
        yield f"rtsp://{at}/door"


async def run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(30):
            said, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0, complained.decode()[-2000:]
    return said


async def test_ffprobe_reads_what_is_there(need_program: NeedProgram, unused_tcp_port: int) -> None:
    probe = need_program("ffprobe")
    async with playing(unused_tcp_port) as url:
        said = json.loads(
            await run(probe, "-v", "error", "-rtsp_transport", "tcp", "-show_streams", "-of", "json", url)
        )
    (stream,) = said["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("h264", 160, 120)
    assert stream["has_b_frames"] == 0


@pytest.mark.parametrize("over", ["tcp", "udp"])
async def test_ffmpeg_sees_the_overlay(
    need_program: NeedProgram, unused_tcp_port: int, tmp_path: Path, over: str
) -> None:
    ffmpeg, picture = need_program("ffmpeg"), tmp_path / "seen.png"
    how = ("-v", "error", "-rtsp_transport", over)
    async with playing(unused_tcp_port) as url:
        await run(ffmpeg, *how, "-i", url, "-frames:v", "20", "-update", "1", str(picture))
    image = cv2.imread(str(picture))
    assert image is not None
    assert image.shape == (*SIZE, 3)
    middle = image[50:70, 110:130].mean((0, 1))[::-1]  # in the disc that stays, which is orange
    assert middle[1] == pytest.approx(170, abs=15)


@pytest.mark.parametrize("over", ["tcp", "udp"])
async def test_gstreamer_plays_several_seconds_without_a_gap(
    need_program: NeedProgram, unused_tcp_port: int, tmp_path: Path, over: str
) -> None:
    launch, recorded = need_program("gst-launch-1.0"), tmp_path / "seen.mkv"
    async with playing(unused_tcp_port) as url:
        pipeline = (
            f"rtspsrc location={url} protocols={over} latency=100 ! rtph264depay ! h264parse"
            f" ! identity eos-after=60 ! matroskamux ! filesink location={recorded}"
        )
        await run(launch, "-q", "-e", *pipeline.split())
    source = open_source(str(recorded))
    async with source:
        frames = [frame async for frame in source]
    assert len(frames) >= 58
    assert max(b.time - a.time for a, b in pairwise(frames)) < 0.5


async def test_several_players_cost_one_encode_and_our_own_source_is_one(unused_tcp_port: int) -> None:
    encoder = SharedEncoder("door")
    url = f"127.0.0.1:{unused_tcp_port}/door"
    async with asyncio.timeout(30), open_sink(f"rtsp-server://{url}", encoder=encoder) as sink, filming(sink):

        async def play() -> list[int]:
            async with open_source(f"rtsp://{url}") as source:
                return [frame.index async for frame in until(source, 30)]

        counts = await asyncio.gather(*(play() for _ in range(4)))
    assert [count[-1] for count in counts] >= [29] * 4
    assert encoder.encoded < 120


async def until(source: object, count: int) -> AsyncIterator[object]:
    async for frame in source:  # type: ignore[attr-defined]
        yield frame
        if frame.index + 1 >= count:
            return


async def test_a_password_is_asked_for(need_program: NeedProgram, unused_tcp_port: int) -> None:
    probe = need_program("ffprobe")
    async with playing(unused_tcp_port, "secret") as url:
        await run(probe, "-v", "error", "-rtsp_transport", "tcp", url)
        for wrong in (url.replace("secret", "guess"), url.replace("me:secret@", "")):
            with pytest.raises(AssertionError, match="401"):
                await run(probe, "-rtsp_transport", "tcp", wrong)


class Client:
    """Speaks to the server by hand."""

    def __init__(self, port: int, *, receive_buffer: int = 2**18) -> None:
        self._port = port
        self._receive_buffer = receive_buffer

    async def __aenter__(self) -> Client:
        connected = socket.socket()
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        connected.setblocking(False)
        await asyncio.get_running_loop().sock_connect(connected, ("127.0.0.1", self._port))
        self.reader, self.writer = await asyncio.open_connection(sock=connected)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()

    async def ask(self, text: str) -> str:
        self.writer.write(text.replace("\n", "\r\n").encode())
        return (await self.reader.readuntil(b"\r\n\r\n")).decode()

    async def play(self, url: str, transport: str = "RTP/AVP/TCP;unicast") -> str:
        """What was answered to SETUP."""
        answer = await self.ask(f"SETUP {url}/track0 RTSP/1.0\nCSeq: 1\nTransport: {transport}\n\n")
        session = re.search(r"Session: (\w+)", answer)
        assert session, answer
        said = await self.ask(f"PLAY {url} RTSP/1.0\nCSeq: 2\nSession: {session[1]}\n\n")
        assert "200 OK" in said
        return answer


class Listener:
    """A player's pair of ports for datagrams."""

    def __init__(self) -> None:
        self.rtp, self.rtcp = bound_pair(("127.0.0.1", 0))
        for one in (self.rtp, self.rtcp):
            one.setblocking(False)

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.rtp.close()
        self.rtcp.close()

    @property
    def transport(self) -> str:
        ports = "-".join(str(one.getsockname()[1]) for one in (self.rtp, self.rtcp))
        return f"RTP/AVP;unicast;destination=192.0.2.1;client_port={ports}"

    async def packet(self, one: socket.socket) -> tuple[bytes, int]:
        """The next packet, and the port that it is from."""
        data, sender = await asyncio.get_running_loop().sock_recvfrom(one, 2048)
        return data, sender[1]


async def test_pictures_and_reports_come_as_datagrams_until_the_player_leaves(unused_tcp_port: int) -> None:
    async with asyncio.timeout(20), playing(unused_tcp_port) as url, Client(unused_tcp_port) as client:
        with Listener() as ours:
            said = await client.play(url, ours.transport)
            told = re.search(r"server_port=(\d+)-(\d+)", said)
            assert told, said
            picture, report = await ours.packet(ours.rtp), await ours.packet(ours.rtcp)
            assert (picture[0][1] & 0x7F, report[0][1]) == (96, 200)
            assert (str(picture[1]), str(report[1])) == told.groups()
            assert " 200 " in await client.ask(f"TEARDOWN {url} RTSP/1.0\nCSeq: 3\n\n")
            await client.reader.read()
            with suppress(BlockingIOError):
                while ours.rtp.recv(2048):
                    pass
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.3):
                    await ours.packet(ours.rtp)


async def test_who_gets_no_datagrams_goes_on_over_tcp(unused_tcp_port: int) -> None:
    """As FFmpeg does: it pauses, and sets the same session up again."""
    async with asyncio.timeout(20), playing(unused_tcp_port) as url, Client(unused_tcp_port) as client:
        with Listener() as ours:
            await client.play(url, ours.transport)
        assert " 200 " in await client.ask(f"PAUSE {url} RTSP/1.0\nCSeq: 3\n\n")
        await client.play(url)
        assert (await client.reader.readexactly(2000)).startswith(b"$")


async def test_who_is_not_heard_of_any_more_is_let_go(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtsp, "IDLE_SECONDS", 1.0)
    async with asyncio.timeout(20), playing(unused_tcp_port) as url, Client(unused_tcp_port) as client:
        with Listener() as ours:
            await client.play(url, ours.transport)
            _, port = await ours.packet(ours.rtcp)
            leaving = asyncio.ensure_future(client.reader.read())
            for _ in range(12):
                ours.rtcp.sendto(b"\x80\xc9\x00\x01\x00\x00\x00\x00", ("127.0.0.1", port))
                await asyncio.wait([leaving], timeout=0.25)
            assert not leaving.done(), "reports of what is received say that there is somebody"
            assert await leaving == b""


async def test_a_player_gets_the_first_transport_that_can_be_had(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_free(address: object) -> object:
        raise OSError(errno.EADDRINUSE, "no port")

    monkeypatch.setattr(transports, "bound_pair", none_free)
    udp, tcp = "RTP/AVP;unicast;client_port=50000-50001", "RTP/AVP/TCP;unicast"
    async with asyncio.timeout(20), playing(unused_tcp_port) as url, Client(unused_tcp_port) as client:
        said = await client.ask(f"SETUP {url} RTSP/1.0\nCSeq: 1\nTransport: {udp},{tcp}\n\n")
        assert "interleaved=0-1" in said
        assert " 461 " in await client.ask(f"SETUP {url} RTSP/1.0\nCSeq: 1\nTransport: {udp}\n\n")
        await client.play(url)


def test_the_pair_of_ports_is_of_the_connections_own_address() -> None:
    pair = bound_pair(("::1", 8554, 0, 0))
    first, second = (one.getsockname()[:2] for one in pair)
    for one in pair:
        one.close()
    assert first[0] == second[0] == "::1"
    assert first[1] % 2 == 0
    assert second[1] == first[1] + 1


async def test_a_player_without_a_session_or_transport_is_told(unused_tcp_port: int) -> None:
    async with playing(unused_tcp_port) as url, Client(unused_tcp_port) as client:
        many = "RTP/AVP;multicast;client_port=5000-5001"
        assert " 461 " in await client.ask(f"SETUP {url} RTSP/1.0\nCSeq: 1\nTransport: {many}\n\n")
        assert " 455 " in await client.ask(f"PLAY {url} RTSP/1.0\nCSeq: 2\n\n")
        assert " 454 " in await client.ask(f"PLAY {url} RTSP/1.0\nCSeq: 2\nSession: 1\n\n")
        assert " 404 " in await client.ask(f"DESCRIBE {url}x RTSP/1.0\nCSeq: 3\n\n")
        assert " 405 " in await client.ask(f"RECORD {url} RTSP/1.0\nCSeq: 4\n\n")
        assert "CSeq: 5\r\n" in await client.ask(f"OPTIONS {url} RTSP/1.0\nCSeq: 5\n\n")


@pytest.mark.parametrize(
    "nonsense",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00" * 50 + b"\r\n\r\n",
        b"DESCRIBE rtsp://[ RTSP/1.0\r\n\r\n",
        b"DESCRIBE rtsp://x/door RTSP/1.0\r\nContent-Length: 99999999999\r\n\r\n",
        b"SETUP rtsp://x/door RTSP/1.0\r\nTransport: RTP/AVP/TCP;interleaved=9999-x\r\n\r\n",
        b"OPTIONS * RTSP/2.0\r\n\r\n",
        b"X" * 100_000,
        b"$\x00\xff\xff" + b"y" * 10,
    ],
)
async def test_nonsense_ends_its_connection_alone(nonsense: bytes, unused_tcp_port: int) -> None:
    async with asyncio.timeout(20), playing(unused_tcp_port) as url, Client(unused_tcp_port) as player:
        await player.play(url)
        async with Client(unused_tcp_port) as stranger:
            stranger.writer.write(nonsense)
            stranger.writer.write_eof()
            said = await stranger.reader.read()
        assert not said or re.match(rb"RTSP/1\.0 [45]\d\d ", said)
        await player.reader.readexactly(2000)
        async with Client(unused_tcp_port) as client:
            assert " 200 " in await client.ask(f"OPTIONS {url} RTSP/1.0\nCSeq: 5\n\n")


async def test_a_player_that_stops_reading_is_let_go_and_hurts_nobody(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rtsp, "PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(rtsp, "_MOST_BUFFERED", 5000)
    encoder = SharedEncoder("door")
    url = f"127.0.0.1:{unused_tcp_port}/door"
    async with (
        asyncio.timeout(60),
        open_sink(f"rtsp-server://{url}", encoder=encoder) as sink,
        filming(sink, size=(480, 640), noisy=True),
        Client(unused_tcp_port, receive_buffer=5000) as stuck,
        Client(unused_tcp_port) as quick,
    ):
        await stuck.play(f"rtsp://{url}")
        stuck.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await quick.play(f"rtsp://{url}")
        while encoder.readers < 2:
            assert await quick.reader.read(2**16)
        while encoder.readers == 2:
            assert await quick.reader.read(2**16)
        before = encoder.encoded
        while encoder.encoded < before + 10:
            assert await quick.reader.read(2**16)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("rtsp-server://0.0.0.0:8554/door", "needs a password"),
        ("rtsp-server://:x/door", "cannot be read"),
        ("rtsp-server://:8554/a/b", "needs one name"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(url: str, reason: str) -> None:
    with pytest.raises(SinkError, match=reason):
        open_sink(url)


async def test_cameras_that_open_together_share_a_port(unused_tcp_port: int) -> None:
    at = f"rtsp-server://127.0.0.1:{unused_tcp_port}"
    sinks = [open_sink(f"{at}/{name}") for name in ("door", "yard")]
    async with AsyncExitStack() as exits:
        await asyncio.gather(*map(exits.enter_async_context, sinks))
    other = open_sink(f"{at}/shed")  # once both have gone
    async with other:
        pass


async def test_two_cameras_share_a_port_but_not_a_name(unused_tcp_port: int) -> None:
    at = f"rtsp-server://:{unused_tcp_port}"
    async with open_sink(f"{at}/one") as one, open_sink(f"{at}/two") as two, filming(one, two):
        with pytest.raises(SinkError, match="this name and port"):
            async with open_sink(f"{at}/one"):
                pass
        async with Client(unused_tcp_port) as client:
            await client.play(f"rtsp://127.0.0.1:{unused_tcp_port}/two")
            await client.reader.readexactly(1000)


def test_large_units_are_fragmented_and_come_together_again() -> None:
    nal = bytes([0x65]) + bytes(range(1, 256)) * 20
    pieces = list(fragments(nal))
    assert all(len(piece) <= MOST_PAYLOAD for piece in pieces)
    assert [piece[1] >> 6 for piece in pieces] == [2, 0, 0, 1]
    assert bytes([pieces[0][0] & 0xE0 | pieces[0][1] & 0x1F]) + b"".join(piece[2:] for piece in pieces) == nal
    assert list(fragments(nal[:MOST_PAYLOAD])) == [nal[:MOST_PAYLOAD]]


def test_packets_of_a_picture_share_their_time_and_the_last_is_marked() -> None:
    data = b"\0\0\0\1\x67abc\0\0\0\1\x68de\0\0\1\x65" + b"f" * 3000
    assert [len(nal) for nal in nal_units(data)] == [4, 3, 3001]
    packets = list(Packetizer().packets(Unit(data, True, 2**33, SIZE, (0, 0), 0.0, "arrival")))
    assert len(packets) == 5
    assert len({packet[4:12] for packet in packets}) == 1
    assert [packet[1] for packet in packets] == [96] * 4 + [0x80 | 96]
    numbers = [int.from_bytes(packet[2:4], "big") for packet in packets]
    assert np.diff(numbers).tolist() == [1] * 4


@pytest.mark.parametrize(
    ("transport", "known"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=4-5", [Channels(4)]),
        ("RTP/AVP/UDP;unicast;client_port=5000-5001;mode=play", [Ports(5000, 5001)]),
        ("RTP/AVP;unicast;client_port=5000,RTP/AVP/TCP;unicast", [Ports(5000, 5001), Channels(0)]),
        ("RTP/AVP;multicast;client_port=5000-5001", []),
        ("RTP/AVP;unicast;client_port=53-54", []),
        ("RTP/AVP;unicast;client_port=70000-70001", []),
        ("RTP/AVP/TCP;interleaved=255-256", []),
        ("", []),
    ],
)
def test_transports_are_taken_in_the_order_of_the_player(
    transport: str, known: list[Channels | Ports]
) -> None:
    assert offered(transport) == known
