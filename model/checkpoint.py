"""Official SAM 2 and EdgeTAM checkpoints and their Hugging Face twins under our keys. Pure: no files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Family = Literal["sam2", "sam2.1", "edgetam"]
State = dict[str, Tensor]
Renames = tuple[tuple[str, str], ...]


class Converted(NamedTuple):
    """Weights under this package's keys, and the version of the network that they are for."""

    family: Family
    state: State


SIZES = {(96, 12): "tiny", (96, 16): "small", (112, 24): "base-plus", (144, 48): "large"}
"""Width of the first stage and number of blocks of the image trunk, by the published name."""

LATERALS = ("coarse", "middle", "fine", "finest")
DOWNSAMPLINGS = 4
CORNERS = 4
UNUSED = frozenset({"no_mem_pos_enc", "no_memory_positional_encoding"})
"""Saved, but read by no published network: features without a memory get an embedding and no position."""

REPVIT: Renames = (
    (r"^(image_encoder\.trunk)\.(?:body|timm_model)\.", r"\1."),
    (r"^(image_encoder\.trunk)\.stages_(\d)\.", r"\1.stages.\2."),
    (r"^(image_encoder\.trunk\.stem)\.conv1\.", r"\1.0."),
    (r"^(image_encoder\.trunk\.stem)\.conv2\.", r"\1.2."),
    (r"\.downsample\.pre_block\.", ".halving.block."),
    (r"\.downsample\.spatial_downsample\.", ".halving.shrink."),
    (r"\.downsample\.channel_downsample\.", ".halving.widen."),
    (r"\.downsample\.ffn\.", ".halving.channel_mixer."),
    (r"\.token_mixer\.conv\.", ".places.0.wide."),
    (r"\.token_mixer\.conv1\.", ".places.0.point."),
    (r"\.se\.fc1\.", ".weights.squeeze."),
    (r"\.se\.fc2\.", ".weights.excite."),
    (r"\.channel_mixer\.conv1\.", ".channels.0."),
    (r"\.channel_mixer\.conv2\.", ".channels.2."),
    (r"^(image_encoder\.trunk\..+)\.c\.", r"\1.0."),
    (r"^(image_encoder\.trunk\..+)\.bn\.", r"\1.1."),
)
"""Of the layout in which both keep EdgeTAM's image trunk."""

