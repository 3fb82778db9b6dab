"""WebRTC as a source: Chromium's camera published to us, aiortc's, and what another server shows by WHEP."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise
from ssl import SSLContext

import numpy as np
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from aiohttp.typedefs import Handler
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import VideoStreamTrack
from av import VideoFrame

from keepsight.streams.base import DeniedError, Source, SourceError
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.listening import parse_listening
from keepsight.streams.sources import open_source
from keepsight.streams.sources.webrtc import WhepSource
from keepsight.streams.types import Frame, SourceStatus
from keepsight.streams.webrtc import whep
from keepsight.streams.webrtc.client import Endpoint, PeerError
from keepsight.streams.webrtc.peer import MOST_SDP, SDP
from keepsight.streams.webrtc.whip_server import Seat, WhipListener
from tests.peers.chromium import Chromium, why_no_chromium

from .results import result


class GreySteps(VideoStreamTrack):
    """30 pictures a second, each grey and brighter than the one before."""

    async def recv(self) -> VideoFrame:
        pts, time_base = await self.next_timestamp()
        grey = pts // 3000 * 4 % 200 + 20
        frame = VideoFrame.from_ndarray(np.full((120, 160, 3), grey, np.uint8), format="rgb24")
        frame.pts, frame.time_base = pts, time_base
        return frame


class Publisher:
    """Publishes grey pictures by WHIP with aiortc."""

    def __init__(self, url: str, token: str = "", tls: SSLContext | None = None) -> None:
        self._url = url
        self._tls = tls or True
        self._headers = {"Content-Type": "application/sdp"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    async def __aenter__(self) -> Publisher:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTrack(GreySteps())
        await self.connection.setLocalDescription(await self.connection.createOffer())
        self._http = ClientSession()
        offer = self.connection.localDescription.sdp
        async with self._http.post(self._url, data=offer, headers=self._headers, ssl=self._tls) as answer:
            assert answer.status == 201, answer.status
            sdp = await answer.text()
            self.session = str(answer.url.join(answer.url.with_path(answer.headers["Location"])))
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
        return self

    async def __aexit__(self, *_: object) -> None:
        async with self._http.delete(self.session, headers=self._headers, ssl=self._tls):
            pass
        await self._http.close()
        await self.connection.close()


async def read(source: Source, count: int) -> list[Frame]:
    frames: list[Frame] = []
    async for frame in source:
        frames.append(frame)
        if len(frames) == count:
            break
    return frames


class Reading:
    """Enters a source, which waits for its publisher, and reads it beside the test."""

    def __init__(self, source: Source) -> None:
        self.frames: asyncio.Queue[Frame] = asyncio.Queue()
        self._source = source

    async def __aenter__(self) -> Reading:
        self._task = asyncio.create_task(self._read())
        await asyncio.sleep(0.3)  # until it listens
        assert not self._task.done(), self._task.exception()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _read(self) -> None:
        async with self._source as source:
            async for frame in source:
                self.frames.put_nowait(frame)

    async def take(self, count: int) -> list[Frame]:
        return [await self.frames.get() for _ in range(count)]


async def test_who_publishes_is_seen_and_comes_back(unused_tcp_port: int) -> None:
    statuses: list[SourceStatus] = []
    url = f"whip-server://:{unused_tcp_port}/door"
    http = f"http://127.0.0.1:{unused_tcp_port}/door"
    async with asyncio.timeout(40), Reading(open_source(url, on_status=statuses.append)) as reading:
        async with Publisher(http):
            frames = await reading.take(20)
        async with Publisher(http):
            while (frame := (await reading.take(1))[0]).epoch == 0:
                frames.append(frame)
            frames += [frame, *await reading.take(5)]
    assert {frame.size for frame in frames} == {(120, 160)}
    assert {frame.epoch for frame in frames} == {0, 1}
    assert {frame.clock for frame in frames} == {"arrival"}
    assert all(later.index > earlier.index for earlier, later in pairwise(frames))
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))
    assert frames[0].image.std() < 3
    assert statuses[0].state == "online"
    assert SourceStatus("offline", "the stream ended", 0) in statuses
    assert SourceStatus("online", "", 1) in statuses


async def test_a_publisher_takes_the_place_of_one_that_hangs(unused_tcp_port: int) -> None:
    http = f"http://127.0.0.1:{unused_tcp_port}/door"
    url = f"whip-server://:{unused_tcp_port}/door"
    async with asyncio.timeout(40), Reading(open_source(url)) as reading, Publisher(http) as first:
        await reading.take(5)
        async with Publisher(http):
            while (await reading.take(1))[0].epoch == 0:
                pass
            async with ClientSession() as client, client.delete(first.session) as answer:
                assert answer.status == 404  # the first cannot end the second
            await reading.take(5)


class SlowToClose:
    """Stands for a connection that is being closed until `may_close`."""

    def __init__(self) -> None:
        self.may_close = asyncio.Event()
        self.is_closed = False

    async def close(self) -> None:
        await self.may_close.wait()
        self.is_closed = True


async def test_of_two_who_come_while_a_third_is_sent_away_one_stays_and_can_leave() -> None:
    seat = Seat(parse_listening("whip-server://:8081/door", port=0, name=""))
    comers = [SlowToClose() for _ in range(3)]
    sitting = [asyncio.create_task(seat.sit(one)) for one in comers]  # type: ignore[arg-type]
    await asyncio.sleep(0)
    for one in comers:
        one.may_close.set()
    async with asyncio.timeout(10):
        sessions = await asyncio.gather(*sitting)
        left = [await seat.leave(session) for session in sessions]
    assert left == [False, False, True]
    assert all(one.is_closed for one in comers)


async def test_two_cameras_share_a_port_and_each_has_its_token(unused_tcp_port: int) -> None:
    http = f"http://127.0.0.1:{unused_tcp_port}"
    one = open_source(f"whip-server://:secret@127.0.0.1:{unused_tcp_port}/one")
    two = open_source(f"whip-server://:{unused_tcp_port}/two")
    assert "secret" not in one.url
    async with asyncio.timeout(40), Reading(one) as first, Reading(two) as second:
        async with ClientSession() as client:
            for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic %%%"}):
                async with client.post(f"{http}/one", data="v=0", headers=headers) as answer:
                    assert answer.status == 401
            async with client.post(f"{http}/three", data="v=0") as answer:
                assert answer.status == 404
        async with Publisher(f"{http}/one", "secret"), Publisher(f"{http}/two"):
            await asyncio.gather(first.take(3), second.take(3))


async def test_names_that_open_together_share_a_port(unused_tcp_port: int) -> None:
    at = parse_listening(f"whip-server://127.0.0.1:{unused_tcp_port}/door", port=0, name="")
    listeners = [WhipListener(at), WhipListener(replace(at, name="yard"))]
    async with AsyncExitStack() as exits:
        await asyncio.gather(*map(exits.enter_async_context, listeners))


async def test_a_port_or_a_name_that_is_taken_is_said(unused_tcp_port: int) -> None:
    url = f"whip-server://:{unused_tcp_port}/door"
    async with asyncio.timeout(20):
        async with Reading(open_source(url)):
            with pytest.raises(SourceError, match="another source has this name"):
                await _entered(open_source(url))
        server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", unused_tcp_port)
        async with server:
            with pytest.raises(SourceError, match="cannot listen"):
                await _entered(open_source(url))


async def _entered(source: Source) -> Source:
    return await source.__aenter__()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("whip-server://0.0.0.0:8081/door", "needs a password"),
        ("whip-server://:8081", "needs one name"),
        ("whip-server://:8081/a/b", "needs one name"),
        ("whip-server://:x/door", "cannot be read"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(url: str, reason: str) -> None:
    with pytest.raises(SourceError, match=reason):
        open_source(url)


async def test_another_server_is_watched_by_whep_and_followed_when_it_returns() -> None:
    encoder = SharedEncoder("door")
    application = web.Application()
    whep.mount(application, {"door": encoder})
    statuses: list[SourceStatus] = []

    async def film() -> None:
        for index in range(100_000):
            await encoder.write(result(index, size=(120, 160)))
            await asyncio.sleep(0.04)

    async with asyncio.timeout(60), encoder:
        filming = asyncio.create_task(film())
        server = TestServer(application)
        await server.start_server()
        port = server.port
        url = f"whep://127.0.0.1:{port}/whep/door"
        async with open_source(url, timeout_seconds=4, on_status=statuses.append) as source:
            frames = await read(source, 20)
            await server.close()
            again = web.Application()
            whep.mount(again, {"door": encoder})
            server = TestServer(again, port=port)
            await server.start_server()
            while frames[-1].epoch == 0:
                frames += await read(source, 1)
        filming.cancel()
        await server.close()
    assert {frame.size for frame in frames} == {(120, 160)}
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))
    assert statuses[-1] == SourceStatus("online", "", 1)


async def test_a_whep_server_that_is_not_there_is_said_without_the_password(unused_tcp_port: int) -> None:
    told: asyncio.Queue[SourceStatus] = asyncio.Queue()
    url = f"whep://me:secret@127.0.0.1:{unused_tcp_port}/whep/door"
    opening = asyncio.create_task(_entered(open_source(url, on_status=told.put_nowait)))
    async with asyncio.timeout(10):
        status = await told.get()
    opening.cancel()
    assert status.state == "offline"
    assert "secret" not in status.reason
    assert "refused" in status.reason.lower()


@pytest.mark.parametrize("status", [401, 403])
async def test_a_whep_server_that_wants_another_password_is_not_asked_often(status: int) -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=status)

    application = web.Application()
    application.router.add_post("/door", refuse)
    async with TestServer(application) as server:
        with pytest.raises(DeniedError, match=f"HTTP {status} .*: check user and password"):
            await _entered(WhepSource(f"whep://me:secret@127.0.0.1:{server.port}/door", 5.0))


@web.middleware
async def in_pieces(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answers as they come through some proxies: a line at a time, of no length that was told before."""
    whole = await handler(request)
    if not isinstance(whole, web.Response) or not isinstance(whole.body, bytes):
        return whole
    kept = {name: whole.headers[name] for name in ("Content-Type", "Location") if name in whole.headers}
    pieces = web.StreamResponse(status=whole.status, headers=kept)
    pieces.enable_chunked_encoding()
    await pieces.prepare(request)
    for line in whole.body.splitlines(keepends=True):
        await pieces.write(line)
        for _ in range(10):  # it is read before the next one comes
            await asyncio.sleep(0)
    return pieces


