"""What a live session was told is kept, and gives the same results again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from keepsight.streams.sinks import open_sink
from keepsight.streams.types import Command, Correct, Forget, Frame, Prompt, Reset, Result
from keepsight.tracker.config import Engine
from keepsight.tracker.engine import ModelThreads, model_threads
from keepsight.tracker.pipeline import Stream, run
from keepsight.tracker.rules import LineRule, MotionRule, Rulebook, Rules, Zone
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.tape import FullError, Header, Step, TapeWriter, command_of, fields_of, read_steps
from keepsight.tracker.taped import replay_tape
from keepsight.tracker.taping import TapedSession
from tests.fakes import CollectingSink, FakeSource
from tests.logs import Log
from tests.tracker.command_line import Keepsight, lines

from .fakes import ON_RED, ColourPredictor, frame_of, red_and_green

HEADER = Header(
    version="1",
    name="test",
    source="fake://",
    live=True,
    engine=Engine(model="test"),
    weights_sha256=None,
    max_objects=4,
    rewinds=True,
)
RULES = Rules(
    zones={"z": Zone(points=((0.2, 0.0), (0.6, 0.0), (0.6, 1.0), (0.2, 1.0)))},
    lines={"l": LineRule(points=((0.4, 0.0), (0.4, 1.0)))},
    motion=MotionRule(),
)
LIVE = "test://?frames=40&size=160x120&live=1&fps=100"
COMMANDS: list[Command] = [
    ON_RED,
    Prompt(box=(0.1, 0.2, 0.30000000000000004, 1.0), object_id=7, label="é", frame_ref=(1, 2), request="r"),
    Prompt(mask=np.eye(5, 7) > 0),
    Correct(object_id=3, points=((0.1, 1 / 3),), labels=(False,), request="auto"),
    Forget(4, "x"),
    Reset(),
]


def noise(index: int, size: tuple[int, int]) -> Frame:
    rng = np.random.default_rng(index)
    frame = frame_of(rng.integers(0, 256, (*size, 3), dtype=np.uint8), index)
    return replace(frame, captured=1.7e9 + index / 3, epoch=index // 2, arrived=0.1 * index)


def written(folder: Path, steps: list[Step], **bounds: int) -> TapeWriter:
    tape = TapeWriter(folder, HEADER, **bounds)
    for step in steps:
        tape.add(tape.pack(step.frame.image), step)
    tape.close()
    return tape


def same(one: Frame, other: Frame) -> bool:
    blank = np.zeros(())
    return np.array_equal(one.image, other.image) and replace(one, image=blank) == replace(other, image=blank)


def test_frames_come_back_pixel_by_pixel_also_where_their_size_changes(tmp_path: Path) -> None:
    steps = [Step(noise(index, (48, 64) if index < 3 else (33, 51)), (), RULES) for index in range(6)]
    written(tmp_path, steps)
    back = list(read_steps(tmp_path))
    assert len(back) == 6
    assert all(same(one.frame, other.frame) for one, other in zip(steps, back, strict=True))
    assert all(step.rules == RULES for step in back)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_command_comes_back_as_it_was(command: Command) -> None:
    back = command_of(fields_of(command))
    assert back == command
    if isinstance(command, Prompt) and command.mask is not None:
        assert isinstance(back, Prompt)
        assert np.array_equal(back.mask, command.mask)  # type: ignore[arg-type]


def test_a_tape_that_was_cut_off_is_good_up_to_there(tmp_path: Path) -> None:
    written(tmp_path, [Step(noise(index, (48, 64)), (), RULES) for index in range(4)])
    frames = tmp_path / "frames.h264"
    frames.write_bytes(frames.read_bytes()[:-10])
    assert [step.frame.index for step in read_steps(tmp_path)] == [0, 1, 2]
    steps = tmp_path / "steps.jsonl"
    steps.write_bytes(steps.read_bytes()[: -len(steps.read_bytes().splitlines()[-1]) - 20])
    assert [step.frame.index for step in read_steps(tmp_path)] == [0, 1]


def test_a_tape_is_bounded(tmp_path: Path) -> None:
    steps = [Step(noise(0, (48, 64)), (), RULES)]
    with pytest.raises(FullError, match="may take"):
        written(tmp_path / "a", steps, most_bytes=99)
    with pytest.raises(FullError, match="free on its disk"):
        written(tmp_path / "b", steps, spare_bytes=2**60)


class Director(CollectingSink):
    """Commands by the number of the step that comes, as a user would who sees what is tracked."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.stepping = asyncio.Semaphore(0)

    def take_commands(self) -> tuple[Command, ...]:
        self.steps += 1
        self.stepping.release()
        green = Prompt(box=(0.85, 0.0, 0.97, 0.2), label="green", request="b")
        past = Prompt(points=((0.05, 0.1),), labels=(True,), frame_ref=(0, 0), label="red", request="c")
        return {2: (green,), 9: (past,), 14: (Forget(1, "d"),)}.get(self.steps, ())


class Camera(FakeSource):
    """Live: gives a frame whenever the one before was stepped."""

    def __init__(self, director: Director, count: int) -> None:
        super().__init__([], live=True)
        self._director, self._count = director, count

    async def __aiter__(self) -> AsyncIterator[Frame]:
        for index in range(self._count):
            yield red_and_green(index)
            async with asyncio.timeout(20):
                await self._director.stepping.acquire()


async def live_session(threads: ModelThreads, tape: TapeWriter, results: Path) -> Director:
    director, rulebook = Director(), Rulebook(RULES)

    async def start() -> TapedSession:
        session = TrackerSession(threads, ColourPredictor(), 4, TrackerSettings(), rewinds=True)
        return TapedSession(session, tape, rulebook, threads.encoder.run)

    sinks = director, open_sink(str(results))
    stream = Stream("test", Camera(director, 20), sinks, rulebook=rulebook)
    await run(stream, start, asyncio.Event(), lambda stream, meter: None)
    return director


