"""How Nano writes masks and prompts as memory values, and reads them in a new frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow import doubled, refined, warped
from .layers import averaged
from .memory import EMPTY
from .nano_config import NanoConfig
from .nano_places import Places, Region, regions, touched, turned
from .object_by_object import Each
from .video_predictor import ImageFeatures, seen_by

PLACES = 256
"""For how many places of a frame the memory is read at a time: weights that stay in the cache take half as
long."""
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
    (P,) int64, the objects and their slots; trusted: whether they were prompted in it; counts: None, or for a
    slot whose frames are not known, and are each object's own: whether there is one, (P,)."""

    image: int
    rows: Tensor
    slots: Tensor
    trusted: bool
    counts: Tensor | None = None

    def key(self, keys: Tensor) -> Tensor:
        """Out of keys (N, M, ...) its own, or that of each object."""
        return keys[self.rows[0], self.slots[0]] if self.counts is None else keys[self.rows, self.slots]


def held_frames(image_of: Tensor, written: Tensor, trusted: int) -> list[Held]:
    """Every frame that some object remembers, once for those who were prompted in it (it is in one of their
    first `trusted` slots), and once for the others: image_of (N,), written (N, M). In a compiled graph, which
    must not depend on what they are, every slot, with all objects in one image."""
    if torch.compiler.is_compiling():
        rows = torch.arange(len(written), device=written.device)
        there = (written != EMPTY).unbind(1)
        return [
            Held(0, rows, torch.full_like(rows, slot), slot < trusted, counts)
            for slot, counts in enumerate(there)
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


def read(
    query: Tensor,
    keys: Tensor,
    values: Tensor,
    held: list[Held],
    places: Places | None = None,
    each: Each = map,
) -> tuple[Tensor, Tensor]:
    """Attention from every place of a frame to every remembered place of the same stream.

    query (B, K, h, w); keys (N, M, K * c, ...) and values (N, M, V * c, ...), c the places kept in each
    place: what was read in the frames that are trusted, and in all, (N, V, h, w) each. Keys come from the
    image alone, so a frame's weights are computed once, for all objects that remember it; with `places`, each
    object also has some of its own in trusted frames. Keys carry their own temperature, and all have the same
    length, which bounds the exponent. Exponents reach far: weights are computed in float32, whatever the
    dtype. `each`, a map, goes through blocks of the frame's lines.
    """
    with torch.autocast(query.device.type, enabled=False):
        sums = sums_read(query.float(), keys, values, held, places, each)
        first, others = sums.unbind(1)
        read = mean_read(first), mean_read(first + others)
    return read[0].to(values.dtype), read[1].to(values.dtype)


class Shown(NamedTuple):
    """A held frame with its key (K + 1, places), or each object's own (P, K + 1, places), the values of those
    who remember it (P, V + 1, places), and, where they look for it in places of their own, those."""

    held: Held
    key: Tensor
    values: Tensor
    places: Places | None

    def read(self, query: Tensor, lines: slice) -> Tensor:
        """What those P see in some lines of a query (B, K + 1, h, w): (P, V + 1, lines * w)."""
        size = query.shape[2], query.shape[3]
        some = query[self.held.image][:, lines]
        if self.held.counts is not None:
            return self.held.counts.view(-1, 1, 1) * self.read_in_a_graph(some.flatten(1), size)
        if self.places is None:
            return weighted(some.flatten(1), self.key, self.values)
        near = regions(self.places.near, lines, size)
        return weighted_apart(some, self.key, self.values, self.places, near)

    def read_in_a_graph(self, query: Tensor, size: tuple[int, int]) -> Tensor:
        """As `read` of all lines (K + 1, h * w), whatever the places."""
        as_it_was = weighted_each(query, self.key, self.values)
        if self.places is None:
            return as_it_was
        moved = weighted_each(turned(query, self.places.carried), self.key, self.values)
        inside = touched(self.places.near, size).unsqueeze(1)
        return as_it_was * (1 + self.places.stay) + (moved - as_it_was) * inside


def sums_read(
    query: Tensor, keys: Tensor, values: Tensor, held: list[Held], places: Places | None, each: Each
) -> Tensor:
    """As `read`, of a query that is float32: (N, 2, V + 1, h, w), the weighted values of trusted frames and
    of others, and the sums of the weights alone."""
    width, h, w = query.shape[1:]
    bound = (query.square().sum(1, keepdim=True).detach() - LARGEST_EXPONENT).clamp(min=0)
    query = torch.cat((query, -bound), dim=1)
    keys = keys.reshape(*keys.shape[:2], width, -1)
    values = values.reshape(*values.shape[:2], -1, keys.shape[3])
    shown = [
        Shown(
            frame,
            with_ones(frame.key(keys).float()),
            with_ones(values[frame.rows, frame.slots].float()),
            places.of(frame.rows, frame.slots) if places is not None and frame.trusted else None,
        )
        for frame in held
    ]

    def block(lines: slice) -> Tensor:
        sums = query.new_zeros((len(values), 2, values.shape[2] + 1, query[0, 0, lines].numel()))
        for one in shown:
            into = (one.held.rows, torch.full_like(one.held.rows, not one.held.trusted))
            sums.index_put_(into, one.read(query, lines), accumulate=True)
        return sums

    at_once = h if torch.compiler.is_compiling() else max(1, PLACES // w)
    blocks = [slice(line, min(h, line + at_once)) for line in range(0, h, at_once)]
    sums = torch.cat(list(each(block, blocks)), dim=3)
    return sums.view(*sums.shape[:3], h, w)


def with_ones(x: Tensor) -> Tensor:
    """(..., C, places) with a row of ones: (..., C + 1, places)."""
    return F.pad(x, (0, 0, 0, 1), value=1.0)


def weighted(query: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """values (P, V, places) summed for each query (K, q) with weights exp(key . query), key (K, places):
    (P, V, q)."""
    found: Tensor = values.flatten(0, 1) @ (key.T @ query).exp_()
    return found.view(*values.shape[:2], -1)


def weighted_each(query: Tensor, key: Tensor, values: Tensor) -> Tensor:
    """As `weighted`, with a key (P, K, places) for each object, and perhaps a query (P, K, q)."""
    return values @ (key.mT @ query).exp()


def weighted_apart(query: Tensor, key: Tensor, values: Tensor, places: Places, near: list[Region]) -> Tensor:
    """As `weighted` for a query (K, lines, w), of P objects that each look, where they are `near`, for the
    places where they would be, too."""
    as_it_was = weighted(query.flatten(1), key, values).view(*values.shape[:2], *query.shape[1:])
    found = as_it_was * (1 + places.stay)
    for row, (lines, columns) in enumerate(near):
        some = query[:, lines, columns]
        if some.numel():
            moved = weighted(turned(some.flatten(1), places.carried[row]), key, values[row : row + 1])
            change = moved.view(values.shape[1], *some.shape[1:]) - as_it_was[row, :, lines, columns]
            found[row, :, lines, columns] += change
    return found.flatten(2)


def mean_read(sums: Tensor) -> Tensor:
    """Weighted sums (N, V + 1, h, w), the last of them of the weights alone, to means (N, V, h, w)."""
    return sums[:, :-1] / sums[:, -1:].clamp(min=1e-30)


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
