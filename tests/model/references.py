"""transformers' SAM 2 and EdgeTAM, built to a configuration of ours and given the same random weights."""

from __future__ import annotations

from typing import Any

import torch
from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig
from transformers.models.sam2_video import configuration_sam2_video as sam2_config
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession, Sam2VideoModel

from keepsight.model.checkpoint import convert
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import HieraConfig, RepVitConfig, Sam2Config

from .parity import Pair, randomise, with_single_mask


def pair_of(config: Sam2Config, presence: float = 5.0) -> Pair:
    """The reference and ours for any configuration of the family."""
    return sam2_pair(config, presence) if config.perceiver is None else edgetam_pair(config, presence)


def sam2_pair(config: Sam2Config, presence: float = 5.0) -> Pair:
    reference: Any = Sam2VideoModel(sam2_reference(config))
    return Pair(reference, twin(reference, config, presence), Sam2VideoInferenceSession, torch.bfloat16)


def edgetam_pair(config: Sam2Config, presence: float = 5.0) -> Pair:
    from transformers.models.edgetam_video.modeling_edgetam_video import (
        EdgeTamVideoInferenceSession,
        EdgeTamVideoModel,
    )

    reference: Any = EdgeTamVideoModel(edgetam_reference(config))
    return Pair(reference, twin(reference, config, presence), EdgeTamVideoInferenceSession, torch.float32)


def twin(reference: Any, config: Sam2Config, presence: float) -> Sam2:
    """Ours with the weights that the reference is given here."""
    reference.eval()
    randomise(reference, presence)
    reference._use_mask_as_output = with_single_mask(reference)
    ours = Sam2(config).eval()
    ours.load_state_dict(convert(reference.state_dict()).state)
    return ours


def sam2_reference(config: Sam2Config) -> Any:
    """The configuration in the reference's words."""
    trunk = config.trunk
    assert isinstance(trunk, HieraConfig)
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
    vision = Sam2VisionConfig(backbone_config=backbone, **pyramid(config))
    return sam2_config.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=sam2_config.Sam2VideoPromptEncoderConfig(**prompt_encoder(config)),
        mask_decoder_config=sam2_config.Sam2VideoMaskDecoderConfig(**mask_decoder(config)),
        memory_attention_feed_forward_hidden_size=config.attention_mlp,
        **memory(config),
    )


def edgetam_reference(config: Sam2Config) -> Any:
    from transformers import EdgeTamVideoConfig, EdgeTamVisionConfig, TimmWrapperConfig
    from transformers.models.edgetam_video import configuration_edgetam_video as edgetam_config

    trunk, perceiver = config.trunk, config.perceiver
    assert isinstance(trunk, RepVitConfig)
    assert perceiver is not None
    levels = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    sizes = {"embed_dim": list(trunk.widths), "depth": list(trunk.depths)}
    backbone = TimmWrapperConfig(architecture="repvit_m1", model_args=levels | sizes)
    return EdgeTamVideoConfig(
        vision_config=EdgeTamVisionConfig(backbone_config=backbone, **pyramid(config)),
        prompt_encoder_config=edgetam_config.EdgeTamVideoPromptEncoderConfig(**prompt_encoder(config)),
        mask_decoder_config=edgetam_config.EdgeTamVideoMaskDecoderConfig(**mask_decoder(config)),
        memory_attention_mlp_hidden_size=config.attention_mlp,
        memory_attention_rope_k_sizes=list(config.placed_grid),
        perceiver_resampler_num_latents=perceiver.side**2,
        perceiver_resampler_num_latents_2d=perceiver.side**2,
        perceiver_resampler_num_layers=perceiver.depth,
        **memory(config),
    )


def pyramid(config: Sam2Config) -> dict[str, Any]:
    grid, mask = config.grid[0], config.mask_size[0]
    return {
        "backbone_channel_list": list(reversed(config.trunk.widths)),
        "backbone_feature_sizes": [[mask] * 2, [mask // 2] * 2, [grid] * 2],
        "fpn_hidden_size": config.dim,
    }


def prompt_encoder(config: Sam2Config) -> dict[str, Any]:
    return {"hidden_size": config.dim, "image_size": config.image_size}


def mask_decoder(config: Sam2Config) -> dict[str, Any]:
    return {
        "hidden_size": config.dim,
        "mlp_dim": config.decoder_mlp,
        "num_attention_heads": config.decoder_heads,
        "iou_head_hidden_dim": config.dim,
    }


def memory(config: Sam2Config) -> dict[str, Any]:
    return {
        "image_size": config.image_size,
        "num_maskmem": config.layout.recent + 1,
        "memory_attention_hidden_size": config.dim,
        "memory_attention_num_layers": config.attention_depth,
        "memory_attention_rope_feat_sizes": list(config.grid),
        "memory_encoder_hidden_size": config.dim,
        "memory_encoder_output_channels": config.memory_dim,
        "mask_downsampler_embed_dim": config.dim,
        "memory_fuser_embed_dim": config.dim,
        "memory_fuser_intermediate_dim": 4 * config.dim,
        "memory_fuser_num_layers": config.fuser_depth,
        "enable_temporal_pos_encoding_for_object_pointers": config.pointer_time,
        "enable_occlusion_spatial_embedding": config.occlusion_embedding,
    }
