"""Streams that are added, changed and removed while others run: those are not disturbed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession

from keepsight.streams.base import SourceError
from keepsight.streams.types import Command, Event, Frame, Result
from keepsight.tracker.config import Deployment
from keepsight.tracker.deployment import prepare
from keepsight.tracker.fleet import Change, Fleet, Servers
from keepsight.tracker.pipeline import Stream
from keepsight.tracker.rules import Rules
from keepsight.tracker.summary import Meter
from keepsight.tracker.validation import ConfigError
from keepsight.tracker.watching import begin, step
from tests.peers.mosquitto import Mosquitto, Subscriber, needs_mosquitto
from tests.streams.results import disc, frame, track

PATIENCE_SECONDS = 60
SCENE = "test://?live=1&frames=0&size=160x96&fps=50"
PAGE = "web://127.0.0.1:0"
ZONE = {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "settle_seconds": 0, "margin": 0}


class Still:
    """A fold in which one thing stands in the middle."""

    def when_due(self, frame: Frame) -> None:
        return None

    async def prepare(self, frame: Frame) -> None:
        raise AssertionError("nothing is to be prepared")

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        return Result(frame, (track(1, disc(frame.size, (0.5, 0.5), 0.2)),))

    def finish(self, frame: Frame) -> tuple[Event, ...]:
        return ()


class Watchful:
    """Hears of results, and can be asked to wait for some."""

    def __init__(self) -> None:
        self.frames: dict[str, int] = {}
        self.left: list[str] = []
        self._news = asyncio.Event()

    def observe(self, stream: Stream, meter: Meter) -> None:
        self.frames[stream.name] = meter.frames
        self._news.set()

    def leave(self, stream: Stream) -> None:
        self.left.append(stream.name)
        self.frames.pop(stream.name, None)

    async def until(self, wanted: Callable[[dict[str, int]], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not wanted(self.frames):
                self._news.clear()
                await self._news.wait()


class Running:
    """A fleet in a task group; `begun` tells of which streams a session was asked for."""

    def __init__(self, fleet: Fleet, watchful: Watchful, begun: list[str]) -> None:
        self.fleet = fleet
        self.watchful = watchful
        self.begun = begun

    @property
    def server(self) -> Any:
        (server,) = self.fleet.servers.values()
        return server


def deployment(**streams: dict[str, object]) -> Deployment:
    return Deployment.model_validate(
        {"streams": {name: {"source": SCENE, "output": PAGE} | more for name, more in streams.items()}}
    )


@asynccontextmanager
async def running(first: Deployment) -> AsyncIterator[Running]:
    servers: Servers = {}
    streams, watchful, stop, begun = prepare(first, servers), Watchful(), asyncio.Event(), []

    async def start(stream: Stream, max_objects: int) -> Still:
        begun.append(stream.name)
        return Still()

    async with asyncio.TaskGroup() as tasks:
        fleet = Fleet(first, servers, start, watchful, tasks)
        fleet.begin(streams)
        over = tasks.create_task(fleet.until_over(stop))
        try:
            await watchful.until(lambda frames: frames.keys() == first.streams.keys())
            yield Running(fleet, watchful, begun)
        finally:
            stop.set()
            reports = await over
    assert all(report.exit_code == 0 for report in reports)


async def test_streams_are_added_and_removed_and_the_others_go_on() -> None:
    async with running(deployment(door={}, shed={})) as run:
        change = await run.fleet.apply(deployment(yard={}, door={}))
        assert change == Change(added=("yard",), removed=("shed",))
        assert str(change) == "added yard; removed shed"
        await run.watchful.until(lambda frames: "yard" in frames and frames["door"] > 5)
        assert run.begun == ["door", "shed", "yard"] or run.begun == ["shed", "door", "yard"]
        assert list(run.server.cameras) == ["yard", "door"]
        assert run.watchful.left == ["shed"]


async def test_other_rules_hold_from_the_next_frame_and_the_fold_goes_on() -> None:
    async with running(deployment(door={"rules": {"zones": {"all": ZONE}}})) as run:
        camera = run.server.cameras["door"]
        await run.watchful.until(lambda _: camera.next_event)
        assert [event.kind for event in camera.events(0)] == ["zone_enter"]
        other = {"zones": {"whole": {**ZONE, "labels": ["cup", ""]}}}
        change = await run.fleet.apply(deployment(door={"rules": other}))
        assert str(change) == "other rules for door"
        await run.watchful.until(lambda _: camera.next_event == 3)
        told = [(event.kind, event.rule, event.reason) for event in camera.events(1)]
        assert [one[:2] for one in told] == [("zone_leave", "all"), ("zone_enter", "whole")]
        assert told[0][2].startswith("the zone was changed")
        assert run.begun == ["door"]
        assert run.server.cameras["door"] is camera


async def test_what_is_changed_is_begun_again_and_viewers_see_the_new_one_on_the_same_page() -> None:
    async with running(deployment(door={})) as run, ClientSession() as http:
        server, before = run.server, run.server.cameras["door"]
        async with http.ws_connect(f"{server.address}api/live") as socket:
            await socket.send_json({"watch": {"door": "small"}})
            change = await run.fleet.apply(deployment(door={"source": SCENE.replace("160", "64")}))
            assert str(change) == "begun again door"
            assert run.server is server
            sizes = set()
            while (64, 96) not in sizes:
                said = await asyncio.wait_for(socket.receive(), PATIENCE_SECONDS)
                if isinstance(said.data, str) and "cameras" in said.data:
                    (camera,) = said.json()["cameras"]
                    if camera["run"] != before.run and camera["size"]:
                        sizes.add(tuple(camera["size"][::-1]))
                elif isinstance(said.data, bytes):
                    await socket.send_json({"seen": "door"})


async def test_pictures_of_the_only_camera_come_after_it_is_changed(unused_tcp_port: int) -> None:
    door = {"output": f"web://127.0.0.1:{unused_tcp_port}"}
    async with running(deployment(door=door)) as run, ClientSession() as http:
        server, before = run.server, run.server.cameras["door"]
        async with http.ws_connect(f"{server.address}api/live") as socket:
            await socket.send_json({"watch": {"door": "small"}})
            for size in ("64", "128"):
                await run.fleet.apply(deployment(door={**door, "source": SCENE.replace("160", size)}))
                await run.watchful.until(lambda frames: frames.get("door", 0) > 3)
                assert server.cameras["door"] is not before
                picture = http.get(f"{server.address}api/cameras/door/picture.jpg")
                async with asyncio.timeout(10), picture as answer:
                    assert (answer.status, answer.content_type) == (200, "image/jpeg")


async def test_a_page_with_another_password_takes_the_port_over(unused_tcp_port: int) -> None:
    async with running(deployment(door={"output": f"web://127.0.0.1:{unused_tcp_port}"})) as run:
        old, page = run.server, f"web://:correct-horse@127.0.0.1:{unused_tcp_port}"
        await run.fleet.apply(deployment(door={"output": page}))
        await run.watchful.until(lambda frames: "door" in frames)
        (new,) = (server for server in run.fleet.servers.values() if server is not old)
        assert (new.is_open, list(new.cameras)) == (True, ["door"])
        assert (old.is_open, list(old.cameras)) == (False, [])


def test_a_stream_that_cannot_be_prepared_leaves_no_camera_on_the_page() -> None:
    good, servers = deployment(door={}), {}
    with pytest.raises(SourceError):
        prepare(deployment(door={"source": "missing.mp4"}), servers)
    (stream,) = prepare(good, servers)
    assert stream.name == "door"
    with pytest.raises(ConfigError, match="door: the page is given twice"):
        prepare(deployment(door={"output": [PAGE, PAGE]}), servers)


@pytest.mark.parametrize(
    ("new", "reason"),
    [
        (deployment(door={}, yard={"source": "missing.mp4"}), "missing.mp4: no such file"),
        (deployment(door={"output": "x.jsonl"}), "door: nothing to track"),
        (deployment(door={}).model_copy(update={"model": "test"}), "model: all streams share the model"),
    ],
)
async def test_a_change_that_cannot_be_is_refused_and_nothing_has_changed(
    new: Deployment, reason: str
) -> None:
    async with running(deployment(door={})) as run:
        with pytest.raises((ConfigError, SourceError), match=reason):
            await run.fleet.apply(new)
        seen = run.watchful.frames["door"]
        await run.watchful.until(lambda frames: frames["door"] > seen + 3)
        assert (run.begun, run.watchful.left) == (["door"], [])
        assert str(await run.fleet.apply(deployment(door={}))) == ""


async def test_who_asks_and_goes_leaves_no_half_change() -> None:
    async with running(deployment(door={})) as run:
        asking = asyncio.create_task(run.fleet.apply(deployment(yard={})))
        await asyncio.sleep(0)
        asking.cancel()
        await run.watchful.until(lambda frames: "yard" in frames)
        assert list(run.server.cameras) == ["yard"]


def test_a_frame_with_other_rules_keeps_what_both_have_in_common() -> None:
    old = Rules.model_validate({"zones": {"a": ZONE, "b": ZONE}})
    new = Rules.model_validate({"zones": {"c": ZONE, "b": ZONE}, "motion": {}})
    watch, told = begin(old), []
    for index, rules in enumerate((old, old, new, new)):
        seen = frame(index)
        result = Result(seen, (track(1, disc(seen.size, (0.5, 0.5), 0.2)),))
        watch, result = step(watch, rules, result)
        told += [(event.kind, event.rule, index) for event in result.events]
    assert told == [
        ("zone_enter", "a", 0),
        ("zone_enter", "b", 0),
        ("zone_leave", "a", 2),
        ("zone_enter", "c", 2),
    ]


@needs_mosquitto
async def test_other_zones_and_cameras_are_told_over_mqtt(tmp_path: Path) -> None:
    async with Mosquitto(tmp_path) as broker, Subscriber(broker.port, "keepsight/n/#") as heard:
        to = [PAGE, f"mqtt://127.0.0.1:{broker.port}/?node=n&spool=off"]
        first = {"output": to, "rules": {"zones": {"all": ZONE}}}
        async with running(deployment(door=first)) as run:
            await heard.until("/zone/all")
            other = first | {"rules": {"zones": {"b": ZONE}}}
            await run.fleet.apply(deployment(door=other, yard={"output": to}))
            messages = await heard.until("/zone/all")
            assert messages[-1].text == ""
            assert any(one.topic.endswith("/zone/b") for one in messages)
            told = [one for one in messages if one.topic.endswith("n/info")]
            while not (told and "yard" in told[-1].text):
                told += await heard.until("n/info")
            cameras = {one["name"]: one["zones"] for one in told[-1].json["cameras"]}
            assert cameras == {"door": ["b"], "yard": []}
