"""Who is who after objects have crossed.

While two masks touch, a small network lets each flow into the other, and a look-alike that comes out from
behind another is taken for it. So an object's course is kept from when it was by itself: where it was, how
fast it went, how large it was and what colours it had. When what touching objects cover falls apart again
into as many pieces, each piece goes to the one whose course leads there and whose colours it has. The
prediction is of constant velocity, as in Bewley et al. 2016, "Simple online and realtime tracking".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations, permutations
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Image, Mask, Point

Floats = NDArray[np.float32]

REACH = 2
"""How near two masks touch, in places of their grid."""
KERNEL = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * REACH + 1, 2 * REACH + 1))
STEADY_FRAMES = 4
"""For how many frames an object must have been by itself for its course to be known."""
LONGEST_SECONDS = 2.0
"""How far ahead a course leads: who has touched for longer may have done anything meanwhile."""
GAP_SECONDS = 1.0
"""After how long without a frame a course is begun anew."""
MOST = 4
"""Objects that touch one another, at most, for whom the pieces are dealt out."""
SMALLEST = 20
"""Places that a mask must have for a course."""
PIECE = 0.15
"""How large a piece is at least, in parts of the smallest object."""
ALIKE = 0.6, 1.7
"""How many times as large as its object a piece may be: half of it, cut off by a lamp post, is none."""
OTHER_COLOURS = 0.7
"""How unlike the colours of a piece may be, from 0 to 1."""
FAR = 3.0
"""How far off a course a piece can be, in radii of the object: more makes no difference."""
COLOURS_WEIGH, SIZE_WEIGHS = 4.0, 0.5
"""Beside the distance from the course in radii: unlike colours, from 0 to 1, and the logarithm of sizes."""
SHADES = 8
"""Into how many parts red, green and blue are divided."""
NOT_IT = -8.0
"""The logit of places that belong to another."""


@dataclass(frozen=True, slots=True)
class Course:
    """Where an object goes and how it looks, as of `time`, when it was last by itself.

    centre: (x, y), and velocity: what is added to it each second, in places of the masks' grid; area: places;
    colours: (SHADES**3,) shares; clean: frames it was by itself; since: when it began to touch those whose
    ids are in `rivals`, None where it does not.
    """

    centre: Point
    area: float
    colours: Floats = field(compare=False)
    time: float
    velocity: Point = (0.0, 0.0)
    clean: int = 1
    since: float | None = None
    rivals: frozenset[int] = frozenset()

    @property
    def is_steady(self) -> bool:
        return self.clean >= STEADY_FRAMES

    def at(self, time: float) -> Point:
        """Where its centre should be at another time."""
        seconds = time - self.time
        return self.centre[0] + self.velocity[0] * seconds, self.centre[1] + self.velocity[1] * seconds


class Piece(NamedTuple):
    """A connected part of what touching objects cover. region: (h, w) bool, with a margin around it."""

    region: Mask
    centre: Point
    area: int
    colours: Floats


class Untangled(NamedTuple):
    """logits (N, h, w), in `changed` rows other ones than before; the courses by id, from here on."""

    logits: Floats
    changed: tuple[int, ...]
    courses: dict[int, Course]


def untangle(
    ids: Sequence[int], logits: Floats, image: Image, time: float, courses: Mapping[int, Course]
) -> Untangled:
    """Give each of N objects the pieces that are its own, as far as courses tell.

    logits: (N, h, w), negative everywhere for what is hidden; image: (h, w, 3), the frame in that size.
    """
    touching = contacts(ids, logits > 0)
    known = begun({one: courses[one] for one in ids if one in courses}, touching, time)
    dealt: dict[int, Piece] = {}
    drawn: dict[int, Floats] = {}
    for group in groups(known):
        if not may_be_told(group, known, time):
            known = {one: course for one, course in known.items() if one not in group}
            continue
        rows = [ids.index(one) for one in group]
        pieces = deal(logits[rows], image, time, [known[one] for one in group])
        if pieces is not None:
            dealt |= zip(group, pieces, strict=True)
            drawn |= zip(rows, parted(logits[rows], pieces), strict=True)
    changed = tuple(row for row, own in drawn.items() if ((own > 0) != (logits[row] > 0)).any())
    after = logits.copy() if changed else logits
    for row in changed:
        after[row] = drawn[row]
    following = {
        one: followed(known.get(one), dealt.get(one), bool(touching[one]), mask, image, time)
        for one, mask in zip(ids, after > 0, strict=True)
    }
    return Untangled(after, changed, {one: course for one, course in following.items() if course})


def contacts(ids: Sequence[int], masks: NDArray[np.bool_]) -> dict[int, set[int]]:
    """Each object's id with those whose masks touch its own; masks (N, h, w). Specks touch nobody."""
    boxes = [cv2.boundingRect(mask.view(np.uint8)) for mask in masks]
    large = [row for row, mask in enumerate(masks) if np.count_nonzero(mask) >= SMALLEST]
    touching: dict[int, set[int]] = {one: set() for one in ids}
    for row, other in combinations(large, 2):
        x0, y0 = (max(boxes[row][axis], boxes[other][axis]) - REACH for axis in (0, 1))
        x1, y1 = (
            min(box[axis] + box[axis + 2] for box in (boxes[row], boxes[other])) + REACH for axis in (0, 1)
        )
        if x0 < x1 and y0 < y1:
            near = slice(max(0, y0), y1), slice(max(0, x0), x1)
            grown = cv2.dilate(masks[row][near].view(np.uint8), KERNEL).view(np.bool_)
            if (grown & masks[other][near]).any():
                touching[ids[row]].add(ids[other])
                touching[ids[other]].add(ids[row])
    return touching


