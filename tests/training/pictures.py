"""Pictures, videos and recipes that the tests of training make for themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from keepsight.tracker.training.recipe import Data, Recipe

SIZE = (96, 128)
"""(height, width) of every picture."""


def disc(centre: tuple[int, int], seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """A bright disc of radius 24 at (x, y) on a dark, uneven ground, and its mask."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 90, (*SIZE, 3), dtype=np.uint8)
    mask = np.zeros(SIZE, np.uint8)
    cv2.circle(mask, centre, 24, 1, -1)
    image[mask > 0] = random.integers(120, 255, 3)
    return image, mask


def write_photos(folder: Path, count: int = 6) -> Path:
    """`folder`/images and `folder`/masks with one disc each."""
    for kind in ("images", "masks"):
        (folder / kind).mkdir(parents=True)
    for i in range(count):
        image, mask = disc((44 + 8 * i, 48), i)
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{i}.png"), mask)
    return folder


def write_video(root: Path, name: str = "roll", frames: int = 6, every: int = 1) -> Path:
    """A labelled video in DAVIS layout: a disc that moves 4 pixels to the right a frame; `every` which frame
    has a mask."""
    images, masks = root / "JPEGImages" / name, root / "Annotations" / name
    for folder in (images, masks):
        folder.mkdir(parents=True)
    for i in range(frames):
        image, mask = disc((40 + 4 * i, 48), 7)
        cv2.imwrite(str(images / f"{i:05}.jpg"), image)
        if i % every == 0:
            cv2.imwrite(str(masks / f"{i:05}.png"), mask)
    return root


def recipe_for(root: Path, output: Path, steps: int = 4, **changes: object) -> Recipe:
    """A recipe on the set `discs` in `root`, for steps that take no time."""
    return Recipe.model_validate(
        {
            "model": "nano",
            "output": output,
            "data": Data.model_validate({"root": root, "sets": {"discs": 1}}),
            "stages": [{"steps": steps, "sizes": [[64, 64]], "clips": 2, "frames": 3}],
            "warm_up": 1,
            "decay": 1,
            "loaders": 0,
            "checkpoint_every": 2,
        }
        | changes
    )
