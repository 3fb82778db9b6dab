"""The page's server over HTTP and WebSocket: what it tells, what it takes, and who hurts nobody."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from aiohttp import (
    ClientResponse,
    ClientSession,
    ClientWebSocketResponse,
    WSCloseCode,
    WSServerHandshakeError,
)

from keepsight.streams.base import Recordings, SinkError
from keepsight.streams.control import COMMANDS, MAX_BYTES
from keepsight.streams.drawing import overlay
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.types import Applied, Command, Prompt, Refusal, Result, SourceStatus
from keepsight.streams.web import camera as camera_module
from keepsight.streams.web import clips
from keepsight.streams.web.live import MOST_WORDS
from keepsight.streams.web.pictures import jpeg, outlines_of
from keepsight.streams.web.server import WebServer
from keepsight.streams.web.sink import WebSink
from keepsight.streams.web.target import parse_target

from .results import disc, result

PASSWORD = "correct horse"


class Page:
    """A camera `door` on a server of its own, a client of it, and who carries out its commands."""

    def __init__(self, sink: WebSink, server: WebServer, http: ClientSession) -> None:
        self.sink = sink
        self.server = server
        self.http = http
        self.camera = server.cameras["door"]

    def at(self, path: str) -> str:
        return f"{self.sink.address}{path}"

    async def get(self, path: str, **more: Any) -> tuple[int, Any]:
        async with self.http.get(self.at(path), **more) as answer:
            return answer.status, await read(answer)

    async def ask(self, command: str, said: object = None, **more: Any) -> tuple[int, Any]:
        data = said if isinstance(said, bytes) else json.dumps({} if said is None else said)
        async with self.http.post(self.at(f"api/cameras/door/{command}"), data=data, **more) as answer:
            return answer.status, await read(answer)

    async def film(self, first: int, last: int) -> None:
        """Results of frames `first` to `last`; whatever was commanded is carried out as object 7."""
        for index in range(first, last + 1):
            applied = tuple(Applied(one, (0, index), 7) for one in self.sink.take_commands())
            await self.sink.write(replace(result(index), applied=applied))
            await asyncio.sleep(0.005)


async def commanded(sink: WebSink) -> tuple[Command, ...]:
    """The next commands, once there are some."""
    while not (commands := sink.take_commands()):  # noqa: ASYNC110 - as the pipeline asks
        await asyncio.sleep(0.01)
    return commands


async def read(answer: ClientResponse) -> Any:
    return await answer.json() if answer.content_type == "application/json" else await answer.read()


@asynccontextmanager
async def open_page(url: str = "web://127.0.0.1:0") -> AsyncIterator[Page]:
    server = WebServer(parse_target(url, environment={}))
    sink = WebSink(server, SharedEncoder("door"))
    async with asyncio.timeout(60), sink, ClientSession() as http:
        yield Page(sink, server, http)


async def test_cameras_tracks_and_events_are_told_in_the_messages_of_mqtt() -> None:
    async with open_page() as page:
        page.sink.hear_of_source(SourceStatus("online", "", 2))
        status, said = await page.get("api/cameras/door/tracks")
        assert (status, said) == (404, {"error": "no frame has come yet"})
        await page.sink.write(result(3, events=("new",)))
        _, said = await page.get("api/cameras")
        (camera,) = said["cameras"]
        assert (camera["name"], camera["size"]) == ("door", [48, 64])
        assert (camera["status"]["state"], camera["status"]["source"]) == ("running", "online")
        _, said = await page.get("api/cameras/door/tracks")
        assert (said["index"], [track["object_id"] for track in said["tracks"]]) == (3, [1, 2])
        _, said = await page.get("api/cameras/door/events")
        assert [(event["kind"], event["label"]) for event in said["events"]] == [("new", "cup")]
        status, said = await page.get("api/cameras/shed/tracks")
        assert (status, said) == (404, {"error": "no camera 'shed'; there are door"})


async def test_the_closing_of_a_run_adds_its_events() -> None:
    async with open_page() as page:
        await page.sink.write(result(1, events=("new",)))
        await page.sink.write(replace(result(1, events=("end",)), closing=True))
        _, said = await page.get("api/cameras/door/events")
        assert [event["kind"] for event in said["events"]] == ["new", "end"]


async def test_a_command_is_answered_with_the_frame_it_took_effect_on() -> None:
    async with open_page() as page:
        filming = asyncio.create_task(page.film(0, 400))
        prompt = {"request_id": "a", "box": [0, 0, 0.5, 0.5], "frame_ref": {"epoch": 0, "index": 1}}
        status, said = await page.ask("prompt", prompt)
        assert (status, said["ok"], said["object_id"], said["request_id"]) == (200, True, 7, "a")
        assert said["applied"]["epoch"] == 0
        filming.cancel()


async def test_what_cannot_be_meant_or_is_refused_is_422_with_the_reason() -> None:
    async with open_page() as page:
        status, said = await page.ask("prompt", {"boxx": [0, 0, 1, 1]})
        assert (status, said["ok"]) == (422, False)
        assert said["error"].startswith("boxx: unknown key 'boxx', did you mean 'box'?")
        asking = asyncio.create_task(page.ask("forget", {"object_id": 9}))
        commands = await commanded(page.sink)
        await page.sink.write(replace(result(1), refusals=(Refusal(commands[0], "there is no object 9"),)))
        status, said = await asking
        assert (status, said["command"], said["error"]) == (422, "forget", "there is no object 9")


async def test_a_message_that_is_too_long_is_refused() -> None:
    async with open_page() as page:
        status, said = await page.ask("prompt", b" " * (MAX_BYTES + 2))
        assert (status, said) == (413, {"error": "the message is too long"})


async def test_who_asks_while_no_frame_comes_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camera_module, "ANSWER_SECONDS", 0.1)
    async with open_page() as page:
        status, said = await page.ask("reset")
        assert (status, said["ok"]) == (504, False)
        assert said["error"].startswith("no frame to carry it out on came within")
        await page.film(0, 1)


async def test_the_end_of_a_run_answers_and_the_page_goes_on_for_the_others() -> None:
    async with open_page() as page:
        other = WebSink(page.server, SharedEncoder("shed"))
        async with other:
            await other.write(result(1))
            asking = asyncio.create_task(page.http.post(page.at("api/cameras/shed/reset"), data="{}"))
            await commanded(other)
        assert (await (await asking).json())["error"] == "the run ended before it was carried out"
        _, said = await page.get("api/cameras")
        assert [(one["name"], one["status"]["state"]) for one in said["cameras"]] == [
            ("door", "waiting"),
            ("shed", "stopped"),
        ]
        status, _ = await page.get("api/cameras/shed/picture.jpg")
        assert status == 200, "what was seen last can still be looked at"


async def test_the_openapi_document_names_every_route_and_only_known_schemas() -> None:
    async with open_page() as page:
        _, document = await page.get("api/openapi.json")
        paths = document["paths"]
        assert {f"/api/cameras/{{camera}}/{command}" for command in COMMANDS} <= set(paths)
        routes = {
            route.resource.canonical
            for route in page.server.application().router.routes()
            if route.resource is not None
        }
        told = {
            path for path in routes if path.startswith(("/api/", "/mjpeg", "/whep")) and "openapi" not in path
        }
        assert told == set(paths)
        text = json.dumps(document)
        named = {part.split('"')[0] for part in text.split("#/components/schemas/")[1:]}
        assert named <= set(document["components"]["schemas"])


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


@asynccontextmanager
async def live(page: Page, **more: Any) -> AsyncIterator[ClientWebSocketResponse]:
    async with page.http.ws_connect(page.at("api/live"), **more) as socket_:
        yield socket_


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


async def test_a_page_that_says_too_much_is_hung_up_on() -> None:
    async with open_page() as page, live(page) as viewer:
        await viewer.send_str("x" * (MOST_WORDS + 1))
        while (message := await viewer.receive()).data != WSCloseCode.MESSAGE_TOO_BIG:
            assert message.data is not None


async def test_with_a_password_nothing_is_told_before_it_was_given() -> None:
    async with open_page(f"web://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:0") as page:
        await page.film(0, 1)
        for path in ("api/cameras", "api/cameras/door/picture.jpg", "mjpeg/door", "api/cameras/door/events"):
            assert await page.get(path) == (401, {"error": "the password is missing or wrong"})
        assert (await page.ask("reset"))[0] == 401
        with pytest.raises(WSServerHandshakeError):
            await page.http.ws_connect(page.at("api/live"))
        async with page.http.post(page.at("whep/door"), data="v=0") as answer:
            assert answer.status == 401
        status, index = await page.get("")
        assert status == 200
        assert b"door" not in index

        bearer = {"Authorization": f"Bearer {PASSWORD}"}
        assert (await page.get("api/cameras", headers=bearer))[0] == 200
        async with page.http.post(page.at("api/login"), json={"password": PASSWORD}) as answer:
            cookie = answer.cookies["keepsight"]
            assert (answer.status, cookie["httponly"], cookie["samesite"]) == (200, True, "Strict")
        session = {"Cookie": f"keepsight={cookie.value}"}
        assert (await page.get("api/cameras", headers=session))[0] == 200


async def test_guessing_is_slow_and_the_right_password_is_not_among_what_is_refused_then() -> None:
    async with open_page(f"web://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:0") as page:

        async def guess(word: str) -> int:
            async with page.http.post(page.at("api/login"), json={"password": word}) as answer:
                return answer.status

        assert [await guess(f"guess {number}") for number in range(7)] == [401] * 5 + [429] * 2
        assert await guess(PASSWORD) == 429
        wrong = {"Authorization": "Bearer wrong"}
        assert (await page.get("api/cameras", headers=wrong))[0] == 429
        async with page.http.post(page.at("api/login"), data=b"x" * 5000) as answer:
            assert answer.status == 429


async def test_other_sites_and_other_names_for_us_are_refused() -> None:
    async with open_page() as page:
        elsewhere = {"Origin": "http://evil.com"}
        assert (await page.ask("reset", headers=elsewhere))[0] == 403
        with pytest.raises(WSServerHandshakeError):
            await page.http.ws_connect(page.at("api/live"), headers=elsewhere)
        assert (await page.get("mjpeg/door", headers={"Sec-Fetch-Site": "cross-site"}))[0] == 403
        assert (await page.get("api/cameras", headers={"Host": "rebound.evil.com"}))[0] == 403
        assert (await page.get("", headers={"Host": "rebound.evil.com"}))[0] == 403
        assert (await page.get("static/../camera.py"))[0] == 404
        async with page.http.get(page.at("")) as answer:
            assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


async def test_too_many_commands_are_refused_for_a_while() -> None:
    async with open_page() as page:
        statuses = [(await page.ask("nothing"))[0] for _ in range(60)]
        assert statuses.count(429) > 5
        assert (await page.get("api/cameras"))[0] == 200, "looking on is not a command"


async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    async with open_page() as page:
        again = WebSink(WebServer(replace(page.server.target, port=page.server.port)), SharedEncoder("x"))
        with pytest.raises(SinkError, match=r"cannot listen on 127\.0\.0\.1:.*in use"):
            async with again:
                pass


async def test_a_folder_of_clips_that_hangs_stops_no_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clips, "PATIENCE_SECONDS", 0.3)
    async with open_page() as page:
        page.sink.offer_clips(Recordings(tmp_path, ("new",)))
        await page.sink.write(result(1, events=("new",)))
        (event,) = page.camera.events(0)
        told = tmp_path / f"{datetime.fromtimestamp(event.captured, UTC):%Y%m%dT%H%M%SZ}.json"
        os.mkfifo(told)  # who opens it to read waits
        asked = [
            asyncio.create_task(page.get(f"api/cameras/door/event.mp4?id={event.event_id}"))
            for _ in range(clips.MOST_LOOKING + 1)
        ]
        try:
            answers = await asyncio.gather(*asked)
            async with asyncio.timeout(5):
                status, _ = await page.get("api/cameras/door/picture.jpg")
        finally:
            waiting = os.open(told, os.O_RDWR | os.O_NONBLOCK)  # lets those go that wait
            told.unlink()
            os.close(waiting)
    assert status == 200
    reason = "the folder of the clips did not answer within 0.3 s: see whether its disk is there"
    assert answers == [(504, {"error": reason})] * len(asked)


async def test_the_page_is_served_over_tls(tmp_path: Path) -> None:
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    make = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    await asyncio.to_thread(
        subprocess.run,
        [*make, "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    trusted = ssl.create_default_context(cafile=certificate)
    async with open_page(f"web://127.0.0.1:0?cert={certificate}&key={key}") as page:
        assert page.sink.address.startswith("https://")
        assert (await page.get("api/cameras", ssl=trusted))[0] == 200


def test_outlines_follow_the_parts_of_a_mask_and_are_bounded() -> None:
    size = (360, 640)
    (outline,) = outlines_of(disc(size, (0.25, 0.5), 0.2))
    points = np.reshape(outline, (-1, 2))
    assert np.allclose(points.mean(axis=0), (250, 500), atol=8)
    assert len(points) < 60
    noise = np.random.default_rng(0).random(size) > 0.5
    assert all(len(line) <= 400 for line in outlines_of(noise))
    assert outlines_of(np.zeros(size, np.bool_)) == []


async def test_a_prompt_from_the_page_is_the_command_that_mqtt_would_make() -> None:
    async with open_page() as page:
        asking = asyncio.create_task(page.ask("prompt", {"points": [[0.5, 0.5]], "label": "cup"}))
        commands = await commanded(page.sink)
        token = commands[0].request
        assert commands == (Prompt(points=((0.5, 0.5),), labels=(True,), label="cup", request=token),)
        told: Result = replace(result(1), applied=(Applied(commands[0], (0, 1), 1),))
        await page.sink.write(told)
        assert (await asking)[0] == 200