def begun(
    courses: Mapping[int, Course], touching: Mapping[int, Iterable[int]], time: float
) -> dict[int, Course]:
    """The courses, with those noted as rivals who touch and whose courses are known: they were by themselves
    until just now, or touch already."""
    steady = {
        one
        for one, course in courses.items()
        if course.is_steady and (course.since is not None or 0 <= time - course.time <= GAP_SECONDS)
    }
    after = dict(courses)
    for one in steady:
        if rivals := steady.intersection(touching[one]):
            since = time if after[one].since is None else after[one].since
            together = (after[one].rivals | rivals) & after.keys()
            after[one] = replace(after[one], since=since, rivals=frozenset(together))
    return after


def groups(courses: Mapping[int, Course]) -> Iterator[list[int]]:
    """The ids of those who touch, or have touched and did not part since, together."""
    left = [one for one, course in courses.items() if course.since is not None]
    while left:
        group: list[int] = []
        new = [left[0]]
        while new:
            one = new.pop()
            if one not in group:
                group.append(one)
                new += [rival for rival in sorted(courses[one].rivals) if rival in courses]
        left = [one for one in left if one not in group]
        yield group


def may_be_told(group: Sequence[int], courses: Mapping[int, Course], time: float) -> bool:
    """Whether so few have touched for so short a time that their courses still say who is who."""
    began = min(since for one in group if (since := courses[one].since) is not None)
    return 0 <= time - began <= LONGEST_SECONDS and len(group) <= MOST


def followed(
    course: Course | None, piece: Piece | None, touches: bool, mask: Mask, image: Image, time: float
) -> Course | None:
    """An object's course from here on: out of the `piece` that it came out as, as it was while it touches
    those who are known, of its mask (h, w) where it is by itself, and else none."""
    if course is not None and piece is not None:
        return gone_on(course, piece, time)
    if course is not None and course.since is not None:
        return course
    return None if touches else by_itself(course, mask, image, time)


def deal(logits: Floats, image: Image, time: float, courses: Sequence[Course]) -> list[Piece] | None:
    """Each object's piece of what they cover together; None while there is not one for each."""
    pieces = pieces_of(logits.max(axis=0) > 0, image, PIECE * min(course.area for course in courses))
    if not len(courses) <= len(pieces) <= MOST + 2:
        return None
    prices = np.array([[unlike(course, piece, time) for piece in pieces] for course in courses])
    rows = np.arange(len(courses))
    best = min(permutations(range(len(pieces)), len(courses)), key=lambda dealt: prices[rows, dealt].sum())
    return [pieces[number] for number in best] if np.isfinite(prices[rows, best].sum()) else None


