"""The overlay: masks, outlines and name tags drawn over a frame, and masks as one map of object ids."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from .trails import Pasts
from .types import Box, Frame, Image, Mask, Point, Result, State, Track, Watched

Colour = tuple[int, int, int]
PixelBox = tuple[int, int, int, int]

_BASE_COLOURS: tuple[Colour, ...] = (
    (86, 180, 233),  # sky blue
    (230, 159, 0),  # orange
    (0, 158, 115),  # bluish green
    (240, 228, 66),  # yellow
    (213, 94, 0),  # vermillion
    (204, 121, 167),  # reddish purple
    (0, 114, 178),  # blue
)
"""The palette of Okabe and Ito (2008) without black: told apart by people with any kind of colour vision."""
_LIGHTNESS = (0.0, 0.45, -0.4)
"""Blend towards white (above 0) or black (below) for each further round of ids."""
_GREY: Colour = (150, 150, 150)
_INK: Colour = (20, 20, 20)
_PAPER: Colour = (245, 245, 245)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_FILL_OPACITY: dict[State, float] = {"tracked": 0.42, "tentative": 0.25, "occluded": 0.22, "lost": 0.15}
MOST_TAGS = 20
MOST_ID = 0xFFFF
"""The highest object id that a map of ids can hold."""
_NO_MASK: Mask = np.zeros((0, 0), np.bool_)
_UNSEEN: dict[State, str] = {"occluded": "hidden", "lost": "lost"}
"""What a tag says in place of the confidence."""
_SPARSE = 0.33
"""A mask that fills less of its box may have specks far from its main part."""
_SAMPLES = 160
"""In how many places along its longer side a sparse mask is looked at: a few tenths of a millisecond."""


def colour_of(object_id: int) -> Colour:
    """The RGB colour that stays with an object id: 7 hues, then lighter ones, then darker."""
    round_, hue = divmod(object_id - 1, len(_BASE_COLOURS))
    amount = _LIGHTNESS[round_ % len(_LIGHTNESS)]
    target = 255 if amount > 0 else 0
    red, green, blue = (round(part + (target - part) * abs(amount)) for part in _BASE_COLOURS[hue])
    return red, green, blue


def overlay(result: Result, pasts: Pasts) -> Image:
    """A new picture (H, W, 3) uint8 RGB: the frame with its tracks drawn over it, if the result says so.

    A visible object gets a translucent fill, an outline, a tag, and its way of the last seconds; one that is
    not seen a dashed box and a grey tag, where `pasts` says it was last. Zones and lines that are
    watched lie under them, with their counts; a line's arrows point to the sides that are watched. Sizes
    follow the frame's height.
    """
    image = result.frame.image.copy()
    if not result.drawn:
        return image
    style = _Style.of(image)
    for watched in result.watched:
        _draw_watched(image, watched, style)
    tracks = [track for track in result.tracks if track.object_id not in result.removed]
    for track in tracks:
        past = pasts.get(track.object_id)
        if past is not None and track.box is not None:
            _draw_trail(image, track.object_id, [point for _, point in past.trail], style)
    for track in sorted(tracks, key=_extent, reverse=True):  # the smaller before the larger
        _draw_mask(image, result.frame.image, track, style)
    placed = [_draw_name(image, watched, style) for watched in result.watched]
    for track in tracks:  # after all masks, so that no tag is covered
        past = pasts.get(track.object_id)
        if track.box is not None:
            placed.append(_draw_tag(image, track, _main_part(track, image), placed, style))
        elif past is not None:
            placed.append(_draw_tag(image, track, _pixels(past.box, image), placed, style))
    _draw_clock(image, result.frame, style)
    return image


def picture_overlay(image: Image, tracks: Iterable[Track]) -> Image:
    """A new picture (H, W, 3) uint8 RGB: a still picture with objects drawn over it, later ones on top.

    Up to `MOST_TAGS` of them have tags; more would hide the picture.
    """
    drawn = image.copy()
    style = _Style.of(drawn)
    tagged: list[tuple[Track, PixelBox]] = []
    count = 0
    for count, track in enumerate(tracks, 1):  # one mask at a time is in memory
        _draw_mask(drawn, drawn, track, style)
        if track.box is not None and count <= MOST_TAGS:
            tagged.append((replace(track, mask=_NO_MASK), _main_part(track, drawn)))
    placed: list[PixelBox] = []
    for track, box in tagged if count <= MOST_TAGS else ():
        placed.append(_draw_tag(drawn, track, box, placed, style))
    return drawn


def indexed_map(tracks: Sequence[Track], size: tuple[int, int]) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Object ids (H, W), 0 where there is none; where masks overlap, the most confident track's.

    uint8, or uint16 where an id is above 255. Raises ValueError for an id outside [1, 65535].
    """
    highest = max((track.object_id for track in tracks), default=0)
    if highest > MOST_ID or min((track.object_id for track in tracks), default=1) < 1:
        raise ValueError(f"a map of object ids holds ids from 1 to {MOST_ID}")
    ids: NDArray[np.uint8] | NDArray[np.uint16]
    ids = np.zeros(size, np.uint8) if highest <= 0xFF else np.zeros(size, np.uint16)
    for track in sorted(tracks, key=lambda track: (track.confidence, -track.object_id)):
        np.copyto(ids, ids.dtype.type(track.object_id), where=track.mask)
    return ids


