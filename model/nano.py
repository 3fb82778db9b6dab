"""Nano: the small tracker that is bundled, made for many objects on two CPU cores.

The family's four verbs with another read-out than SAM 2's: keys come from the image alone, values from image
and mask, and one attention of a single narrow head reads them (the design of STM, Oh et al. 2019, and STCN,
Cheng et al. 2021). Prompted frames are read apart from recent ones, so that what the user said stays heard.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .flow import warped
from .image_predictor import ImagePrediction, ImagePrompts
from .layers import ConvNorm, averaged, holds_everywhere
from .memory import EMPTY, NO_OBJECT_LOGIT, Entry, Memory, MemoryLayout, MemoryShape
from .nano_config import NanoConfig
from .nano_decoder import Decoded, Evidence, Moved, NanoDecoder, ObjectPointer
from .nano_image_encoder import NanoImageEncoder
from .nano_memory import (
    NOTHING_ALIKE,
    LocalRead,
    Motion,
    PointerRead,
    ValueEncoder,
    held_frames,
    optical_flow,
    read,
)
from .nano_places import Places, carried, surroundings
from .nano_zoom import (
    SIDE,
    Squares,
    cut_out,
    in_squares,
    logits_cut_out,
    put_back,
    squares_shown,
)
from .object_by_object import Each
from .video_predictor import ImageFeatures, Prediction, Prompts, seen_by

PROMPT_MAPS = 6
"""Maps a prompt is drawn as: mask, points on, points off, inside the box, the mask to be corrected, anything
given."""
LOOKS = 2
"""How often an object that is shown is looked at again, closer."""
CLEARLY = 0.1
"""How much higher the predicted IoU of a closer look is than that of the whole frame where it is taken."""
PRESENT = -2.2
"""The presence logit, of one in ten, from which an object is visible. The first sliver of what comes back
looks little like it, but what is hidden like nothing at all."""
TOGETHER = 4
"""Objects that are decoded in one batch, at most, on a CPU: what they need stays in its cache."""


class Nano(nn.Module):
    each: Each = map
    frame_encoder: nn.Module | None = None
    """Encodes whole frames in the place of `image_encoder`, which is left with what is looked at closer."""

    def __init__(self, config: NanoConfig, layout: MemoryLayout | None = None) -> None:
        super().__init__()
        self.config = config
        self.layout = layout or config.layout
        self.image_encoder = NanoImageEncoder(config)
        self.value_encoder = ValueEncoder(1, config)
        self.prompt_encoder = ValueEncoder(PROMPT_MAPS, config)
        self.local_read = LocalRead(config.window)
        self.finest_read = LocalRead(config.finest_window)
        self.pointer_read = PointerRead(config.pointer)
        self.object_pointer = ObjectPointer(config)
        self.decoder = NanoDecoder(config)
        self.stay = nn.Parameter(torch.full((2,), -1.2))
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def fuse(self) -> None:
        """Fold every batch norm into its convolution. For inference only."""
        for module in self.modules():
            if isinstance(module, ConvNorm):
                module.fuse()

    def share_work(self, each: Each) -> None:
        """Let `each` go through halves of the objects of a frame, and through parts of the frame for all."""
        self.each = each

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Sides in the frame's aspect ratio (at most 4 to 1), multiples of 32, of about image_side**2
        pixels."""
        height, width = frame_size
        aspect = min(max(width / height, 0.25), 4.0)
        sides = self.config.image_side / math.sqrt(aspect), self.config.image_side * math.sqrt(aspect)
        return max(32, round(sides[0] / 32) * 32), max(32, round(sides[1] / 32) * 32)

    def memory_shape(self, input_size: tuple[int, int]) -> MemoryShape:
        height, width = input_size
        return MemoryShape(
            channels=sum(self.config.channels),
            grid=(height // 16, width // 16),
            pointer_dim=self.config.pointer,
            mask=(height // 2, width // 2),
        )

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """images (B, 3, H, W) in [0, 1]; levels: features at strides 4, 8 and 16, keys at strides 8, 16
        and 4, features at stride 2, and brightness."""
        images = images.clone(memory_format=torch.channels_last)  # the caller may use the room again
        encode = self.image_encoder if self.frame_encoder is None else self.frame_encoder
        return ImageFeatures(encode(images), images=images)

    def relate(self, features: ImageFeatures, previous: ImageFeatures) -> ImageFeatures:
        """With the fields of `Motion`."""
        return features._replace(motion=self.motion(features, previous))

    def condition(
        self, features: ImageFeatures, image_of: Tensor, frame: int, memory: Memory, prompts: Prompts
    ) -> Prediction:
        """A mask prompt alone is the mask. Points correct the last mask of a known object; a box begins
        anew."""
        corrected = (memory.written != EMPTY).any(1) & (prompts.labels < 2).all(1)
        last = torch.where(corrected[:, None, None], memory.logits, NO_OBJECT_LOGIT)
        given = prompts.has_mask & (prompts.labels == -1).all(1)
        mask = (shrunk(prompts.masks, last) * 20 - 10).to(last.dtype)
        told = Decoded(mask, torch.ones_like(mask[:, 0, 0]), torch.full_like(mask[:, 0, 0], 10.0))
        if holds_everywhere(given):
            return self.with_pointer(features, image_of, told)
        found = self.segment(features, image_of, last, prompts)
        chosen = (
            torch.where(given.view(-1, *[1] * (a.ndim - 1)), a, b) for a, b in zip(told, found, strict=True)
        )
        return self.with_pointer(features, image_of, Decoded(*chosen))

    def with_pointer(self, features: ImageFeatures, image_of: Tensor, found: Decoded) -> Prediction:
        return Prediction(*found, self.object_pointer(features.levels[2], image_of, found.logits))

    def segment(self, features: ImageFeatures, image_of: Tensor, last: Tensor, prompts: Prompts) -> Decoded:
        """Segment from prompts and the mask to be corrected, `last` (N, H/2, W/2) logits: in the whole frame
        and, where something says where the object is and there are images to look at again, closer.

        What a closer look shows is taken where a box says how large the object is, and where the network
        thinks it `CLEARLY` better: from a click alone it may be a part of what the whole frame shows.
        """
        found = self.decode(features, image_of, self.shown(features, image_of, last, prompts))
        located = (prompts.labels >= 1).any(1) | ((last > 0).flatten(1).any(1) & (prompts.labels == 0).any(1))
        if features.images is None or holds_everywhere(~located):
            return found
        rows = located.nonzero().squeeze(1)
        told = Prompts(*(field[rows] for field in prompts))
        rough = Decoded(*(field[rows] for field in found))
        closer = self.looked_closer(features.images, image_of[rows], last[rows], told, rough.logits)
        better = (told.labels >= 2).any(1) | (closer.iou > rough.iou + CLEARLY)
        chosen = (
            torch.where(better.view(-1, *[1] * (a.ndim - 1)), b, a)
            for a, b in zip(rough, closer, strict=True)
        )
        return Decoded(*(a.index_copy(0, rows, b) for a, b in zip(found, chosen, strict=True)))

    def looked_closer(
        self, images: Tensor, image_of: Tensor, last: Tensor, prompts: Prompts, found: Tensor
    ) -> Decoded:
        """`LOOKS` looks, each round what the one before has found; the first round the boxes or, without one,
        round what was `found` in the whole frame."""
        frame = (images.shape[-2], images.shape[-1])
        boxed, lost = (prompts.labels >= 2).any(1), ~(found > 0).flatten(1).any(1)
        shown = torch.where((boxed | lost)[:, None, None], last, found)
        squares = squares_shown(shown, prompts, frame)
        closer = self.seen_closer(images, image_of, squares, (last, found), prompts)
        for _ in range(LOOKS - 1):
            squares = squares_shown(closer.logits, prompts, frame)
            closer = self.seen_closer(images, image_of, squares, (last, closer.logits), prompts)
        return closer

    def seen_closer(
        self, images: Tensor, image_of: Tensor, squares: Squares, masks: Sequence[Tensor], prompts: Prompts
    ) -> Decoded:
        """Segment in squares, a few objects at a time: the mean of what comes of each of `masks`, logits
        (N, h, w) to be corrected."""
        frame, size = (images.shape[-2], images.shape[-1]), (masks[0].shape[-2], masks[0].shape[-1])

        def seen(rows: slice) -> Decoded:
            these = Squares(*(field[rows] for field in squares))
            asked = in_squares(Prompts(*(field[rows] for field in prompts)), these, frame)
            parts = cut_out(seen_by(images, image_of[rows]), these, frame, SIDE)
            features = ImageFeatures(self.image_encoder(parts.contiguous(memory_format=torch.channels_last)))
            each_its_own = torch.arange(len(parts), device=parts.device)
            lasts = (logits_cut_out(mask[rows], these, frame, SIDE // 2) for mask in masks)
            evidence = (self.shown(features, each_its_own, last, asked) for last in lasts)
            found = [self.decoder(features, each_its_own, one) for one in evidence]
            logits, iou, presence = (torch.stack(field).mean(0) for field in zip(*found, strict=True))
            return Decoded(put_back(logits, these, frame, size), iou, presence)

        return self.in_turns(seen, len(image_of))

    def shown(self, features: ImageFeatures, image_of: Tensor, last: Tensor, prompts: Prompts) -> Evidence:
        """What prompts and the mask to be corrected say, as evidence."""
        before = last.sigmoid().unsqueeze(1)
        maps = draw(prompts, averaged(before, 2))
        value, fine_value = self.prompt_encoder(maps, features, image_of)
        same, same_fine = self.read_again(features, image_of, value, fine_value)
        return Evidence(
            trusted=same,
            fine=same_fine,
            recent=same,
            fine_recent=same_fine,
            prompt=value,
            moved=Moved(
                fine=averaged(before, 4),
                finest=before,
                flowed=before,
                unlike=torch.full_like(maps[:, :2], NOTHING_ALIKE),
            ),
            last=before,
            pointer=value.new_zeros((len(value), self.config.pointer)),
        )

    def read_again(
        self, features: ImageFeatures, image_of: Tensor, value: Tensor, fine_value: Tensor
    ) -> list[Tensor]:
        """Values (N, value, h, w) and (N, fine_value, 2h, 2w) of this very frame, read in it."""
        fine_key, key = (seen_by(level, image_of).unsqueeze(1) for level in features.levels[3:5])
        held = held_frames(image_of, torch.zeros_like(image_of).unsqueeze(1), 1)
        fine_query, query = features.levels[3:5]
        return [
            read(query, key, value.unsqueeze(1), held)[0],
            read(fine_query, fine_key, fine_value.unsqueeze(1), held)[0],
        ]

    def candidates(self, features: ImageFeatures, image_of: Tensor, prompts: ImagePrompts) -> ImagePrediction:
        """The one mask there is for each of N prompts on images without a past (K = 1). An earlier mask is
        corrected by points; alone it is a mask prompt."""
        alone = prompts.has_prior & (prompts.labels == -1).all(1)
        corrected = (prompts.has_prior & ~alone)[:, None, None]
        last = torch.where(corrected, prompts.prior, NO_OBJECT_LOGIT).to(features.levels[0].dtype)
        shown = Prompts(prompts.points, prompts.labels, prompts.prior.sigmoid(), alone)
        found = self.segment(features, image_of, last, shown)
        return ImagePrediction(found.logits.unsqueeze(1), found.iou.unsqueeze(1), found.presence)

    def propagate(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        frame: int,
        memory: Memory,
        previous: ImageFeatures | None,
    ) -> Prediction:
        found = self.track(features, image_of, memory, previous)
        absent = (found.presence < PRESENT)[:, None, None]
        hidden = found._replace(logits=found.logits.masked_fill(absent, NO_OBJECT_LOGIT))
        return self.with_pointer(features, image_of, hidden)

    def track(
        self, features: ImageFeatures, image_of: Tensor, memory: Memory, previous: ImageFeatures | None
    ) -> Decoded:
        """As `propagate`, with the mask an object would have where it is thought to be absent."""
        moved = Motion(*features.motion) if features.motion else self.motion(features, previous)
        evidence = self.evidence(features, image_of, memory, moved)
        return self.decode(features, image_of, evidence)

    def decode(self, features: ImageFeatures, image_of: Tensor, evidence: Evidence) -> Decoded:
        """The decoder's answer, a few objects at a time where they can take turns with others."""

        def decoded(rows: slice) -> Decoded:
            found: Decoded = self.decoder(features, image_of[rows], evidence.of(rows))
            return found

        return self.in_turns(decoded, len(image_of))

    def in_turns(self, decoded: Callable[[slice], Decoded], count: int) -> Decoded:
        """`decoded` of some of `count` objects, for all of them."""
        if torch.is_grad_enabled() or torch.compiler.is_compiling():
            return decoded(slice(None))
        at_once = -(-count // (2 * -(-count // (2 * TOGETHER))))
        found = self.each(decoded, [slice(row, row + at_once) for row in range(0, count, at_once)])
        return Decoded(*(torch.cat(fields) for fields in zip(*found, strict=True)))

    def motion(self, features: ImageFeatures, previous: ImageFeatures | None) -> Motion | None:
        """How the images moved since the frame before; None where there is none. The same for all objects."""
        if previous is None:
            return None
        fine, fine_before = features.levels[3][:, :-4], previous.levels[3][:, :-4]
        weights, _ = self.local_read.weights(fine, fine_before)
        finest, unlike = self.finest_read.weights(features.levels[5], previous.levels[5])
        brightness = features.levels[7], previous.levels[7]
        flow, unexplained = optical_flow(self.finest_read.offset(finest), *brightness)
        return Motion(weights, finest, flow, torch.cat((unlike, unexplained.to(unlike.dtype)), dim=1))

    def evidence(
        self, features: ImageFeatures, image_of: Tensor, memory: Memory, motion: Motion | None
    ) -> Evidence:
        """What was remembered of N objects, read in this frame."""
        keys, values, fine_keys, fine_values = torch.split(memory.features, list(self.config.channels), dim=2)
        held = held_frames(image_of, memory.written, self.layout.conditioning)
        last = memory.logits.sigmoid().unsqueeze(1)
        come, near = carried(values[:, :, -4:].mean(2), last), surroundings(last)
        places, fine_places = (Places(come, near, stay) for stay in self.stay.exp())
        first, every = read(features.levels[4], keys, values, held, places, self.each)
        fine, fine_every = read(features.levels[3], fine_keys, fine_values, held, fine_places, self.each)
        moved = self.moved(motion, last, image_of)
        return Evidence(
            trusted=first,
            fine=fine,
            recent=every,
            fine_recent=fine_every,
            prompt=torch.zeros_like(values[:, 0]),
            moved=moved,
            last=last,
            pointer=self.pointer_read(memory.pointers, memory.pointed != EMPTY),
        )

    def moved(self, motion: Motion | None, last: Tensor, image_of: Tensor) -> Moved:
        """The last masks (N, 1, H/2, W/2) as they have moved since."""
        small = averaged(last, 4)
        if motion is None:
            unknown = torch.full_like(averaged(last, 2), NOTHING_ALIKE).repeat(1, 2, 1, 1)
            return Moved(small, last, last, unknown)
        finest = F.pixel_shuffle(self.finest_read(motion.finest, F.pixel_unshuffle(last, 2), image_of), 2)
        return Moved(
            fine=self.local_read(motion.fine, small, image_of),
            finest=finest,
            flowed=warped(last, seen_by(motion.flow, image_of)),
            unlike=seen_by(motion.unlike, image_of),
        )

    def remember(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        prediction: Prediction,
        prompted: Tensor,
        prompts: Prompts | None = None,
    ) -> Entry:
        """Keys of the image and values of the mask. Masks are kept at stride 4: `prompts` are no sharper."""
        mask = averaged(prediction.logits.sigmoid().unsqueeze(1), 2)
        fine_key, key = (seen_by(level, image_of) for level in features.levels[3:5])
        value, fine_value = self.value_encoder(mask, features, image_of)
        fine = (F.pixel_unshuffle(fine_key, 2), F.pixel_unshuffle(fine_value, 2))
        return Entry(torch.cat((key, value, *fine), dim=1), prediction.pointer)


def draw(prompts: Prompts, before: Tensor) -> Tensor:
    """Prompts as PROMPT_MAPS maps at stride 4: (N, PROMPT_MAPS, H/4, W/4) in [0, 1].

    Points are discs that fade out over about a hundredth of the frame; a box is filled; `before`
    (N, 1, H/4, W/4) is the mask to be corrected.
    """
    h, w = before.shape[-2:]
    y = (torch.arange(h, device=before.device) + 0.5) / h
    x = (torch.arange(w, device=before.device) + 0.5) / w
    side = math.sqrt(h * w)
    dx = (x.view(1, 1, 1, w) - prompts.points[:, :, 0, None, None]) * (w / side)
    dy = (y.view(1, 1, h, 1) - prompts.points[:, :, 1, None, None]) * (h / side)
    discs = torch.exp(-(dx.square() + dy.square()) / (2 * 0.015**2))
    on, off = ((discs * (prompts.labels == label)[:, :, None, None]).amax(1) for label in (1, 0))
    low = corner(prompts, 2, 1.0)
    high = corner(prompts, 3, 0.0)
    inside_x = (x >= low[:, :1]) & (x <= high[:, :1])
    inside_y = (y >= low[:, 1:]) & (y <= high[:, 1:])
    box = (inside_y.unsqueeze(2) & inside_x.unsqueeze(1)).float()
    mask = shrunk(prompts.masks, before) * prompts.has_mask[:, None, None]
    maps = (mask, on, off, box, before.squeeze(1).float(), torch.ones_like(mask))
    return torch.stack(maps, dim=1).to(before.dtype)


def shrunk(masks: Tensor, like: Tensor) -> Tensor:
    """masks (N, H, W) averaged to the last two sizes of `like`."""
    return F.adaptive_avg_pool2d(masks, (like.shape[-2], like.shape[-1]))


def corner(prompts: Prompts, label: int, missing: float) -> Tensor:
    """The box corner with this label: (N, 2), or `missing` where there is no box."""
    chosen = (prompts.labels == label).unsqueeze(-1)
    found = (prompts.points * chosen).sum(1)
    return torch.where(chosen.any(1), found, torch.full_like(found, missing))
