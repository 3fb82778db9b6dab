"""A tracker under evaluation: what it is given and what is taken from it."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import pytest

from keepsight.streams.types import Frame, Image, Mask, Prompt, Refusal, Result, Track
from keepsight.tracker.evaluation.propagator import IndexMap, predict_with_tracker

IMAGES = [np.full((4, 6, 3), shade, np.uint8) for shade in (10, 20, 30)]


def first_map(*ids: int) -> IndexMap:
    made = np.zeros((4, 6), np.uint8)
    made[0, : len(ids)] = ids
    return made


def track(object_id: int, mask: Mask, confidence: float) -> Track:
    return Track(object_id, "", mask, None, "tracked", confidence, confidence, 1.0, 1.0, 1.0)


def frames_of(images: Iterable[Image]) -> Iterator[Frame]:
    return (Frame(image, index, 0, index / 25, 0.0, "generated", 0.0) for index, image in enumerate(images))


def test_a_tracker_gets_every_image_and_one_mask_prompt_per_object_under_its_own_id() -> None:
    shades: list[int] = []
    prompts: list[Prompt] = []

    def recording(images: Iterable[Image], given: Sequence[Prompt]) -> Iterator[Result]:
        prompts.extend(given)
        for frame in frames_of(images):
            shades.append(int(frame.image[0, 0, 0]))
            yield Result(frame)

    maps = list(predict_with_tracker(recording, IMAGES, {0: first_map(2, 2, 5), 1: first_map(0, 0, 0, 9)}))
    assert shades == [10, 20, 30]
    assert [(one.object_id, one.frame_ref) for one in prompts] == [(2, (0, 0)), (5, (0, 0)), (9, (0, 1))]
    assert [int(one.mask.sum()) for one in prompts if one.mask is not None] == [2, 1, 1]
    assert not np.any(maps)


def test_where_tracks_overlap_the_most_confident_is_seen() -> None:
    left, all_over = np.zeros((4, 6), np.bool_), np.ones((4, 6), np.bool_)
    left[:, :3] = True

    def overlapping(images: Iterable[Image], given: Sequence[Prompt]) -> Iterator[Result]:
        return (Result(frame, (track(1, left, 0.9), track(2, all_over, 0.4))) for frame in frames_of(images))

    method = partial(predict_with_tracker, overlapping)
    assert all(np.array_equal(seen, np.where(left, 1, 2)) for seen in method(IMAGES, {0: first_map(1, 2)}))


def test_ids_above_255_stay_what_they_are() -> None:
    def holding(images: Iterable[Image], given: Sequence[Prompt]) -> Iterator[Result]:
        (prompt,) = given
        held = track(prompt.object_id or 0, prompt.mask, 1.0)  # type: ignore[arg-type]
        return (Result(frame, (held,)) for frame in frames_of(images))

    first = first_map(1).astype(np.uint16) * np.uint16(2001)
    maps = list(predict_with_tracker(holding, IMAGES, {0: first}))
    assert all(np.array_equal(index_map, first) for index_map in maps)


def test_a_refused_first_mask_stops_the_evaluation() -> None:
    def full(images: Iterable[Image], given: Sequence[Prompt]) -> Iterator[Result]:
        return (
            Result(frame, refusals=(Refusal(given[0], "no free object slot"),)) for frame in frames_of(images)
        )

    with pytest.raises(ValueError, match="no free object slot"):
        list(predict_with_tracker(full, IMAGES, {0: first_map(1)}))
