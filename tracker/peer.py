"""The same weights in another implementation, on the same frames in the same run: what our speed is worth.

The peer is the SAM 2 of Hugging Face transformers, an optional package. The two take turns frame by frame, so
that whatever else the machine does slows both alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from keepsight.model.checkpoint import convert
from keepsight.model.memory import empty, write_conditioning, write_recent
from keepsight.model.models import ModelConfig
from keepsight.model.sam2 import Sam2
from keepsight.model.sam2_config import HieraConfig, Sam2Config
from keepsight.model.video_predictor import Prompts
from keepsight.streams.wording import unknown

from .validation import ConfigError

PEERS = ("transformers",)
PEERS_MEMORY = 64
"""Channels of remembered features: the peer's attention takes no other number."""
PRESENT = 5.0
"""The object score that random weights are made to give, about: absent objects would be less work."""

Track = Callable[[Tensor], object]
"""Tracks all objects into the next frame (1, 3, H, W), RGB in [0, 1]; the first one prompts them."""


@dataclass(frozen=True, slots=True)
class Race:
    """Seconds a frame of both with `objects` objects and a full memory, frame by frame."""

    objects: int
    ours: tuple[float, ...]
    peers: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """How many times faster ours is: the median over the frames of one's time by the other's."""
        return median(peer / own for own, peer in zip(self.ours, self.peers, strict=True))


def check_peer(peer: str, name: str, config: ModelConfig) -> Sam2Config:
    """The configuration, where the peer has this network as well. Raises ConfigError."""
    if peer not in PEERS:
        raise ConfigError(f"--peer: {unknown(peer, 'peer', PEERS)}")
    hiera = isinstance(config, Sam2Config) and isinstance(config.trunk, HieraConfig)
    if not isinstance(config, Sam2Config) or not hiera or config.memory_dim != PEERS_MEMORY:
        raise ConfigError(f"--peer {peer}: it has no {name}; give --model sam2.1-tiny, for example")
    return config


def races(config: Sam2Config, objects: list[int], frames: int, device: torch.device) -> Iterator[Race]:
    """Both on random weights, float32. Raises ConfigError where transformers is not installed."""
    reference, network = pair(config, device)
    for count in objects:
        yield race(
            track_with_peer(reference, config, count), track_with_ours(network, count), config, frames, count
        )


def race(peer: Track, own: Track, config: Sam2Config, frames: int, objects: int) -> Race:
    """`frames` frames each, after those that fill the memory."""
    warm_up = config.layout.recent + 1
    times: list[tuple[float, float]] = []
    for index, frame in enumerate(drifting(config.image_size, warm_up + frames)):
        took = seconds(own, frame), seconds(peer, frame)
        if index >= warm_up:
            times.append(took)
    ours, theirs = zip(*times, strict=True)
    return Race(objects, ours, theirs)


@torch.inference_mode()
def seconds(track: Track, frame: Tensor) -> float:
    started = perf_counter()
    track(frame)
    if frame.is_cuda or torch.cuda.is_available():
        torch.cuda.synchronize()
    return perf_counter() - started


def drifting(side: int, frames: int) -> Iterator[Tensor]:
    """Frames (1, 3, side, side) of blurred noise that moves to the right."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(1, 3, side // 8, side // 8 + frames, generator=generator)
    wide = torch.nn.functional.interpolate(noise, scale_factor=8.0, mode="bilinear")
    for t in range(frames):
        yield wide[:, :, :, 8 * t : 8 * t + side].contiguous()


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


def boxes(objects: int) -> Tensor:
    """(N, 2, 2): upper left and lower right corners in [0, 1], one beside the other."""
    left = torch.arange(objects) / objects
    corners = torch.stack(
        (left, torch.full_like(left, 0.2), left + 1 / objects, torch.full_like(left, 0.8)), 1
    )
    return corners.view(objects, 2, 2)


def track_with_peer(model: Any, config: Sam2Config, objects: int) -> Track:
    from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

    side, device = config.image_size, next(model.parameters()).device
    session = Sam2VideoInferenceSession(
        video_height=side, video_width=side, inference_device=device, dtype=torch.float32
    )
    for row, corners in enumerate(boxes(objects)):
        index = session.obj_id_to_idx(row + 1)
        prompt = {
            "point_coords": corners[None, None] * side,
            "point_labels": torch.tensor([[[2, 3]]], dtype=torch.int32),
        }
        session.add_point_inputs(index, 0, prompt)
        session.obj_with_new_inputs.append(row + 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))

    def track(frame: Tensor) -> object:
        return model(session, frame=((frame[0] - mean) / std).to(device))

    return track


def track_with_ours(model: Sam2, objects: int) -> Track:
    device = model.frame_times.device
    everyone, image_of = (
        torch.arange(objects, device=device),
        torch.zeros(objects, dtype=torch.int64, device=device),
    )
    side = model.config.image_size
    memory = empty(objects, model.layout, model.memory_shape((side, side)), model.frame_times)
    index = 0
    shown = Prompts(
        boxes(objects).to(device),
        torch.tensor([[2, 3]], device=device).expand(objects, 2),
        torch.zeros(objects, side, side, device=device),
        torch.zeros(objects, dtype=torch.bool, device=device),
    )

    def track(frame: Tensor) -> object:
        nonlocal index
        features = model.encode_image(frame.to(device))
        if index == 0:
            found = model.condition(features, image_of, index, memory, shown)
            entry = model.remember(features, image_of, found, image_of == 0)
            write_conditioning(memory, model.layout, everyone, index, entry)
        else:
            found = model.propagate(features, image_of, index, memory, None)
            entry = model.remember(features, image_of, found, image_of != 0)
            write_recent(memory, model.layout, everyone, index, entry)
        index += 1
        return found

    return track
