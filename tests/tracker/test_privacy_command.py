"""`--privacy`: what is private is in no picture that a run writes, whichever way it runs."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.tracker.command_line import BOX, SCENE, Keepsight

OPTIONS = (SCENE, "--model", "test", *BOX, "-o", "x.mp4")


def farthest(path: Path) -> float:
    """How far a pixel above the clock is from the grey of what is covered, at most, in grey levels."""
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 6
    return float(max(np.abs(image[:100].astype(int) - 72).max() for image in images))


@pytest.mark.parametrize("way", [(), ("--offline",), ("--auto", "motion")], ids=" ".join)
def test_what_is_private_is_covered_from_the_first_frame_to_the_last(
    keepsight: Keepsight, tmp_path: Path, way: tuple[str, ...]
) -> None:
    said = keepsight("run", *OPTIONS, *way)
    assert said.code == 0, said.err
    assert farthest(tmp_path / "x.mp4") > 40
    private = ("--privacy", "remove", "--privacy", "solid rest label=nobody")  # and no object in the overlay
    said = keepsight("run", *OPTIONS, *way, *private)
    assert said.code == 0, said.err
    assert farthest(tmp_path / "x.mp4") < 8


def test_an_unknown_style_is_refused_with_the_known_ones(keepsight: Keepsight) -> None:
    said = keepsight("run", *OPTIONS, "--privacy", "mosaic")
    assert said.code == 2
    assert said.complaint == (
        "--privacy: unknown privacy style 'mosaic'. Known: blur, pixelate, remove, solid"
    )
