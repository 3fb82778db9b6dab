"""The sizes of the SAM 2 family: plain values that spell a network out."""

from __future__ import annotations

from dataclasses import dataclass

from .memory import MemoryLayout

PATCH_STRIDE = 4
"""Input pixels per token of the first stage, and per pixel of a predicted mask, each way."""
MEMORY_STRIDE = 16
"""Input pixels per token of the features that are remembered and attended to, each way."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HieraConfig:
    """The image trunk: four stages at strides 4, 8, 16 and 32; widths and heads double from stage to stage.

    `width` and `heads` are the first stage's; `depths` counts blocks and `windows` gives the side of the
    attention windows in tokens, one entry per stage; `global_blocks`, counted over all stages, attend to the
    whole image instead; `background` is the side of the position embedding that is stretched over it.
    """

    width: int
    heads: int
    depths: tuple[int, int, int, int]
    windows: tuple[int, int, int, int]
    global_blocks: tuple[int, ...]
    background: int = 7

    @property
    def widths(self) -> tuple[int, ...]:
        return tuple(self.width << stage for stage in range(len(self.depths)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Sam2Config:
    """One network of the family.

    `image_size` is the side of the square input in pixels; `dim` the width D of features, tokens and
    pointers; `memory_dim` the width C of remembered features. `pointer_time` (object pointers carry their
    age) and `occlusion_embedding` (memories say that the object was absent) came with version 2.1.
    """

    trunk: HieraConfig
    layout: MemoryLayout
    image_size: int = 1024
    dim: int = 256
    memory_dim: int = 64
    decoder_depth: int = 2
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    attention_depth: int = 4
    attention_heads: int = 1
    attention_mlp: int = 2048
    fuser_depth: int = 2
    pointer_time: bool = True
    occlusion_embedding: bool = True

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the remembered features."""
        return self.image_size // MEMORY_STRIDE, self.image_size // MEMORY_STRIDE

    @property
    def mask_size(self) -> tuple[int, int]:
        """(H/4, W/4) of predicted masks."""
        return self.image_size // PATCH_STRIDE, self.image_size // PATCH_STRIDE


_LAYOUT = MemoryLayout(conditioning=4, recent=6, pointers=4 + 15)
"""Six recent frames and fifteen of their pointers, as published, beside four prompted frames."""

SAM2_1_TINY = Sam2Config(
    trunk=HieraConfig(
        width=96, heads=1, depths=(1, 2, 7, 2), windows=(8, 4, 14, 7), global_blocks=(5, 7, 9), background=7
    ),
    layout=_LAYOUT,
)

TEST = Sam2Config(
    trunk=HieraConfig(
        width=8, heads=1, depths=(1, 1, 2, 1), windows=(8, 4, 6, 3), global_blocks=(3,), background=4
    ),
    layout=MemoryLayout(conditioning=2, recent=3, pointers=2 + 4),
    image_size=128,
    dim=32,
    memory_dim=16,
    decoder_heads=4,
    decoder_mlp=64,
    attention_depth=2,
    attention_mlp=64,
    fuser_depth=1,
)
"""For tests of everything around the network: the same parts, two hundredths of the size, random weights."""
