"""timm and torchvision, which only transformers' EdgeTAM needs, kept apart from the other packages.

transformers imports torchvision wherever it finds it, and torchvision expects operators from its CUDA build.
So that nothing else comes to depend on this, `make dev` puts the two into a folder that only tests open.
"""

from __future__ import annotations

import sys
from pathlib import Path

FOLDER = Path(sys.prefix) / "oracle"


def open_oracle() -> None:
    """Make both importable, where they are installed. To be called before transformers is imported."""
    if FOLDER.is_dir() and str(FOLDER) not in sys.path:
        sys.path.append(str(FOLDER))
        declare_operators()


def declare_operators() -> None:
    """Let torchvision be imported beside torch's CPU build; none of its operators is ever called."""
    import torch

    if torch.version.cuda is None:
        library = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor boxes, Tensor scores, float threshold) -> Tensor")
        KEPT.append(library)


KEPT: list[object] = []
"""What is declared lasts as long as its library."""
