"""Track what a mask shows in pictures of your own, a generated square here: no file and no camera."""

import numpy as np

import keepsight.tracker as ks


def picture(index: int) -> np.ndarray:
    """A square that moves to the right: (H, W, 3) uint8 RGB."""
    image = np.full((240, 320, 3), 60, np.uint8)
    image[80:140, 40 + 2 * index : 100 + 2 * index] = (230, 120, 40)
    return image


pictures = [picture(index) for index in range(60)]
mask = (pictures[0] == (230, 120, 40)).all(axis=2)

tracker = ks.load("nano")
for result in tracker.track(pictures, prompts=[ks.Prompt(mask=mask)]):
    (track,) = result.tracks
    print(result.frame.index, track.mask.sum(), f"{track.confidence:.2f}")