def events_in(path: Path) -> list[Any]:
    written: list[Any] = lines(path)
    return [event for line in written for event in line["events"]]


def told(results: list[Result]) -> list[Any]:
    return [event for result in results for event in result.events]


async def test_a_live_session_with_commands_gives_the_same_events_again(tmp_path: Path) -> None:
    async with model_threads() as threads:
        tape = TapeWriter(tmp_path / "tape", HEADER)
        director = await live_session(threads, tape, tmp_path / "live.jsonl")
        session = TrackerSession(threads, ColourPredictor(), 4, TrackerSettings(), rewinds=True)
        again, file = CollectingSink(), open_sink(str(tmp_path / "again.jsonl"))
        steps = read_steps(tmp_path / "tape")
        stepped = await replay_tape(steps, True, session, (again, file), threads.encoder.run, lambda _: True)
    assert stepped == 20
    kinds = {event.kind for event in told(again.results)}
    assert {"new", "end", "zone_enter", "zone_leave", "moving"} <= kinds
    assert told(director.results) == told(again.results)
    assert events_in(tmp_path / "live.jsonl") == events_in(tmp_path / "again.jsonl")


async def test_a_tape_that_is_full_is_one_warning_and_tracking_goes_on(tmp_path: Path, log: Log) -> None:
    async with model_threads() as threads:
        size = len(TapeWriter(tmp_path, HEADER).pack(red_and_green(0).image))
        tape = TapeWriter(tmp_path / "tape", HEADER, most_bytes=size)
        director = await live_session(threads, tape, tmp_path / "live.jsonl")
    assert log.warnings == ["the tape ends here"]
    assert director.steps == 20
    assert len(list(read_steps(tmp_path / "tape"))) == 1


def test_a_live_run_is_kept_and_replayed_to_the_byte(keepsight: Keepsight, tmp_path: Path) -> None:
    """Also what was found without a prompt: it is kept as the prompts that it came to."""
    said = keepsight(
        *("run", LIVE, "--model", "test", "--auto", "motion", "--prompt", "box=0.2,0.2,0.7,0.8"),
        *("--record", "tape", "-o", "live.jsonl"),
    )
    assert (said.code, said.err) == (0, "")
    for name in ("a.jsonl", "b.jsonl"):
        said = keepsight("replay", "tape", "-o", name)
        assert (said.code, said.err) == (0, "")
    first, live = lines(tmp_path / "a.jsonl"), lines(tmp_path / "live.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
    assert f"{len(first) - 1} frames replayed" in said.out
    assert live[-1] == first[-1]
    assert events_in(tmp_path / "a.jsonl") == events_in(tmp_path / "live.jsonl")
    again = ("run", LIVE, "--model", "test", "--auto", "motion", "-o", "c.jsonl", "--record")
    assert keepsight(*again, "tape").code == 0, "a service that is started again goes on"
    (second,) = (folder for folder in (tmp_path / "tape").iterdir() if folder.is_dir())
    assert (second / "tape.json").exists()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/cat.jpg").touch()
    assert "is neither empty nor a tape's folder" in keepsight(*again, "photos").complaint


def test_a_replay_onto_a_full_disk_is_a_run_that_failed(keepsight: Keepsight, tmp_path: Path) -> None:
    scene = ("test://?frames=3&size=160x120", "--model", "test", "--prompt", "box=0.2,0.2,0.7,0.8")
    assert keepsight("run", *scene, "--record", "tape", "-o", "x.jsonl").code == 0
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    said = keepsight("replay", "tape", "-o", "full.jsonl")
    assert (said.code, said.complaint) == (1, "full.jsonl: cannot be written: No space left on device")
    assert keepsight("replay", "tape", "-o", "tape.json").code == 2


def test_a_replay_has_the_settings_of_the_run(keepsight: Keepsight, tmp_path: Path) -> None:
    scene = ("test://?frames=6&size=160x120", "--device", "cpu", "--prompt", "box=0.2,0.2,0.7,0.8")
    noise = ("--noise", "0.2", "--memory", "selective")
    assert keepsight("run", *scene, *noise, "--record", "tape", "-o", "x.jsonl").code == 0
    assert keepsight("replay", "tape", "-o", "y.jsonl").code == 0
    assert (tmp_path / "x.jsonl").read_bytes() == (tmp_path / "y.jsonl").read_bytes()


def test_what_cannot_be_kept_or_replayed_is_said(keepsight: Keepsight, tmp_path: Path) -> None:
    private = ("--privacy", "blur", "--prompt", "box=0,0,1,1", "--model", "test", "-o", "x.jsonl")
    said = keepsight("run", LIVE, *private, "--record", "tape")
    assert (said.code, "uncovered" in said.complaint) == (2, True)
    said = keepsight("replay", "nothing", "-o", "x.jsonl")
    assert (said.code, "holds no tape" in said.complaint) == (2, True)


def test_the_same_file_and_prompt_log_give_the_same_bytes(keepsight: Keepsight, tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        '{"frame": 0, "command": "prompt", "object_id": 1, "box": [0.2, 0.2, 0.7, 0.8]}\n'
        '{"frame": 2, "command": "correct", "object_id": 1, "points": [[0.3, 0.3]], "labels": [0]}\n'
        '{"frame": 4, "command": "forget", "object_id": 1}\n'
    )
    for name in ("a.jsonl", "b.jsonl"):
        scene = "test://?frames=6&size=160x120"
        assert keepsight("run", scene, "--model", "test", "--prompts", "log.jsonl", "-o", name).code == 0
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()
