"""SAM 2 (Ravi et al. 2024, "SAM 2: segment anything in images and videos") as a streaming video predictor.

EdgeTAM (Zhou et al. 2025) is the same of two other parts: its image trunk, and a perceiver that shortens what
is remembered.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention import RopeAttention
from .image_encoder import ImageEncoder
from .image_predictor import ImagePrediction, ImagePrompts
from .layers import MLP, holds_everywhere, of_objects, sine_times
from .mask_decoder import Candidates, MaskDecoder, choose
from .memory import EMPTY, Entry, Memory, MemoryLayout, MemoryShape
from .memory_attention import MemoryAttention, Slots, join, memory_tokens, pointer_tokens, recent_slots
from .memory_encoder import MemoryEncoder
from .object_by_object import Each, object_by_object
from .perceiver import Perceiver, remembered_places
from .prompt_encoder import PADDING, PromptEncoder
from .repvit import RepVit
from .sam2_config import Sam2Config
from .video_predictor import ImageFeatures, Prediction, Prompts

ABSENT_LOGIT = -1024.0
"""Mask logit of every pixel of an object whose presence logit is not above zero."""
MASK_LOGIT = 10.0
"""Mask logit inside a mask that a user gave; outside its negative."""
PRIOR_LOGIT = 32.0
"""Bound on the logits of an earlier mask when it becomes a prompt."""


class Sam2(nn.Module):
    """A `VideoPredictor`. It holds weights and nothing else; what is remembered is the caller's `Memory`."""

    places: Tensor
    each: Each = map

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim, memory_dim = config.dim, config.memory_dim
        self.config = config
        self.image_encoder = ImageEncoder(config)
        self.prompt_encoder = PromptEncoder(config)
        self.mask_decoder = MaskDecoder(config)
        self.memory_encoder = MemoryEncoder(config)
        self.perceiver = (
            Perceiver(config.perceiver, memory_dim, config.grid) if config.perceiver else nn.Identity()
        )
        self.memory_attention = MemoryAttention(config)
        self.mask_as_logits = nn.Conv2d(1, 1, kernel_size=4, stride=4)
        self.pointer_head = MLP(dim, dim, dim, dim)
        self.no_object_pointer = nn.Parameter(torch.randn(1, dim) * 0.02)
        self.no_memory = nn.Parameter(torch.randn(1, dim) * 0.02)
        self.frame_times = nn.Parameter(torch.randn(config.layout.recent + 1, memory_dim) * 0.02)
        self.pointer_time = nn.Linear(dim, memory_dim) if config.pointer_time else None
        self.occluded = (
            nn.Parameter(torch.randn(1, memory_dim) * 0.02) if config.occlusion_embedding else None
        )
        self.register_buffer("places", remembered_places(config), persistent=False)

    def fuse(self) -> None:
        """Fold what training kept apart into fewer operations. For inference only."""
        if isinstance(self.image_encoder.trunk, RepVit):
            self.image_encoder.trunk.fuse()

    def share_work(self, each: Each) -> None:
        """Let `each` go through the objects of a frame on a CPU, and, within one, through blocks of
        attention."""
        self.each = each
        for module in self.modules():
            if isinstance(module, RopeAttention):
                module.each = each

    @property
    def layout(self) -> MemoryLayout:
        return self.config.layout

    def input_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """The square (H, W) that every frame is stretched to, whatever its shape."""
        return self.config.image_size, self.config.image_size

    def memory_shape(self, input_size: tuple[int, int]) -> MemoryShape:
        """The sizes of one object's memory; the input size is always the same."""
        config = self.config
        return MemoryShape(config.memory_dim, config.memory_grid, config.dim, config.mask_size)

    def encode_image(self, images: Tensor) -> ImageFeatures:
        """images: (B, 3, H, W) float RGB in [0, 1] -> levels at strides 4, 8 and 16."""
        features: ImageFeatures = self.image_encoder(images)
        return features

    def relate(self, features: ImageFeatures, previous: ImageFeatures) -> ImageFeatures:
        """SAM 2 does not look at motion."""
        return features

    @object_by_object
    def condition(
        self, features: ImageFeatures, image_of: Tensor, frame: int, memory: Memory, prompts: Prompts
    ) -> Prediction:
        """Segment N objects from prompts; rows of any kinds of prompts share the batch.

        Rows that remember something are corrected: they see their memory, and their last mask unless the
        prompt brings one. A mask without points is the answer, not a question.
        """
        points = (prompts.labels != PADDING).sum(dim=1)
        given = prompts.has_mask & (points == 0)
        remembered = self.recall(features, image_of, frame, memory, ~given)
        scene = torch.where(given[:, None, None, None], of_objects(features.levels[-1], image_of), remembered)
        prediction = self.decode(features, image_of, scene, prompts, memory, ambiguous=(points <= 1) & ~given)
        return self.take_masks(prediction, prompts.masks, given) if given.any() else prediction

    @object_by_object
    def propagate(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        frame: int,
        memory: Memory,
        previous: ImageFeatures | None = None,
    ) -> Prediction:
        """Segment N remembered objects in a new frame. All they were like is in the memory; `previous` is not
        looked at."""
        everyone = torch.ones_like(image_of, dtype=torch.bool)
        scene = self.recall(features, image_of, frame, memory, everyone)
        return self.decode(features, image_of, scene, no_prompts(scene), None, ambiguous=everyone)

    @object_by_object
    def remember(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        prediction: Prediction,
        prompted: Tensor,
        prompts: Prompts | None = None,
    ) -> Entry:
        """Encode a prediction for the memory; masks that come from a prompt get hard edges.

        `prompts`: those the prediction was conditioned on. With them a mask that a user gave is remembered as
        it was given, at the input's size, and not as its logits at a quarter of it.
        """
        size = (self.config.image_size, self.config.image_size)
        logits = F.interpolate(prediction.logits[:, None], size=size, mode="bilinear", align_corners=False)
        if prompts is not None:
            given = prompts.has_mask & (prompts.labels == PADDING).all(dim=1)
            exact = as_logits(prompts.masks[:, None]).to(logits.dtype)
            logits = torch.where(given[:, None, None, None], exact, logits)
        hard = prompted[:, None, None, None]
        masks = torch.where(hard, (logits > 0).to(logits.dtype), logits.sigmoid())
        encoded = self.memory_encoder(features.levels[-1], image_of, masks)
        if self.occluded is not None:
            absent = (prediction.presence <= 0)[:, None, None, None]
            encoded = encoded + absent * self.occluded[..., None, None]
        return Entry(self.perceiver(encoded), prediction.pointer)

    def recall(
        self, features: ImageFeatures, image_of: Tensor, frame: int | Tensor, memory: Memory, wanted: Tensor
    ) -> Tensor:
        """(N, D, h, w): the coarsest features as each object knows them from its memory.

        Rows without a memory, and those not `wanted` (N,) bool, get the no-memory embedding instead.
        """
        slots = recent_slots(memory.written, self.layout.conditioning, frame)
        top = features.levels[-1]
        known = slots.keep.any(dim=1) & wanted
        if holds_everywhere(known):
            return self.attend(top, image_of, frame, memory, slots)
        scene = of_objects(top, image_of) + self.no_memory[..., None, None]
        if torch.compiler.is_compiling():
            attended = self.attend(top, image_of, frame, memory, slots)
            return torch.where(known[:, None, None, None], attended, scene)
        if bool(known.any()):
            some = Slots(*(field[known] for field in slots))
            rows = Memory(*(field[known] for field in memory))
            scene[known] = self.attend(top, image_of[known], frame, rows, some)
        return scene

    def attend(
        self, top: Tensor, image_of: Tensor, frame: int | Tensor, memory: Memory, slots: Slots
    ) -> Tensor:
        """(N, D, h, w): the coarsest features after attention to N memories that all hold something."""
        frames = memory_tokens(self.places, self.times_of_frames(slots), slots, memory)
        pointed = recent_slots(memory.pointed, self.layout.conditioning, frame)
        pointers = pointer_tokens(self.times_of_pointers(pointed, memory.pointed, frame), pointed, memory)
        attended: Tensor = self.memory_attention(top, image_of, join(frames, pointers))
        return attended

    def times_of_frames(self, slots: Slots) -> Tensor:
        """(N, M, C): a learned embedding by age for recent frames; conditioning frames are timeless."""
        recent, timeless = self.layout.recent, self.layout.recent
        index = (slots.ages - 1).clamp(max=recent - 1)
        index[:, : self.layout.conditioning] = timeless
        return self.frame_times[index]

    def times_of_pointers(self, slots: Slots, pointed: Tensor, frame: int | Tensor) -> Tensor:
        """(N, P, C): an embedding of how long ago each pointer was made, 1 being the length of the ring."""
        like = self.frame_times
        if self.pointer_time is None:
            return like.new_zeros(*pointed.shape, like.shape[1])
        conditioning = self.layout.conditioning
        ages = torch.cat([(frame - pointed)[:, :conditioning], slots.ages[:, conditioning:]], dim=1)
        scaled = ages / (self.layout.pointers - conditioning)
        times: Tensor = self.pointer_time(sine_times(scaled, self.config.dim).to(like.dtype))
        return times

    def decode(
        self,
        features: ImageFeatures,
        image_of: Tensor,
        scene: Tensor,
        prompts: Prompts,
        memory: Memory | None,
        *,
        ambiguous: Tensor,
    ) -> Prediction:
        """Masks of N objects by prompts in a scene (N, D, h, w). Earlier masks in `memory` prompt too."""
        tokens = self.prompt_encoder.points(prompts.points, prompts.labels)
        dense = self.prompt_encoder.masks(*self.mask_prompts(prompts, memory))
        finest, fine = (of_objects(level, image_of) for level in features.levels[:2])
        candidates = self.mask_decoder(scene + dense, self.prompt_encoder.positions, tokens, finest, fine)
        return self.believed(candidates, ambiguous)

    def believed(self, candidates: Candidates, ambiguous: Tensor) -> Prediction:
        """One candidate for each of N objects; ambiguous: (N,) bool as in `choose`."""
        choice = choose(candidates, ambiguous)
        present = (candidates.presence > 0)[:, None]
        return Prediction(
            logits=choice.logits.where(present[..., None], ABSENT_LOGIT),
            iou=choice.iou,
            presence=candidates.presence,
            pointer=torch.where(present, self.pointer_head(choice.token), self.no_object_pointer),
        )

    def candidates(self, features: ImageFeatures, image_of: Tensor, prompts: ImagePrompts) -> ImagePrediction:
        """All masks that N prompts on images without a past may mean: what is taken where a prompt leaves no
        doubt, then whole, part and subpart."""
        scene = of_objects(features.levels[-1] + self.no_memory[..., None, None], image_of)
        tokens = self.prompt_encoder.points(prompts.points, prompts.labels)
        prior = prompts.prior[:, None].clamp(-PRIOR_LOGIT, PRIOR_LOGIT).to(scene.dtype)
        dense = self.prompt_encoder.masks(prior, prompts.has_prior)
        finest, fine = (of_objects(level, image_of) for level in features.levels[:2])
        found = self.mask_decoder(scene + dense, self.prompt_encoder.positions, tokens, finest, fine)
        sure = choose(found, torch.zeros_like(prompts.has_prior))
        return ImagePrediction(
            logits=torch.cat([sure.logits[:, None], found.masks[:, 1:]], dim=1),
            iou=torch.cat([sure.iou[:, None], found.iou[:, 1:]], dim=1),
            presence=found.presence,
        )

    def mask_prompts(self, prompts: Prompts, memory: Memory | None) -> tuple[Tensor, Tensor]:
        """Logits (N, 1, H/4, W/4) of mask prompts and who has one (N,) bool: the user's, else the earlier."""
        logits = self.frame_times.new_zeros(len(prompts.labels), 1, *self.config.mask_size)
        has_mask = prompts.has_mask
        if memory is not None:
            earlier = (memory.written != EMPTY).any(dim=1)
            logits = memory.logits[:, None].to(logits.dtype).clamp(-PRIOR_LOGIT, PRIOR_LOGIT)
            has_mask = has_mask | earlier
        if prompts.has_mask.any():
            shown = self.mask_as_logits(prompts.masks[:, None].to(logits.dtype))
            logits = torch.where(prompts.has_mask[:, None, None, None], shown, logits)
        return logits, has_mask

    def take_masks(self, prediction: Prediction, masks: Tensor, given: Tensor) -> Prediction:
        """The prediction with rows `given` (N,) bool replaced by users' masks (N, H, W); pointers stay the
        decoder's."""
        logits = F.interpolate(
            as_logits(masks[:, None]), size=self.config.mask_size, mode="bilinear", antialias=True
        )[:, 0].to(prediction.logits.dtype)
        visible = (masks > 0).flatten(1).any(dim=1)
        hidden = (given & ~visible)[:, None]
        presence = torch.where(visible, MASK_LOGIT, -MASK_LOGIT).to(prediction.presence.dtype)
        return Prediction(
            logits=torch.where(given[:, None, None], logits, prediction.logits),
            iou=prediction.iou.where(~given, 1.0),
            presence=torch.where(given, presence, prediction.presence),
            pointer=torch.where(hidden, self.no_object_pointer, prediction.pointer),
        )


def as_logits(masks: Tensor) -> Tensor:
    """Masks in [0, 1] as logits."""
    return (2 * masks - 1) * MASK_LOGIT


def no_prompts(scene: Tensor) -> Prompts:
    """Prompts that say nothing, for the N objects of a scene (N, D, h, w)."""
    objects = len(scene)
    return Prompts(
        points=scene.new_zeros(objects, 0, 2),
        labels=torch.full((objects, 0), PADDING, device=scene.device),
        masks=scene.new_zeros(objects, 0, 0),
        has_mask=torch.zeros(objects, dtype=torch.bool, device=scene.device),
    )
