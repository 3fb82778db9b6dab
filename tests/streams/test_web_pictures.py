"""Pictures of the page: who gets which, what they cost, and whom the slow ones hurt."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from keepsight.streams.drawing import overlay
from keepsight.streams.web.pictures import jpeg

from .page import live, open_page
from .results import result


async def test_small_pictures_are_cut_out_of_tracks_and_events() -> None:
    async with open_page() as page:
        await page.sink.write(result(1, events=("new",)))
        event = (await page.get("api/cameras/door/events"))[1]["events"][0]["event_id"]
        for path in ("objects/1.jpg", f"event.jpg?id={event}"):
            while (got := await page.get(f"api/cameras/door/{path}"))[0] != 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            picture = cv2.imdecode(np.frombuffer(got[1], np.uint8), cv2.IMREAD_COLOR)
            assert max(picture.shape) <= 160
        for path in ("objects/9.jpg", "objects/x.jpg", "event.jpg?id=no", "event.jpg"):
            assert (await page.get(f"api/cameras/door/{path}"))[0] == 404


def parts(data: bytes) -> list[tuple[str, bytes]]:
    """Frame names and JPEGs of a multipart body."""
    found = []
    for part in data.split(b"--keepsight-frame\r\n")[1:]:
        head, _, body = part.partition(b"\r\n\r\n")
        headers = dict(line.split(": ") for line in head.decode().split("\r\n"))
        if len(body) >= int(headers["Content-Length"]):
            found.append((headers["X-Frame"], body[: int(headers["Content-Length"])]))
    return found


def apart(one: bytes, other: bytes) -> float:
    """How far the values of two JPEGs are from each other, on average."""
    pixels = [
        cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int) for data in (one, other)
    ]
    return float(np.abs(pixels[0] - pixels[1]).mean())


async def test_ffprobe_reads_motion_jpeg(need_program: Callable[[str], str]) -> None:
    probe = need_program("ffprobe")
    async with open_page() as page:
        filming = asyncio.create_task(page.film(0, 5000))
        asked = ("-v", "error", "-read_intervals", "%+#5", "-show_frames", "-show_streams", "-of", "json")
        command = (probe, *asked, "-f", "mpjpeg", page.at("mjpeg/door"))
        said = json.loads(await asyncio.to_thread(subprocess.check_output, command, timeout=30))
        filming.cancel()
    (stream,) = said["streams"]
    assert (stream["codec_name"], stream["width"], stream["height"]) == ("mjpeg", 64, 48)
    assert len(said["frames"]) >= 5


async def test_motion_jpeg_names_the_frame_of_each_picture() -> None:
    async with open_page() as page:
        filming = asyncio.create_task(page.film(0, 2000))
        data = b""
        async with page.http.get(page.at("mjpeg/door")) as answer:
            assert answer.headers["Content-Type"].startswith("multipart/x-mixed-replace")
            while len(parts(data)) < 5:
                data += await answer.content.readany()
        filming.cancel()
        names = [int(name.split("/")[1]) for name, _ in parts(data)]
        assert names == sorted(set(names))
        name, picture = parts(data)[2]
        true, next_one = (jpeg(overlay(result(int(name.split("/")[1]) + step), {})) for step in (0, 1))
        assert apart(picture, true) < 0.5 < apart(picture, next_one)
        assert (await page.get("mjpeg/door?scale=huge"))[0] == 422


async def test_twenty_viewers_cost_one_encode_and_none_costs_nothing() -> None:
    async with open_page() as page:
        await page.film(0, 20)
        assert page.camera.pictures.encoded == 0
        answers = [await page.http.get(page.at("mjpeg/door")) for _ in range(20)]
        got = [b""] * len(answers)

        async def watch(place: int) -> None:
            while len(parts(got[place])) < 6:
                got[place] += await answers[place].content.readany()

        filming = asyncio.create_task(page.film(21, 3000))
        await asyncio.gather(*(watch(place) for place in range(len(answers))))
        filming.cancel()
        seen = {name for data in got for name, _ in parts(data)}
        assert page.camera.pictures.encoded <= len(seen) + 8, "each picture once, for all of them"
        for answer in answers:
            answer.close()


async def test_a_viewer_that_stops_reading_hurts_nobody() -> None:
    async with open_page() as page:
        port = page.server.port
        stuck = socket.create_connection(("127.0.0.1", port))
        stuck.sendall(b"GET /mjpeg/door HTTP/1.1\r\nHost: localhost\r\n\r\n")
        big = replace(result(0, size=(720, 1280)))
        seen = 0
        async with page.http.get(page.at("mjpeg/door")) as answer:
            for index in range(1, 150):
                await page.sink.write(replace(big, frame=replace(big.frame, index=index)))
                async with asyncio.timeout(5):
                    seen += len(await answer.content.readany()) > 0
        assert seen == 149
        stuck.close()


def read_picture(data: bytes) -> tuple[dict[str, Any], bytes]:
    length = int.from_bytes(data[:4], "big")
    return json.loads(data[4 : 4 + length]), data[4 + length :]


async def test_the_socket_brings_pictures_as_fast_as_they_are_taken() -> None:
    async with open_page() as page, live(page) as viewer:
        await viewer.send_json({"watch": {"door": "large", "shed": "large"}})
        filming = asyncio.create_task(page.film(0, 3000))
        pictures: list[dict[str, Any]] = []
        jpeg = b""

        async def hear(seconds: float) -> None:
            nonlocal jpeg
            try:
                async with asyncio.timeout(seconds):
                    while True:
                        message = await viewer.receive()
                        if isinstance(message.data, bytes):
                            said, jpeg = read_picture(message.data)
                            pictures.append(said)
            except TimeoutError:
                return

        await hear(0.5)
        assert len(pictures) == 2, "who takes none in is sent no more"
        for _ in range(2):
            await viewer.send_json({"seen": "door"})
        await hear(0.5)
        assert len(pictures) == 4
        indices = [picture["frames"]["index"] for picture in pictures]
        assert indices == sorted(set(indices))
        assert indices[2] > indices[1] + 10, "the newest, not the next"
        assert jpeg[:2] == b"\xff\xd8"
        assert set(pictures[0]["outlines"]) == {"1", "2"}
        await viewer.send_json({"watch": {"door": "none"}})
        await hear(0.5)
        assert jpeg == b"", "what is in a frame can be had without the picture"
        filming.cancel()


async def test_the_socket_tells_what_happens() -> None:
    async with open_page() as page:
        await page.sink.write(result(1, events=("new",)))
        async with live(page) as viewer:
            heard = [await viewer.receive_json(), await viewer.receive_json()]
            assert heard[0]["cameras"][0]["name"] == "door"
            assert [event["kind"] for event in heard[1]["events"]] == ["new"]
            await page.sink.write(result(2, events=("lost",)))
            while "events" not in (said := await viewer.receive_json()):
                continue
            assert [event["kind"] for event in said["events"]] == ["lost"]
            await viewer.send_json({"ping": 5})
            while "pong" not in (said := await viewer.receive_json()):
                continue
            assert said["pong"] == 5
            await viewer.send_str('{"watch": 7}')
            while (message := await viewer.receive()).data != 1008:
                assert message.data is not None