OFFICIAL: Renames = (
    (r"^image_encoder\.trunk\.patch_embed\.proj\.", "image_encoder.trunk.patch_embed."),
    *REPVIT,
    *(
        (rf"^image_encoder\.neck\.convs\.{i}\.conv\.", f"image_encoder.lateral_{n}.")
        for i, n in enumerate(LATERALS)
    ),
    (r"^sam_mask_decoder\.conv_s0\.", "image_encoder.project_finest."),
    (r"^sam_mask_decoder\.conv_s1\.", "image_encoder.project_fine."),
    (r"^sam_prompt_encoder\.", "prompt_encoder."),
    (r"^prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", "prompt_encoder.frequencies"),
    (r"^prompt_encoder\.point_embeddings\.(\d)\.weight$", r"prompt_encoder.point_embed.\1"),
    (r"^prompt_encoder\.not_a_point_embed\.weight$", "prompt_encoder.not_a_point"),
    (r"^prompt_encoder\.no_mask_embed\.weight$", "prompt_encoder.no_mask"),
    (r"^prompt_encoder\.mask_downscaling\.", "prompt_encoder.mask_embed."),
    (r"^sam_mask_decoder\.", "mask_decoder."),
    (r"^mask_decoder\.output_upscaling\.0\.", "mask_decoder.upscale_middle."),
    (r"^mask_decoder\.output_upscaling\.1\.", "mask_decoder.upscale_norm."),
    (r"^mask_decoder\.output_upscaling\.3\.", "mask_decoder.upscale_fine."),
    (r"^mask_decoder\.output_hypernetworks_mlps\.", "mask_decoder.mask_heads."),
    (r"^mask_decoder\.iou_prediction_head\.", "mask_decoder.iou_head."),
    (r"^mask_decoder\.pred_obj_score_head\.", "mask_decoder.presence_head."),
    (r"^memory_encoder\.mask_downsampler\.encoder\.", "memory_encoder.mask_downsampler."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.layers\.", "memory_encoder.fuser."),
    (r"^spatial_perceiver\.latents$", "perceiver.whole"),
    (r"^spatial_perceiver\.latents_2d$", "perceiver.windows"),
    (r"^spatial_perceiver\.", "perceiver."),
    (r"^(perceiver\.layers\.\d)\.attn\.norm_x\.", r"\1.norm_cells."),
    (r"^(perceiver\.layers\.\d)\.attn\.norm_latents\.", r"\1.norm_latents."),
    (r"^(perceiver\.layers\.\d)\.self_attn\.norm\.", r"\1.norm_self."),
    (r"^(perceiver\.layers\.\d)\.attn\.", r"\1.cross_attn."),
    (r"^(perceiver\..+_attn)\.to_(q|kv|out)\.", r"\1.\2_proj."),
    (r"^(perceiver\..+)\.ff\.", r"\1.mlp."),
    (r"^(perceiver\..+)\.self_ff\.", r"\1.self_mlp."),
    (r"^maskmem_tpos_enc$", "frame_times"),
    (r"^no_mem_embed$", "no_memory"),
    (r"^no_obj_ptr$", "no_object_pointer"),
    (r"^no_obj_embed_spatial$", "occluded"),
    (r"^obj_ptr_proj\.", "pointer_head."),
    (r"^obj_ptr_tpos_proj\.", "pointer_time."),
    (r"^mask_downsample\.", "mask_as_logits."),
)

_TWO_LAYERS = r"(image_encoder\.trunk\.blocks\.\d+\.mlp|mask_decoder\.transformer\.layers\.\d+\.mlp)"
_THREE_LAYERS = r"(mask_decoder\.(?:mask_heads\.\d|iou_head|presence_head)|pointer_head)"

HUGGING_FACE: Renames = (
    (r"^vision_encoder\.backbone\.", "image_encoder.trunk."),
    (r"^image_encoder\.trunk\.patch_embed\.projection\.", "image_encoder.trunk.patch_embed."),
    *REPVIT,
    *(
        (rf"^vision_encoder\.neck\.convs\.{i}\.", f"image_encoder.lateral_{n}.")
        for i, n in enumerate(LATERALS)
    ),
    (r"^mask_decoder\.conv_s0\.", "image_encoder.project_finest."),
    (r"^mask_decoder\.conv_s1\.", "image_encoder.project_fine."),
    (r"^prompt_encoder\.shared_embedding\.positional_embedding$", "prompt_encoder.frequencies"),
    (r"^prompt_encoder\.point_embed\.weight$", "prompt_encoder.point_embed"),
    (r"^prompt_encoder\.not_a_point_embed\.weight$", "prompt_encoder.not_a_point"),
    (r"^prompt_encoder\.no_mask_embed\.weight$", "prompt_encoder.no_mask"),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_embed.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_embed.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_embed.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_embed.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_embed.6."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.upscale_middle."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.upscale_norm."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.upscale_fine."),
    (r"^mask_decoder\.output_hypernetworks_mlps\.", "mask_decoder.mask_heads."),
    (r"^mask_decoder\.iou_prediction_head\.", "mask_decoder.iou_head."),
    (r"^mask_decoder\.pred_obj_score_head\.", "mask_decoder.presence_head."),
    (
        r"^memory_encoder\.mask_downsampler\.final_conv\.",
        f"memory_encoder.mask_downsampler.{3 * DOWNSAMPLINGS}.",
    ),
    *(
        (
            rf"^memory_encoder\.mask_downsampler\.layers\.{i}\.{part}\.",
            f"memory_encoder.mask_downsampler.{3 * i + j}.",
        )
        for i in range(DOWNSAMPLINGS)
        for j, part in enumerate(("conv", "layer_norm"))
    ),
    (r"^memory_encoder\.memory_fuser\.layers\.", "memory_encoder.fuser."),
    (r"^(memory_encoder\.fuser\.\d+)\.depthwise_conv\.", r"\1.dwconv."),
    (r"^(memory_encoder\.fuser\.\d+)\.pointwise_conv(\d)\.", r"\1.pwconv\2."),
    (r"^(memory_encoder\.fuser\.\d+)\.scale$", r"\1.gamma"),
    (r"^memory_encoder\.projection\.", "memory_encoder.out_proj."),
    (r"^(memory_attention\.layers\.\d)\.mlp\.up_proj\.", r"\1.linear1."),
    (r"^(memory_attention\.layers\.\d)\.mlp\.down_proj\.", r"\1.linear2."),
    (r"^spatial_perceiver\.latents_1d$", "perceiver.whole"),
    (r"^spatial_perceiver\.latents_2d$", "perceiver.windows"),
    (r"^spatial_perceiver\.", "perceiver."),
    (r"^(perceiver\.layers\.\d)\.layer_norm_input\.", r"\1.norm_cells."),
    (r"^(perceiver\.layers\.\d)\.cross_attention\.", r"\1.cross_attn."),
    (r"^(perceiver\.layers\.\d)\.self_attention\.", r"\1.self_attn."),
    (r"^(perceiver\..+mlp)\.layer_norm\.", r"\1.0."),
    (r"^(perceiver\..+mlp)\.up_proj\.", r"\1.1."),
    (r"^(perceiver\..+mlp)\.down_proj\.", r"\1.3."),
    (r"^memory_temporal_positional_encoding$", "frame_times"),
    (r"^no_memory_embedding$", "no_memory"),
    (r"^occlusion_spatial_embedding_parameter$", "occluded"),
    (r"^object_pointer_proj\.", "pointer_head."),
    (r"^temporal_positional_encoding_projection_layer\.", "pointer_time."),
    (r"^mask_downsample\.", "mask_as_logits."),
    (rf"^{_THREE_LAYERS}\.layers\.0\.", r"\1.layers.1."),
    (rf"^{_THREE_LAYERS}\.proj_out\.", r"\1.layers.2."),
    (rf"^{_TWO_LAYERS}\.proj_out\.", r"\1.layers.1."),
    (r"\.proj_in\.", ".layers.0."),
    (r"\.layer_norm", ".norm"),
    (r"\.o_proj\.", ".out_proj."),
)


