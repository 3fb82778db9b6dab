"""The sizes of Nano, the small tracker that is bundled."""

from __future__ import annotations

from dataclasses import dataclass

from .memory import MemoryLayout


@dataclass(frozen=True, slots=True)
class NanoConfig:
    """Sizes of every part of Nano.

    image_side: the input has about `image_side`**2 pixels, in the frame's own aspect ratio, each side a
    multiple of 32. widths and depths: channels and blocks of the encoder at strides 4, 8, 16 and 32. fine,
    middle, coarse: channels of the features given to the decoder at strides 4, 8 and 16. key: channels of a
    memory key at stride 16, of which 4 tell the position; value: channels of a memory value there, of which 4
    are the mask itself, by quarters. fine_key and fine_value: likewise at stride 8. window and finest_window:
    sides of the neighbourhoods, at strides 8 and 4, in which the previous frame is read; finest_key: channels
    of the keys this takes at stride 4. detail: channels at stride 2, where masks get their outline.
    """

    image_side: int
    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    fine: int
    middle: int
    coarse: int
    key: int
    value: int
    fine_value: int
    fine_key: int
    window: int
    finest_key: int
    finest_window: int
    detail: int
    pointer: int
    layout: MemoryLayout

    @property
    def channels(self) -> tuple[int, int, int, int]:
        """Channels of one remembered place at stride 16: key, value, and the fine keys and values of its
        quarters."""
        return self.key, self.value, 4 * self.fine_key, 4 * self.fine_value


NANO = NanoConfig(
    image_side=304,
    widths=(48, 96, 192, 256),
    depths=(1, 2, 4, 2),
    fine=32,
    middle=64,
    coarse=128,
    key=64,
    value=64,
    fine_key=32,
    fine_value=35,
    window=7,
    finest_key=16,
    finest_window=5,
    detail=8,
    pointer=64,
    layout=MemoryLayout(conditioning=2, recent=2, pointers=6, recent_stride=4),
)
