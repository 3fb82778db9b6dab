"""Where labels come from: photos, COCO, DAVIS and YouTube-VOS, told or found out; what is missing is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from pycocotools import mask as coco_mask

from keepsight.streams import rle
from keepsight.streams.sinks.masks import encode_png
from keepsight.tracker.training.batches import load
from keepsight.tracker.training.clips import ClipSettings
from keepsight.tracker.training.layouts import layout_of
from keepsight.tracker.training.library import Library, open_library, read_map
from keepsight.tracker.training.real_clips import draw_clip, draw_frames, real_clip
from keepsight.tracker.training.recipe import Data
from tests.training.pictures import SIZE, disc, recipe_for, write_photos, write_video

SETTINGS = ClipSettings(frames=4, size=(64, 64), objects=3)


def library_of(root: Path, **sets: object) -> Library:
    data = Data.model_validate({"root": root, "sets": sets})
    return open_library(data, root / "index.json", root / "labels")


def write_coco(folder: Path, segmentation: object, **changes: object) -> Path:
    """One picture with one object, as COCO has it: `images/0.png` and `annotations/instances_all.json`."""
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    cv2.imwrite(str(folder / "images" / "0.png"), disc((60, 48), 0)[0])
    picture = {"id": 5, "file_name": "0.png", "height": SIZE[0], "width": SIZE[1]}
    label = {"id": 1, "image_id": 5, "segmentation": segmentation, "iscrowd": 0} | changes
    content = {"images": [picture], "annotations": [label], "categories": []}
    (folder / "annotations" / "instances_all.json").write_bytes(orjson.dumps(content))
    return folder


def square() -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    mask = np.zeros(SIZE, np.bool_)
    mask[20:60, 30:90] = True
    return mask


def as_polygon() -> object:
    return [[30.0, 20.0, 90.0, 20.0, 90.0, 60.0, 30.0, 60.0]]


def as_compressed() -> object:
    return dict(rle.encode(square()))


def as_counts() -> object:
    flat = square().T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    return {"size": list(SIZE), "counts": np.diff([0, *edges, flat.size]).tolist()}


@pytest.mark.parametrize("told", [as_polygon, as_compressed, as_counts])
def test_coco_objects_are_drawn_as_pycocotools_draws_them(told: object, tmp_path: Path) -> None:
    assert callable(told)
    library = library_of(write_coco(tmp_path / "all", told()).parent, all=1)

    image, instances, photo = library.photo(np.random.default_rng(0))

    theirs = coco_mask.decode(coco_mask.frPyObjects(as_polygon(), *SIZE))[..., 0]
    assert image.shape == (*SIZE, 3)
    assert photo.instances == (1,)
    wrong = (instances > 0) != (theirs > 0)
    assert wrong.sum() < 200  # less than one pixel round the outline, which is 200 pixels long


def test_of_coco_objects_that_overlap_the_smaller_lies_on_top(tmp_path: Path) -> None:
    folder = write_coco(tmp_path / "all", as_polygon())
    file = folder / "annotations" / "instances_all.json"
    content = orjson.loads(file.read_bytes())
    small = {"id": 2, "image_id": 5, "segmentation": [[40, 30, 60, 30, 60, 50, 40, 50]], "iscrowd": 0}
    crowd = small | {"id": 3, "segmentation": [[0, 0, 128, 0, 128, 96, 0, 96]], "iscrowd": 1}
    file.write_bytes(orjson.dumps(content | {"annotations": [small, *content["annotations"], crowd]}))

    _, instances, photo = library_of(tmp_path, all=1).photo(np.random.default_rng(0))

    assert photo.instances == (1, 2)
    assert instances[40, 50] == 2
    assert instances[25, 80] == 1
    assert instances[5, 5] == 0


def test_layouts_are_found_out(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 1)
    write_video(tmp_path / "videos", frames=2)
    write_coco(tmp_path / "coco", as_polygon())
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips" / "a.mp4").touch()

    found = [layout_of(tmp_path / name, "auto") for name in ("photos", "videos", "coco", "clips")]

    assert found == ["photos", "davis", "coco", "unlabelled"]


def test_a_folder_of_no_known_layout_is_answered_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "notes.txt").touch()

    with pytest.raises(
        ValueError, match=r"odd: looked for images/ and masks/.*COCO.*; found notes.txt"
    ) as told:
        library_of(tmp_path, odd=1)

    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (
            lambda coco: (coco / "images" / "0.png").unlink(),
            "none of its 1 labelled pictures is there",
        ),
        (lambda coco: (coco / "annotations" / "b.json").touch(), None),
        (lambda coco: (coco / "annotations" / "instances_all.json").write_text("{}"), "not COCO instances"),
        (lambda coco: (coco / "annotations" / "instances_b.json").touch(), "which file has the instances"),
    ],
)
def test_what_is_wrong_with_a_coco_set_is_said_in_one_line(
    break_it: object, said: str | None, tmp_path: Path
) -> None:
    folder = write_coco(tmp_path / "all", as_polygon())
    assert callable(break_it)
    break_it(folder)

    if said is None:
        assert library_of(tmp_path, all=1).sets
        return
    with pytest.raises(ValueError, match=said) as told:
        library_of(tmp_path, all={"layout": "coco"})
    assert "\n" not in str(told.value)


def test_a_clip_from_a_video_moves_as_the_video_does_in_one_crop(tmp_path: Path) -> None:
    library = library_of(write_video(tmp_path / "v", frames=8).parent, v=1)

    for seed in range(10):
        clip = real_clip(library, SETTINGS, np.random.default_rng(seed))

        centres = [np.nonzero(ids == clip.targets[0])[1].mean() for ids in clip.ids if ids.any()]
        steps = np.diff(centres)
        assert clip.images.shape == (4, 64, 64, 3)
        assert clip.targets == (1,)
        assert (steps >= 0).all() or (steps <= 0).all()
        for image, ids in zip(clip.images, clip.ids, strict=True):
            if ids.any():
                assert (
                    image[ids == 1].mean() > image[ids == 0].mean() + 15
                )  # the mask lies on the bright disc


def test_only_labelled_frames_of_a_video_are_drawn(tmp_path: Path) -> None:
    """YouTube-VOS labels every fifth frame."""
    library = library_of(write_video(tmp_path / "v", frames=11, every=5).parent, v=1)

    sequence = library.video(np.random.default_rng(0))

    assert [path.stem for path in sequence.images] == ["00000", "00005", "00010"]


def test_frames_are_in_order_evenly_apart_and_turn_back_in_a_short_video() -> None:
    random = np.random.default_rng(0)
    drawn = [draw_frames(20, 4, random) for _ in range(50)]

    strides = {tuple(np.diff(frames)) for frames in drawn}
    assert all(len(set(steps)) == 1 for steps in strides)
    assert {steps[0] for steps in strides} == {-4, -3, -2, -1, 1, 2, 3, 4}
    assert {max(max(frames) for frames in drawn), min(min(frames) for frames in drawn)} <= set(range(20))
    assert sorted({tuple(draw_frames(3, 6, random)) for _ in range(20)}) == [
        (0, 1, 2, 1, 0, 1),
        (2, 1, 0, 1, 2, 1),
    ]


def test_loaders_start_after_pictures_were_resized_in_several_threads(tmp_path: Path) -> None:
    """As the model's labelling does; ending OpenCV's threads in a forked process waited for ever."""
    write_video(tmp_path / "discs")
    recipe = recipe_for(tmp_path, tmp_path, loaders=1)
    library = open_library(recipe.data, tmp_path / "index.json", tmp_path / "labels")
    cv2.setNumThreads(4)
    cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1500, 1500))

    loader = load(library, recipe, 0, 0)
    loader.timeout = 60

    assert next(iter(loader)).images.shape == (2, 3, 3, 64, 64)


def test_videos_and_photos_are_mixed_by_weight(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos")
    write_video(tmp_path / "videos")
    library = library_of(tmp_path, photos=1, videos={"weight": 3})
    random = np.random.default_rng(0)

    for _ in range(3):
        draw_clip(library, SETTINGS, random)

    assert library.real == 0.75
    assert len(library.sets) == len(library.videos) == 1


def test_a_mask_of_another_size_than_its_picture_is_named(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "photos", 1)
    cv2.imwrite(str(folder / "masks" / "0.png"), np.pad(np.ones((8, 8), np.uint8), 4))

    with pytest.raises(ValueError, match=r"0\.png: .* of unlike size: 128x96 and 16x16"):
        library_of(tmp_path, photos=1).photo(np.random.default_rng(0))


def test_masks_may_be_indexed(tmp_path: Path) -> None:
    ids = np.array([[0, 1], [2, 1]], np.uint8)
    (tmp_path / "mask.png").write_bytes(encode_png(ids))

    assert (read_map(tmp_path / "mask.png") == ids).all()
