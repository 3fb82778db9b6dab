"""What the parity tests share: prompts, a video, random weights, and both trackers run over it."""

from __future__ import annotations

from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from keepsight.model import memory as memories
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import Sam2Config
from keepsight.model.video_predictor import Prediction, Prompts

SIZE = 128
"""Side of the input of the reduced networks, in pixels."""
TOLERANCE = 1e-3
"""On logits, absolute: room for the order of sums in float32 and nothing else."""
MEAN_TOLERANCE = 1e-4
"""On logits, relative to their mean size, on average."""
LEAST_IOU = 0.999
"""Of a mask with the reference's, on every frame."""


class Pair(NamedTuple):
    """The same weights twice; `remembered` is the dtype in which the reference keeps its memory."""

    reference: Any
    ours: Sam2
    session: type
    remembered: torch.dtype


class Shown(NamedTuple):
    """One object's prompt, as fractions of the frame; a mask is (SIZE, SIZE)."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    mask: Tensor | None = None


class Seen(NamedTuple):
    logits: Tensor
    presence: Tensor


def disc(size: int = SIZE) -> Tensor:
    y, x = torch.meshgrid(torch.arange(size) / size, torch.arange(size) / size, indexing="ij")
    return ((x - 0.55) ** 2 + (y - 0.4) ** 2 < 0.21**2).float()


POINT = Shown(((0.31, 0.55),), (1,))
CLICKS = Shown(((0.31, 0.55), (0.7, 0.16), (0.47, 0.5)), (1, 0, 1))
BOX = Shown(((0.16, 0.23), (0.78, 0.7)), (2, 3))
BOX_AND_POINT = Shown(((0.16, 0.23), (0.78, 0.7), (0.39, 0.39)), (2, 3, 1))
MASK = Shown(mask=disc())
EVERY_KIND = {
    "point": POINT,
    "clicks": CLICKS,
    "box": BOX,
    "box and point": BOX_AND_POINT,
    "mask": MASK,
}


def together(config: Sam2Config, size: int = SIZE) -> list[Shown]:
    """Three objects of one frame, by a point, a box and a mask; EdgeTAM's reference fails where one frame has
    a mask prompt and a point prompt, so there by clicks in the mask's place."""
    return [POINT, BOX, Shown(mask=disc(size)) if config.perceiver is None else CLICKS]