def convert(weights: Mapping[str, Tensor]) -> Converted:
    """Rename a checkpoint's state dict: official, Hugging Face's or our own, told apart by its keys.

    Every key that a network reads is carried over: a strict `load_state_dict` shows what is missing and what
    is too much. Raises ValueError where the keys are of no layout.
    """
    state = under_our_keys(weights)
    if "perceiver.whole" in state:
        return Converted("edgetam", state)
    return Converted("sam2.1" if "occluded" in state else "sam2", state)


def under_our_keys(weights: Mapping[str, Tensor]) -> State:
    if "mask_decoder.tokens" in weights:
        return dict(weights)
    if any(key.startswith("sam_mask_decoder.") for key in weights):
        return reshaped(joined(renamed(weights, OFFICIAL)))
    if any(key.startswith("vision_encoder.") for key in weights):
        return reshaped(joined(renamed(one_frequency_table(weights), HUGGING_FACE)))
    some = ", ".join(sorted(weights)[:3]) or "none"
    raise ValueError(f"its tensors have other names than any SAM 2 checkpoint: {some}…")


def name_of(converted: Converted) -> str:
    """The published name, like "sam2.1-tiny". Raises ValueError for a size that was never published."""
    if converted.family == "edgetam":
        return "edgetam"
    patches = converted.state.get("image_encoder.trunk.patch_embed.weight")
    width = patches.shape[0] if patches is not None and patches.ndim else 0
    depth = sum(key.endswith(".attn.qkv.weight") for key in converted.state)
    if (width, depth) not in SIZES:
        raise ValueError(
            f"no published {converted.family} has an image trunk of width {width} and {depth} blocks"
        )
    return f"{converted.family}-{SIZES[width, depth]}"


def renamed(weights: Mapping[str, Tensor], renames: Renames) -> State:
    """The same tensors; each key has gone through all renames in order."""
    state: State = {}
    for key, value in weights.items():
        if key in UNUSED:
            continue
        for pattern, replacement in renames:
            key = re.sub(pattern, replacement, key)
        if key in state:
            raise ValueError(f"two tensors of the checkpoint are both {key}")
        state[key] = value
    return state


def one_frequency_table(weights: Mapping[str, Tensor]) -> State:
    """Without the second copy of the Fourier frequencies, which must say the same as the first."""
    state = dict(weights)
    copy = state.pop("shared_image_embedding.positional_embedding", None)
    first = state.get("prompt_encoder.shared_embedding.positional_embedding")
    if copy is not None and first is not None and not torch.equal(copy, first):
        raise ValueError("the checkpoint's two copies of the Fourier frequencies differ")
    return state


def joined(state: State) -> State:
    """With the tokens of the mask decoder in one tensor, and so the point embeddings, and each key and value
    projection of the perceiver."""
    tokens = [
        f"mask_decoder.{name}_token{s}.weight" for name, s in (("obj_score", ""), ("iou", ""), ("mask", "s"))
    ]
    points = [f"prompt_encoder.point_embed.{label}" for label in range(CORNERS)]
    state = join(join(state, tokens, "mask_decoder.tokens"), points, "prompt_encoder.point_embed")
    for key in [key for key in state if re.fullmatch(r"perceiver\..+_attn\.k_proj\.weight", key)]:
        value, both = key.replace(".k_proj.", ".v_proj."), key.replace(".k_proj.", ".kv_proj.")
        state = join(state, [key, value], both)
    return state


def join(state: State, keys: list[str], into: str) -> State:
    """With the tensors of these keys one below the other; unchanged where a key is missing."""
    if not all(key in state for key in keys):
        return state
    rest = {key: value for key, value in state.items() if key not in keys}
    return rest | {into: torch.cat([state[key] for key in keys])}


def reshaped(state: State) -> State:
    """With 1 x 1 convolutions of the image encoder as matrices, and embeddings without axes of length 1."""
    return {key: squeezed(key, value) for key, value in state.items()}


def squeezed(key: str, value: Tensor) -> Tensor:
    if key == "no_memory":
        return value.reshape(1, -1)
    flat = key == "frame_times" or re.fullmatch(r"image_encoder\.(lateral|project)_\w+\.weight", key)
    return value.flatten(1) if flat else value