async def test_an_answer_that_comes_in_pieces_is_read_to_its_end() -> None:
    application = web.Application(middlewares=[in_pieces])
    whep.mount(application, {"door": SharedEncoder("door")})
    async with TestServer(application) as server, AsyncExitStack() as exits:
        await Endpoint.of(f"whep://127.0.0.1:{server.port}/whep/door").watch(exits, 5.0)


async def test_an_answer_that_does_not_end_is_said() -> None:
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=201, text="v=0\r\n" * MOST_SDP, content_type=SDP)

    application = web.Application()
    application.router.add_post("/door", answer)
    async with TestServer(application) as server, AsyncExitStack() as exits:
        with pytest.raises(PeerError, match=f"its answer is longer than {MOST_SDP} bytes"):
            await Endpoint.of(f"whep://127.0.0.1:{server.port}/door").watch(exits, 5.0)


PUBLISH = """
(async () => {
  const camera = await navigator.mediaDevices.getUserMedia({video: {width: 640, height: 480}, audio: true});
  const connection = new RTCPeerConnection();
  for (const track of camera.getTracks()) connection.addTrack(track, camera);
  await connection.setLocalDescription(await connection.createOffer());
  await new Promise(done => {
    const check = () => connection.iceGatheringState === "complete" && done();
    connection.onicegatheringstatechange = check;
    check();
  });
  const answer = await fetch("%s", {
    method: "POST", body: connection.localDescription.sdp,
    headers: {"Content-Type": "application/sdp", "Authorization": "Bearer secret"},
  });
  await connection.setRemoteDescription({type: "answer", sdp: await answer.text()});
  return answer.status + " " + answer.headers.get("Location");
})()
"""


async def nothing(request: web.Request) -> web.Response:
    return web.Response(text="<h1>camera</h1>", content_type="text/html")


@pytest.mark.skipif(why_no_chromium() is not None, reason=str(why_no_chromium()))
async def test_a_browser_publishes_its_camera(unused_tcp_port: int) -> None:
    url = f"whip-server://:secret@localhost:{unused_tcp_port}/phone"
    page = web.Application()
    page.router.add_get("/", nothing)
    async with (
        asyncio.timeout(60),
        TestServer(page) as server,
        Reading(open_source(url)) as reading,
        Chromium(str(server.make_url("/"))) as browser,
    ):
        said = await browser.run(PUBLISH % f"http://localhost:{unused_tcp_port}/phone")
        assert said.startswith("201 /phone/")
        frames = await reading.take(30)
    image = frames[-1].image
    assert image.shape[1] / image.shape[0] == pytest.approx(640 / 480)  # Chromium may begin smaller
    assert all(later.time > earlier.time for earlier, later in pairwise(frames))
    green = image[: image.shape[0] // 3].reshape(-1, 3).mean(0)  # its fake camera is a green field with a pie
    assert green[1] > green[0] + 40
    assert green[1] > green[2] + 40
