"""transformers' SAM 2 and EdgeTAM, built to a configuration of ours and given the same random weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession, Sam2VideoModel

from keepsight.model.checkpoint import convert
from keepsight.model.memory import MemoryLayout
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import HieraConfig, PerceiverConfig, RepVitConfig, Sam2Config
from keepsight.tracker.peer import (
    mask_decoder_sizes,
    memory_sizes,
    peer_config,
    peer_vision,
    prompt_encoder_sizes,
    pyramid_sizes,
)

from .parity import SIZE, Pair, randomise, with_single_mask

SAM2 = Sam2Config(
    trunk=HieraConfig(
        width=16, heads=1, depths=(1, 2, 3, 1), windows=(8, 4, 6, 3), global_blocks=(4, 5), background=4
    ),
    layout=MemoryLayout(conditioning=4, recent=6, pointers=4 + 15),
    image_size=SIZE,
    dim=128,
    decoder_mlp=256,
    attention_depth=2,
    attention_mlp=256,
)
"""A reduced SAM 2.1."""
LARGE = replace(
    SAM2,
    trunk=HieraConfig(
        width=16, heads=2, depths=(1, 2, 5, 2), windows=(8, 4, 8, 4), global_blocks=(4, 6), background=7
    ),
)
"""Two heads, windows that fit the map, and two blocks at the coarsest stage, as in large."""
EDGETAM = replace(
    SAM2,
    trunk=RepVitConfig(widths=(16, 32, 48, 64), depths=(1, 2, 3, 1)),
    pointer_time=False,
    occlusion_embedding=False,
    perceiver=PerceiverConfig(side=4),
)
"""A reduced EdgeTAM."""


def pair_of(config: Sam2Config, presence: float = 5.0) -> Pair:
    """The reference and ours for any configuration of the family."""
    return sam2_pair(config, presence) if config.perceiver is None else edgetam_pair(config, presence)


def sam2_pair(config: Sam2Config, presence: float = 5.0) -> Pair:
    reference: Any = Sam2VideoModel(peer_config(config))
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


def edgetam_reference(config: Sam2Config) -> Any:
    from transformers import EdgeTamVideoConfig
    from transformers.models.edgetam_video import configuration_edgetam_video as edgetam_config

    perceiver = config.perceiver
    assert perceiver is not None
    return EdgeTamVideoConfig(
        vision_config=edgetam_vision(config),
        prompt_encoder_config=edgetam_config.EdgeTamVideoPromptEncoderConfig(**prompt_encoder_sizes(config)),
        mask_decoder_config=edgetam_config.EdgeTamVideoMaskDecoderConfig(**mask_decoder_sizes(config)),
        memory_attention_mlp_hidden_size=config.attention_mlp,
        memory_attention_rope_k_sizes=list(config.placed_grid),
        perceiver_resampler_num_latents=perceiver.side**2,
        perceiver_resampler_num_latents_2d=perceiver.side**2,
        perceiver_resampler_num_layers=perceiver.depth,
        **memory_sizes(config),
    )


def edgetam_vision(config: Sam2Config) -> Any:
    from transformers import EdgeTamVisionConfig, TimmWrapperConfig

    trunk = config.trunk
    assert isinstance(trunk, RepVitConfig)
    levels = {"in_chans": 3, "features_only": True, "out_indices": [0, 1, 2, 3]}
    sizes = {"embed_dim": list(trunk.widths), "depth": list(trunk.depths)}
    backbone = TimmWrapperConfig(architecture="repvit_m1", model_args=levels | sizes)
    return EdgeTamVisionConfig(backbone_config=backbone, **pyramid_sizes(config))


def image_reference(config: Sam2Config, presence: float = 5.0) -> Any:
    """The reference for still images, with weights that make every part matter."""
    model: Any = sam2_images(config) if config.perceiver is None else edgetam_images(config)
    randomise(model, presence)
    return model.eval()


def sam2_images(config: Sam2Config) -> Any:
    from transformers.models.sam2 import configuration_sam2 as sizes
    from transformers.models.sam2.modeling_sam2 import Sam2Model

    return Sam2Model(
        sizes.Sam2Config(
            vision_config=peer_vision(config),
            prompt_encoder_config=sizes.Sam2PromptEncoderConfig(**prompt_encoder_sizes(config)),
            mask_decoder_config=sizes.Sam2MaskDecoderConfig(**mask_decoder_sizes(config)),
        )
    )


def edgetam_images(config: Sam2Config) -> Any:
    from transformers.models.edgetam import configuration_edgetam as sizes
    from transformers.models.edgetam.modeling_edgetam import EdgeTamModel

    return EdgeTamModel(
        sizes.EdgeTamConfig(
            vision_config=edgetam_vision(config),
            prompt_encoder_config=sizes.EdgeTamPromptEncoderConfig(**prompt_encoder_sizes(config)),
            mask_decoder_config=sizes.EdgeTamMaskDecoderConfig(**mask_decoder_sizes(config)),
        )
    )