def layered_map(
    masks: Iterable[tuple[int, Mask]], size: tuple[int, int]
) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Object ids (H, W), 0 where there is none, of (id, mask) pairs, later ones on top.

    uint8, or uint16 where an id is above 255. Raises ValueError for an id outside [1, 65535].
    """
    ids = np.zeros(size, np.uint16)
    highest = 0
    for object_id, mask in masks:
        if not 1 <= object_id <= MOST_ID:
            raise ValueError(f"a map of object ids holds ids from 1 to {MOST_ID}")
        highest = max(highest, object_id)
        np.copyto(ids, np.uint16(object_id), where=mask)
    return ids.astype(np.uint8) if highest <= 0xFF else ids


def davis_palette() -> NDArray[np.uint8]:
    """The 256 RGB colours (256, 3) uint8 that DAVIS and PASCAL VOC annotations use.

    The bits of the index are dealt out in threes, lowest first, to red, green and blue, highest bit first.
    """
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= ((index >> channel & 1) << (7 - bit)).astype(np.uint8)
        index >>= 3
    return palette


@dataclass(frozen=True, slots=True)
class _Style:
    """Sizes in pixels that suit a frame: of lines, text (over and under its base line) and margins."""

    line: int
    scale: float
    ascent: int
    descent: int
    margin: int

    @classmethod
    def of(cls, image: Image) -> _Style:
        height = min(image.shape[0], image.shape[1])
        scale = max(0.4, height / 1400)
        (_, ascent), descent = cv2.getTextSize("Hg", _FONT, scale, 1)
        return cls(max(1, round(height / 320)), scale, ascent, descent, max(2, ascent // 4))

    def tag_size(self, text: str) -> tuple[int, int]:
        """(width, height) of a text with its margins."""
        width = cv2.getTextSize(text, _FONT, self.scale, 1)[0][0]
        return width + 4 * self.margin, self.ascent + self.descent + 2 * self.margin


def _pixels(box: Box, image: Image, margin: int = 0) -> PixelBox:
    """A box in whole pixels, grown by `margin` pixels and cut to the image; at least one pixel large."""
    height, width = image.shape[:2]
    x0 = min(max(math.floor(box[0] * width) - margin, 0), width - 1)
    y0 = min(max(math.floor(box[1] * height) - margin, 0), height - 1)
    x1 = min(max(math.ceil(box[2] * width) + margin, x0 + 1), width)
    y1 = min(max(math.ceil(box[3] * height) + margin, y0 + 1), height)
    return x0, y0, x1, y1


def _main_part(track: Track, image: Image) -> PixelBox:
    """The box of the part that most of a mask is in, to a step of its sampling; the object's own where there
    is none. A speck far away stretches that one, and a tag in its middle would be beside nothing."""
    assert track.box is not None
    x0, y0, x1, y1 = box = _pixels(track.box, image)
    mask = track.mask[y0:y1, x0:x1]
    if np.count_nonzero(mask) > _SPARSE * mask.size:
        return box
    step = math.ceil(max(mask.shape) / _SAMPLES)
    samples = np.ascontiguousarray(mask[::step, ::step]).view(np.uint8)
    parts = cv2.connectedComponentsWithStats(samples)[2][1:]
    left, top, width, height, area = max(parts.tolist(), key=lambda part: part[-1], default=(0,) * 5)
    if 2 * area <= np.count_nonzero(samples):
        return box
    right, bottom = x0 + (left + width) * step, y0 + (top + height) * step
    return x0 + left * step, y0 + top * step, min(right, x1), min(bottom, y1)


def _extent(track: Track) -> float:
    """The area of an object's box, in parts of the frame."""
    x0, y0, x1, y1 = track.box or (0, 0, 0, 0)
    return (x1 - x0) * (y1 - y0)


