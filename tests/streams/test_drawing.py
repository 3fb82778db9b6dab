"""What the overlay shows, and what it leaves alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from keepsight.streams.drawing import (
    MOST_TAGS,
    _tag_text,
    colour_of,
    davis_palette,
    indexed_map,
    overlay,
    picture_overlay,
)
from keepsight.streams.trails import Past, seen
from keepsight.streams.types import Image, Mask, Result, State, Track, Watched

from .results import disc, frame, result, track

SIZE = (180, 320)


def changed(before: Result, **last_boxes: tuple[float, float, float, float]) -> Mask:
    """Which pixels (H, W) the overlay changed."""
    pasts = {int(key[1:]): Past(box) for key, box in last_boxes.items()}
    return np.asarray((overlay(before, pasts) != before.frame.image).any(axis=-1))


def test_the_frame_itself_is_never_changed() -> None:
    made = result(size=SIZE)
    before = made.frame.image.copy()
    overlay(made, {})
    assert np.array_equal(made.frame.image, before)


def test_a_mask_is_tinted_in_the_colour_of_its_object() -> None:
    grey = frame(size=SIZE)
    grey.image[:] = 128
    mask = disc(SIZE, (0.5, 0.5), 0.2)
    picture = overlay(Result(grey, (track(3, mask),)), {})
    towards = np.sign(np.array(colour_of(3)) - 128)
    assert np.array_equal(np.sign(picture[90, 160].astype(int) - 128), towards)


def test_only_the_surroundings_of_an_object_and_the_clock_are_touched() -> None:
    made = Result(frame(size=SIZE), (track(1, disc(SIZE, (0.75, 0.5), 0.1)),))
    touched = changed(made)
    assert touched.any()
    assert not touched[:140, :180].any()


def test_a_hidden_object_is_shown_where_it_was_last() -> None:
    nowhere = track(2, np.zeros(SIZE, np.bool_), state="occluded")
    made = Result(frame(size=SIZE), (nowhere,))
    assert not changed(made)[:140].any()
    assert changed(made, _2=(0.5, 0.5, 0.7, 0.7))[90:126, 160:224].any()


def test_an_object_that_is_tracked_no_longer_is_forgotten() -> None:
    first = track(1, disc(SIZE, (0.5, 0.5), 0.2))
    gone = track(1, np.zeros(SIZE, np.bool_), state="lost")
    pasts = seen({}, Result(frame(size=SIZE), (first,)))
    assert seen(pasts, Result(frame(1, size=SIZE), (gone,)))[1].box == first.box
    assert seen(pasts, Result(frame(1, size=SIZE))) == {}


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (200, 1), (37, 51), (480, 640)])
@pytest.mark.parametrize("state", ["tentative", "tracked", "occluded", "lost"])
def test_any_size_of_frame_can_be_drawn_on(size: tuple[int, int], state: State) -> None:
    everywhere = track(1, np.ones(size, np.bool_), label="a label longer than the frame is wide", state=state)
    nowhere = track(70_000, np.zeros(size, np.bool_), state=state)
    picture = overlay(Result(frame(size=size), (everywhere, nowhere)), {70_000: Past((0.9, 0.9, 1.0, 1.0))})
    assert picture.shape == (*size, 3)


def test_neighbouring_ids_have_colours_of_their_own() -> None:
    colours = [colour_of(object_id) for object_id in range(1, 22)]
    assert len(set(colours)) == len(colours)
    assert colour_of(22) == colour_of(1)


def test_the_colours_of_the_first_21_ids_are_told_apart() -> None:
    """At least 10 apart in CIE 1976, of which 2.3 can just be noticed. The nearest are the sky blue of id 1
    and the lighter blue of id 14, with 10.5; all others are 14 and more apart."""
    colours = np.array([[colour_of(object_id) for object_id in range(1, 22)]], np.float32) / 255
    lab = cv2.cvtColor(colours, cv2.COLOR_RGB2LAB)[0]
    assert np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(21, 1)].min() > 10


def test_where_masks_overlap_the_most_confident_is_on_top() -> None:
    whole, half = np.ones((4, 6), np.bool_), np.zeros((4, 6), np.bool_)
    half[:, :3] = True
    sure, unsure = track(5, half, confidence=0.9), track(2, whole, confidence=0.4)
    for tracks in ((sure, unsure), (unsure, sure)):
        ids = indexed_map(tracks, (4, 6))
        assert ids.dtype == np.uint8
        assert (ids[:, :3] == 5).all()
        assert (ids[:, 3:] == 2).all()


def test_ids_above_255_make_a_wider_map() -> None:
    ids = indexed_map((track(300, np.ones((2, 2), np.bool_)),), (2, 2))
    assert ids.dtype == np.uint16
    assert (ids == 300).all()


@pytest.mark.parametrize("object_id", [0, -3, 65_536])
def test_an_id_that_no_map_can_hold_is_refused(object_id: int) -> None:
    impossible: tuple[Track, ...] = (track(object_id, np.ones((2, 2), np.bool_)),)
    with pytest.raises(ValueError, match="65535"):
        indexed_map(impossible, (2, 2))


def test_the_palette_is_the_one_of_davis() -> None:
    palette = davis_palette()
    assert palette.shape == (256, 3)
    assert palette[:4].tolist() == [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0]]
    assert palette[[8, 255]].tolist() == [[64, 0, 0], [224, 224, 192]]


def test_zones_are_outlined_and_orange_while_something_is_in_them() -> None:
    corners = ((0.2, 0.3), (0.8, 0.3), (0.8, 0.9), (0.2, 0.9))
    for counts, orange in (((), False), ((("car", 2),), True)):
        made = Result(frame(size=SIZE), watched=(Watched("zone", "yard", corners, counts),))
        picture = overlay(made, {}).astype(int)
        assert not np.array_equal(picture[90, 62:68], made.frame.image[90, 62:68])
        assert np.array_equal(picture[90:150, 70:250], made.frame.image[90:150, 70:250]), "only its outline"
        red, _, blue = picture[90, round(0.8 * (SIZE[1] - 1))]
        assert (red - blue > 150) == orange


def test_a_line_has_an_arrow_to_each_side_that_is_watched() -> None:
    def touched(*counts: tuple[str, int]) -> Mask:
        down = Watched("line", "gate", ((0.5, 0.1), (0.5, 0.9)), counts)
        return changed(Result(frame(size=SIZE), watched=(down,)))[80:100]

    to_the_right = touched(("right", 0))
    assert to_the_right[:, 145:155].any(), "who looks down the picture has its left to the right"
    assert not to_the_right[:, 165:].any()
    assert touched(("left", 0), ("right", 0))[:, 165:175].any()


def test_zones_of_any_shape_fit_frames_of_any_size() -> None:
    for size in ((1, 1), (1, 200), (37, 51)):
        everywhere = Watched("zone", "z" * 64, ((0, 0), (1, 0), (1, 1)), (("", 3),))
        line = Watched("line", "l", ((1, 1), (0, 0)), (("left", 3),))
        assert overlay(Result(frame(size=size), watched=(everywhere, line)), {}).shape[:2] == size


def way(*xs: float, step: float = 0.1, object_id: int = 1) -> tuple[Result, dict[int, Past]]:
    """The last result of an object that was at these places, one after the other, and its past."""
    pasts: dict[int, Past] = {}
    for index, x in enumerate(xs):
        made = Result(
            frame(index, size=SIZE, time=index * step), (track(object_id, disc(SIZE, (x, 0.5), 0.1)),)
        )
        pasts = seen(pasts, made)
    return made, pasts


def with_trail(*xs: float) -> tuple[Image, Image]:
    """What the overlay shows with the trail, and without it."""
    made, pasts = way(*xs)
    box = pasts[1].box
    return overlay(made, pasts), overlay(made, {1: Past(box)})


def test_the_way_of_an_object_is_drawn_in_its_colour_up_to_its_mask() -> None:
    shown, bare = with_trail(0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
    added = (shown != bare).any(axis=-1)
    rows, columns = np.nonzero(added)
    assert abs(rows - 90).max() <= 4
    assert columns.min() <= 64
    assert np.abs(shown[90, 100].astype(int) - colour_of(1)).max() < 40, "a thin line is smoothed"
    mask = disc(SIZE, (0.8, 0.5), 0.1)
    assert not added[mask].any(), "what an object looks like is not painted over"


def test_who_stands_still_has_no_trail() -> None:
    shown, bare = with_trail(*[0.5, 0.502] * 20)
    assert np.array_equal(shown, bare)


def test_a_trail_is_as_long_as_two_seconds_and_its_points_are_few() -> None:
    _, pasts = way(*np.linspace(0.1, 0.9, 101), step=0.04)
    trail = pasts[1].trail
    assert len(trail) <= 22
    assert trail[-1] == (pytest.approx(4.0), (pytest.approx(0.9, abs=0.005), pytest.approx(0.5, abs=0.01)))
    assert trail[-1][0] - trail[0][0] == pytest.approx(2.0, abs=0.11)


def test_a_trail_begins_anew_where_an_object_was_hidden_or_time_jumps_back() -> None:
    _, pasts = way(0.1, 0.2, 0.3)
    for time in (1.0, 0.0):
        back = Result(frame(9, size=SIZE, time=time), (track(1, disc(SIZE, (0.8, 0.5), 0.1)),))
        assert [point[0] for point in seen(pasts, back)[1].trail] == [time]


def test_the_name_of_a_zone_stays_to_be_read_where_an_object_is_in_its_corner() -> None:
    zone = Watched("zone", "yard", ((0.3, 0.3), (0.9, 0.3), (0.9, 0.9), (0.3, 0.9)))
    corner = np.s_[54:66, 97:120]
    alone = overlay(Result(frame(size=SIZE), watched=(zone,)), {})[corner]
    inside = track(1, disc(SIZE, (0.42, 0.55), 0.2), label="person")
    crowded = overlay(Result(frame(size=SIZE), (inside,), watched=(zone,)), {})[corner]
    assert np.corrcoef(alone.ravel(), crowded.ravel())[0, 1] > 0.8


@pytest.mark.parametrize(
    ("state", "visible", "text"),
    [
        ("tentative", True, "#1 cup 87%?"),
        ("tracked", True, "#1 cup 87%"),
        ("occluded", True, "#1 cup hidden"),
        ("lost", True, "#1 cup lost"),
        ("tentative", False, "#1 cup unseen"),
        ("tracked", False, "#1 cup unseen"),
        ("occluded", False, "#1 cup hidden"),
        ("lost", False, "#1 cup lost"),
    ],
)
def test_a_tag_says_how_sure_it_is_or_that_there_is_nothing_to_see(
    state: State, visible: bool, text: str
) -> None:
    mask = np.full((4, 4), visible)
    assert _tag_text(track(1, mask, label="cup", state=state, confidence=0.874)) == text


@pytest.mark.parametrize("state", ["tentative", "tracked"])
def test_an_object_whose_mask_is_empty_is_not_shown_as_one_that_is_seen(state: State) -> None:
    nothing = track(2, np.zeros(SIZE, np.bool_), state=state, confidence=0)
    made = Result(frame(size=SIZE), (nothing,))
    assert not changed(made)[:140].any(), "before it was seen anywhere"
    shown = overlay(made, {2: Past((0.5, 0.5, 0.7, 0.7))})
    hidden = overlay(
        Result(made.frame, (track(2, nothing.mask, state="occluded"),)), {2: Past((0.5, 0.5, 0.7, 0.7))}
    )
    assert np.array_equal(shown[91:126], hidden[91:126]), "the same dashed box"
    assert not (shown == colour_of(2)).all(axis=-1)[60:88].sum() > 200, "and no tag in its colour"


@pytest.mark.parametrize("height", [180, 720])
@pytest.mark.parametrize("object_id", [1, 4, 12, 21])
def test_the_contour_just_outside_a_mask_is_of_the_very_colour_of_its_object(
    height: int, object_id: int
) -> None:
    size = (height, height * 16 // 9)
    mask = disc(size, (0.5, 0.6), 0.2)
    picture = picture_overlay(frame(size=size).image, [track(object_id, mask)])
    ring = cv2.dilate(mask.view(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_) & ~mask
    ring[: np.nonzero(mask)[0].min()] = False  # there is the tag
    ring[cv2.dilate(mask.view(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))) == 0] = False
    assert ring.sum() > height / 2
    assert (picture[ring] == colour_of(object_id)).all()


def tag_rows(picture: Image, object_id: int) -> tuple[int, int, int, int]:
    """Where a tag in its object's colour is: left, top, right, bottom."""
    ground = (picture == colour_of(object_id)).all(axis=-1).view(np.uint8)
    rows, columns = np.nonzero(cv2.morphologyEx(ground, cv2.MORPH_OPEN, np.ones((9, 3), np.uint8)))
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