def pieces_of(covered: Mask, image: Image, least: float) -> list[Piece]:
    """The parts of `covered` (h, w) with a gap between them, of at least so many places."""
    grown = cv2.dilate(covered.view(np.uint8), KERNEL)
    count, labels = cv2.connectedComponents(grown)
    regions = (labels == number for number in range(1, count))
    return [
        Piece(region, middle(mask), int(mask.sum()), colours_in(image, mask))
        for region in regions
        if (mask := region & covered).sum() >= least
    ]


def unlike(course: Course, piece: Piece, time: float) -> float:
    """How little a piece is what an object should have become; infinite where it cannot be."""
    ratio = piece.area / course.area
    if not ALIKE[0] < ratio < ALIKE[1]:
        return np.inf
    x, y = course.at(time)
    radius = float(np.sqrt(course.area / np.pi))
    away = float(np.hypot(piece.centre[0] - x, piece.centre[1] - y)) / radius
    colours = float(np.sqrt(max(0.0, 1 - np.sqrt(course.colours * piece.colours).sum())))
    if colours > OTHER_COLOURS:
        return np.inf
    return min(FAR, away) + COLOURS_WEIGH * colours + SIZE_WEIGHS * abs(float(np.log(ratio)))


def parted(logits: Floats, dealt: Sequence[Piece]) -> Floats:
    """logits (N, h, w) of N objects: all that any of them covers in an object's piece is its own, and what
    lies in the others' is not."""
    after, together = logits.copy(), logits.max(axis=0)
    for own, piece in zip(after, dealt, strict=True):
        for other in dealt:
            if other is not piece:
                np.minimum(own, NOT_IT, out=own, where=other.region)
        np.copyto(own, together, where=piece.region & (together > 0))
    return after


def gone_on(course: Course, piece: Piece, time: float) -> Course:
    """The course of an object that has come out as `piece`."""
    return replace(
        moved(course, piece.centre, time),
        area=0.9 * course.area + 0.1 * piece.area,
        since=None,
        rivals=frozenset(),
    )


def by_itself(course: Course | None, mask: Mask, image: Image, time: float) -> Course | None:
    """The course of an object whose mask (h, w) touches no other's; None where it cannot be seen."""
    area = int(mask.sum())
    if area < SMALLEST or (course is not None and course.time == time):
        return course
    colours = colours_in(image, mask)
    if course is None or not 0 < time - course.time <= GAP_SECONDS:
        return Course(middle(mask), area, colours, time)
    return replace(
        moved(course, middle(mask), time),
        area=0.8 * course.area + 0.2 * area,
        colours=0.9 * course.colours + 0.1 * colours,
        clean=course.clean + 1,
    )


def moved(course: Course, centre: Point, time: float) -> Course:
    """The course as of `time`. Its velocity is a mean that forgets, or all of it where it was long unseen."""
    seconds = max(time - course.time, 1e-3)
    share = 1.0 if seconds > LONGEST_SECONDS / 10 else max(0.2, 1 / course.clean)
    now = ((centre[0] - course.centre[0]) / seconds, (centre[1] - course.centre[1]) / seconds)
    x, y = (old + share * (new - old) for old, new in zip(course.velocity, now, strict=True))
    return replace(course, centre=centre, velocity=(x, y), time=time)


def colours_in(image: Image, mask: Mask) -> Floats:
    """(SHADES**3,): how large a share of the pixels under a mask, not empty, has each colour."""
    near = surrounding(mask)
    red, green, blue = (image[near][mask[near]] // (256 // SHADES)).astype(np.int64).T
    counts = np.bincount((red * SHADES + green) * SHADES + blue, minlength=SHADES**3)
    return np.asarray(counts / counts.sum(), np.float32)


def middle(mask: Mask) -> Point:
    """The mean place (x, y) of a mask (h, w) that is not empty."""
    near = surrounding(mask)
    ys, xs = np.nonzero(mask[near])
    return near[1].start + float(xs.mean()), near[0].start + float(ys.mean())


def surrounding(mask: Mask) -> tuple[slice, slice]:
    """The lines and columns that a mask (h, w) reaches."""
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return slice(y, y + height), slice(x, x + width)
