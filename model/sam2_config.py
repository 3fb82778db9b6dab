"""The sizes of the SAM 2 family: plain values that spell a network out."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
class RepVitConfig:
    """The convolutional image trunk of EdgeTAM: widths and numbers of blocks at strides 4, 8, 16 and 32."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class PerceiverConfig:
    """EdgeTAM's summary of a remembered frame: `side`² tokens that have each read all of it, and `side`² that
    have each read one window of it. `depth` counts layers."""

    side: int = 16
    depth: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Sam2Config:
    """One network of the family.

    `image_size` is the side of the square input in pixels; `dim` the width D of features, tokens and
    pointers; `memory_dim` the width C of remembered features. `pointer_time` (object pointers carry their
    age) and `occlusion_embedding` (memories say that the object was absent) came with version 2.1.
    `perceiver` shortens what is remembered; without one it is as large as the features.
    """

    trunk: HieraConfig | RepVitConfig
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
    perceiver: PerceiverConfig | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """(h, w) of the coarsest features."""
        return self.image_size // MEMORY_STRIDE, self.image_size // MEMORY_STRIDE

    @property
    def placed_grid(self) -> tuple[int, int]:
        """(h, w) of the remembered features that have a place in the image."""
        return self.grid if self.perceiver is None else (self.perceiver.side, self.perceiver.side)

    @property
    def placeless(self) -> int:
        """How many remembered features, before those, have no place: they are about the whole image."""
        return 0 if self.perceiver is None else self.perceiver.side**2

    @property
    def memory_grid(self) -> tuple[int, int]:
        """(h, w) in which all remembered features are laid out."""
        h, w = self.placed_grid
        return h + self.placeless // w, w

    @property
    def size_step(self) -> int:
        """The side of the input is a multiple of this, in pixels."""
        return MEMORY_STRIDE * (2 if self.perceiver is None else self.perceiver.side)

    @property
    def mask_size(self) -> tuple[int, int]:
        """(H/4, W/4) of predicted masks."""
        return self.image_size // PATCH_STRIDE, self.image_size // PATCH_STRIDE


_LAYOUT = MemoryLayout(conditioning=4, recent=6, pointers=4 + 15)
"""Six recent frames and fifteen of their pointers, as published, beside four prompted frames."""

SAM2_1_TINY = Sam2Config(
    trunk=HieraConfig(width=96, heads=1, depths=(1, 2, 7, 2), windows=(8, 4, 14, 7), global_blocks=(5, 7, 9)),
    layout=_LAYOUT,
)
SAM2_1_SMALL = Sam2Config(
    trunk=HieraConfig(
        width=96, heads=1, depths=(1, 2, 11, 2), windows=(8, 4, 14, 7), global_blocks=(7, 10, 13)
    ),
    layout=_LAYOUT,
)
SAM2_1_BASE_PLUS = Sam2Config(
    trunk=HieraConfig(
        width=112,
        heads=2,
        depths=(2, 3, 16, 3),
        windows=(8, 4, 14, 7),
        global_blocks=(12, 16, 20),
        background=14,
    ),
    layout=_LAYOUT,
)
SAM2_1_LARGE = Sam2Config(
    trunk=HieraConfig(
        width=144, heads=2, depths=(2, 6, 36, 4), windows=(8, 4, 16, 8), global_blocks=(23, 33, 43)
    ),
    layout=_LAYOUT,
)


def as_version_2(config: Sam2Config) -> Sam2Config:
    """The network of the first release, July 2024, of the same size."""
    return replace(config, pointer_time=False, occlusion_embedding=False)


EDGETAM = Sam2Config(
    trunk=RepVitConfig(widths=(48, 96, 192, 384), depths=(2, 2, 14, 2)),
    layout=_LAYOUT,
    attention_depth=2,
    pointer_time=False,
    occlusion_embedding=False,
    perceiver=PerceiverConfig(),
)
"""Zhou et al. 2025, "EdgeTAM: on-device track anything model"."""

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
