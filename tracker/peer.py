"""The SAM 2 of Hugging Face transformers, an optional package, with the weights of ours."""

from __future__ import annotations

from typing import Any

import torch

from keepsight.model.checkpoint import convert
from keepsight.model.models import ModelConfig
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import HieraConfig, Sam2Config
from keepsight.streams.wording import unknown

from .validation import ConfigError

PEERS = ("transformers",)
PEERS_MEMORY = 64
"""Channels of remembered features: the peer's attention takes no other number."""
PRESENT = 5.0
"""The object score that random weights are made to give, about: absent objects would be less work."""


def check_peer(peer: str, name: str, config: ModelConfig) -> Sam2Config:
    """The configuration, where the peer has this network as well. Raises ConfigError."""
    if peer not in PEERS:
        raise ConfigError(f"--peer: {unknown(peer, 'peer', PEERS)}")
    hiera = isinstance(config, Sam2Config) and isinstance(config.trunk, HieraConfig)
    if not isinstance(config, Sam2Config) or not hiera or config.memory_dim != PEERS_MEMORY:
        raise ConfigError(f"--peer {peer}: it has no {name}; give --model sam2.1-tiny, for example")
    return config


def pair(config: Sam2Config, device: torch.device) -> tuple[Any, Sam2]:
    """The peer and our network with the same random weights."""
    try:
        from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoModel
    except ImportError:
        raise ConfigError("--peer transformers: not installed: pip install transformers") from None
    torch.manual_seed(0)
    reference: Any = Sam2VideoModel(peer_config(config))
    reference.eval()
    tables = reference.prompt_encoder.shared_embedding, reference.shared_image_embedding
    tables[1].positional_embedding = tables[0].positional_embedding
    reference.mask_decoder.pred_obj_score_head.proj_out.bias.data.fill_(PRESENT)
    network = Sam2(config).eval()
    network.load_state_dict(convert(reference.state_dict()).state)
    return reference.requires_grad_(False).to(device), network.requires_grad_(False).to(device)


def peer_config(config: Sam2Config) -> Any:
    """Our sizes in transformers' words."""
    from transformers.models.sam2_video import configuration_sam2_video as peer

    return peer.Sam2VideoConfig(
        vision_config=peer_vision(config),
        prompt_encoder_config=peer.Sam2VideoPromptEncoderConfig(**prompt_encoder_sizes(config)),
        mask_decoder_config=peer.Sam2VideoMaskDecoderConfig(**mask_decoder_sizes(config)),
        memory_attention_feed_forward_hidden_size=config.attention_mlp,
        **memory_sizes(config),
    )


def peer_vision(config: Sam2Config) -> Any:
    """The image encoder's sizes in transformers' words."""
    from transformers.models.sam2.configuration_sam2 import Sam2HieraDetConfig, Sam2VisionConfig

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
    return Sam2VisionConfig(backbone_config=backbone, **pyramid_sizes(config))


def pyramid_sizes(config: Sam2Config) -> dict[str, Any]:
    """What transformers' image encoders have in common, whatever the trunk."""
    grid, mask = config.grid[0], config.mask_size[0]
    return {
        "backbone_channel_list": list(reversed(config.trunk.widths)),
        "backbone_feature_sizes": [[mask] * 2, [mask // 2] * 2, [grid] * 2],
        "fpn_hidden_size": config.dim,
    }


def prompt_encoder_sizes(config: Sam2Config) -> dict[str, Any]:
    return {"hidden_size": config.dim, "image_size": config.image_size}


def mask_decoder_sizes(config: Sam2Config) -> dict[str, Any]:
    return {
        "hidden_size": config.dim,
        "mlp_dim": config.decoder_mlp,
        "num_attention_heads": config.decoder_heads,
        "iou_head_hidden_dim": config.dim,
    }


def memory_sizes(config: Sam2Config) -> dict[str, Any]:
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
