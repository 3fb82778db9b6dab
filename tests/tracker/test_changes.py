"""Streams and rules changed over the API: written to the file, and in what runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import ClientSession

from keepsight.tracker.changes import Changes
from keepsight.tracker.config import read_deployment
from keepsight.tracker.pipeline import Stream
from keepsight.tracker.remote import camera_of, check_outputs
from keepsight.tracker.validation import ConfigError
from tests.tracker.test_fleet import PAGE, SCENE, ZONE, Running, Watchful, deployment, running

OTHER = SCENE + "&seed=1"
FILE = f"""\
# in front of the house
source: {SCENE}
output: "{PAGE}"   # for this machine
"""


def written(file: Path) -> str:
    return file.read_text()


def write(file: Path, text: str) -> None:
    file.write_text(text)


class Api:
    """A client of the page of a running fleet."""

    def __init__(self, run: Running, http: ClientSession) -> None:
        self.run = run
        self._http = http

    async def __call__(self, method: str, path: str, said: object = None) -> tuple[int, Any]:
        url = f"{self.run.server.address}api/{path}"
        async with self._http.request(method, url, json=said) as answer:
            return answer.status, await answer.json()


@asynccontextmanager
async def api(file: Path | None, *names: str) -> AsyncIterator[Api]:
    first = read_deployment(file) if file else deployment(**{name: {} for name in names})
    async with running(first) as run, ClientSession() as http:
        run.fleet.deployer = run.server.deployer = Changes(run.fleet, file)
        yield Api(run, http)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "cameras.yaml"
    write(path, FILE)
    return path


async def test_rules_are_written_between_the_comments_and_hold_at_once(file: Path) -> None:
    async with api(file) as ask:
        camera = ask.run.server.cameras["main"]
        assert await ask("GET", "cameras/main/rules") == (200, {})
        rules = {"zones": {"all": {**ZONE, "labels": ["", "cup"]}}}
        status, said = await ask("PUT", "cameras/main/rules", rules)
        assert (status, said["change"], said["saved"]) == (200, "other rules for main", "cameras.yaml")
        assert said["comments_kept"]
        assert written(file).startswith(FILE)
        assert yaml.safe_load(written(file))["rules"] == rules
        await ask.run.watchful.until(lambda _: camera.next_event)
        assert [event.kind for event in camera.events(0)] == ["zone_enter"]
        assert (await ask("GET", "cameras/main/rules"))[1]["zones"]["all"]["labels"] == ["", "cup"]
        await ask("PUT", "cameras/main/rules", {"zones": {}})
        assert written(file) == FILE
        assert ask.run.begun == ["main"]


async def test_a_camera_is_added_replaced_and_removed(file: Path) -> None:
    async with api(file) as ask:
        status, said = await ask("POST", "cameras", {"name": "yard", "source": SCENE})
        assert (status, said["change"]) == (201, "added yard")
        await ask.run.watchful.until(lambda frames: "yard" in frames)
        assert list(ask.run.server.cameras) == ["main", "yard"]
        assert yaml.safe_load(written(file))["streams"]["yard"] == {"output": [PAGE], "source": SCENE}
        assert (await ask("POST", "cameras", {"name": "yard", "source": SCENE}))[0] == 422
        status, said = await ask("PUT", "cameras/yard", {"source": SCENE, "max_objects": 3})
        assert (status, said["change"]) == (200, "begun again yard")
        status, said = await ask("DELETE", "cameras/main")
        assert (status, said["change"]) == (200, "removed main")
        assert list(read_deployment(file).streams) == list(ask.run.server.cameras) == ["yard"]
        status, said = await ask("DELETE", "cameras/yard")
        assert (status, said["error"]) == (422, "yard: is the last camera of this page, which would close")
        status, said = await ask("PUT", "cameras/shed", {"source": SCENE})
        assert (status, said["error"]) == (404, "no stream 'shed'; there are yard")


async def test_rules_of_a_file_of_one_stream_leave_its_keys_for_the_model(file: Path) -> None:
    write(file, f"size: 256   # small\ndevice: cpu\n{FILE}")
    async with api(file) as ask:
        assert (await ask("PUT", "cameras/main/rules", {"zones": {"all": ZONE}}))[0] == 200
        assert read_deployment(file).size == 256
        assert (await ask("PUT", "cameras/main/rules", {}))[0] == 200
        assert written(file) == f"size: 256   # small\ndevice: cpu\n{FILE}"


async def test_a_replaced_camera_keeps_what_is_not_named_and_always_its_privacy(file: Path) -> None:
    kept = {"privacy": "blur rest", "prompt": ["box=0.1,0.1,0.5,0.5"], "rules": {"zones": {"all": ZONE}}}
    write(file, FILE + yaml.safe_dump(kept))
    async with api(file) as ask:
        assert (await ask("POST", "cameras", {"name": "yard", "source": OTHER}))[0] == 201
        status, _ = await ask("PUT", "cameras/main", {"source": SCENE, "max_objects": 3, "prompt": []})
        said = yaml.safe_load(written(file))["streams"]["main"]
        assert (status, said) == (
            200,
            {"source": SCENE, "output": PAGE, **kept, "max_objects": 3, "prompt": []},
        )
        for less in ([], None, "blur rest label=dog"):
            status, answer = await ask("PUT", "cameras/main", {"source": SCENE, "privacy": less})
            assert (status, answer["error"]) == (
                422,
                "main: privacy 'blur rest' can be added to here; only the deployment file takes it away",
            )
        assert (await ask("PUT", "cameras/main", {"privacy": ["blur rest", "solid"]}))[0] == 200
        assert read_deployment(file).streams["main"].privacy == ("blur rest", "solid")
        assert (await ask("PUT", "cameras/main", {"max_objects": None}))[0] == 200
        assert read_deployment(file).streams["main"].max_objects == 16


async def test_a_covered_camera_is_not_shown_bare_under_another_name(file: Path) -> None:
    write(file, FILE + yaml.safe_dump({"privacy": "blur rest"}))
    async with api(file) as ask:
        assert (await ask("POST", "cameras", {"name": "yard", "source": OTHER}))[0] == 201
        for way, path, said in (
            ("DELETE", "cameras/main", None),
            ("POST", "cameras", {"name": "spy", "source": SCENE}),
            ("PUT", "cameras/yard", {"source": SCENE}),
            ("PUT", "cameras/main", {"source": OTHER}),
        ):
            status, answer = await ask(way, path, said)
            assert status == 422
            assert "privacy" in answer["error"]
        covered = {"name": "both", "source": SCENE, "privacy": ["blur rest", "solid"]}
        assert (await ask("POST", "cameras", covered))[0] == 201


async def test_what_the_file_shows_bare_beside_a_covered_one_can_be_changed(file: Path) -> None:
    streams = {"main": {"privacy": "blur rest"}, "bare": {}}
    both = {"streams": {name: {"source": SCENE, "output": PAGE, **more} for name, more in streams.items()}}
    write(file, yaml.safe_dump(both))
    async with api(file) as ask:
        assert (await ask("PUT", "cameras/bare", {"max_objects": 3}))[0] == 200


def test_two_spellings_of_a_url_are_one_camera() -> None:
    assert camera_of("rtsp://u:p@Cam/1") == camera_of("rtsp://cam:554/1/")
    assert camera_of("rtsp://cam/1") != camera_of("rtsp://cam/2")
    assert camera_of("/dev/video0") == "/dev/video0"


async def test_a_change_that_is_refused_at_the_last_moment_is_not_in_the_file(file: Path) -> None:
    async with api(file) as ask:
        ask.run.fleet._over = True
        status, answer = await ask("PUT", "cameras/main/rules", {"zones": {"all": ZONE}})
        assert (status, answer["error"], written(file)) == (422, "the run is ending", FILE)


class Removing(Watchful):
    """Takes a file away once a stream has ended."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    def leave(self, stream: Stream) -> None:
        self._file.unlink()


