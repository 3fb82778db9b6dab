"""Which weights of a network are trained: all of them, or some of its parts."""

from __future__ import annotations

from typing import Literal, get_args

from torch import nn

Part = Literal["image", "prompts", "decoder", "memory"]

HOMES: dict[str, Part] = {
    "image_encoder": "image",
    "prompt_encoder": "prompts",
    "mask_as_logits": "prompts",
    "decoder": "decoder",
    "mask_decoder": "decoder",
}
"""The part that a network's child belongs to; all others have to do with the memory."""


def part_of(name: str) -> Part:
    """The part of the weight called `name`."""
    return HOMES.get(name.split(".")[0], "memory")


def train_only(network: nn.Module, parts: tuple[Part, ...], *, keep_norms: bool) -> None:
    """Let only the weights of some `parts` learn, all where none is named.

    The norms of the others do not follow the batch, nor, with `keep_norms`, any: what a few pictures look
    like says little of the world.
    """
    chosen = parts or get_args(Part)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(part_of(name) in chosen)
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and (keep_norms or part_of(name) not in chosen):
            module.eval()
