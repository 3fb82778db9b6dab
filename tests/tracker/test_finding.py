"""Objects that a search finds: each is prompted once, where it is, and leaves its slot when it has gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

from keepsight.model.nano import Nano
from keepsight.streams.sources.scene import make_scene
from keepsight.streams.types import Command, Forget, Frame, Image, Prompt, Result
from keepsight.tracker.around import Around
from keepsight.tracker.build import load_predictor
from keepsight.tracker.config import Engine
from keepsight.tracker.engine import model_threads
from keepsight.tracker.finding import FindingSession, Search, Thing, by_grid, is_tracked
from keepsight.tracker.moving_things import overlap
from keepsight.tracker.seeding import TAKEN
from keepsight.tracker.session import TrackerSession
from keepsight.tracker.settings import TrackerSettings
from keepsight.tracker.transforms import tight_box
from tests.streams.results import track
from tests.tracker.command_line import Keepsight, lines

from .fakes import GREEN, RED, ColourPredictor, a_frame, area, ids


class Witness(Around):
    """A session around another one that keeps what was commanded."""

    def __init__(self, session: TrackerSession) -> None:
        self.commands: list[tuple[int, Command]] = []
        super().__init__(session)

    async def step(self, frame: Frame, commands: Sequence[Command]) -> Result:
        self.commands += [(frame.index, command) for command in commands]
        return await self._session.step(frame, commands)


async def everything(image: Image) -> tuple[Thing, ...]:
    """A search that finds all red and all green by their boxes."""
    there = [area(image, colour) for colour in (RED, GREEN)]
    return tuple(Thing(box, "thing") for mask in there if (box := tight_box(mask)) is not None)


async def everything_by_mask(image: Image) -> tuple[Thing, ...]:
    there = [area(image, colour) for colour in (RED, GREEN)]
    return tuple(Thing(box, mask=mask) for mask in there if (box := tight_box(mask)) is not None)


@asynccontextmanager
async def finding(
    room: int = 4,
    every: float = 0.3,
    search: Search = everything,
    on: bool = True,
) -> AsyncIterator[tuple[Witness, FindingSession]]:
    async with model_threads() as threads:
        inner = TrackerSession(threads, ColourPredictor(), room, TrackerSettings(), rewinds=True)
        witness = Witness(inner)
        yield witness, FindingSession(witness, search, every, lambda: on, room)


def running(index: int) -> Frame:
    """Red moves by most of its side from one frame to the next, and green stands still; 10 frames/s."""
    return a_frame(index, (RED, 12 * index, 0, 16), (GREEN, 80, 40, 16), size=(64, 160))


async def test_what_is_found_is_prompted_once_with_its_label_however_fast_it_moves() -> None:
    for search in (everything, everything_by_mask):
        async with finding(search=search) as (witness, session):
            results = [await session.step(running(index), ()) for index in range(12)]
        assert [(index, type(command)) for index, command in witness.commands] == [(1, Prompt), (1, Prompt)]
        assert [ids(result) for result in results] == [[], *[[1, 2]] * 11]
        for index, result in enumerate(results[1:], 1):
            found = result.tracks[0].mask
            assert np.array_equal(found, area(running(index).image, RED)), index


async def test_what_a_user_shows_is_not_found_again() -> None:
    async with finding() as (witness, session):
        for index in range(8):
            shown = (Prompt(points=((86 / 160, 0.7),), labels=(True,)),) if index == 0 else ()
            await session.step(running(index), shown)
    assert sum(isinstance(command, Prompt) for _, command in witness.commands) == 2


async def test_a_slot_stays_free_and_nothing_is_found_where_it_is_switched_off() -> None:
    async with finding(room=2) as (witness, session):
        results = [await session.step(running(index), ()) for index in range(8)]
    assert [ids(result) for result in results][-1] == [1]
    async with finding(on=False) as (witness, session):
        for index in range(8):
            await session.step(running(index), ())
    assert witness.commands == []


async def test_what_has_gone_is_forgotten_and_what_stands_still_is_not() -> None:
    async with finding() as (witness, session):
        for index in range(80):
            squares = [(GREEN, 80, 40, 16)] + [(RED, 4, 4, 16)] * (index < 20)
            result = await session.step(a_frame(index, *squares), ())
    forgotten = [(index, command) for index, command in witness.commands if isinstance(command, Forget)]
    assert [command.object_id for _, command in forgotten] == [1]
    assert 49 <= forgotten[0][0] <= 52, "three seconds after it was last seen"
    assert ids(result) == [2]


async def test_after_a_pause_of_the_stream_nothing_is_forgotten_that_is_still_there() -> None:
    async with finding() as (witness, session):
        for index in range(16):
            frame = running(min(index, 4))
            seconds = index / 10 + (4.0 if index >= 8 else 0.0)
            result = await session.step(replace(frame, index=index, time=seconds), ())
    assert ids(result) == [1, 2]
    assert not any(isinstance(command, Forget) for _, command in witness.commands)


def test_a_part_of_what_is_tracked_is_that_and_a_box_behind_another_is_not() -> None:
    whole, part, beside = (np.zeros((20, 20), np.bool_) for _ in range(3))
    whole[2:18, 2:18], part[4:8, 4:8], beside[0:2, 0:20] = True, True, True
    tracked = track(1, whole)
    assert is_tracked(Thing((0.2, 0.2, 0.4, 0.4), mask=part), tracked)
    assert not is_tracked(Thing((0.0, 0.0, 1.0, 0.1), mask=beside), tracked)
    assert is_tracked(Thing((0.1, 0.15, 0.9, 1.0)), tracked)
    assert not is_tracked(Thing((0.2, 0.2, 0.4, 0.4)), tracked)
    assert not is_tracked(Thing((0.1, 0.1, 0.9, 0.9)), track(1, whole & False))


def test_a_grid_of_clicks_finds_things_apart_from_each_other() -> None:
    nano = load_predictor(Engine())
    assert isinstance(nano, Nano)
    found = by_grid(nano, make_scene((120, 160), 3, 0).image(0.0), clicks=6)
    masks = [thing.mask for thing in found if thing.mask is not None]
    assert len(masks) >= 2
    assert all(overlap(one, other) < TAKEN for one, other in combinations(masks, 2))


def test_a_run_may_search_a_grid(keepsight: Keepsight, tmp_path: Path) -> None:
    scene = "test://?frames=3&size=160x120"
    said = keepsight("run", scene, "--model", "test", "--auto", "grid,every=5", "-o", "r.jsonl")
    assert (said.code, said.err) == (0, "")
    assert len(lines(tmp_path / "r.jsonl")) == 3
