"""The two-way transformer of the mask decoder: tokens read the image, and the image reads the tokens.

Kirillov et al. 2023, "Segment anything", appendix A.
"""

from __future__ import annotations

from torch import Tensor, nn

from .attention import Attention
from .layers import MLP
from .sam2_config import Sam2Config


class TwoWayTransformer(nn.Module):
    """Tokens (N, T, D) and an image (N, L, D), each with what says where it is, of its shape (or N = 1)."""

    def __init__(self, config: Sam2Config) -> None:
        super().__init__()
        dim, heads = config.dim, config.decoder_heads
        self.layers = nn.ModuleList(
            TwoWayBlock(dim, heads, config.decoder_mlp, first=index == 0)
            for index in range(config.decoder_depth)
        )
        self.final_attn_token_to_image = Attention(dim, dim // 2, heads)
        self.norm_final_attn = nn.LayerNorm(dim)

    def forward(
        self, tokens: Tensor, image: Tensor, positions: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """keep: (N, T) bool hides tokens, None none. Returns both streams, of the shapes they came in."""
        places = tokens
        for layer in self.layers:
            tokens, image = layer(tokens, image, places, positions, keep)
        tokens = tokens + self.final_attn_token_to_image(tokens + places, image + positions, image)
        return self.norm_final_attn(tokens), image


class TwoWayBlock(nn.Module):
    """Tokens attend to each other, then to the image, think, and then the image attends to them."""

    def __init__(self, dim: int, heads: int, mlp: int, *, first: bool) -> None:
        super().__init__()
        self.first = first
        self.self_attn = Attention(dim, dim, heads)
        self.norm1 = nn.LayerNorm(dim)
        self.cross_attn_token_to_image = Attention(dim, dim // 2, heads)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = MLP(dim, mlp, dim)
        self.norm3 = nn.LayerNorm(dim)
        self.norm4 = nn.LayerNorm(dim)
        self.cross_attn_image_to_token = Attention(dim, dim // 2, heads)

    def forward(
        self, tokens: Tensor, image: Tensor, places: Tensor, positions: Tensor, keep: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        tokens = self.norm1(self.talk(tokens, places, keep))
        placed_image = image + positions
        read = self.cross_attn_token_to_image(tokens + places, placed_image, image)
        tokens = self.norm2(tokens + read)
        tokens = self.norm3(tokens + self.mlp(tokens))
        written = self.cross_attn_image_to_token(placed_image, tokens + places, tokens, keep)
        return tokens, self.norm4(image + written)

    def talk(self, tokens: Tensor, places: Tensor, keep: Tensor | None) -> Tensor:
        """Self-attention of the tokens. In the first block they are their places; nothing is added back."""
        if self.first:
            places_only: Tensor = self.self_attn(tokens, tokens, tokens, keep)
            return places_only
        placed = tokens + places
        out: Tensor = tokens + self.self_attn(placed, placed, tokens, keep)
        return out