def _draw_mask(image: Image, ground: Image, track: Track, style: _Style) -> None:
    """Fill a mask with the ground in its colour, which hides what was drawn there before, and outline it from
    outside, touching only the pixels around its box."""
    if track.box is None:
        return
    x0, y0, x1, y1 = _pixels(track.box, image, margin=style.line + 3)
    crop = image[y0:y1, x0:x1]
    mask = np.ascontiguousarray(track.mask[y0:y1, x0:x1]).view(np.uint8)
    colour = colour_of(track.object_id)
    filled = _blend(ground[y0:y1, x0:x1], colour, _FILL_OPACITY[track.state])
    outline = _grown(mask, style.line)
    cv2.copyTo(crop >> 1, _grown(outline, 1), crop)
    cv2.copyTo(_solid(crop, colour), outline, crop)
    cv2.copyTo(filled, mask, crop)


def _draw_trail(image: Image, object_id: int, trail: Sequence[Point], style: _Style) -> None:
    """The way of an object, smoothed, thinner where it is older. Masks that are drawn later hide its end."""
    if len(trail) < 3:
        return
    way = np.asarray(trail)
    way[1:-1] = (way[:-2] + way[1:-1] + way[2:]) / 3
    points = np.round(way * (image.shape[1] - 1, image.shape[0] - 1)).astype(np.int32)
    colour, half = colour_of(object_id), len(points) // 2
    for shade, more in ((_INK, 2), (colour, 0)):
        cv2.polylines(image, [points[: half + 1]], False, shade, style.line + more, cv2.LINE_AA)
        cv2.polylines(image, [points[half:]], False, shade, 2 * style.line + more, cv2.LINE_AA)


def _grown(mask: NDArray[np.uint8], pixels: int) -> NDArray[np.uint8]:
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * pixels + 1, 2 * pixels + 1))
    return np.asarray(cv2.dilate(mask, kernel), np.uint8)


def _solid(like: Image, colour: Colour) -> Image:
    """A picture of one colour; a row at a time, which is many times faster than a pixel at a time."""
    solid = np.empty(like.shape, np.uint8)
    solid[:] = np.tile(np.array(colour, np.uint8), (like.shape[1], 1))
    return solid


def _blend(crop: Image, colour: Colour, opacity: float) -> Image:
    return np.asarray(cv2.addWeighted(crop, 1 - opacity, _solid(crop, colour), opacity, 0), np.uint8)


def _draw_tag(
    image: Image, track: Track, box: PixelBox, placed: Sequence[PixelBox], style: _Style
) -> PixelBox:
    """Draw an object's tag near its box, and the dashed box of one that is not seen; where the tag is."""
    colour = colour_of(track.object_id)
    seen_now = track.state not in _UNSEEN and track.box is not None
    if not seen_now:
        _draw_dashed(image, box, colour, style)
    text = _tag_text(track)
    tag = _place(style.tag_size(text), box, placed, image)
    ground = colour if seen_now else _GREY
    cv2.rectangle(image, tag[:2], (tag[2] - 1, tag[3] - 1), ground, cv2.FILLED)
    cv2.rectangle(image, tag[:2], (tag[0] + style.margin - 1, tag[3] - 1), colour, cv2.FILLED)
    _write(image, text, (tag[0] + 2 * style.margin, tag[3] - style.margin), _ink_on(ground), style)
    return tag


def _tag_text(track: Track) -> str:
    """The id, the label, and how sure it is, with a question mark where it may be nothing; or that it is not
    seen."""
    sure = f"{track.confidence:.0%}{'?' if track.state == 'tentative' else ''}"
    words = _UNSEEN.get(track.state) or ("unseen" if track.box is None else sure)
    return " ".join(filter(None, (f"#{track.object_id}", track.label, words)))


def _place(size: tuple[int, int], box: PixelBox, placed: Sequence[PixelBox], image: Image) -> PixelBox:
    """The first free place for a tag: over the box, under it, beside it, inside its top; else over it."""
    x0, y0, x1, y1 = box
    middle = (x0 + x1 - size[0]) // 2
    wanted = ((middle, y0 - size[1]), (middle, y1), (x1, y0), (x0 - size[0], y0), (middle, y0))
    places = [_inside(image, x, y, size) for x, y in wanted]
    free = (
        place
        for place, (_, y) in zip(places, wanted, strict=True)
        if place[1] == y and not _meets(place, placed)
    )
    return next(free, places[0])


def _inside(image: Image, x: int, y: int, size: tuple[int, int]) -> PixelBox:
    """A rectangle of `size` (width, height) at (x, y), moved into the image as far as it fits."""
    x = max(0, min(x, image.shape[1] - size[0]))
    y = max(0, min(y, image.shape[0] - size[1]))
    return x, y, x + size[0], y + size[1]


def _meets(box: PixelBox, others: Sequence[PixelBox]) -> bool:
    x0, y0, x1, y1 = box
    return any(x0 < right and left < x1 and y0 < bottom and top < y1 for left, top, right, bottom in others)