@pytest.mark.parametrize(("height", "tall"), [(360, 12), (720, 12), (2160, 0.015 * 2160)])
def test_a_tag_is_large_enough_to_be_read_on_any_frame(height: int, tall: float) -> None:
    black = np.zeros((height, height, 3), np.uint8)
    square = np.zeros((height, height), np.bool_)
    square[height // 2 : height // 2 + 8, height // 2 : height // 2 + 8] = True
    _, top, _, bottom = tag_rows(picture_overlay(black, [track(1, square)]), 1)
    assert bottom - top >= tall


@pytest.mark.parametrize("still", [False, True])
def test_a_speck_far_from_an_object_does_not_move_its_tag(still: bool) -> None:
    mask = disc((720, 1280), (0.2, 0.8), 0.1)
    alone = track(1, mask)
    mask = mask.copy()
    mask[10:13, 1270:1273] = True
    with_speck = track(1, mask)
    ground = frame(size=mask.shape)
    places = []
    for one in (alone, with_speck):
        picture = picture_overlay(ground.image, [one]) if still else overlay(Result(ground, (one,)), {})
        picture[:40, 1240:] = 0
        places.append(tag_rows(picture, 1))
    assert with_speck.box is not None
    assert with_speck.box[2] > 0.99
    assert places[1] == pytest.approx(places[0], abs=10), "to a step in which a sparse mask is looked at"


def test_the_tag_of_an_object_in_two_like_parts_is_at_both() -> None:
    mask = disc((720, 1280), (0.1, 0.8), 0.1) | disc((720, 1280), (0.9, 0.8), 0.1)
    left, _, right, _ = tag_rows(picture_overlay(frame(size=mask.shape).image, [track(1, mask)]), 1)
    assert (left + right) / 2 == pytest.approx(640, abs=12)


def test_a_picture_of_too_many_objects_has_no_tags() -> None:
    masks = [disc(SIZE, (0.5, 0.6), 0.2)] * (MOST_TAGS + 1)
    image = frame(size=SIZE).image
    tagged, bare = (
        (picture_overlay(image, [track(1, mask) for mask in masks[:count]]) != image).any(axis=-1)[:68].any()
        for count in (MOST_TAGS, MOST_TAGS + 1)
    )
    assert tagged
    assert not bare


def test_an_object_that_may_be_none_is_questioned() -> None:
    def tag(state: State) -> Image:
        return overlay(Result(frame(size=SIZE), (track(1, disc(SIZE, (0.5, 0.6), 0.2), state=state),)), {})[
            :70
        ]

    assert not np.array_equal(tag("tentative"), tag("tracked"))


def test_a_small_object_before_a_large_one_is_seen_whole_whatever_their_ids() -> None:
    small, large = disc(SIZE, (0.5, 0.5), 0.1), disc(SIZE, (0.5, 0.5), 0.4)
    for tracks in ((track(1, small), track(2, large)), (track(1, large), track(2, small))):
        ids = {int(one.mask.sum()): one.object_id for one in tracks}
        grey = frame(size=SIZE)
        grey.image[:] = 128
        towards = np.sign(overlay(Result(grey, tracks), {})[90, 160].astype(int) - 128)
        assert np.array_equal(towards, np.sign(np.array(colour_of(ids[small.sum()])) - 128))


def test_tags_of_a_crowd_do_not_cover_each_other() -> None:
    masks = [disc(SIZE, (0.5, y), 0.12) for y in (0.5, 0.52, 0.54, 0.56)]
    tracks = [track(number, mask, label="person") for number, mask in enumerate(masks, 1)]
    picture = overlay(Result(frame(size=SIZE), tuple(tracks)), {})
    written = []
    for one in tracks:
        box = (picture == colour_of(one.object_id)).all(axis=-1)
        rows, columns = np.nonzero(cv2.erode(box.view(np.uint8), np.ones((5, 9), np.uint8)))
        written.append((rows.min(), columns.min()))
    assert len(set(written)) == 4


DEFICIENCIES = {
    "protanopia": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deuteranopia": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.01182, 0.04294, 0.968881),
    ),
    "tritanopia": (
        (1.255528, -0.076749, -0.178779),
        (-0.078411, 0.930809, 0.147602),
        (0.004733, 0.691367, 0.3039),
    ),
}
"""What of linear RGB is seen, after Machado, Oliveira and Fernandes (2009), severity 1."""


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_the_first_seven_colours_are_told_apart_with_any_kind_of_colour_vision(deficiency: str) -> None:
    linear = (np.array([colour_of(object_id) for object_id in range(1, 8)]) / 255) ** 2.2
    seen_as = np.clip(linear @ np.transpose(DEFICIENCIES[deficiency]), 0, 1) ** (1 / 2.2)
    lab = cv2.cvtColor(seen_as.astype(np.float32)[None], cv2.COLOR_RGB2LAB)[0]
    apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1)[np.triu_indices(7, 1)]
    assert apart.min() > 14, "CIE 1976, of which 2.3 can just be noticed"