async def test_a_camera_that_has_ended_and_cannot_begin_again_is_not_said_to_go_on(
    file: Path, tmp_path: Path
) -> None:
    (tmp_path / "box.jsonl").touch()
    async with api(file) as ask:
        assert (await ask("POST", "cameras", {"name": "yard", "source": SCENE}))[0] == 201
        streams = yaml.safe_load(written(file))["streams"]
        streams["main"]["prompts"] = str(tmp_path / "box.jsonl")
        write(file, yaml.safe_dump({"streams": streams}))
        ask.run.fleet.observer = Removing(tmp_path / "box.jsonl")
        status, said = await ask("PUT", "cameras/main", {"max_objects": 3})
        assert (status, said["saved"], list(ask.run.server.cameras)) == (500, "cameras.yaml", ["yard"])
        assert said["change"].startswith("main does not run: ")
        assert said["failed"] == [said["change"]]


def test_an_output_over_the_api_is_at_a_broker_or_page_that_the_deployment_uses() -> None:
    used = ["web://:8080", "mqtts://me:secret@Broker.local/house", "mqtt://[::1]:1884"]
    for url in ("web://:8080", "mqtts://broker.local:8883/x", "mqtt://eve:x@[::1]:1884/y", "whip://host/x"):
        check_outputs([url], used)
    for url in (
        "web://:8081",
        "mqtt://broker.local/house",
        "mqtts://broker.local:1883/house",
        "mqtts://broker.local@evil.example/house",
        "mqtts://evil.example/?node=broker.local",
    ):
        with pytest.raises(ConfigError, match=r"is not a (broker|page) of this deployment"):
            check_outputs([url], used)


