"""What is left of a picture when objects, or everything but them, are to be private."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from keepsight.streams.drawing import overlay
from keepsight.streams.privacy import STYLES, Cover, Style, covered, parse_cover
from keepsight.streams.trails import Past
from keepsight.streams.types import Image, Mask, Result, Track
from keepsight.streams.web.pictures import cut_out, draw

from .results import disc, frame, track

SIZE = (180, 320)
MIDDLE = disc(SIZE, (0.5, 0.5), 0.25)
NOWHERE = np.zeros(SIZE, np.bool_)


def scene(*tracks: Track, size: tuple[int, int] = SIZE) -> Result:
    """Fine noise around mid-grey, in which every detail can be told from every other."""
    made = frame(size=size)
    made.image[:] = np.random.default_rng(5).integers(40, 216, made.image.shape)
    return Result(made, tracks)


def after(result: Result, *texts: str) -> Image:
    return covered({}, [parse_cover(text) for text in texts], result)[1].frame.image


def changed(before: Result, image: Image) -> Mask:
    return np.asarray((before.frame.image != image).any(axis=-1))


def detail(image: Image, where: Mask) -> float:
    """How much one pixel differs from the next, in grey levels."""
    return float(np.abs(np.diff(image.astype(int), axis=1))[where[:, 1:]].mean())


def likeness(one: Image, other: Image, where: Mask) -> float:
    """The correlation of two pictures, of which 1 is the same."""
    return float(np.corrcoef(one[where].ravel(), other[where].ravel())[0, 1])


@pytest.mark.parametrize("style", STYLES)
def test_an_object_cannot_be_recognised_and_what_is_around_it_is_left_alone(style: Style) -> None:
    made = scene(track(1, MIDDLE))
    image = after(made, style)
    assert style == "solid" or likeness(image, made.frame.image, MIDDLE) < 0.15
    assert detail(image, MIDDLE) < 0.1 * detail(made.frame.image, MIDDLE)
    touched = changed(made, image)
    assert touched[MIDDLE].mean() > 0.97
    assert not touched[:, :100].any()
    assert not touched[:, 220:].any()


@pytest.mark.parametrize("style", ["blur", "pixelate", "solid"])
def test_everything_but_an_object_cannot_be_recognised(style: Style) -> None:
    made = scene(track(1, MIDDLE))
    image = after(made, f"{style} rest")
    assert np.array_equal(image[MIDDLE], made.frame.image[MIDDLE])
    assert detail(image, ~MIDDLE) < 0.1 * detail(made.frame.image, ~MIDDLE)


def test_nothing_of_a_removed_object_is_in_what_fills_its_place() -> None:
    made = scene(track(1, MIDDLE))
    image = after(made, "remove")
    made.frame.image[MIDDLE] = (250, 0, 250)
    assert np.array_equal(after(made, "remove"), image)


def test_two_removed_objects_do_not_fill_each_other() -> None:
    left, right = disc(SIZE, (0.4, 0.5), 0.2), disc(SIZE, (0.6, 0.5), 0.2)
    made = scene(track(1, left), track(2, right))
    image = after(made, "remove")
    made.frame.image[left | right] = (250, 0, 250)
    assert np.array_equal(after(made, "remove"), image)


def test_a_label_chooses_whom_it_is_for() -> None:
    left, right = disc(SIZE, (0.25, 0.5), 0.2), disc(SIZE, (0.75, 0.5), 0.2)
    made = scene(track(1, left, label="person"), track(2, right, label="car"))
    touched = changed(made, after(made, "solid label=person"))
    assert touched[left].all()
    assert not touched[right].any()
    touched = changed(made, after(made, "solid rest label=person label=dog"))
    assert touched[right].all()
    assert not touched[left].any()


def test_an_id_chooses_whom_it_is_for() -> None:
    left, right = disc(SIZE, (0.25, 0.5), 0.2), disc(SIZE, (0.75, 0.5), 0.2)
    made = scene(track(1, left, label="person"), track(3, right, label="person"))
    touched = changed(made, after(made, "solid id=3 id=4"))
    assert touched[right].all()
    assert not touched[left].any()
    touched = changed(made, after(made, "solid rest id=3"))
    assert touched[left].all()
    assert not touched[right].any()
    assert changed(made, after(made, "solid id=3 label=person"))[left | right].all()


def test_several_covers_add_up() -> None:
    left, right = disc(SIZE, (0.25, 0.5), 0.2), disc(SIZE, (0.75, 0.5), 0.2)
    made = scene(track(1, left, label="person"), track(2, right, label="car"))
    image = after(made, "blur rest", "solid label=person")
    assert detail(image, left) == 0
    assert np.array_equal(image[:, 210:][right[:, 210:]], made.frame.image[:, 210:][right[:, 210:]])


def test_an_object_that_is_hidden_is_covered_where_it_was_until_it_is_forgotten() -> None:
    solid = [Cover("solid")]
    seen, there = covered({}, solid, scene(track(1, MIDDLE)))
    before = changed(scene(), there.frame.image)
    for state in ("tracked", "occluded", "lost"):
        hidden = scene(track(1, NOWHERE, state=state))  # type: ignore[arg-type]
        seen, result = covered(seen, solid, hidden)
        now = changed(hidden, result.frame.image)
        assert now[MIDDLE].all()
        assert now.sum() > 1.3 * before.sum(), "with a wider margin, since it moves on unseen"
    seen, result = covered(seen, solid, scene())
    assert not changed(scene(), result.frame.image).any()
    assert not seen


def test_a_mask_that_fails_for_a_frame_uncovers_nothing() -> None:
    solid = [Cover("solid")]
    seen, _ = covered({}, solid, scene(track(1, MIDDLE)))
    failed = scene(track(1, disc(SIZE, (0.5, 0.5), 0.03)))
    _, result = covered(seen, solid, failed)
    assert changed(failed, result.frame.image)[MIDDLE].all()


def test_a_hidden_object_stays_hidden_when_everything_else_is_covered() -> None:
    seen, _ = covered({}, [Cover("solid", rest=True)], scene(track(1, MIDDLE)))
    hidden = scene(track(1, MIDDLE, state="occluded"))
    _, result = covered(seen, [Cover("solid", rest=True)], hidden)
    assert changed(hidden, result.frame.image).all()


def test_what_was_seen_before_the_picture_changed_its_size_is_covered_in_the_new_one() -> None:
    seen, _ = covered({}, [Cover("solid")], scene(track(1, MIDDLE)))
    size = (360, 480)
    hidden = scene(track(1, np.zeros(size, np.bool_), state="occluded"), size=size)
    _, result = covered(seen, [Cover("solid")], hidden)
    assert changed(hidden, result.frame.image)[disc(size, (0.5, 0.5), 0.2)].all()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (37, 51)])
def test_an_object_that_fills_a_frame_of_any_size_is_covered(style: Style, size: tuple[int, int]) -> None:
    made = scene(track(1, np.ones(size, np.bool_)), size=size)
    image = after(made, style)
    assert image.shape == made.frame.image.shape
    if min(size) > 1:
        whole = np.ones(size, np.bool_)
        assert detail(image, whole) < 0.1 * detail(made.frame.image, whole)


def test_without_covers_the_result_is_left_as_it_is() -> None:
    made = scene(track(1, MIDDLE))
    assert covered({}, [], made)[1] is made
    before = made.frame.image.copy()
    after(made, "blur")
    assert np.array_equal(made.frame.image, before)


def test_overlays_pages_and_thumbnails_show_nothing_of_what_is_removed() -> None:
    made = scene(track(1, MIDDLE, label="person"))
    made.frame.image[:] = (40, 160, 60)
    made.frame.image[MIDDLE] = (250, 0, 250)
    _, result = covered({}, [Cover("remove")], made)
    box = result.tracks[0].box
    assert box is not None
    past = {1: Past(box, ((0.0, (0.1, 0.1)), (0.1, (0.5, 0.5))))}
    small = draw(result, past, "small")
    page = cv2.imdecode(np.frombuffer(small.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert page is not None
    for picture in (overlay(result, past)[:140], cut_out(result, box, 80), page[:140, :, ::-1]):
        assert np.abs(picture.astype(int) - (40, 160, 60)).max() <= 8
    assert not small.outlines
    assert 1 in draw(replace(result, removed=frozenset()), {}, "none").outlines


def test_ids_may_be_as_large_as_those_of_a_long_run() -> None:
    assert parse_cover("blur id=1234567890123456").ids == (1234567890123456,)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "blurr",
            "unknown privacy style 'blurr', did you mean 'blur'[?] Known: blur, pixelate, remove, solid",
        ),
        ("", "unknown privacy style ''.*Known: "),
        ("blur everything", "is not STYLE, STYLE rest"),
        ("blur rest rest", "is not STYLE, STYLE rest"),
        ("blur label=", "is not STYLE, STYLE rest"),
        ("blur id=", "id=NUMBER"),
        ("blur id=three", "id=NUMBER"),
        ("blur id=0", "id=NUMBER"),
        ("blur id=07", "id=NUMBER"),
        ("blur id=12345678901234567", "id=NUMBER"),
        ("remove rest", "take solid, or blur"),
    ],
)
def test_what_cannot_be_meant_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_cover(text)
