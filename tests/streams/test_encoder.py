"""One encode for all viewers of a camera: what each of them gets, and what it costs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise

import av
import numpy as np
import pytest

from keepsight.streams.encoder import READER_UNITS, SharedEncoder, Unit, Units
from keepsight.streams.types import Image

from .filming import noise
from .results import result

SIZE = (120, 160)


async def write(encoder: SharedEncoder, indices: Iterable[int], size: tuple[int, int] = SIZE) -> None:
    for index in indices:
        await encoder.write(result(index, size=size))


async def all_of(units: Units) -> list[Unit]:
    return [unit async for unit in units]


def decoded(units: Iterable[Unit]) -> list[Image]:
    codec = av.CodecContext.create("h264", "r")
    assert isinstance(codec, av.VideoCodecContext)
    pictures = [picture for unit in units for picture in codec.decode(av.Packet(unit.data))]
    return [np.asarray(picture.to_ndarray(format="rgb24"), np.uint8) for picture in pictures]


def unit(index: int, key: bool) -> Unit:
    return Unit(b"", key, index, SIZE, (0, index), 0.0, "arrival")


async def test_every_reader_gets_the_same_units_from_one_encode() -> None:
    encoder = SharedEncoder("door")
    with encoder.read() as one, encoder.read() as other:
        async with encoder:
            await write(encoder, range(30))
        first, second = await all_of(one), await all_of(other)
    assert encoder.encoded == 30
    assert first == second
    assert [at.frame for at in first] == [(0, index) for index in range(30)]
    assert [index for index, at in enumerate(first) if at.key] == [0, 25]
    assert [at.pts for at in first] == [index * 3600 for index in range(30)]
    pictures = decoded(first)
    assert len(pictures) >= 29  # the decoder may hold the last one
    assert np.abs(pictures[0].astype(int) - result(0, size=SIZE).frame.image).mean() < 60


async def test_nothing_is_encoded_while_nobody_reads() -> None:
    encoder = SharedEncoder()
    async with encoder:
        await write(encoder, range(5))
        assert encoder.encoded == 0
        with encoder.read() as units:
            await write(encoder, range(5, 8))
            assert (await anext(units)).frame == (0, 5)
        await write(encoder, range(8, 12))
    assert encoder.encoded == 3


async def test_who_comes_later_starts_with_a_key_frame_soon() -> None:
    encoder = SharedEncoder()
    async with encoder:
        with encoder.read():
            await write(encoder, range(11))
            with encoder.read() as late:
                await write(encoder, range(11, 14))
                first = await anext(late)
    assert (first.frame, first.key) == ((0, 11), True)
    assert len(decoded([first, first])) >= 1


async def test_many_that_come_together_cost_one_key_frame() -> None:
    encoder = SharedEncoder()
    async with encoder:
        with encoder.read() as units:
            for index in range(20):
                encoder.request_key_frame()
                await write(encoder, [index])
        keys = [at.frame[1] for at in await all_of(units) if at.key]
    assert keys == [0, 7, 14]  # 0.28 s apart, at 25 frames/s


async def test_a_frame_that_two_sinks_write_is_encoded_once() -> None:
    encoder = SharedEncoder()
    with encoder.read():
        async with encoder, encoder:
            await asyncio.gather(*(encoder.write(result(0)) for _ in range(3)))
            await encoder.write(result(1))
            await encoder.write(result(0))
    assert encoder.encoded == 2


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (50, 66), (2, 2), (1, 1)])
async def test_a_change_of_size_begins_anew_with_a_key_frame(size: tuple[int, int]) -> None:
    encoder = SharedEncoder()
    with encoder.read() as units:
        async with encoder:
            await write(encoder, range(3))
            await write(encoder, range(3, 6), size)
        got = await all_of(units)
    assert [at.key for at in got] == [True, False, False] * 2
    assert got[3].size == (size[0] + size[0] % 2, size[1] + size[1] % 2)
    assert {picture.shape[:2] for picture in decoded(got[3:])} == {got[3].size}


async def test_time_always_rises() -> None:
    encoder = SharedEncoder()
    with encoder.read() as units:
        async with encoder:
            for index, time in enumerate([5.0, 5.0, 4.0, 900.0, 900.1]):
                await encoder.write(result(index, time=time))
        got = await all_of(units)
    assert all(later.pts > earlier.pts for earlier, later in pairwise(got))
    assert got[3].key  # a second has passed, whatever else did


async def test_an_encode_that_was_cancelled_is_followed_by_a_key_frame() -> None:
    encoder = SharedEncoder()
    with encoder.read() as units:
        async with encoder:
            await write(encoder, range(20))
            writing = asyncio.create_task(encoder.write(result(20, size=SIZE)))
            await asyncio.sleep(0)
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            await write(encoder, range(21, 23))
        got = await all_of(units)
    after = next(at for at in got if at.frame[1] > 20)
    assert after.key


async def test_few_pictures_a_second_get_as_many_bits_as_many() -> None:
    """On a slow machine two pictures come in a second; they may be as good as those of thirty."""
    sizes = []
    for rate in (30, 2):
        encoder = SharedEncoder()
        with encoder.read(1000) as units:
            async with encoder:
                await film_noise(encoder, rate)
            sizes.append(sum(len(at.data) for at in (await all_of(units))[-20:]))
    assert sizes[1] > 0.5 * 20 * 4 * 320 * 240 / 8 / 2  # half of the bits of ten seconds
    assert sizes[1] > 4 * sizes[0]


async def film_noise(encoder: SharedEncoder, rate: float) -> None:
    """Sixty pictures of noise, which no encoder can make small."""
    made = [noise((240, 320), seed) for seed in range(10)]
    for index in range(60):
        at = made[index % 10]
        await encoder.write(replace(at, frame=replace(at.frame, index=index, time=index / rate)))


async def test_a_failing_encode_is_left_out_and_the_next_is_a_key_frame() -> None:
    encoder = SharedEncoder()
    huge = np.zeros((32, 20_000, 3), np.uint8)  # x264 takes up to 16384
    with encoder.read() as units:
        async with encoder:
            await write(encoder, [0])
            large = result(1)
            await encoder.write(replace(large, frame=replace(large.frame, image=huge), tracks=()))
            await write(encoder, [2])
        got = await all_of(units)
    assert [(at.frame[1], at.key) for at in got] == [(0, True), (2, True)]


def test_a_slow_reader_goes_on_with_the_newest_key_frame_that_waits() -> None:
    units = Units(capacity=10)
    for index in range(12):
        units.offer(unit(index, key=index in (0, 4, 8)))
    units.close()
    assert [at.frame[1] for at in asyncio.run(all_of(units))] == [8, 9, 10, 11]
    assert units.dropped == 8


def test_a_slow_reader_waits_for_a_key_frame_where_none_is_there() -> None:
    units = Units(capacity=5)
    for index in range(12):
        units.offer(unit(index, key=index in (0, 9)))
    units.close()
    assert [at.frame[1] for at in asyncio.run(all_of(units))] == [9, 10, 11]
    assert units.dropped == 9


async def test_a_reader_that_stops_reading_holds_up_nobody_and_keeps_little() -> None:
    encoder = SharedEncoder()
    with encoder.read() as stuck, encoder.read(1000) as quick:
        async with encoder:
            await write(encoder, range(200), (48, 64))
        got, late = await all_of(quick), await all_of(stuck)
    assert len(got) == 200
    assert len(late) <= READER_UNITS
    assert late[0].key
    assert late[-1].frame == (0, 199)
