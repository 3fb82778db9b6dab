"""Decoding in hardware where there is some. Tests count on none: they see that nothing is lost without it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from keepsight.streams.base import HARDWARE
from keepsight.streams.sources import hardware, open_source
from keepsight.streams.types import Image
from tests.logs import Log


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    hardware.device.cache_clear()
    yield
    hardware.device.cache_clear()


async def images(clip: Path, hwaccel: str) -> list[Image]:
    async with open_source(str(clip), hwaccel=hwaccel) as source:
        return [frame.image async for frame in source]


@pytest.mark.parametrize("wanted", HARDWARE)
async def test_video_is_decoded_with_or_without_the_hardware_and_that_is_said_once(
    wanted: str, make_clip: Callable[..., Path], log: Log
) -> None:
    clip = make_clip()
    plain = await images(clip, "off")
    for _ in range(2):
        decoded = await images(clip, wanted)
        assert len(decoded) == len(plain)
        # hardware may round colours in another way
        assert max(np.abs(a.astype(int) - b).max() for a, b in zip(decoded, plain, strict=True)) <= 4
    (said,) = log.entries
    assert said["event"].startswith("decoding in ")
    if said["event"] == "decoding in software":
        assert said["level"] == "warning"
        assert said["reason"]
