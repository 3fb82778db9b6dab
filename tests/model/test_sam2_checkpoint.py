"""Official and Hugging Face checkpoints load strictly: every key is used and none is missing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from keepsight.model.checkpoint import State, convert, name_of
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import SAM2_1_TINY

Shapes = dict[str, tuple[int, ...]]


def tiny_shapes() -> dict[str, torch.Size]:
    with torch.device("meta"):
        return {key: value.shape for key, value in Sam2(SAM2_1_TINY).state_dict().items()}


def linear(name: str, inputs: int, outputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def convolution(name: str, inputs: int, outputs: int, side: int = 1) -> Shapes:
    return {f"{name}.weight": (outputs, inputs, side, side), f"{name}.bias": (outputs,)}


def norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def mlp(name: str, *widths: int) -> Shapes:
    layers = enumerate(pairwise(widths))
    return {k: v for i, (a, b) in layers for k, v in linear(f"{name}.layers.{i}", a, b).items()}


def attention(name: str, inner: int, keys: int = 256) -> Shapes:
    q, out = linear(f"{name}.q_proj", 256, inner), linear(f"{name}.out_proj", inner, 256)
    return q | linear(f"{name}.k_proj", keys, inner) | linear(f"{name}.v_proj", keys, inner) | out


def official_image_encoder() -> Shapes:
    trunk = "image_encoder.trunk"
    keys: Shapes = {f"{trunk}.pos_embed": (1, 96, 7, 7), f"{trunk}.pos_embed_window": (1, 96, 8, 8)}
    keys |= convolution(f"{trunk}.patch_embed.proj", 3, 96, 7)
    widths = [96] + 2 * [192] + 7 * [384] + 2 * [768]
    for i, (before, width) in enumerate(zip([96, *widths], widths, strict=False)):
        block = f"{trunk}.blocks.{i}"
        keys |= norm(f"{block}.norm1", before) | norm(f"{block}.norm2", width)
        keys |= linear(f"{block}.attn.qkv", before, 3 * width) | linear(f"{block}.attn.proj", width, width)
        keys |= mlp(f"{block}.mlp", width, 4 * width, width)
        keys |= linear(f"{block}.proj", before, width) if before != width else {}
    for i, width in enumerate((768, 384, 192, 96)):
        keys |= convolution(f"image_encoder.neck.convs.{i}.conv", width, 256)
    return keys


def official_prompt_encoder() -> Shapes:
    name = "sam_prompt_encoder"
    keys: Shapes = {f"{name}.pe_layer.positional_encoding_gaussian_matrix": (2, 128)}
    keys |= {f"{name}.point_embeddings.{i}.weight": (1, 256) for i in range(4)}
    keys |= {f"{name}.{only}.weight": (1, 256) for only in ("not_a_point_embed", "no_mask_embed")}
    keys |= convolution(f"{name}.mask_downscaling.0", 1, 4, 2) | norm(f"{name}.mask_downscaling.1", 4)
    keys |= convolution(f"{name}.mask_downscaling.3", 4, 16, 2) | norm(f"{name}.mask_downscaling.4", 16)
    return keys | convolution(f"{name}.mask_downscaling.6", 16, 256)


def official_mask_decoder() -> Shapes:
    name, two_way = "sam_mask_decoder", "sam_mask_decoder.transformer"
    keys: Shapes = {f"{name}.mask_tokens.weight": (4, 256)}
    keys |= {f"{name}.{token}_token.weight": (1, 256) for token in ("iou", "obj_score")}
    for layer in (f"{two_way}.layers.{i}" for i in range(2)):
        keys |= attention(f"{layer}.self_attn", 256) | mlp(f"{layer}.mlp", 256, 2048, 256)
        keys |= attention(f"{layer}.cross_attn_token_to_image", 128)
        keys |= attention(f"{layer}.cross_attn_image_to_token", 128)
        for i in range(1, 5):
            keys |= norm(f"{layer}.norm{i}", 256)
    keys |= attention(f"{two_way}.final_attn_token_to_image", 128) | norm(f"{two_way}.norm_final_attn", 256)
    for i in range(4):
        keys |= mlp(f"{name}.output_hypernetworks_mlps.{i}", 256, 256, 256, 32)
    keys |= mlp(f"{name}.iou_prediction_head", 256, 256, 256, 4)
    keys |= mlp(f"{name}.pred_obj_score_head", 256, 256, 256, 1)
    keys |= convolution(f"{name}.conv_s0", 256, 32) | convolution(f"{name}.conv_s1", 256, 64)
    up = f"{name}.output_upscaling"
    keys |= {f"{up}.0.weight": (256, 64, 2, 2), f"{up}.0.bias": (64,), f"{up}.3.weight": (64, 32, 2, 2)}
    return keys | {f"{up}.3.bias": (32,)} | norm(f"{up}.1", 64)


def official_memory() -> Shapes:
    keys: Shapes = {}
    for i, width in enumerate((4, 16, 64, 256)):
        down = "memory_encoder.mask_downsampler.encoder"
        keys |= convolution(f"{down}.{3 * i}", width // 4, width, 3) | norm(f"{down}.{3 * i + 1}", width)
    keys |= convolution("memory_encoder.mask_downsampler.encoder.12", 256, 256)
    keys |= convolution("memory_encoder.pix_feat_proj", 256, 256)
    keys |= convolution("memory_encoder.out_proj", 256, 64)
    for block in (f"memory_encoder.fuser.layers.{i}" for i in range(2)):
        keys |= convolution(f"{block}.dwconv", 1, 256, 7) | norm(f"{block}.norm", 256)
        keys |= linear(f"{block}.pwconv1", 256, 1024) | linear(f"{block}.pwconv2", 1024, 256)
        keys |= {f"{block}.gamma": (256,)}
    for layer in (f"memory_attention.layers.{i}" for i in range(4)):
        keys |= attention(f"{layer}.self_attn", 256) | attention(f"{layer}.cross_attn_image", 256, keys=64)
        keys |= linear(f"{layer}.linear1", 256, 2048) | linear(f"{layer}.linear2", 2048, 256)
        for i in range(1, 4):
            keys |= norm(f"{layer}.norm{i}", 256)
    return keys | norm("memory_attention.norm", 256)


def official_tiny() -> State:
    """The keys and shapes of the official SAM 2.1 tiny checkpoint, without numbers."""
    keys: Shapes = {
        "maskmem_tpos_enc": (7, 1, 1, 64),
        "no_mem_embed": (1, 1, 256),
        "no_mem_pos_enc": (1, 1, 256),
        "no_obj_ptr": (1, 256),
        "no_obj_embed_spatial": (1, 64),
    }
    keys |= official_image_encoder() | official_prompt_encoder() | official_mask_decoder() | official_memory()
    keys |= mlp("obj_ptr_proj", 256, 256, 256, 256) | linear("obj_ptr_tpos_proj", 256, 64)
    keys |= convolution("mask_downsample", 1, 1, 4)
    return {key: torch.empty(shape, device="meta") for key, shape in keys.items()}


def test_an_official_checkpoint_fits_without_a_key_too_few_or_too_many() -> None:
    converted = convert(official_tiny())
    assert {key: value.shape for key, value in converted.state.items()} == tiny_shapes()
    assert name_of(converted) == "sam2.1-tiny"


def test_a_hugging_face_checkpoint_fits_without_a_key_too_few_or_too_many() -> None:
    transformers = pytest.importorskip("transformers", reason="transformers names its own keys")
    with torch.device("meta"):
        weights = transformers.Sam2VideoModel(transformers.Sam2VideoConfig()).state_dict()
    for copy in ("shared_image_embedding", "prompt_encoder.shared_embedding"):
        weights[f"{copy}.positional_embedding"] = torch.zeros(2, 128)
    converted = convert(weights)
    assert {key: value.shape for key, value in converted.state.items()} == tiny_shapes()
    assert name_of(converted) == "sam2.1-tiny"


def test_a_version_2_checkpoint_is_told_by_what_it_lacks() -> None:
    newer = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias")
    weights = {key: value for key, value in official_tiny().items() if key not in newer}
    assert name_of(convert(weights)) == "sam2-tiny"


def test_tensors_that_are_joined_keep_their_order() -> None:
    weights = official_tiny()
    for label in range(4):
        weights[f"sam_prompt_encoder.point_embeddings.{label}.weight"] = torch.full((1, 256), float(label))
    weights["sam_mask_decoder.obj_score_token.weight"] = torch.full((1, 256), 0.0)
    weights["sam_mask_decoder.iou_token.weight"] = torch.full((1, 256), 1.0)
    weights["sam_mask_decoder.mask_tokens.weight"] = torch.arange(2.0, 6.0)[:, None].expand(4, 256)
    state = convert(weights).state
    assert state["prompt_encoder.point_embed"][:, 0].tolist() == [0, 1, 2, 3]
    assert state["mask_decoder.tokens"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]


def test_the_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not the weights of a SAM 2 network: their keys are conv\.weight"):
        convert({"conv.weight": torch.zeros(1)})


def test_a_checkpoint_whose_two_frequency_tables_differ_is_refused() -> None:
    weights = {
        "vision_encoder.backbone.pos_embed": torch.zeros(1),
        "shared_image_embedding.positional_embedding": torch.zeros(2, 4),
        "prompt_encoder.shared_embedding.positional_embedding": torch.ones(2, 4),
    }
    with pytest.raises(ValueError, match="frequencies differ"):
        convert(weights)


def test_a_size_that_was_never_published_has_no_name() -> None:
    weights = {key: value for key, value in official_tiny().items() if ".blocks.11." not in key}
    with pytest.raises(
        ValueError, match=r"no published sam2\.1 has an image trunk of width 96 and 11 blocks"
    ):
        name_of(convert(weights))