async def test_without_a_file_changes_last_as_long_as_the_run() -> None:
    async with api(None, "door") as ask:
        status, said = await ask("PUT", "cameras/door/rules", {"zones": {"all": ZONE}})
        assert (status, said["saved"]) == (200, None)
        assert "all" in (await ask("GET", "cameras/door/rules"))[1]["zones"]
        status, said = await ask("POST", "cameras", {"name": "yard", "source": SCENE})
        assert (status, said["saved"]) == (201, None)


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"source": "/etc/passwd"}, "must be a camera or on the network"),
        ({"source": SCENE, "output": [PAGE, "x.mp4"]}, "x.mp4: yard must be a camera or on the network"),
        ({"source": SCENE, "output": "masks:DIR"}, "must be a camera or on the network"),
        ({"source": SCENE, "output": "masks:///tmp/DIR"}, "must be a camera or on the network"),
        ({"source": SCENE, "output": "hls:///tmp/DIR"}, "must be a camera or on the network"),
        ({"source": SCENE, "output": "clips:///tmp/DIR"}, "must be a camera or on the network"),
        ({"source": "file:///etc/passwd"}, "must be a camera or on the network"),
        ({"source": "/dev/video0/../../etc/passwd"}, "must be a camera or on the network"),
        ({"source": SCENE, "output": "mqtt://broker/?ca=/etc/x"}, "ca: names files"),
        ({"source": SCENE, "output": "mqtt://evil.example/x"}, "evil.example/x: is not a broker of this"),
        ({"source": SCENE, "output": "web://127.0.0.1:1"}, "127.0.0.1:1: is not a page of this"),
        ({"source": SCENE, "auto": "detector=/etc/passwd"}, "auto: a detector is a file"),
        ({"source": SCENE, "auto": ["detector=/etc/passwd"]}, "auto: "),
        (
            {"source": "rtsp://eve:${HOME}@host/"},
            "filled in from the environment in the deployment file only",
        ),
        ({"source": SCENE, "prompts": "log.jsonl"}, "prompts: names files"),
        ({"source": SCENE, "record": "folder"}, "record: names files"),
        ({"source": SCENE, "rules": "zones.yaml"}, "rules: give the zones and lines themselves"),
        ({"source": SCENE, "outptu": PAGE}, "unknown key 'outptu', did you mean 'output'"),
        ({}, "source: is required"),
        ([], "say a JSON object"),
    ],
)
async def test_what_reaches_files_or_cannot_be_meant_is_refused(file: Path, said: Any, reason: str) -> None:
    async with api(file) as ask:
        message = {"name": "yard", **said} if isinstance(said, dict) else said
        status, answer = await ask("POST", "cameras", message)
        assert status == 422
        assert reason in answer["error"]
        assert written(file) == FILE
        assert list(ask.run.server.cameras) == ["main"]


async def test_rules_that_cannot_be_meant_and_files_of_rules_are_refused(file: Path) -> None:
    async with api(file) as ask:
        flat = {"zones": {"z": {"points": [[0, 0], [0.5, 0.5], [1, 1]]}}}
        status, answer = await ask("PUT", "cameras/main/rules", flat)
        assert (status, written(file)) == (422, FILE)
        assert answer["error"] == "rules.zones.z.points: the polygon has no area: its points lie on one line"
        write(file.parent / "zones.yaml", "motion: {}\n")
        write(file, f"{FILE}rules: {file.parent / 'zones.yaml'}\n")
        status, answer = await ask("PUT", "cameras/main/rules", {})
        assert status == 422
        assert "move them into" in answer["error"]


async def test_the_api_describes_what_can_be_configured(file: Path) -> None:
    async with api(file) as ask:
        _, document = await ask("GET", "openapi.json")
        schemas = document["components"]["schemas"]
        assert "max_objects" in schemas["Stream"]["properties"]
        assert {"zones", "lines"} <= schemas["Rules"]["properties"].keys()