def randomise(model: torch.nn.Module, presence: float) -> None:
    """Weights that make every part matter; the object score is around `presence`."""
    generator = torch.Generator().manual_seed(7)
    state = model.state_dict()
    for name, value in state.items():
        if not value.is_floating_point():
            continue
        scale = value[0].numel() ** -0.5 if value.ndim > 1 and "embed" not in name else 0.3
        value.normal_(0, scale, generator=generator)
        if name.endswith("running_var"):
            value.abs_().add_(3)  # batch norms that damp, so that deep trunks do not overflow
        elif name.endswith("weight") and ("norm" in name or ".bn." in name):
            value.add_(1)
    state["shared_image_embedding.positional_embedding"].copy_(
        state["prompt_encoder.shared_embedding.positional_embedding"]
    )
    state["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(presence)


def with_single_mask(reference: Any) -> Any:
    """The reference's way to take a given mask as the answer, with the pointer from the first candidate.

    It takes the best of three; the authors' code, and ours with it, the first.
    """
    plain, decode = reference._use_mask_as_output, reference._single_frame_forward

    def use_mask(*arguments: Any) -> Any:
        reference._single_frame_forward = partial(decode, multimask_output=False)
        try:
            return plain(*arguments)
        finally:
            reference._single_frame_forward = decode

    return use_mask


def video(frames: int, size: int = SIZE) -> Tensor:
    """(frames, 3, size, size) in [0, 1]: blurred noise that drifts to the right."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(1, 3, 16, 16 + frames, generator=generator)
    wide = F.interpolate(noise, scale_factor=float(size // 16), mode="bilinear")[0]
    step = size // 16
    return torch.stack([wide[:, :, step * t : step * t + size] for t in range(frames)])


def normalised(images: Tensor) -> Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (images - mean) / std


def as_prompts(shown: list[Shown], size: int) -> Prompts:
    """A batch of prompts of different kinds, padded to the longest."""
    longest = max(len(s.labels) for s in shown)
    points = torch.zeros(len(shown), longest, 2)
    labels = torch.full((len(shown), longest), -1)
    for row, s in enumerate(shown):
        for column, (point, label) in enumerate(zip(s.points, s.labels, strict=True)):
            points[row, column] = torch.tensor(point)
            labels[row, column] = label
    masks = torch.stack([torch.zeros(size, size) if s.mask is None else s.mask for s in shown])
    return Prompts(points, labels, masks, torch.tensor([s.mask is not None for s in shown]))


def track_with_ours(both: Pair, frames: Tensor, shown: list[Shown]) -> list[Prediction]:
    model, objects, size = both.ours, len(shown), frames.shape[-1]
    everyone, image_of = torch.arange(objects), torch.zeros(objects, dtype=torch.long)
    memory = memories.empty(objects, model.layout, model.memory_shape((size, size)), frames)
    memory = memory._replace(features=memory.features.to(both.remembered))
    predictions = []
    for index, frame in enumerate(frames):
        features = model.encode_image(frame[None])
        if index == 0:
            prompts = as_prompts(shown, size)
            prediction = model.condition(features, image_of, index, memory, prompts)
            prompted = torch.ones(objects, dtype=torch.bool)
            entry = model.remember(features, image_of, prediction, prompted, prompts)
            memory = memories.write_conditioning(memory, model.layout, everyone, index, entry)
        else:
            prediction = model.propagate(features, image_of, index, memory, None)
            entry = model.remember(features, image_of, prediction, torch.zeros(objects, dtype=torch.bool))
            memory = memories.write_recent(memory, model.layout, everyone, index, entry)
        predictions.append(prediction)
    return predictions


def track_with_reference(both: Pair, frames: Tensor, shown: list[Shown]) -> list[Seen]:
    size = frames.shape[-1]
    session: Any = both.session(video_height=size, video_width=size, dtype=torch.float32)
    for row, s in enumerate(shown):
        index = session.obj_id_to_idx(row + 1)
        if s.mask is not None:
            session.add_mask_inputs(index, 0, s.mask[None, None])
        else:
            points, labels = size * torch.tensor([[s.points]]), torch.tensor([[s.labels]], dtype=torch.int32)
            session.add_point_inputs(index, 0, {"point_coords": points, "point_labels": labels})
        session.obj_with_new_inputs.append(row + 1)
    outputs = [both.reference(session, frame=frame) for frame in normalised(frames)]
    return [Seen(out.pred_masks[:, 0], out.object_score_logits.flatten()) for out in outputs]


@torch.inference_mode()
def assert_same_tracks(both: Pair, frames: Tensor, shown: list[Shown]) -> list[Prediction]:
    expected = track_with_reference(both, frames, shown)
    found = track_with_ours(both, frames, shown)
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got.logits, want.logits, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(got.presence, want.presence, atol=TOLERANCE, rtol=0)
        assert relative_error(got.logits, want.logits) < MEAN_TOLERANCE
        assert (mask_iou(got.logits > 0, want.logits > 0) >= LEAST_IOU).all()
    return found


def mask_iou(a: Tensor, b: Tensor) -> Tensor:
    """IoU of masks (…, H, W); 1 where both are empty."""
    both, either = (a & b).sum(dim=(-2, -1)), (a | b).sum(dim=(-2, -1))
    return torch.where(either > 0, both / either.clamp(min=1), 1.0)


def relative_error(found: Tensor, expected: Tensor) -> float:
    """The mean difference over the mean size."""
    return float((found - expected).abs().mean() / expected.abs().mean())
