"""WHEP against an independent peer of the same protocol: aiortc's receiver, which decodes what comes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import numpy as np
import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

from keepsight.streams.drawing import overlay
from keepsight.streams.encoder import Overlay, SharedEncoder
from keepsight.streams.types import Image, Result
from keepsight.streams.webrtc import whep
from tests.peers.chromium import Chromium, why_no_chromium

from .results import result

SIZE = (120, 160)


async def nothing(request: web.Request) -> web.Response:
    return web.Response(text="<video autoplay muted></video>", content_type="text/html")


@asynccontextmanager
async def serving(encoder: SharedEncoder, viewers: int = whep.VIEWERS) -> AsyncIterator[str]:
    """A camera `door` that never ends, 25 frames/s, and the URL of its WHEP endpoint."""
    application = web.Application()
    whep.mount(application, {"door": encoder}, viewers=viewers)
    application.router.add_get("/", nothing)

    async def film() -> None:
        for index in range(1_000_000):
            await encoder.write(result(index, size=SIZE))
            await asyncio.sleep(0.04)

    async with TestServer(application) as server, encoder:
        filming = asyncio.create_task(film())
        try:
            yield str(server.make_url("/whep/door"))
        finally:
            filming.cancel()
            await asyncio.gather(filming, return_exceptions=True)


class Watcher:
    """A viewer of our own with aiortc; `frames` are the messages of the data channel."""

    def __init__(self) -> None:
        self.connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.connection.addTransceiver("video", direction="recvonly")
        self.told: asyncio.Queue[dict[str, float]] = asyncio.Queue()
        channel = self.connection.createDataChannel("frames")
        channel.on("message", lambda text: self.told.put_nowait(json.loads(text)))

    async def offer(self) -> str:
        await self.connection.setLocalDescription(await self.connection.createOffer())
        return self.connection.localDescription.sdp

    async def join(self, url: str, http: ClientSession) -> str:
        """Negotiates; the session's URL."""
        headers = {"Content-Type": "application/sdp"}
        async with http.post(url, data=await self.offer(), headers=headers) as answer:
            assert answer.status == 201, await answer.text()
            assert answer.content_type == "application/sdp"
            sdp = await answer.text()
            await self.connection.setRemoteDescription(RTCSessionDescription(sdp, "answer"))
            return str(answer.url.join(answer.url.with_path(answer.headers["Location"])))

    async def picture(self) -> np.ndarray:
        (receiver,) = (one.receiver for one in self.connection.getTransceivers())
        frame = await receiver.track.recv()
        return frame.to_ndarray(format="rgb24")


async def test_a_viewer_sees_the_overlay_and_leaves() -> None:
    encoder = SharedEncoder("door")
    async with asyncio.timeout(30), ClientSession() as http, serving(encoder) as url:
        viewer = Watcher()
        session = await viewer.join(url, http)
        pictures = [await viewer.picture() for _ in range(20)]
        expected = overlay(result(0, size=SIZE), {})
        assert pictures[-1].shape == (*SIZE, 3)
        middle = np.s_[50:70, 110:130]  # in the disc that stays
        off = pictures[-1][middle].mean((0, 1)) - expected[middle].mean((0, 1))
        assert np.abs(off[1:]).max() < 10  # green and blue; the stripes in red move
        assert encoder.readers == 1
        async with http.delete(session) as left:
            assert left.status == 200
        assert encoder.readers == 0
        async with http.delete(session) as again:
            assert again.status == 404
        await viewer.connection.close()


async def test_a_viewer_is_told_which_frame_each_picture_is() -> None:
    async with asyncio.timeout(30), ClientSession() as http, serving(SharedEncoder()) as url:
        viewer = Watcher()
        await viewer.join(url, http)
        for _ in range(5):
            await viewer.picture()
        told = [await viewer.told.get() for _ in range(10)]
        await viewer.connection.close()
    origin = (told[0]["rtp"] - told[0]["index"] * 3600) % 2**32
    for one in told:
        assert one["rtp"] == (origin + one["index"] * 3600) % 2**32
        assert one["epoch"] == 0
        assert one["captured"] == pytest.approx(1_700_000_000 + one["index"] / 25)


async def test_many_viewers_cost_one_encode() -> None:
    encoder = SharedEncoder()
    async with asyncio.timeout(60), ClientSession() as http, serving(encoder) as url:
        viewers = [Watcher() for _ in range(6)]
        for viewer in viewers:
            await viewer.join(url, http)
        for _ in range(10):
            await asyncio.gather(*(viewer.picture() for viewer in viewers))
        before, at = encoder.encoded, asyncio.get_running_loop().time()
        await asyncio.sleep(1)
        spent = asyncio.get_running_loop().time() - at
        assert encoder.encoded - before <= 25 * spent + 2
        await asyncio.gather(*(viewer.connection.close() for viewer in viewers))


