from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from structlog.testing import capture_logs

from keepsight.streams.base import SourceError
from keepsight.streams.sources import open_source
from keepsight.streams.sources.image_folder import ImageFolderSource
from keepsight.streams.types import Frame
from tests.clips import CORNERS, quarters


async def read_all(folder: Path) -> list[Frame]:
    async with open_source(str(folder)) as source:
        return [frame async for frame in source]


def write_picture(path: Path, value: int = 0, size: tuple[int, ...] = (20, 30, 3)) -> None:
    assert cv2.imwrite(str(path), np.full(size, value, np.uint8))


async def test_a_folder_is_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, value in (("00002.bmp", 30), ("00000.png", 10), ("00001.tif", 20), ("00003.webp", 40)):
        write_picture(tmp_path / name, value)
    (tmp_path / "notes.txt").write_text("not a picture")
    async with open_source(str(tmp_path)) as source:
        assert (source.live, source.frame_count, source.rate) == (False, 4, 25.0)
        frames = [frame async for frame in source]
    assert [int(frame.image[0, 0, 0]) for frame in frames] == pytest.approx([10, 20, 30, 40], abs=1)
    assert [frame.time for frame in frames] == [0.0, 0.04, 0.08, 0.12]


async def test_pictures_are_rgb(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), quarters(0, (20, 30))[:, :, ::-1])
    (frame,) = await read_all(tmp_path)
    assert (frame.image == quarters(0, (20, 30))).all()


@pytest.mark.parametrize("size", [(20, 30), (20, 30, 1), (20, 30, 4), (1, 1, 3), (21, 33, 3)])
async def test_grey_alpha_and_odd_pictures_become_rgb(tmp_path: Path, size: tuple[int, ...]) -> None:
    write_picture(tmp_path / "a.png", 77, size)
    (frame,) = await read_all(tmp_path)
    assert frame.image.shape == (*size[:2], 3)
    assert (frame.image == 77).all()


async def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((20, 30), 77 * 257, np.uint16))
    (frame,) = await read_all(tmp_path)
    assert (frame.image == 77).all()


async def test_a_photo_taken_turned_is_shown_upright(tmp_path: Path) -> None:
    jpeg = cv2.imencode(".jpg", quarters(0, (64, 96))[:, :, ::-1])[1].tobytes()
    orientation_6 = struct.pack("<2sHIHHHIHHI", b"II", 42, 8, 1, 0x0112, 3, 1, 6, 0, 0)
    exif = b"Exif\0\0" + orientation_6
    header = b"\xff\xd8\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif
    (tmp_path / "a.jpg").write_bytes(header + jpeg[2:])
    (frame,) = await read_all(tmp_path)
    assert frame.size == (96, 64)
    seen = frame.image[np.ix_([24, 72], [16, 48])].astype(int)
    assert np.abs(seen - np.rot90(CORNERS, -1)).max() <= 25  # a lossy coder moves colours a little


async def test_pictures_of_different_sizes_keep_their_own_and_it_is_said_once(tmp_path: Path) -> None:
    for index, width in enumerate((30, 40, 50)):
        write_picture(tmp_path / f"{index}.png", size=(20, width, 3))
    with capture_logs() as logs:
        frames = await read_all(tmp_path)
    assert [frame.size for frame in frames] == [(20, 30), (20, 40), (20, 50)]
    assert [entry["event"] for entry in logs] == ["pictures differ in size, each keeps its own"]


async def test_a_picture_that_cannot_be_read_is_skipped_counted_and_named(tmp_path: Path) -> None:
    write_picture(tmp_path / "0.png")
    (tmp_path / "1.png").write_bytes(b"not a picture")
    (tmp_path / "2.png").mkdir()
    (tmp_path / "2b.png").write_bytes(b"")
    write_picture(tmp_path / "3.png")
    source = ImageFolderSource(tmp_path)
    with capture_logs() as logs:
        async with source:
            frames = [frame async for frame in source]
    assert [frame.index for frame in frames] == [0, 1]
    assert source.broken == 3
    assert [Path(entry["path"]).name for entry in logs] == ["1.png", "2.png", "2b.png"]


async def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no pictures in this folder"):
        await read_all(tmp_path)


async def test_a_folder_that_is_gone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="gone: No such file or directory"):
        async with ImageFolderSource(tmp_path / "gone"):
            pass


async def test_a_folder_whose_pictures_are_all_broken_is_refused(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"not a picture")
    with pytest.raises(SourceError, match="none of its 1 pictures can be read"):
        await read_all(tmp_path)
