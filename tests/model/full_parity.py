"""Parity at full size, by hand: `python -m tests.model.full_parity sam2.1-tiny CLIP [--frames N] [--size N]`.

The same random weights in transformers and in ours follow a point, a box, a mask, and three objects together
through the first frames of a video. Ends with 1 where a mask's IoU is below 0.999 or a logit differs by more
than 0.01.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from tests.oracle import open_oracle

open_oracle()

import av  # noqa: E402
import torch  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from keepsight.model.models import MODELS  # noqa: E402
from keepsight.model.sam2_config import Sam2Config  # noqa: E402
from tests.model.parity import (  # noqa: E402
    BOX,
    LEAST_IOU,
    POINT,
    Pair,
    Shown,
    disc,
    mask_iou,
    relative_error,
    together,
    track_with_ours,
    track_with_reference,
)
from tests.model.references import pair_of  # noqa: E402

LARGEST_DIFFERENCE = 1e-2


class Difference(NamedTuple):
    """Over all frames and objects: the least mask IoU, the largest difference of a logit, the mean
    one relative to the logits' mean size, and the share of the frame that the reference's masks cover."""

    iou: float
    largest: float
    relative: float
    covered: float


def main(arguments: Sequence[str] | None = None) -> int:
    given = parser().parse_args(arguments)
    config = MODELS[given.model]
    assert isinstance(config, Sam2Config)
    config = replace(config, image_size=given.size or config.image_size)
    frames = read(given.clip, given.frames, config.image_size)
    console = Console()
    console.print(f"{given.model}, {len(frames)} frames at {config.image_size}², float32, random weights")
    both = pair_of(config)
    found = {name: compare(both, frames, shown) for name, shown in cases(config).items()}
    console.print(table(found))
    good = all(d.iou >= LEAST_IOU and d.largest <= LARGEST_DIFFERENCE for d in found.values())
    return 0 if good else 1


def parser() -> argparse.ArgumentParser:
    known = [name for name, config in MODELS.items() if isinstance(config, Sam2Config)]
    made = argparse.ArgumentParser(prog="python -m tests.model.full_parity")
    made.add_argument("model", choices=known)
    made.add_argument("clip", type=Path)
    made.add_argument("--frames", type=int, default=20)
    made.add_argument("--size", type=int, help="side of the input in pixels; the published one by default")
    return made


def cases(config: Sam2Config) -> dict[str, list[Shown]]:
    """The prompts to compare."""
    size = config.image_size
    mask = Shown(mask=disc(size))
    return {"point": [POINT], "box": [BOX], "mask": [mask], "together": together(config, size)}


def read(clip: Path, frames: int, size: int) -> Tensor:
    """(frames, 3, size, size) in [0, 1]."""
    images: list[Tensor] = []
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            picture = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None] / 255
            images.append(F.interpolate(picture, size=(size, size), mode="bilinear", antialias=True)[0])
            if len(images) == frames:
                break
    return torch.stack(images)


@torch.inference_mode()
def compare(both: Pair, frames: Tensor, shown: list[Shown]) -> Difference:
    expected = torch.stack([seen.logits for seen in track_with_reference(both, frames, shown)])
    found = torch.stack([prediction.logits for prediction in track_with_ours(both, frames, shown)])
    return Difference(
        iou=float(mask_iou(found > 0, expected > 0).min()),
        largest=float((found - expected).abs().max()),
        relative=relative_error(found, expected),
        covered=float((expected > 0).float().mean()),
    )


def table(found: dict[str, Difference]) -> Table:
    made = Table("prompt", "least mask IoU", "largest |difference|", "relative mean", "mask covers")
    for name, d in found.items():
        made.add_row(name, f"{d.iou:.5f}", f"{d.largest:.2e}", f"{d.relative:.1e}", f"{d.covered:.0%}")
    return made


if __name__ == "__main__":
    sys.exit(main())
