"""The mask decoder (Segment Anything, section 3; SAM 2, section 4): candidate masks and how good each is."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .layers import MLP, LayerNorm2d
from .prompt_encoder import PromptTokens
from .sam2_config import Sam2Config
from .stability import stability
from .two_way import TwoWayTransformer

CANDIDATES = 4
"""The first is for prompts that leave no doubt; the rest are whole, part and subpart of an ambiguous one."""
STABILITY_MARGIN = 0.05
STABLE = 0.98


class Candidates(NamedTuple):
    """masks: (N, K, H/4, W/4) logits; iou: (N, K) predicted, in [0, 1]; tokens: (N, K, D); presence: (N,)
    logit."""

    masks: Tensor
    iou: Tensor
    tokens: Tensor
    presence: Tensor


class Choice(NamedTuple):
    """One candidate per object: logits (N, H/4, W/4); iou (N,); token (N, D)."""

    logits: Tensor
    iou: Tensor
    token: Tensor


class MaskDecoder(nn.Module):
    """Decodes N objects at once from the image features of each and its prompts."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim = config.dim
        self.tokens = nn.Parameter(torch.randn(2 + CANDIDATES, dim))
        self.transformer = TwoWayTransformer(config)
        self.upscale_middle = nn.ConvTranspose2d(dim, dim // 4, kernel_size=2, stride=2)
        self.upscale_norm = LayerNorm2d(dim // 4)
        self.upscale_fine = nn.ConvTranspose2d(dim // 4, dim // 8, kernel_size=2, stride=2)
        self.mask_heads = nn.ModuleList(MLP(dim, dim, dim, dim // 8) for _ in range(CANDIDATES))
        self.iou_head = MLP(dim, dim, dim, CANDIDATES)
        self.presence_head = MLP(dim, dim, dim, 1)
        assume_present(self.presence_head)

    def forward(
        self, image: Tensor, positions: Tensor, prompts: PromptTokens, finest: Tensor, fine: Tensor
    ) -> Candidates:
        """image: (N, D, h, w), mask prompts added; positions: (1, D, h, w); finest: (N, D/8, 4h, 4w);
        fine: (N, D/4, 2h, 2w)."""
        tokens = torch.cat([self.tokens.expand(len(image), -1, -1), prompts.tokens], dim=1)
        keep = None if prompts.keep is None else F.pad(prompts.keep, (len(self.tokens), 0), value=True)
        tokens, cells = self.transformer(tokens, as_tokens(image), as_tokens(positions), keep)
        presence, iou, masks = torch.split(tokens[:, : len(self.tokens)], [1, 1, CANDIDATES], dim=1)
        pixels = self.upscale(cells.transpose(1, 2).reshape(image.shape), finest, fine)
        weights = torch.stack([head(masks[:, k]) for k, head in enumerate(self.mask_heads)], dim=1)
        return Candidates(
            masks=torch.einsum("nkc,nchw->nkhw", weights, pixels),
            iou=self.iou_head(iou[:, 0]).sigmoid(),
            tokens=masks,
            presence=self.presence_head(presence[:, 0])[:, 0],
        )

    def upscale(self, image: Tensor, finest: Tensor, fine: Tensor) -> Tensor:
        """(N, D, h, w) -> (N, D/8, 4h, 4w), mixing in the finer features of the image encoder."""
        middle = F.gelu(self.upscale_norm(self.upscale_middle(image) + fine))
        return F.gelu(self.upscale_fine(middle) + finest)


def assume_present(head: MLP) -> None:
    """An untrained network takes every object to be there."""
    last = head.layers[-1]
    assert isinstance(last, nn.Linear)
    nn.init.ones_(last.bias)


def as_tokens(x: Tensor) -> Tensor:
    """(N, D, h, w) -> (N, h * w, D)."""
    return x.flatten(2).transpose(1, 2)


def choose(candidates: Candidates, ambiguous: Tensor) -> Choice:
    """The candidate to believe. `ambiguous` (N,) bool: prompts that several objects answer to, a click or
    none. These take the best of the candidates made for that. The others take the first candidate; where its
    outline is unsure they take the mask of the best of the rest, but keep the first one's token.
    """
    best = 1 + candidates.iou[:, 1:].argmax(dim=1)
    first = torch.zeros_like(best)
    sure = stability(candidates.masks[:, 0], STABILITY_MARGIN, empty=1.0) >= STABLE
    mask = torch.where(ambiguous | ~sure, best, first)
    token = torch.where(ambiguous, best, first)
    row = torch.arange(len(best), device=best.device)
    return Choice(candidates.masks[row, mask], candidates.iou[row, mask], candidates.tokens[row, token])
