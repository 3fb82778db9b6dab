"""How Nano writes masks and prompts as memory values, and reads them in a new frame."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow import doubled, refined, warped
from .layers import averaged
from .memory import EMPTY
from .nano_config import NanoConfig
from .nano_places import Shift, shifts
from .video_predictor import ImageFeatures, seen_by

PLACES = 256
"""For how many places of a frame the memory is read at a time."""
LARGEST_EXPONENT = 60.0
"""Of a weight. Far from what float32 cannot hold, and as far as can be from what it holds with effort: with
denormal weights a matrix product takes three times as long on a CPU."""
NOTHING_ALIKE = 5.0
"""How unlike a place is to its best match at most: what it was in the frame before is not known."""


class Residual(nn.Module):
    """Two 3x3 convolutions and a residual; no norm, since objects come in batches of any size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(0.2)

    def forward(self, x: Tensor) -> Tensor:
        inside: Tensor = self.second(self.first(x).relu_())
        return (x + inside).relu_()


class ValueEncoder(nn.Module):
    """Maps at stride 4 (a mask, or drawn prompts) and the image's features to memory values.

    The first map is also kept as it is, in the last four channels of the values: by quarters of each place.
    """

    def __init__(self, maps: int, config: NanoConfig) -> None:
        super().__init__()
        width, fine = config.value - 4, config.fine_value - 4
        self.down = nn.Sequential(
            nn.Conv2d(maps, 16, 3, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(16, width, 3, 2, 1),
            nn.ReLU(inplace=True),
        )
        self.image = nn.Conv2d(config.coarse, width, 1)
        self.mix = nn.Sequential(Residual(width), nn.Conv2d(width, width, 1))
        self.fine_down = nn.Conv2d(maps, fine, 3, 2, 1)
        self.fine_image = nn.Conv2d(config.middle, fine, 1)
        self.fine_mix = nn.Conv2d(fine, fine, 3, padding=1)

    def forward(self, maps: Tensor, features: ImageFeatures, image_of: Tensor) -> tuple[Tensor, Tensor]:
        """maps (N, maps, H/4, W/4) to values (N, value, h, w) and fine values (N, fine_value, 2h, 2w)."""
        middle, coarse = features.levels[1:3]
        kept = maps[:, :1]
        learned = self.mix(self.down(maps) + seen_by(self.image(coarse), image_of))
        fine = self.fine_mix((self.fine_down(maps) + seen_by(self.fine_image(middle), image_of)).relu_())
        value = torch.cat((learned, F.pixel_unshuffle(averaged(kept, 2), 2)), dim=1)
        return value, torch.cat((fine, F.pixel_unshuffle(kept, 2)), dim=1)


class Held(NamedTuple):
    """A remembered frame and who remembers it: image, which of the B images is of its stream; rows and slots:
    (P,) int64, the objects and their slots; trusted: whether they were prompted in it; counts: whether it is
    there at all, (1,), None where that is known."""

    image: int
    rows: Tensor
    slots: Tensor
    trusted: bool
    counts: Tensor | None = None


def held_frames(image_of: Tensor, written: Tensor, trusted: int) -> list[Held]:
    """Every frame that some object remembers, once for those who were prompted in it (it is in one of their
    first `trusted` slots), and once for the others: image_of (N,), written (N, M). In a compiled graph, which
    must not depend on what they are, every slot of every object, all of one image."""
    if torch.compiler.is_compiling():
        places = [(row, slot) for row in range(written.shape[0]) for slot in range(written.shape[1])]
        return [
            Held(0, torch.tensor([row]), torch.tensor([slot]), slot < trusted, written[row, slot] != EMPTY)
            for row, slot in places
        ]
    holders: dict[tuple[int, int, bool], list[tuple[int, int]]] = {}
    for row, (image, frames) in enumerate(zip(image_of.tolist(), written.tolist(), strict=True)):
        for slot, frame in enumerate(frames):
            if frame != EMPTY:
                holders.setdefault((image, frame, slot < trusted), []).append((row, slot))
    found = []
    for (image, _, prompted), places in holders.items():
        rows, slots = torch.tensor(places, device=written.device).unbind(1)
        found.append(Held(image, rows, slots, prompted))
    return found


class Places(NamedTuple):
    """How N objects see the places of the frames they were prompted in. carried: (N, M, 2), see
    `nano_places.carried`; sharpness: of positions in keys; stay: the weight of places where they were, beside
    1 of where they would be; both scalars."""

    carried: Tensor
    sharpness: Tensor
    stay: Tensor


def read(
    query: Tensor, keys: Tensor, values: Tensor, held: list[Held], places: Places | None = None
) -> tuple[Tensor, Tensor]:
    """Attention from every place of a frame to every remembered place of the same stream.

    query (B, K, h, w); keys (N, M, K * c, ...) and values (N, M, V * c, ...), c the places kept in each
    place: what was read in the frames that are trusted, and in all, (N, V, h, w) each. Keys come from the
    image alone, so a frame's weights are computed once, for all objects that remember it; with `places`, each
    object then shifts those of trusted frames. Keys carry their own temperature, and all have the same
    length, which bounds the exponent. Exponents reach far: weights are computed in float32, whatever the
    dtype.
    """
    with torch.autocast(query.device.type, enabled=False):
        first, every = read_in_float32(query.float(), keys, values, held, places)
    return first.to(values.dtype), every.to(values.dtype)


def read_in_float32(
    query: Tensor, keys: Tensor, values: Tensor, held: list[Held], places: Places | None
) -> tuple[Tensor, Tensor]:
    """As `read`, of a query that is float32."""
    batch, width, h, w = query.shape
    bound = (query.square().sum(1, keepdim=True).detach() - LARGEST_EXPONENT).clamp(min=0)
    query = torch.cat((query, -bound), dim=1).view(batch, width + 1, h * w)
    factor = math.isqrt(keys.shape[2] // width)
    keys = keys.reshape(*keys.shape[:2], width, -1)
    values = values.reshape(*values.shape[:2], -1, keys.shape[3])
    sums = query.new_zeros((len(values), 2, values.shape[2] + 1, h * w))
    for image, rows, slots, trusted, counts in held:
        key, shown = (with_ones(x.float()) for x in (keys[rows[0], slots[0]], values[rows, slots]))
        if trusted and places is not None:
            shift = shifts(places.carried[rows, slots], places.sharpness, (h, w), factor)
            found = weighted_apart(query[image], key, shown, shift, places.stay, w)
        else:
            found = weighted(query[image], key, shown.flatten(0, 1)).view(len(rows), -1, h * w)
        found = found if counts is None else found * counts
        sums = sums.index_put((rows, torch.full_like(rows, not trusted)), found, accumulate=True)
    first, others = sums.unbind(1)
    return mean_read(first, (h, w)), mean_read(first + others, (h, w))


def with_ones(x: Tensor) -> Tensor:
    """(..., C, places) with a row of ones: (..., C + 1, places)."""
    return F.pad(x, (0, 0, 0, 1), value=1.0)


def weighted(query: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """values (V, places) summed for each query (K, q) with weights exp(key . query), key (K, places): (V, q).

    A few places of the frame at a time: weights that stay in the cache take half as long.
    """
    found = [values @ (key.T @ some).exp_() for some in torch.split(query, PLACES, dim=1)]
    return torch.cat(found, dim=1)


def weighted_apart(
    query: Tensor, key: Tensor, values: Tensor, shift: Shift, stay: Tensor, width: int
) -> Tensor:
    """As `weighted`, for values (P, V, places) of objects that each shift the weights, of a query (K, q) that
    has `width` places a line: (P, V, q)."""
    lines = max(1, PLACES // width)
    found = []
    for i, some in enumerate(torch.split(query, lines * width, dim=1)):
        weights = (key.T @ some).exp()
        found.append(
            torch.stack([v @ shift.apply(weights, p, i * lines, stay) for p, v in enumerate(values)])
        )
    return torch.cat(found, dim=2)


def mean_read(sums: Tensor, size: tuple[int, int]) -> Tensor:
    """Weighted sums (N, V + 1, h * w), the last of them of the weights alone, to means (N, V, h, w)."""
    return (sums[:, :-1] / sums[:, -1:].clamp(min=1e-30)).view(len(sums), -1, *size)


class LocalRead(nn.Module):
    """Where the mask of the previous frame has gone, by matching keys in a small neighbourhood.

    The matching weights come from the images alone, so they are computed once for all objects.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window
        self.bias = nn.Parameter(torch.zeros(window**2))
        with torch.no_grad():
            self.bias[window**2 // 2] = 2.0

    def weights(self, now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
        """From keys now and before (B, K, h, w): how much each place was each of its neighbours
        (B, window**2, h, w), and how unlike it is to the best of them (B, 1, h, w), from 0 to
        `NOTHING_ALIKE`."""
        now = now.contiguous()
        matches = torch.stack([(now * near).sum(1) for near in self.shifted(before.contiguous())], dim=1)
        cosine = matches.amax(1, keepdim=True) / now.square().sum(1, keepdim=True).clamp(min=1e-3)
        return (matches + self.bias.view(-1, 1, 1)).softmax(1), (10 * (1 - cosine)).clamp(0.0, NOTHING_ALIKE)

    def forward(self, weights: Tensor, masks: Tensor, image_of: Tensor) -> Tensor:
        """Masks (N, V, h, w) in [0, 1] before, to (N, V, h, w) now; beyond the border all is zero."""
        own = seen_by(weights, image_of).float()
        moved = torch.zeros_like(masks, dtype=torch.float32)  # bfloat16 would swallow small weights
        for i, near in enumerate(self.shifted(masks.float())):
            moved.addcmul_(near, own[:, i : i + 1])
        return moved.to(masks.dtype)

    def offset(self, weights: Tensor) -> Tensor:
        """Where each place was before, less where it is, in places: (B, 2, h, w) as (x, y)."""
        half = self.window // 2
        steps = torch.arange(-half, half + 1, device=weights.device, dtype=weights.dtype)
        square = weights.view(len(weights), self.window, self.window, *weights.shape[2:])
        x, y = (torch.einsum("bkhw,k->bhw", square.sum(axis), steps) for axis in (1, 2))
        return torch.stack((x, y), dim=1)

    def shifted(self, x: Tensor) -> list[Tensor]:
        """Views of x (..., h, w), one for each place of the window. Copying them into one tensor first takes
        four times as long on a CPU."""
        h, w = x.shape[-2:]
        padded = F.pad(x, [self.window // 2] * 4)
        offsets = range(self.window)
        return [padded[..., dy : dy + h, dx : dx + w] for dy in offsets for dx in offsets]


class Motion(NamedTuple):
    """How B images moved.

    fine and finest: weights at strides 8 and 4; flow: (B, 2, H/2, W/2) optical flow at stride 2; unlike:
    (B, 2, H/4, W/4), how unlike places are to their best match, and how much brighter or darker than where
    the flow says they were.
    """

    fine: Tensor
    finest: Tensor
    flow: Tensor
    unlike: Tensor


@torch.no_grad()
def optical_flow(offset: Tensor, now: Tensor, before: Tensor) -> tuple[Tensor, Tensor]:
    """From an offset at stride 4 and the brightness of two frames (B, 1, H, W): the flow at stride 2, float32
    since bfloat16 cannot count pixels, and at stride 4 what it leaves unexplained, from 0 to
    `NOTHING_ALIKE`."""
    offset, now, before = offset.float(), now.float(), before.float()
    half = refined(averaged(now, 2), averaged(before, 2), doubled(offset), rounds=2)
    full = refined(now, before, doubled(half), rounds=1)
    unexplained = averaged((now - warped(before, full)).abs(), 4)
    return averaged(full, 2) / 2, (20 * unexplained).clamp(max=NOTHING_ALIKE)


class PointerRead(nn.Module):
    """One vector for each object out of the pointers remembered of it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weigh = nn.Linear(width, 1)
        self.mix = nn.Linear(width, width)

    def forward(self, pointers: Tensor, usable: Tensor) -> Tensor:
        """pointers (N, P, D), usable (N, P) bool to (N, D); zeros where no pointer is usable."""
        weights = self.weigh(pointers).squeeze(-1).masked_fill(~usable, -1e4).softmax(1) * usable
        mixed: Tensor = self.mix((pointers * weights.unsqueeze(-1)).sum(1))
        return mixed
