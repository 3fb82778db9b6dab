"""RGB pictures as the planes and frames that FFmpeg's encoders take, on the fastest way there is."""

from __future__ import annotations

import cv2
import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from .types import Image

BT601 = 6
"""SMPTE 170M, the matrix that cv2 converts with, as FFmpeg numbers it."""
LIMITED_RANGE = 1


def to_i420(picture: Image) -> NDArray[np.uint8]:
    """RGB (H, W, 3) as planar 4:2:0, BT.601 limited range, (1.5 H, W) with H and W made even by repeating the
    last row or column."""
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        return to_i420(np.asarray(even, np.uint8))
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)


def to_frame(planes: NDArray[np.uint8]) -> VideoFrame:
    """Planes as `to_i420` gives them; without a copy but where PyAV 18 gets the height wrong."""
    if len(planes) % 6:  # the height is no multiple of 4
        return VideoFrame.from_ndarray(planes, format="yuv420p")
    return VideoFrame.from_numpy_buffer(planes, format="yuv420p")