def _draw_dashed(image: Image, box: PixelBox, colour: Colour, style: _Style) -> None:
    """Outline a box in dashes of the colour and of ink, which shows on any background."""
    x0, y0, x1, y1 = box
    line, dash = style.line + 1, 4 * style.line + 4
    colours = np.array((colour, _INK), np.uint8)
    across = colours[np.arange(x1 - x0) // dash % 2]
    down = colours[np.arange(y1 - y0) // dash % 2][:, None]
    image[y0 : min(y0 + line, y1), x0:x1] = across
    image[max(y1 - line, y0) : y1, x0:x1] = across
    image[y0:y1, x0 : min(x0 + line, x1)] = down
    image[y0:y1, max(x1 - line, x0) : x1] = down


def _draw_watched(image: Image, watched: Watched, style: _Style) -> None:
    """Outline a zone, in orange while something is in it; or draw a line."""
    points, zone, colour = _corners(image, watched), watched.kind == "zone", _colour_of_watched(watched)
    path = [points.round().astype(np.int32)]
    for shade, thickness in ((_INK, style.line + 2), (colour, style.line)):
        cv2.polylines(image, path, zone, shade, thickness, cv2.LINE_AA)
        for start, tip in () if zone else _arrows(points, watched, 12 * style.line + 6):
            cv2.arrowedLine(image, start, tip, shade, thickness, cv2.LINE_AA, tipLength=0.5)


def _draw_name(image: Image, watched: Watched, style: _Style) -> PixelBox:
    """Write the name and counts of a zone or line at its upper left corner; where that is."""
    corners = _corners(image, watched).round().astype(int)
    x, y = corners[corners.sum(1).argmin()]
    text = _watched_text(watched)
    x0, y0, x1, y1 = _inside(image, int(x), int(y), style.tag_size(text))
    image[y0:y1, x0:x1] = _blend(image[y0:y1, x0:x1], _INK, 0.6)
    _write(image, text, (x0 + 2 * style.margin, y1 - style.margin), _colour_of_watched(watched), style)
    return x0, y0, x1, y1


def _corners(image: Image, watched: Watched) -> NDArray[np.float64]:
    """The points (P, 2) in pixels."""
    return np.multiply(watched.points, (image.shape[1] - 1, image.shape[0] - 1), dtype=np.float64)


def _colour_of_watched(watched: Watched) -> Colour:
    return _BASE_COLOURS[1] if watched.kind == "zone" and watched.counts else _PAPER


def _arrows(
    points: NDArray[np.float64], watched: Watched, length: int
) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """From the middle of a line to each side that is watched: (start, tip), in pixels."""
    along = points[1] - points[0]
    right = np.array((-along[1], along[0])) / max(float(np.hypot(*along)), 1.0)
    start = points.mean(0)
    tips = (start + length * (right if side == "right" else -right) for side, _ in watched.counts)
    return [((round(start[0]), round(start[1])), (round(tip[0]), round(tip[1]))) for tip in tips]


def _watched_text(watched: Watched) -> str:
    """The name and what there is to count; objects without a label only by their number."""
    counts = (f"{label} {count}".strip() for label, count in watched.counts)
    return "  ".join((watched.name, *counts))


def _draw_clock(image: Image, frame: Frame, style: _Style) -> None:
    """Frame number and time, small, in the lower left corner."""
    text = f"{frame.index}   {_clock(frame.time)}"
    height = image.shape[0]
    width, tall = style.tag_size(text)
    corner = image[max(0, height - tall) :, :width]
    corner[:] = _blend(corner, _INK, 0.6)
    _write(image, text, (2 * style.margin, height - style.margin), _PAPER, style)


def _clock(seconds: float) -> str:
    """Time as h:mm:ss.hh, without the hours where there are none."""
    hundredths = round(max(seconds, 0) * 100)
    minutes, rest = divmod(hundredths, 6000)
    hours, minutes = divmod(minutes, 60)
    clock = f"{minutes:02}:{rest / 100:05.2f}"
    return f"{hours}:{clock}" if hours else clock


def _write(image: Image, text: str, corner: tuple[int, int], colour: Colour, style: _Style) -> None:
    """Write a text whose lower left corner, descenders included, is at `corner` (x, y)."""
    base = (corner[0], corner[1] - style.descent)
    cv2.putText(image, text, base, _FONT, style.scale, colour, 1, cv2.LINE_AA)


def _ink_on(ground: Colour) -> Colour:
    """Black or white, whichever is read better on a colour."""
    red, green, blue = ground
    return _INK if 0.299 * red + 0.587 * green + 0.114 * blue > 120 else _PAPER
