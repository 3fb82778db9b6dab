"""Decoding in hardware where there is some. Tests count on none: they see that nothing is lost without it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from keepsight.streams.base import HARDWARE, SourceError
from keepsight.streams.sources import container, hardware, open_source
from keepsight.streams.types import Image
from tests.logs import Log

from .test_container import overwrite_packets


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


async def test_hardware_that_fails_once_it_is_open_is_left_out_at_the_next_opening_and_that_is_said_once(
    make_clip: Callable[..., Path], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened with hardware that does not exist has packets that nobody can decode."""
    clip, broken = make_clip(frames=5), make_clip("broken.mp4", frames=5)
    overwrite_packets(broken, slice(None))
    really, asked = av.open, []

    def opened(address: str, *, hwaccel: object, **how: object) -> object:
        asked.append(hwaccel)
        return really(str(broken if hwaccel else clip), metadata_errors=how["metadata_errors"])

    monkeypatch.setattr(container, "decoder", lambda wanted: wanted)
    monkeypatch.setattr(av, "open", opened)
    async with asyncio.timeout(20), open_source("rtsp://camera/main", hwaccel="cuda") as source:
        while (await anext(source)).epoch == 0:
            pass
    assert asked[:3] == ["cuda", None, None]
    (said,) = [entry for entry in log.entries if "hardware" in entry["event"]]
    assert said["level"] == "warning"


async def test_hardware_is_not_blamed_for_a_camera_that_closes_before_its_first_packet(
    make_clip: Callable[..., Path], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, really, asked = make_clip(frames=5), av.open, []

    def opened(address: str, *, hwaccel: object, **how: object) -> object:
        asked.append(hwaccel)
        stream = really(str(clip), metadata_errors=how["metadata_errors"])
        if len(asked) == 1:
            list(stream.demux())
        return stream

    monkeypatch.setattr(container, "decoder", lambda wanted: wanted)
    monkeypatch.setattr(av, "open", opened)
    async with asyncio.timeout(20), open_source("rtsp://camera/main", hwaccel="cuda") as source:
        await anext(source)
    assert asked[:2] == ["cuda", "cuda"]
    assert not [entry for entry in log.entries if "hardware" in entry["event"]]


async def test_of_a_file_that_cannot_be_decoded_nothing_is_promised(
    make_clip: Callable[..., Path], log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, really = make_clip(frames=5), av.open
    overwrite_packets(clip, slice(None))
    monkeypatch.setattr(container, "decoder", lambda wanted: wanted)
    monkeypatch.setattr(av, "open", lambda address, hwaccel, **how: really(address))
    with pytest.raises(SourceError, match="no picture in it can be decoded"):
        await images(clip, "cuda")
    assert not [entry for entry in log.entries if "hardware" in entry["event"]]
