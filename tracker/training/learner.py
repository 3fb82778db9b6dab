"""What training asks of a network of the family: prompted, tracking and remembering with gradient, judged."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from keepsight.model.mask_decoder import CANDIDATES, Candidates, choose
from keepsight.model.memory import Entry, Memory, MemoryLayout
from keepsight.model.models import ModelConfig
from keepsight.model.nano import Nano
from keepsight.model.nano_config import NanoConfig
from keepsight.model.nano_decoder import Decoded
from keepsight.model.prompt_encoder import PADDING
from keepsight.model.sam2 import Sam2, no_prompts
from keepsight.model.sam2_config import Sam2Config
from keepsight.model.video_predictor import ImageFeatures, Prediction, Prompts

from .losses import loss_of, loss_of_reads, reached_iou


class View(NamedTuple):
    """What N objects are looked for in: features of B images now and, where there was one, of the frame
    before; image_of (N,) int64."""

    features: ImageFeatures
    image_of: Tensor
    previous: ImageFeatures | None = None


class Answer(NamedTuple):
    """What a network says of N objects in a frame, and how wrong that is.

    loss: scalar with gradient; logits (N, H/2, W/2); iou (N,) predicted, in [0, 1]; presence (N,) logit;
    pointer (N, D), None where it is made when the mask is remembered.
    """

    loss: Tensor
    logits: Tensor
    iou: Tensor
    presence: Tensor
    pointer: Tensor | None = None


class Learner(Protocol):
    """A network in training. `truth` (N, H/2, W/2) in [0, 1] judges an answer and has no part in it."""

    layout: MemoryLayout

    @property
    def network(self) -> nn.Module: ...

    def encode(self, images: Tensor) -> ImageFeatures:
        """images (B, 3, H, W) float RGB in [0, 1]."""
        ...

    def condition(self, view: View, last: Tensor | None, prompts: Prompts, truth: Tensor) -> Answer:
        """Segment from prompts; `last` (N, H/2, W/2) logits is the mask to be corrected."""
        ...

    def propagate(self, view: View, memory: Memory, before: Tensor, truth: Tensor) -> Answer:
        """Segment what is remembered; `before` is the truth of the frame before."""
        ...

    def remember(self, view: View, answer: Answer, prompted: bool) -> Entry:
        """An answer, its logits perhaps exchanged, as what is remembered of it."""
        ...


class NanoLearner:
    """Nano; of a clip it remembers all frames. `reads`: the weight of the loss on what it reads from memory,
    before that is decoded."""

    def __init__(self, network: Nano, reads: float) -> None:
        self.network = network
        self.reads = reads
        self.layout = network.layout

    def encode(self, images: Tensor) -> ImageFeatures:
        return self.network.encode_image(images)

    def condition(self, view: View, last: Tensor | None, prompts: Prompts, truth: Tensor) -> Answer:
        nothing = torch.full_like(truth, -10.0)
        last = nothing if last is None else last
        found = self.network.segment(view.features, view.image_of, last, prompts)
        return judged(found, truth)

    def propagate(self, view: View, memory: Memory, before: Tensor, truth: Tensor) -> Answer:
        network, (features, image_of, previous) = self.network, view
        motion = network.motion(features, previous)
        evidence = network.evidence(features, image_of, memory, motion)
        answer = judged(network.decoder(features, image_of, evidence), truth)
        moved = network.moved(motion, before.unsqueeze(1), image_of)
        return answer._replace(loss=answer.loss + self.reads * loss_of_reads(evidence, moved, truth))

    def remember(self, view: View, answer: Answer, prompted: bool) -> Entry:
        decoded = Decoded(answer.logits, answer.iou, answer.presence)
        prediction = self.network.with_pointer(view.features, view.image_of, decoded)
        hard = torch.full_like(view.image_of, prompted, dtype=torch.bool)
        return self.network.remember(view.features, view.image_of, prediction, hard)


def judged(found: Decoded, truth: Tensor) -> Answer:
    found = Decoded(*(field.float() for field in found))
    return Answer(loss_of(found, truth), *found)


class Sam2Learner:
    """A network of the SAM 2 family. Where a prompt is ambiguous, only the candidate that is nearest to the
    truth is taught its mask, and all how good they are (SAM 2, appendix D.2.2); what is believed, and goes on
    to the memory, is chosen as at inference. Masks are a quarter of the input's size and are judged at half
    of it."""

    def __init__(self, network: Sam2) -> None:
        self.network = network
        self.layout = network.layout

    def encode(self, images: Tensor) -> ImageFeatures:
        return self.network.encode_image(images)

    def condition(self, view: View, last: Tensor | None, prompts: Prompts, truth: Tensor) -> Answer:
        points = (prompts.labels != PADDING).sum(dim=1)
        given = prompts.has_mask & (points == 0)
        top = view.features.levels[-1][view.image_of]
        nothing = self.network.no_memory[..., None, None] * ~given[:, None, None, None]
        return self.decode(view, top + nothing, prompts, last, (points <= 1) & ~given, truth)

    def propagate(self, view: View, memory: Memory, before: Tensor, truth: Tensor) -> Answer:
        everyone = torch.ones_like(view.image_of, dtype=torch.bool)
        now = int(memory.written.max()) + 1
        scene = self.network.recall(view.features, view.image_of, now, memory, everyone)
        return self.decode(view, scene, no_prompts(scene), None, everyone, truth)

    def remember(self, view: View, answer: Answer, prompted: bool) -> Entry:
        assert answer.pointer is not None, "a Sam2Learner's answers have pointers"
        prediction = Prediction(answer.logits, answer.iou, answer.presence, answer.pointer)
        hard = torch.full_like(view.image_of, prompted, dtype=torch.bool)
        return self.network.remember(view.features, view.image_of, prediction, hard)

    def decode(
        self,
        view: View,
        scene: Tensor,
        prompts: Prompts,
        last: Tensor | None,
        ambiguous: Tensor,
        truth: Tensor,
    ) -> Answer:
        """The answer in a scene (N, D, h, w); ambiguous: (N,) bool as in `choose`."""
        network = self.network
        tokens = network.prompt_encoder.points(prompts.points, prompts.labels)
        dense = network.prompt_encoder.masks(*network.mask_prompts(prompts, as_memory(last)))
        finest, fine = (level[view.image_of] for level in view.features.levels[:2])
        decoder = network.mask_decoder
        said = decoder(scene + dense, network.prompt_encoder.positions, tokens, finest, fine)
        candidates = Candidates(*(field.float() for field in said))
        choice = choose(candidates, ambiguous)
        pointer = network.pointer_head(choice.token)
        present = (candidates.presence > 0)[:, None]
        return Answer(
            loss_of_nearest(candidates, ambiguous, truth),
            sized(choice.logits, truth),
            choice.iou,
            candidates.presence,
            torch.where(present, pointer, network.no_object_pointer.to(pointer.dtype)),
        )


def loss_of_nearest(candidates: Candidates, ambiguous: Tensor, truth: Tensor) -> Tensor:
    """The loss of one candidate an object, the first where `ambiguous` (N,) bool is False and else the
    nearest to the truth of the others, and of the predicted IoU of all that could have been chosen."""
    masks = torch.stack([sized(mask, truth) for mask in candidates.masks.unbind(1)], dim=1)
    reached = torch.stack([reached_iou(mask, truth) for mask in masks.unbind(1)], dim=1)
    nearest = torch.where(ambiguous, 1 + reached[:, 1:].argmax(dim=1), 0)
    row = torch.arange(len(nearest), device=nearest.device)
    taught = Decoded(masks[row, nearest], candidates.iou[row, nearest], candidates.presence)
    eligible = (torch.arange(CANDIDATES, device=nearest.device) > 0) == ambiguous[:, None]
    wrong = (candidates.iou - reached).square() * eligible
    return loss_of(taught, truth) + 0.5 * wrong.sum(dim=1).mean() / CANDIDATES


def sized(logits: Tensor, truth: Tensor) -> Tensor:
    """logits (N, h, w) at the size of the truth."""
    size = truth.shape[-2:]
    return F.interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def as_memory(last: Tensor | None) -> Memory | None:
    """A mask to be corrected, as SAM 2 wants to hear of it: from a memory, at half of its size here."""
    if last is None:
        return None
    known = torch.zeros(len(last), 1, dtype=torch.int64, device=last.device)
    nothing = last.new_zeros(len(last), 1)
    return Memory(nothing, known, nothing, known, F.avg_pool2d(last[:, None], 2)[:, 0], nothing)


def learner_of(config: ModelConfig, reads: float = 0.0) -> Learner:
    """The network of a configuration with random weights, in training; reads: see `NanoLearner`."""
    match config:
        case NanoConfig():
            every = MemoryLayout(conditioning=1, recent=64, pointers=65)
            return NanoLearner(Nano(config, every).train(), reads)
        case Sam2Config():
            return Sam2Learner(Sam2(config).train())
