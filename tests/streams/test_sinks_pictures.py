"""What was found in still pictures, as files that others can read."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from keepsight.streams import rle
from keepsight.streams.base import SinkError
from keepsight.streams.segments import Layer, Segment, Segmented
from keepsight.streams.sinks.pictures import PictureWriter, open_picture_writer
from keepsight.streams.types import Image, Mask
from keepsight.tracker.evaluation.labelled import read_index_map

SIZE = (40, 60)
PICTURE: Image = np.full((*SIZE, 3), 90, np.uint8)


def rectangle(x0: int, y0: int, x1: int, y1: int) -> Mask:
    mask = np.zeros(SIZE, np.bool_)
    mask[y0:y1, x0:x1] = True
    return mask


def a_segment(object_id: int, mask: Mask, box: tuple[int, int, int, int], label: str = "") -> Segment:
    height, width = SIZE
    x0, y0, x1, y1 = box
    return Segment(
        object_id=object_id,
        label=label,
        rle=rle.encode(mask),
        box=(x0 / width, y0 / height, x1 / width, y1 / height),
        area=int(mask.sum()),
        iou=0.87654321,
        stability=0.5,
        confidence=0.66666666,
    )


LARGE, SMALL = (5, 5, 45, 35), (20, 10, 30, 20)
LAYER: Layer = (a_segment(2, rectangle(*LARGE), LARGE, "dog"), a_segment(300, rectangle(*SMALL), SMALL))
LOW_IDS: Layer = (a_segment(2, rectangle(*LARGE), LARGE), a_segment(7, rectangle(*SMALL), SMALL))


def written(writer: PictureWriter, *found: Segmented) -> None:
    writer.open()
    for one in found:
        writer.write(one)
    writer.close()


def a_picture(*layers: Layer, name: str = "truck") -> Segmented:
    return Segmented(f"{name}.jpg", name, PICTURE, layers)


def test_masks_are_indexed_pngs_in_the_pictures_size_small_things_on_top(tmp_path: Path) -> None:
    written(open_picture_writer(f"masks:{tmp_path / 'm'}", single=True), a_picture(LOW_IDS))
    ids = read_index_map(tmp_path / "m" / "truck.png")
    expected = np.where(rectangle(*SMALL), 7, np.where(rectangle(*LARGE), 2, 0))
    assert np.array_equal(ids, expected)


def test_ids_beyond_a_byte_make_a_png_of_16_bits(tmp_path: Path) -> None:
    written(open_picture_writer(f"masks:{tmp_path}", single=False), a_picture(LAYER))
    ids = cv2.imread(str(tmp_path / "truck.png"), cv2.IMREAD_UNCHANGED)
    assert ids.dtype == np.uint16
    assert (ids == 300).sum() == 100


def test_further_candidates_lie_beside_the_best(tmp_path: Path) -> None:
    written(
        open_picture_writer(f"masks:{tmp_path}", single=True), a_picture(LOW_IDS, LOW_IDS[1:], LOW_IDS[:1])
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["truck.2.png", "truck.3.png", "truck.png"]
    assert set(np.unique(read_index_map(tmp_path / "truck.2.png"))) == {0, 7}


def test_an_overlay_shows_the_picture_and_where_the_objects_are(tmp_path: Path) -> None:
    written(open_picture_writer(f"overlay:{tmp_path}", single=False), a_picture(LAYER))
    seen = cv2.imread(str(tmp_path / "truck.jpg"))
    assert seen.shape == PICTURE.shape
    changed = np.abs(seen.astype(int) - 90).max(axis=2) > 30
    assert changed[25:34, 6:44].mean() > 0.9
    assert changed[36:, 50:].mean() < 0.1


@pytest.mark.parametrize("ending", [".png", ".jpg", ".webp"])
def test_the_overlay_of_a_single_picture_has_the_users_name(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "new" / f"out{ending}"
    written(open_picture_writer(str(path), single=True), a_picture(LAYER, LAYER))
    assert cv2.imread(str(path)).shape == PICTURE.shape
    assert path.with_name(f"out.2{ending}").exists()


def test_other_peoples_files_are_not_overwritten_and_ours_are(tmp_path: Path) -> None:
    for scheme, name in (("masks", "truck.png"), ("overlay", "truck.jpg")):
        foreign = tmp_path / scheme
        foreign.mkdir()
        cv2.imwrite(str(foreign / name), PICTURE)
        before = (foreign / name).read_bytes()
        with pytest.raises(SinkError, match=f"{name} was not written by Keepsight: name another folder"):
            written(open_picture_writer(f"{scheme}:{foreign}", single=True), a_picture(LAYER))
        assert (foreign / name).read_bytes() == before
        own = f"{scheme}:{tmp_path / 'own'}"
        written(open_picture_writer(own, single=True), a_picture(LAYER))
        written(open_picture_writer(own, single=True), a_picture(LOW_IDS))


def test_a_coco_file_is_read_by_pycocotools(tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")
    path = tmp_path / "all.json"
    written(
        open_picture_writer(str(path), single=False),
        a_picture(LAYER),
        a_picture(name="empty"),
        a_picture(LAYER[1:], name="van"),
    )
    read = coco.COCO(str(path))
    assert [read.imgs[number]["file_name"] for number in sorted(read.imgs)] == [
        "truck.jpg",
        "empty.jpg",
        "van.jpg",
    ]
    dogs = read.loadAnns(read.getAnnIds(catIds=read.getCatIds(catNms=["dog"])))
    assert [dog["image_id"] for dog in dogs] == [1]
    assert np.array_equal(read.annToMask(dogs[0]), rectangle(*LARGE))
    assert dogs[0]["bbox"] == [5, 5, 40, 30]
    assert dogs[0]["area"] == 40 * 30
    assert dogs[0]["score"] == 0.8765
    assert dogs[0]["confidence"] == 0.6667
    assert len(read.getAnnIds(imgIds=[3])) == 1


def test_a_coco_file_of_nothing_is_whole(tmp_path: Path) -> None:
    written(open_picture_writer(str(tmp_path / "none.json"), single=False))
    assert orjson.loads((tmp_path / "none.json").read_bytes()) == {
        "annotations": [],
        "images": [],
        "categories": [],
    }


def test_nothing_half_written_is_found_under_an_outputs_name(tmp_path: Path) -> None:
    writer = open_picture_writer(str(tmp_path / "all.json"), single=False)
    writer.open()
    writer.write(a_picture(LAYER))
    assert not (tmp_path / "all.json").exists()
    writer.close()
    assert [path.name for path in tmp_path.iterdir()] == ["all.json"]


@pytest.mark.parametrize(
    ("text", "single", "reason"),
    [
        ("out.jpg", False, "there are several pictures: write overlay:DIR"),
        ("masks:", True, "names no folder: write masks:DIR"),
        ("out.mp4", True, "is no output: give FILE.jpg, overlay:DIR, masks:DIR or FILE.json"),
    ],
)
def test_an_output_that_is_none_is_said(text: str, single: bool, reason: str) -> None:
    with pytest.raises(SinkError, match=reason):
        open_picture_writer(text, single=single)
