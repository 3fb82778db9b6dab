"""The verbs of a streaming video predictor, and the values they exchange.

A tracker knows four: encode an image, condition objects on prompts, propagate objects by their memory, and
turn a prediction into what is remembered. A predictor keeps nothing between calls; the caller owns the
memory.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from .memory import Entry, Memory, MemoryLayout, MemoryShape


class ImageFeatures(NamedTuple):
    """What the image encoder says of B images: `levels` from fine to coarse, each (B, C_i, h_i, w_i), and, if
    `relate` was asked, how the images moved, in the model's own maps.

    images: (B, 3, H, W) themselves, from a model that looks again at what is pointed at; without them it does
    not, which is quicker and rougher.
    """

    levels: tuple[Tensor, ...]
    motion: tuple[Tensor, ...] | None = None
    images: Tensor | None = None

    @property
    def nbytes(self) -> int:
        images = () if self.images is None else (self.images,)
        return sum(part.nbytes for part in (*self.levels, *(self.motion or ()), *images))

    def of_image(self, index: int) -> ImageFeatures:
        """Those of one image, a view, without how it moved."""
        one = slice(index, index + 1)
        images = None if self.images is None else self.images[one]
        return ImageFeatures(tuple(level[one] for level in self.levels), images=images)


def seen_by(level: Tensor, image_of: Tensor) -> Tensor:
    """Rows of `level` (B, ...) for N objects: (N, ...). Of one image it is a view, not N copies."""
    return level.expand(len(image_of), *level.shape[1:]) if len(level) == 1 else level[image_of]


class Prompts(NamedTuple):
    """What users showed of N objects on one frame.

    points: (N, T, 2) as (x, y) in [0, 1]; labels: (N, T) int64: 1 on the object, 0 not on it, 2 and 3 the
    upper left and lower right corner of a box, -1 padding (the codes of the Segment Anything paper's
    implementation); masks: (N, H, W) in [0, 1] at the model's input size; has_mask: (N,) bool, False where
    `masks` says nothing.
    """

    points: Tensor
    labels: Tensor
    masks: Tensor
    has_mask: Tensor


class Prediction(NamedTuple):
    """N objects in one frame.

    logits: (N, *mask) of the masks, in the mask size of `memory_shape`; iou: (N,) predicted IoU in [0, 1];
    presence: (N,) logit that the object is visible; pointer: (N, D) object pointer.
    """

    logits: Tensor
    iou: Tensor
    presence: Tensor
    pointer: Tensor


class VideoPredictor(Protocol):
    """A model that tracks. In every verb objects are one batch; `image_of` (N,) int64 says which image of the
    features each object is in (streams are stepped together); `frame` is the index of the frame in its
    stream.
    """

    @property
    def layout(self) -> MemoryLayout: ...

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """The (H, W) a frame of (height, width) is resized to before `encode_image`."""
        ...

    def memory_shape(self, input_size: tuple[int, int]) -> MemoryShape:
        """The sizes of one object's memory at this input size."""
        ...

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """images: (B, 3, H, W) float RGB in [0, 1]."""
        ...

    def relate(self, features: ImageFeatures, previous: ImageFeatures) -> ImageFeatures:
        """The features with how the images moved since `previous`, if the model uses that. `propagate` with
        the same `previous` else finds it out itself."""
        ...

    def condition(
        self, features: ImageFeatures, image_of: Tensor, frame: int, memory: Memory, prompts: Prompts
    ) -> Prediction:
        """Segment N objects from prompts. Rows of `memory` that hold something are being corrected: the last
        mask, and in some models what is remembered, is used beside the prompts. A mask prompt alone is taken
        as the mask."""
        ...

    def propagate(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        frame: int,
        memory: Memory,
        previous: ImageFeatures | None,
    ) -> Prediction:
        """Segment N remembered objects in a new frame. `previous`: the features of the frame stepped
        before."""
        ...

    def remember(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        prediction: Prediction,
        prompted: Tensor,
        prompts: Prompts | None = None,
    ) -> Entry:
        """Encode a prediction for the memory. `prompted`: (N,) bool, the masks that come from a user's
        prompt; `prompts`: those prompts, since a mask may be remembered sharper than it is predicted."""
        ...
