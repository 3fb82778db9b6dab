from __future__ import annotations

import dataclasses
import time

import numpy as np
import pytest

from keepsight.streams.base import SourceError
from keepsight.streams.sources import SyntheticSource, open_source
from keepsight.streams.types import Frame


async def read_all(url: str) -> list[Frame]:
    async with open_source(url) as source:
        return [frame async for frame in source]


async def test_a_scene_plays_as_asked() -> None:
    async with open_source("test://?frames=4&size=96x64&fps=10") as source:
        assert (source.live, source.rate, source.frame_count) == (False, 10.0, 4)
        frames = [frame async for frame in source]
    assert [frame.size for frame in frames] == [(64, 96)] * 4
    assert [frame.time for frame in frames] == [0.0, 0.1, 0.2, 0.3]
    assert {frame.clock for frame in frames} == {"generated"}


async def test_the_same_url_gives_the_same_pictures_and_another_seed_others() -> None:
    url = "test://?frames=3&size=96x64&seed="
    first, again, other = [await read_all(url + seed) for seed in ("5", "5", "6")]
    for a, b, c in zip(first, again, other, strict=True):
        assert (a.image == b.image).all()
        assert a.captured == b.captured
        assert (a.image != c.image).any()


async def test_a_scene_without_a_number_of_frames_never_ends() -> None:
    async with open_source("test://?frames=0&size=32x32&objects=1") as source:
        assert source.frame_count is None
        async for frame in source:
            if frame.index == 300:
                break
    assert frame.index == 300


@pytest.mark.parametrize("objects", [1, 2, 3, 5, 8, 16, 32])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_object_is_in_full_view_at_first(objects: int, seed: int) -> None:
    source = SyntheticSource(f"test://?objects={objects}&seed={seed}&size=320x180")
    assert source.visible(0) == dict.fromkeys(range(1, objects + 1), 1.0)
    assert set(np.unique(source.truth(0))) == set(range(objects + 1))


def test_the_truth_covers_just_what_is_drawn_over_the_background() -> None:
    source = SyntheticSource("test://?seed=3")
    empty = dataclasses.replace(source.scene, things=())
    for index in (0, 40, 125, 249):
        t = index / 25
        drawn = (source.scene.image(t) != empty.image(t)).any(axis=2)
        truth = source.truth(index) > 0
        # Soft edges are drawn a pixel wider than the truth; a few pixels have the background's colour.
        assert (drawn & truth).sum() / (drawn | truth).sum() > 0.95


def test_what_is_visible_follows_from_the_truth() -> None:
    source = SyntheticSource("test://?seed=1")
    whole = np.bincount(source.truth(0).ravel(), minlength=4)
    for index in range(0, 250, 25):
        seen = np.bincount(source.truth(index).ravel(), minlength=4)
        for object_id, part in source.visible(index).items():
            assert 0 <= part <= 1
            assert (part == 0) == (seen[object_id] == 0)
            assert seen[object_id] / whole[object_id] == pytest.approx(
                part, rel=0.4
            )  # objects grow and shrink


@pytest.mark.parametrize("seed", range(5))
def test_objects_hide_each_other_and_one_leaves_and_returns(seed: int) -> None:
    source = SyntheticSource(f"test://?seed={seed}&size=320x180")
    visible = [source.visible(index) for index in range(250)]
    third = [frame[3] for frame in visible]
    gone = third.index(0.0)
    assert max(third[gone:]) > 0.95
    assert min(min(frame[1], frame[2]) for frame in visible) < 0.6


def test_objects_move_smoothly() -> None:
    source = SyntheticSource("test://")
    truths = [source.truth(index) for index in range(40)]
    for object_id in (1, 2):
        ways = [np.argwhere(truth == object_id).mean(axis=0) for truth in truths]
        steps = np.linalg.norm(np.diff(ways, axis=0), axis=1)
        assert steps.max() < 15
        assert np.abs(np.diff(steps)).max() < 4


async def test_a_live_scene_plays_in_real_time() -> None:
    started = time.monotonic()
    async with open_source("test://?frames=11&size=64x64&fps=50&live=1") as source:
        assert source.live
        frames = [frame async for frame in source]
        assert len(frames) + source.dropped == 11
    assert all(frame.arrived - started >= frame.time for frame in frames)
    assert frames[-1].captured > 1_600_000_000


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("colour=red", "unknown parameter colour; known: objects, frames, size, fps, seed, live"),
        ("objects=0", "objects 0 is outside 1 to 32"),
        ("size=20x20", "width 20 is outside 32 to 8192"),
        ("size=big", "size big is not like 640x360"),
        ("fps=0", "fps 0 is outside"),
        ("fps=fast", "could not convert"),
    ],
)
def test_what_cannot_be_drawn_is_refused(query: str, complaint: str) -> None:
    with pytest.raises(SourceError, match=complaint):
        open_source(f"test://?{query}")
