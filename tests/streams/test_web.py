"""The page's server over HTTP and WebSocket: what it tells, what it takes, and who hurts nobody."""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import subprocess
from asyncio import FIRST_COMPLETED
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from aiohttp import (
    WSCloseCode,
    WSServerHandshakeError,
)

from keepsight.streams.base import Recordings, SinkError
from keepsight.streams.control import COMMANDS, MAX_BYTES
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.types import Applied, Prompt, Refusal, Result, SourceStatus
from keepsight.streams.web import camera as camera_module
from keepsight.streams.web import clips, door
from keepsight.streams.web.live import MOST_WORDS
from keepsight.streams.web.pictures import outlines_of
from keepsight.streams.web.server import WebServer
from keepsight.streams.web.sink import WebSink

from .page import PASSWORD, Page, commanded, live, open_page
from .results import disc, result


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


async def test_how_a_source_did_is_told_beside_the_events_and_each_change_once() -> None:
    async with open_page() as page, live(page) as viewer:
        for state, reason, reconnects in (
            ("online", "", 0),
            ("offline", "Connection refused", 0),
            ("offline", "Connection refused", 0),
            ("online", "", 1),
        ):
            page.sink.hear_of_source(SourceStatus(state, reason, reconnects))
        _, said = await page.get("api/cameras/door/events")
        whole = said["sources"]
        assert [(one["state"], one["reason"]) for one in whole] == [
            ("online", ""),
            ("offline", "Connection refused"),
            ("online", ""),
        ]
        told: list[object] = []
        while len(told) < len(whole):
            told += json.loads((await viewer.receive()).data).get("sources", ())
        assert told == whole
        for number in range(300):
            page.sink.hear_of_source(SourceStatus("offline", f"reason {number}", 1))
        _, said = await page.get("api/cameras/door/events")
        assert [one["reason"] for one in said["sources"]] == [
            f"reason {number}" for number in range(100, 300)
        ]


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


async def test_the_openapi_document_declares_the_parts_of_paths_and_what_the_door_says() -> None:
    async with open_page() as page:
        _, document = await page.get("api/openapi.json")
    for path, item in document["paths"].items():
        shared = item.get("parameters", [])
        asked = {method: one for method, one in item.items() if method != "parameters"}
        for method, one in asked.items():
            declared = [
                each["name"] for each in (*shared, *one.get("parameters", [])) if each["in"] == "path"
            ]
            assert sorted(declared) == sorted(re.findall(r"{(\w+)}", path)), (method, path)
            assert {"401", "403", "429", "503"} < set(one["responses"]), (method, path)
        assert [one.get("security") for one in asked.values()] == [
            [] if path == "/api/login" else None for _ in asked
        ]


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


async def log_in(page: Page, word: str) -> int:
    async with page.http.post(page.at("api/login"), json={"password": word}) as answer:
        return answer.status


async def test_guessing_is_slow_and_the_right_password_is_not_among_what_is_refused_then() -> None:
    async with open_page(f"web://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:0") as page:
        assert [await log_in(page, f"guess {number}") for number in range(7)] == [401] * 5 + [429] * 2
        assert await log_in(page, PASSWORD) == 429
        wrong = {"Authorization": "Bearer wrong"}
        assert (await page.get("api/cameras", headers=wrong))[0] == 429
        async with page.http.post(page.at("api/login"), data=b"x" * 5000) as answer:
            assert answer.status == 429


async def nonsense(page: Page) -> int:
    """The status of a login that says nothing, and is no guess."""
    async with page.http.post(page.at("api/login"), data=b"?") as answer:
        return answer.status


async def start_login(page: Page, *, length: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """The head of a login whose body is to follow."""
    reader, writer = await asyncio.open_connection("127.0.0.1", page.server.port)
    head = f"POST /api/login HTTP/1.1\r\nHost: 127.0.0.1:{page.server.port}\r\nContent-Length: {length}"
    writer.write(f"{head}\r\n\r\n".encode())
    return reader, writer


async def status_of(reader: asyncio.StreamReader) -> int:
    return int((await reader.readline()).split()[1])


async def test_strangers_who_never_say_the_password_take_no_place_from_those_who_know_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(door, "LOGIN_SECONDS", 3.0)
    monkeypatch.setattr(door, "MOST_REQUESTS", door.MOST_LOGINS_EACH + 2)
    async with open_page(f"web://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:0") as page:
        strangers = [await start_login(page, length=40) for _ in range(door.MOST_LOGINS_EACH + 6)]
        first = [asyncio.create_task(status_of(reader)) for reader, _ in strangers]
        while sum(one.done() for one in first) < 6:  # those for whom there was no room
            await asyncio.wait([one for one in first if not one.done()], return_when=FIRST_COMPLETED)
        bearer = {"Authorization": f"Bearer {PASSWORD}"}
        assert (await page.get("api/cameras", headers=bearer))[0] == 200
        statuses = await asyncio.gather(*first)
        assert sorted(statuses) == [408] * door.MOST_LOGINS_EACH + [503] * 6
        assert await log_in(page, PASSWORD) == 200
        for _, writer in strangers:
            writer.close()


async def test_a_password_that_comes_in_pieces_is_understood() -> None:
    async with open_page(f"web://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:0") as page:
        said = json.dumps({"password": PASSWORD}).encode()
        reader, writer = await start_login(page, length=len(said))
        for byte in said:
            writer.write(bytes((byte,)))
            await writer.drain()
            await asyncio.sleep(0)
        assert await status_of(reader) == 200
        writer.close()


async def test_guesses_that_were_begun_together_are_counted_like_others() -> None:
    async with open_page(f"web://:{PASSWORD.replace(' ', '%20')}@127.0.0.1:0") as page:
        assert [await log_in(page, "wrong") for _ in range(3)] == [401] * 3
        said = json.dumps({"password": "wrong"}).encode()
        begun = [await start_login(page, length=len(said)) for _ in range(door.MOST_LOGINS_EACH)]
        while await nonsense(page) != 503:
            pass  # not all of them have been read yet
        for _, writer in begun:
            writer.write(said)
        assert sorted([await status_of(reader) for reader, _ in begun]) == [401, 401, 429, 429]
        for _, writer in begun:
            writer.close()


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
