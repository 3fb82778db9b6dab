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
from tests.tracker.test_fleet import PAGE, SCENE, ZONE, Running, deployment, running

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
        ({"source": SCENE, "output": "mqtt://broker/?ca=/etc/x"}, "must be a camera or on the network"),
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
