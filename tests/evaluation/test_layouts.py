"""Which layout a folder has, and reading YouTube-VOS, MOT and MOTS."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest

from keepsight.streams.rle import encode
from keepsight.tracker.evaluation.labelled import first_masks
from keepsight.tracker.evaluation.layouts import detect, find, find_masks
from keepsight.tracker.evaluation.mot import find_boxes
from keepsight.tracker.evaluation.mots import find_instances
from keepsight.tracker.evaluation.youtube_vos import find_videos

SIZE = (20, 30)


def write_pictures(folder: Path, names: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / f"{name}.jpg"), np.zeros((*SIZE, 3), np.uint8))


def square(object_id: int, left: int) -> np.ndarray:
    made = np.zeros(SIZE, np.uint8)
    made[5:15, left : left + 10] = object_id
    return made


def write_video(root: Path, maps: Mapping[int, np.ndarray], frames: int = 11, name: str = "cat") -> None:
    """A video of YouTube-VOS with masks for some of its frames."""
    write_pictures(root / "JPEGImages" / name, [f"{frame:05}" for frame in range(frames)])
    (root / "Annotations" / name).mkdir(parents=True)
    for frame, index_map in maps.items():
        cv2.imwrite(str(root / "Annotations" / name / f"{frame:05}.png"), index_map)


def write_meta(root: Path, objects: Mapping[str, Sequence[str]], name: str = "cat") -> None:
    said = {one: {"category": "cat", "frames": list(frames)} for one, frames in objects.items()}
    (root / "meta.json").write_bytes(orjson.dumps({"videos": {name: {"objects": said}}}))


def write_mot(folder: Path, lines: Sequence[str], frames: int = 4, info: str = "") -> None:
    write_pictures(folder / "img1", [f"{frame:06}" for frame in range(1, frames + 1)])
    (folder / "gt").mkdir()
    (folder / "gt/gt.txt").write_text("\n".join(lines) + "\n")
    if info:
        (folder / "seqinfo.ini").write_text(f"[Sequence]\nname=any\nimDir=img1\n{info}\n")


def mots_line(frame: int, object_id: int, mask: np.ndarray) -> str:
    rle = encode(mask > 0)
    return f"{frame} {object_id} {object_id // 1000} {SIZE[0]} {SIZE[1]} {rle['counts']}"


def test_each_layout_is_known_by_what_lies_in_the_folder(tmp_path: Path) -> None:
    write_video(tmp_path / "youtube", {0: square(1, 0)})
    write_meta(tmp_path / "youtube", {"1": ["00000"]})
    write_video(tmp_path / "davis", {0: square(1, 0)})
    write_mot(tmp_path / "mot/one", ["1,1,2,3,4,5"])
    write_mot(tmp_path / "mots/one", [mots_line(1, 1001, square(1, 0))])
    (tmp_path / "empty/images").mkdir(parents=True)
    assert detect(tmp_path / "youtube") == "youtube-vos"
    assert detect(tmp_path / "davis") == "davis"
    assert detect(tmp_path / "mot") == detect(tmp_path / "mot/one") == "mot"
    assert detect(tmp_path / "mots") == detect(tmp_path / "mots/one") == "mots"
    with pytest.raises(
        ValueError, match=r"looked in it and one folder deeper for .*meta\.json.*gt\.txt of boxes"
    ):
        detect(tmp_path / "empty")


def test_the_layout_may_be_said_and_one_that_is_not_known_is_refused(tmp_path: Path) -> None:
    write_pictures(tmp_path / "images", ["1", "2"])
    (tmp_path / "masks").mkdir()
    cv2.imwrite(str(tmp_path / "masks/1.png"), square(1, 0))
    (tmp_path / "gt.txt").write_text("1,1,2,3,4,5\n")
    assert detect(tmp_path) == "davis"
    assert find(tmp_path, "mot").sequences[0].name == tmp_path.name
    with pytest.raises(
        ValueError, match="layout 'coco' is not known; there are youtube-vos, davis, mots, mot"
    ):
        find(tmp_path, "coco")
    with pytest.raises(ValueError, match="labelled with boxes"):
        find_masks(tmp_path, (), "mot")


def test_a_youtube_object_begins_where_meta_json_says_and_only_annotated_frames_count(tmp_path: Path) -> None:
    both = square(1, 0) + square(2, 15)
    write_video(tmp_path, {0: square(1, 0), 5: both, 10: both})
    write_meta(tmp_path, {"1": ["00000", "00005", "00010"], "2": ["00005", "00010"]})
    dataset = find_videos(tmp_path)
    truth = dataset.annotate(dataset.sequences[0])
    assert truth.born == {1: 0, 2: 5}
    assert np.array_equal(first_masks(truth)[5], square(2, 15))
    assert [truth.map(frame) is not None for frame in range(11)] == [frame % 5 == 0 for frame in range(11)]
    assert truth.sequence.scores_last


def test_objects_that_meta_json_does_not_name_are_left_out(tmp_path: Path) -> None:
    write_video(tmp_path, {0: square(1, 0) + square(9, 15)})
    write_meta(tmp_path, {"1": ["00000"]})
    dataset = find_videos(tmp_path)
    assert list(first_masks(dataset.annotate(dataset.sequences[0]))[0].ravel().nonzero()[0]) == list(
        square(1, 0).ravel().nonzero()[0]
    )


def test_the_rate_of_a_youtube_video_follows_from_the_numbers_of_its_pictures(tmp_path: Path) -> None:
    write_video(tmp_path, {0: square(1, 0)})
    assert find_videos(tmp_path).sequences[0].rate == 30
    write_pictures(tmp_path / "JPEGImages/dog", ["00000", "00005"])
    (tmp_path / "Annotations/dog").mkdir()
    assert find_videos(tmp_path, ["dog"]).sequences[0].rate == 6


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (["00003"], "object 1 begins at frame 00003, which has no annotation"),
        (["00099"], "object 1 begins at frame 00099, which has no picture"),
        (["00005"], r"00005\.png: the mask lacks object 1"),
    ],
)
def test_a_mask_that_meta_json_promises_and_that_is_missing_is_an_error(
    tmp_path: Path, frames: list[str], message: str
) -> None:
    write_video(tmp_path, {0: square(1, 0), 5: square(2, 0)})
    write_meta(tmp_path, {"1": frames})
    dataset = find_videos(tmp_path)
    with pytest.raises(ValueError, match=message):
        dataset.annotate(dataset.sequences[0])


@pytest.mark.parametrize("text", ["{}", "[1]", '{"videos": {"cat": {}}}', "nonsense", '{"videos": 3}'])
def test_a_meta_json_of_another_kind_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    write_video(tmp_path, {0: square(1, 0)})
    (tmp_path / "meta.json").write_text(text)
    with pytest.raises(ValueError, match=r"meta\.json: not a meta\.json of YouTube-VOS"):
        find_videos(tmp_path)


def test_mot_boxes_count_frames_and_pixels_from_1(tmp_path: Path) -> None:
    write_mot(tmp_path / "one", ["1,3,5,6,10,8,1,1,1", "2,3,6,6,10,8,1,1,0.5", "2,8,1,1,4,4,1,1,1"])
    (sequence,) = find_boxes(tmp_path).sequences
    assert sequence.truth[0] == {3: (4, 5, 14, 13)}
    assert sequence.truth[1] == {3: (5, 5, 15, 13), 8: (0, 0, 4, 4)}
    assert sequence.truth[2] == {}
    assert (sequence.born, sequence.size) == ({3: 0, 8: 1}, SIZE)


def test_mot_rows_whose_seventh_number_is_0_do_not_count(tmp_path: Path) -> None:
    write_mot(tmp_path, ["1,1,5,6,10,8,1,1,1", "1,2,5,6,10,8,0,8,1", "1,4,5,6,10,8"])
    assert find_boxes(tmp_path).sequences[0].truth[0].keys() == {1, 4}


def test_a_mot_object_begins_where_it_is_inside_the_picture_and_is_cut_to_it(tmp_path: Path) -> None:
    write_mot(tmp_path, ["1,1,-20,6,10,8,1", "2,1,-3,6,10,8,1"])
    (sequence,) = find_boxes(tmp_path).sequences
    assert sequence.born == {1: 1}
    assert sequence.prompts() == {1: {1: (0, 5, 6, 13)}}
    assert sequence.truth[1] == {1: (-4, 5, 6, 13)}


def test_a_single_object_sequence_has_images_and_gt_txt_beside_each_other(tmp_path: Path) -> None:
    write_pictures(tmp_path / "dragon/images", ["00001", "00002"])
    (tmp_path / "dragon/gt.txt").write_text("1,1,5,6,10,8,1,1,1\n2,1,5,6,10,8,1,1,1\n")
    write_pictures(tmp_path / "bare/images", ["00001"])
    found = find_boxes(tmp_path)
    assert [sequence.name for sequence in found.sequences] == ["dragon"]
    assert found.without_boxes == ("bare",)


def test_seqinfo_says_the_rate_and_must_agree_with_the_pictures(tmp_path: Path) -> None:
    right = "frameRate=14\nseqLength=4\nimWidth=30\nimHeight=20"
    write_mot(tmp_path / "good", ["1,1,5,6,10,8,1"], info=right)
    assert find_boxes(tmp_path / "good").sequences[0].rate == 14
    for name, wrong, message in (
        ("short", right.replace("=4", "=9"), "seqLength is 9, but there are 4 pictures"),
        ("wide", right.replace("=30", "=31"), "said to be 31x20, 000001.jpg is 30x20"),
        ("odd", right.replace("=14", "=fast"), "not a seqinfo.ini"),
    ):
        write_mot(tmp_path / name, ["1,1,5,6,10,8,1"], info=wrong)
        with pytest.raises(ValueError, match=message):
            find_boxes(tmp_path / name)
    (tmp_path / "good/seqinfo.ini").write_text("[Sequence]\nimDir=nowhere\n")
    with pytest.raises(ValueError, match="there is no folder nowhere"):
        find_boxes(tmp_path / "good")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1,1,a,2,3,4", "line 2: not frame,id,x,y,width,height"),
        ("1,1,2", "line 2: not frame,id,x,y,width,height"),
        ("7,1,5,6,10,8", "line 2: frame 7 of 4 pictures"),
        ("0,1,5,6,10,8", "line 2: frame 0 of 4 pictures"),
    ],
)
def test_a_wrong_line_of_boxes_is_an_error_that_names_it(tmp_path: Path, line: str, message: str) -> None:
    write_mot(tmp_path, ["1,1,5,6,10,8,1", line])
    with pytest.raises(ValueError, match=message):
        find_boxes(tmp_path)


def test_mots_text_and_instance_pngs_say_the_same(tmp_path: Path) -> None:
    first, second = square(1, 0), square(1, 15)
    write_mot(
        tmp_path / "text", [mots_line(1, 2001, first), mots_line(3, 2001, first), mots_line(3, 1002, second)]
    )
    write_pictures(tmp_path / "png/images/text", [f"{frame:06}" for frame in range(1, 5)])
    (tmp_path / "png/instances/text").mkdir(parents=True)
    ids = [first.astype(np.uint16) * 2001, np.zeros(SIZE, np.uint16)]
    ids += [ids[0] + second.astype(np.uint16) * 1002, ids[1]]
    for frame, values in enumerate(ids, 1):
        cv2.imwrite(str(tmp_path / f"png/instances/text/{frame:06}.png"), values)
    for root in (tmp_path / "text", tmp_path / "png"):
        dataset = find_instances(root)
        truth = dataset.annotate(dataset.sequences[0])
        assert truth.born == {1002: 2, 2001: 0}
        maps = [truth.map(frame) for frame in range(4)]
        assert all(
            one is not None and np.array_equal(one, other) for one, other in zip(maps, ids, strict=True)
        )
        assert np.array_equal(first_masks(truth)[2], second.astype(np.uint16) * 1002)


def test_the_object_10000_of_mots_is_no_object_but_pixels_that_do_not_count(tmp_path: Path) -> None:
    write_mot(tmp_path, [mots_line(1, 2001, square(1, 0)), mots_line(1, 10000, square(1, 15))])
    dataset = find_instances(tmp_path)
    truth = dataset.annotate(dataset.sequences[0])
    assert truth.born == {2001: 0}
    ignored = truth.ignored(0)
    assert ignored is not None
    assert np.array_equal(ignored, square(1, 15) > 0)
    assert truth.ignored(1) is None


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("1 2001 2 20 30", "line 2: not frame id class height width rle"),
        ("9 2001 2 20 30 abc", "line 2: frame 9 of 4 pictures"),
        (
            f"2 2002 2 10 10 {encode(np.ones((10, 10), np.bool_))['counts']}",
            "frame 2, object 2002: not a mask of",
        ),
        ("2 2002 2 20 30 !!", "frame 2, object 2002: not a mask of 30x20"),
    ],
)
def test_a_wrong_line_of_masks_is_an_error_that_names_it(tmp_path: Path, line: str, message: str) -> None:
    write_mot(tmp_path, [mots_line(1, 2001, square(1, 0)), line])
    dataset = find_instances(tmp_path)
    with pytest.raises(ValueError, match=message):
        dataset.annotate(dataset.sequences[0])


def test_a_folder_without_what_its_layout_needs_says_what_was_looked_for(tmp_path: Path) -> None:
    write_pictures(tmp_path / "JPEGImages/cat", ["00000"])
    with pytest.raises(ValueError, match="looked for Annotations/VIDEO"):
        find(tmp_path, "youtube-vos")
    with pytest.raises(ValueError, match=r"looked for img1 or images with gt/gt\.txt"):
        find(tmp_path, "mot")
    with pytest.raises(ValueError, match="found no instance masks: looked for"):
        find(tmp_path, "mots")
    with pytest.raises(ValueError, match="no labelled sequence"):
        find(tmp_path, "davis")
