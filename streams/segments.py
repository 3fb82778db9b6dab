"""What was found in a still picture: objects whose masks take few bytes, whatever the picture's size."""

from __future__ import annotations

from dataclasses import dataclass

from . import rle
from .rle import Rle
from .types import Box, Image, Mask, Point


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One object of a picture.

    rle: its mask as COCO RLE; box: tight around the mask, None where it is empty; area: of the mask, in
    pixels; iou (predicted), stability and confidence (that such an object is there and the mask right): in
    [0, 1]; point: the click that found it, None where it was shown.
    """

    object_id: int
    label: str = ""
    rle: Rle
    box: Box | None
    area: int
    iou: float
    stability: float
    confidence: float
    point: Point | None = None

    @property
    def mask(self) -> Mask:
        """(H, W) bool, decoded anew each time."""
        return rle.decode(self.rle)


Layer = tuple[Segment, ...]
"""Objects of one picture by falling area, so that what is drawn later lies on top."""


@dataclass(frozen=True, slots=True, eq=False)
class Segmented:
    """A picture and what was found in it.

    file: the picture's file name; name: what its outputs are called, without an ending; layers: what was
    found; more than one where each object has several candidate masks, the best ones in the first.
    """

    file: str
    name: str
    image: Image
    layers: tuple[Layer, ...]
