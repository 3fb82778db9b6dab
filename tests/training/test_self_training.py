"""Videos that a model labels itself: what it follows there and back is kept, and nothing is done twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from keepsight.streams.types import Image, Mask, Result, Track
from keepsight.tracker.api import as_frame
from keepsight.tracker.training.layouts import labelled_videos
from keepsight.tracker.training.real_clips import read_frames
from keepsight.tracker.training.recipe import SelfTraining
from keepsight.tracker.training.self_training import distinct, is_labelled, label, label_videos, pieces_of
from tests.clips import write_clip

SETTINGS = SelfTraining(frames=4, stride=2, pieces=2)
SIZE = (48, 64)


def block(x: int) -> Mask:
    mask: Mask = np.zeros(SIZE, np.bool_)
    mask[10:26, x : x + 16] = True
    return mask


@dataclass
class BlockTeacher:
    """Sees two blocks. It follows the first faithfully, 2 pixels a frame; of the second it always says that
    it moved to the right, so that on the way back it does not return."""

    confidence: float = 0.9
    asked: int = 0
    seen: list[int] = field(default_factory=list)

    def find(self, image: Image) -> Sequence[Mask]:
        self.asked += 1
        return [block(4), block(30)]

    def track(self, images: Sequence[Image], masks: Mapping[int, Mask]) -> Iterator[Result]:
        self.seen.append(len(masks))
        backwards = -1 if len(self.seen) % 2 == 0 else 1
        for index, image in enumerate(images):
            moved = {1: 2 * index * backwards, 2: 4 * index}
            tracks = tuple(
                Track(name, "", np.roll(mask, moved[name], axis=1), None, "tracked", *[self.confidence] * 5)
                for name, mask in masks.items()
            )
            yield Result(as_frame(image, index), tracks)


def pictures(count: int) -> list[Image]:
    return [np.full((*SIZE, 3), 10 * i, np.uint8) for i in range(count)]


def test_only_what_returns_to_where_it_began_is_kept() -> None:
    ids = label(pictures(4), BlockTeacher(), SETTINGS)

    assert ids is not None
    assert ids.shape == (4, *SIZE)
    assert (ids[3] == block(10)).all()  # the faithful one, as it was followed forwards, under the id 1
    assert ids.max() == 1


def test_what_the_model_is_not_sure_of_is_not_kept() -> None:
    assert label(pictures(4), BlockTeacher(confidence=0.3), SETTINGS) is None


def test_objects_are_neither_tiny_nor_huge_nor_on_each_other() -> None:
    tiny: Mask = np.zeros(SIZE, np.bool_)
    tiny[0, 0] = True
    masks = [tiny, np.ones(SIZE, np.bool_), block(4), block(8), block(30)]

    chosen = distinct(masks, most=5)

    assert [mask is one for mask, one in zip(chosen, (masks[2], masks[4]), strict=True)] == [True, True]


def test_a_video_is_cut_into_pieces_with_gaps(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mp4", frames=60)
    write_clip(tmp_path / "short.mp4", frames=5)

    lengths = [len(piece) for piece in pieces_of(tmp_path / "a.mp4", SETTINGS)]

    assert lengths == [4, 4]  # frames 0, 2, 4, 6 and 32, 34, 36, 38
    assert [len(piece) for piece in pieces_of(tmp_path / "short.mp4", SETTINGS)] == [3]


def test_labels_become_a_set_and_are_not_made_twice(tmp_path: Path) -> None:
    videos, labels = tmp_path / "videos", tmp_path / "labels"
    videos.mkdir()
    for name in ("a.mp4", "b.mp4"):
        write_clip(videos / name, frames=8)
    teacher = BlockTeacher()

    class StopError(Exception):
        """Somebody pulls the plug."""

    def stop(video: Path, done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        label_videos(videos, labels, teacher, SETTINGS, stop)
    assert not is_labelled(videos, labels)
    reported: list[tuple[str, int, int]] = []
    label_videos(videos, labels, teacher, SETTINGS, lambda video, *at: reported.append((video.name, *at)))

    assert is_labelled(videos, labels)
    assert teacher.asked == 2
    assert reported == [("a.mp4", 1, 2), ("b.mp4", 2, 2)]
    first, second = labelled_videos(labels)
    assert (first.name, second.name, len(first)) == ("a.mp4_00", "b.mp4_00", 4)
    _, ids = read_frames(first, [0])
    assert (ids[0] == block(4)).all()


def test_nothing_to_learn_from_is_said(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    write_clip(tmp_path / "videos" / "a.mp4", frames=8)

    with pytest.raises(ValueError, match="in its 1 videos the model followed nothing there and back"):
        label_videos(tmp_path / "videos", tmp_path / "labels", BlockTeacher(0.1), SETTINGS, lambda *at: None)
