"""The same random weights in transformers' SAM 2 and in ours give the same numbers.

Both are a reduced SAM 2.1 in float32; logits are compared to 1e-3 absolute, which leaves room for the order
of sums and nothing else. The reference keeps remembered features in bfloat16, so the memory here does too.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from keepsight.model import memory as memories
from keepsight.model.checkpoint import convert
from keepsight.model.memory import MemoryLayout
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import HieraConfig, Sam2Config
from keepsight.model.video_predictor import Prediction, Prompts

transformers = pytest.importorskip("transformers", reason="transformers is the oracle")
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig  # noqa: E402
from transformers.models.sam2_video import configuration_sam2_video as reference_config  # noqa: E402
from transformers.models.sam2_video.modeling_sam2_video import (  # noqa: E402
    Sam2VideoInferenceSession,
    Sam2VideoModel,
)

REDUCED = Sam2Config(
    trunk=HieraConfig(
        width=16, heads=1, depths=(1, 2, 3, 1), windows=(8, 4, 6, 3), global_blocks=(4, 5), background=4
    ),
    layout=MemoryLayout(conditioning=4, recent=6, pointers=4 + 15),
    image_size=128,
    dim=128,
    decoder_mlp=256,
    attention_depth=2,
    attention_mlp=256,
)
SIZE = REDUCED.image_size
TOLERANCE = 1e-3


def reference_of(config: Sam2Config, **changes: Any) -> Any:
    """The configuration in the reference's words."""
    trunk, grid, mask = config.trunk, config.grid[0], config.mask_size[0]
    backbone = Sam2HieraDetConfig(
        hidden_size=trunk.width,
        image_size=[config.image_size] * 2,
        blocks_per_stage=list(trunk.depths),
        embed_dim_per_stage=list(trunk.widths),
        num_attention_heads_per_stage=[trunk.heads << stage for stage in range(4)],
        window_size_per_stage=list(trunk.windows),
        global_attention_blocks=list(trunk.global_blocks),
        window_positional_embedding_background_size=[trunk.background] * 2,
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=list(reversed(trunk.widths)),
        backbone_feature_sizes=[[mask] * 2, [mask // 2] * 2, [grid] * 2],
        fpn_hidden_size=config.dim,
    )
    return reference_config.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=reference_config.Sam2VideoPromptEncoderConfig(
            hidden_size=config.dim, image_size=config.image_size
        ),
        mask_decoder_config=reference_config.Sam2VideoMaskDecoderConfig(
            hidden_size=config.dim,
            mlp_dim=config.decoder_mlp,
            num_attention_heads=config.decoder_heads,
            iou_head_hidden_dim=config.dim,
        ),
        image_size=config.image_size,
        num_maskmem=config.layout.recent + 1,
        memory_attention_hidden_size=config.dim,
        memory_attention_num_layers=config.attention_depth,
        memory_attention_feed_forward_hidden_size=config.attention_mlp,
        memory_attention_rope_feat_sizes=list(config.grid),
        memory_encoder_hidden_size=config.dim,
        memory_encoder_output_channels=config.memory_dim,
        mask_downsampler_embed_dim=config.dim,
        memory_fuser_embed_dim=config.dim,
        memory_fuser_intermediate_dim=4 * config.dim,
        memory_fuser_num_layers=config.fuser_depth,
        enable_temporal_pos_encoding_for_object_pointers=config.pointer_time,
        enable_occlusion_spatial_embedding=config.occlusion_embedding,
    )


def randomise(model: torch.nn.Module, presence: float) -> None:
    """Weights that make every part matter; the object score is around `presence`."""
    generator = torch.Generator().manual_seed(7)
    state = model.state_dict()
    for name, value in state.items():
        scale = value[0].numel() ** -0.5 if value.ndim > 1 and "embed" not in name else 0.3
        value.normal_(0, scale, generator=generator)
        if "norm" in name and name.endswith("weight"):
            value.add_(1)
    state["shared_image_embedding.positional_embedding"].copy_(
        state["prompt_encoder.shared_embedding.positional_embedding"]
    )
    state["mask_decoder.pred_obj_score_head.proj_out.bias"].fill_(presence)


class Pair(NamedTuple):
    reference: Any
    ours: Sam2


def pair(config: Sam2Config, presence: float = 5.0) -> Pair:
    reference: Any = Sam2VideoModel(reference_of(config))
    reference.eval()
    randomise(reference, presence)
    # This reference takes the pointer of a given mask from the best of three candidates; the authors' code,
    # and ours with it, from the first.
    reference._use_mask_as_output = with_single_mask(reference)
    ours = Sam2(config).eval()
    ours.load_state_dict(convert(reference.state_dict()).state)
    return Pair(reference, ours)


def with_single_mask(reference: Any) -> Any:
    plain, decode = reference._use_mask_as_output, reference._single_frame_forward

    def use_mask(*arguments: Any) -> Any:
        reference._single_frame_forward = partial(decode, multimask_output=False)
        try:
            return plain(*arguments)
        finally:
            reference._single_frame_forward = decode

    return use_mask


@pytest.fixture(scope="module")
def both() -> Pair:
    torch.set_num_threads(1)
    return pair(REDUCED)


class Shown(NamedTuple):
    """One object's prompt, in pixels of the input."""

    points: tuple[tuple[float, float], ...] = ()
    labels: tuple[int, ...] = ()
    mask: Tensor | None = None


def disc() -> Tensor:
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    return ((x - 70) ** 2 + (y - 50) ** 2 < 27**2).float()


POINT = Shown(((40.0, 70.0),), (1,))
CLICKS = Shown(((40.0, 70.0), (90.0, 20.0), (60.0, 64.0)), (1, 0, 1))
BOX = Shown(((20.0, 30.0), (100.0, 90.0)), (2, 3))
BOX_AND_POINT = Shown(((20.0, 30.0), (100.0, 90.0), (50.0, 50.0)), (2, 3, 1))
MASK = Shown(mask=disc())
EVERY_KIND = pytest.mark.parametrize(
    "shown",
    [POINT, CLICKS, BOX, BOX_AND_POINT, MASK],
    ids=["point", "clicks", "box", "box and point", "mask"],
)


def video(frames: int) -> Tensor:
    """(frames, 3, SIZE, SIZE) in [0, 1]: blurred noise that drifts to the right."""
    generator = torch.Generator().manual_seed(3)
    noise = torch.rand(1, 3, SIZE // 8, SIZE // 8 + frames, generator=generator)
    wide = torch.nn.functional.interpolate(noise, scale_factor=8.0, mode="bilinear")[0]
    return torch.stack([wide[:, :, 8 * t : 8 * t + SIZE] for t in range(frames)])


def normalised(images: Tensor) -> Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    return (images - mean) / std


def as_prompts(shown: list[Shown]) -> Prompts:
    """A batch of prompts of different kinds, padded to the longest."""
    longest = max(len(s.labels) for s in shown)
    points = torch.zeros(len(shown), longest, 2)
    labels = torch.full((len(shown), longest), -1)
    for row, s in enumerate(shown):
        for column, (point, label) in enumerate(zip(s.points, s.labels, strict=True)):
            points[row, column] = torch.tensor(point) / SIZE
            labels[row, column] = label
    masks = torch.stack([torch.zeros(SIZE, SIZE) if s.mask is None else s.mask for s in shown])
    return Prompts(points, labels, masks, torch.tensor([s.mask is not None for s in shown]))


def track_with_ours(model: Sam2, frames: Tensor, shown: list[Shown]) -> list[Prediction]:
    objects = len(shown)
    everyone, image_of = torch.arange(objects), torch.zeros(objects, dtype=torch.long)
    memory = memories.empty(objects, model.layout, model.memory_shape((SIZE, SIZE)), frames)
    memory = memory._replace(features=memory.features.bfloat16())
    predictions = []
    for index, frame in enumerate(frames):
        features = model.encode_image(frame[None])
        if index == 0:
            prompts = as_prompts(shown)
            prediction = model.condition(features, image_of, index, memory, prompts)
            entry = model.remember(
                features, image_of, prediction, torch.ones(objects, dtype=torch.bool), prompts
            )
            memory = memories.write_conditioning(memory, model.layout, everyone, index, entry)
        else:
            prediction = model.propagate(features, image_of, index, memory, None)
            entry = model.remember(features, image_of, prediction, torch.zeros(objects, dtype=torch.bool))
            memory = memories.write_recent(memory, model.layout, everyone, index, entry)
        predictions.append(prediction)
    return predictions


class Seen(NamedTuple):
    logits: Tensor
    presence: Tensor


def track_with_reference(model: Any, frames: Tensor, shown: list[Shown]) -> list[Seen]:
    session = Sam2VideoInferenceSession(video_height=SIZE, video_width=SIZE, dtype=torch.float32)
    for row, s in enumerate(shown):
        index = session.obj_id_to_idx(row + 1)
        if s.mask is not None:
            session.add_mask_inputs(index, 0, s.mask[None, None])
        else:
            points, labels = torch.tensor([[s.points]]), torch.tensor([[s.labels]], dtype=torch.int32)
            session.add_point_inputs(index, 0, {"point_coords": points, "point_labels": labels})
        session.obj_with_new_inputs.append(row + 1)
    outputs = [model(session, frame=frame) for frame in normalised(frames)]
    return [Seen(out.pred_masks[:, 0], out.object_score_logits.flatten()) for out in outputs]


@torch.inference_mode()
def assert_same_tracks(both: Pair, frames: Tensor, shown: list[Shown]) -> list[Prediction]:
    expected = track_with_reference(both.reference, frames, shown)
    found = track_with_ours(both.ours, frames, shown)
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got.logits, want.logits, atol=TOLERANCE, rtol=0)
        torch.testing.assert_close(got.presence, want.presence, atol=TOLERANCE, rtol=0)
    return found


@torch.inference_mode()
def test_image_features_equal_the_reference(both: Pair) -> None:
    images = video(2)
    expected = both.reference.get_image_features(normalised(images), return_dict=True).fpn_hidden_states
    found = both.ours.encode_image(images).levels
    for want, got in zip(expected, found, strict=True):
        torch.testing.assert_close(got.flatten(2).permute(2, 0, 1), want, atol=1e-4, rtol=1e-4)


@EVERY_KIND
def test_a_prompt_on_one_frame_gives_the_reference_mask(both: Pair, shown: Shown) -> None:
    [found] = assert_same_tracks(both, video(1), [shown])
    assert found.logits.std() > 0.1


@EVERY_KIND
def test_an_object_followed_until_its_memory_has_turned_over_equals_the_reference(
    both: Pair, shown: Shown
) -> None:
    found = assert_same_tracks(both, video(18), [shown])
    assert all((prediction.presence > 0).all() for prediction in found)


def test_objects_with_different_prompts_in_one_batch_equal_the_reference(both: Pair) -> None:
    assert_same_tracks(both, video(4), [POINT, BOX_AND_POINT, CLICKS])


@pytest.mark.parametrize(("shown", "presence"), [(MASK, 0.3), (POINT, 0.7)], ids=["leaves", "appears"])
def test_an_object_that_is_absent_for_a_while_equals_the_reference(shown: Shown, presence: float) -> None:
    found = assert_same_tracks(pair(REDUCED, presence), video(4), [shown])
    seen = torch.stack([prediction.presence > 0 for prediction in found])
    assert seen.any()
    assert not seen.all()


def test_an_empty_mask_is_an_absent_object_as_in_the_reference(both: Pair) -> None:
    found = assert_same_tracks(both, video(2), [Shown(mask=torch.zeros(SIZE, SIZE))])
    assert found[0].presence < 0


def test_version_2_without_pointer_times_and_occlusion_embedding_equals_the_reference() -> None:
    older = replace(REDUCED, pointer_time=False, occlusion_embedding=False)
    assert_same_tracks(pair(older), video(4), [BOX])