async def test_one_viewer_too_many_is_told_to_come_later() -> None:
    async with asyncio.timeout(30), ClientSession() as http, serving(SharedEncoder(), viewers=1) as url:
        viewer, other = Watcher(), Watcher()
        session = await viewer.join(url, http)
        headers = {"Content-Type": "application/sdp"}
        async with http.post(url, data=await other.offer(), headers=headers) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
        await http.delete(session)
        await other.join(url, http)
        await other.picture()
        await asyncio.gather(viewer.connection.close(), other.connection.close())


async def test_a_viewer_that_never_connects_and_one_that_goes_are_let_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("keepsight.streams.webrtc.peer.CONNECT_SECONDS", 2.0)
    encoder = SharedEncoder()
    async with asyncio.timeout(30), ClientSession() as http, serving(encoder, viewers=2) as url:
        silent, going = Watcher(), Watcher()
        headers = {"Content-Type": "application/sdp"}
        async with http.post(url, data=await silent.offer(), headers=headers) as answer:
            session = str(answer.url.join(answer.url.with_path(answer.headers["Location"])))
        left = await going.join(url, http)
        await going.picture()
        await going.connection.close()
        async with http.patch(left) as answer:
            assert answer.status == 405
        await asyncio.sleep(2.5)
        assert encoder.readers == 0
        for gone in (session, left):
            async with http.delete(gone) as answer:
                assert answer.status == 404
        await silent.connection.close()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        ("v=0\r\n", "text/plain", 415),
        ("hello", "application/sdp", 400),
        ("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0\r\n", "application/sdp", 406),
        ("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n", "application/sdp", 406),
        ("v=0\r\nm=video x\r\na=rtpmap:96 H264/90000\r\n", "application/sdp", 400),
        ("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 H264/90000\r\n", "application/sdp", 400),
        ("v=0" + "x" * 70_000, "application/sdp", 413),
    ],
)
async def test_an_offer_that_cannot_be_meant_is_refused(body: str, kind: str, status: int) -> None:
    encoder = SharedEncoder()
    async with asyncio.timeout(30), ClientSession() as http, serving(encoder, viewers=1) as url:
        for _ in range(2):  # and takes nobody's place
            async with http.post(url, data=body, headers={"Content-Type": kind}) as answer:
                assert answer.status == status, await answer.text()
        async with http.post(url.replace("door", "attic"), data=body) as answer:
            assert answer.status == 404


WATCH = """
(async () => {
  const connection = new RTCPeerConnection(), video = document.querySelector("video");
  const told = new Map(), shown = [];
  connection.addTransceiver("video", {direction: "recvonly"});
  connection.createDataChannel("frames").onmessage = message => {
    const frame = JSON.parse(message.data);
    told.set(frame.rtp, frame);
  };
  connection.ontrack = event => video.srcObject = new MediaStream([event.track]);
  await connection.setLocalDescription(await connection.createOffer());
  await new Promise(done => {
    const check = () => connection.iceGatheringState === "complete" && done();
    connection.onicegatheringstatechange = check;
    check();
  });
  const answer = await fetch("/whep/door", {
    method: "POST", body: connection.localDescription.sdp, headers: {"Content-Type": "application/sdp"},
  });
  const loaded = new Promise(done => video.onloadeddata = done);  // before, there is nothing to draw
  await connection.setRemoteDescription({type: "answer", sdp: await answer.text()});
  await loaded;
  const canvas = document.createElement("canvas"), context = canvas.getContext("2d");
  await new Promise(done => {
    const look = (now, metadata) => {
      canvas.width = video.videoWidth;
      canvas.height = video.videoHeight;
      context.drawImage(video, 0, 0);
      const grey = [...context.getImageData(20, 20, 1, 1).data];
      const size = [canvas.width, canvas.height];
      shown.push({rtp: metadata.rtpTimestamp, grey, size, at: video.currentTime});
      shown.length < 40 ? video.requestVideoFrameCallback(look) : done();
    };
    video.requestVideoFrameCallback(look);
  });
  return shown.map(one => ({...one, frame: told.get(one.rtp) || null}));
})()
"""


@pytest.mark.skipif(why_no_chromium() is not None, reason=str(why_no_chromium()))
async def test_a_browser_plays_and_knows_the_frame_of_each_picture() -> None:
    encoder = SharedEncoder("door", overlay=Brightness())
    async with (
        asyncio.timeout(60),
        serving(encoder) as url,
        Chromium(url.replace("/whep/door", "/")) as browser,
    ):
        shown = await browser.run(WATCH)
    assert all(later["at"] > earlier["at"] for earlier, later in pairwise(shown))
    assert {tuple(one["size"]) for one in shown} == {(160, 120)}
    known = [one for one in shown if one["frame"]]
    assert len(known) >= len(shown) - 2  # of the first one is told after it
    for one in known:
        assert one["grey"][1] == pytest.approx(Brightness.of(one["frame"]["index"]), abs=6)


class Brightness(Overlay):
    """Each picture's grey tells its index: what is drawn comes back from the browser's canvas."""

    @staticmethod
    def of(index: int) -> int:
        return 30 + index * 40 % 200

    def draw(self, result: Result) -> Image:
        return np.full((*SIZE, 3), self.of(result.frame.index), np.uint8)
