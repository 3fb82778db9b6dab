"""A detector in an ONNX file, run by onnxruntime: a picture to boxes with labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from keepsight.streams.types import Image

from .detections import Detection, Style, chosen, read, style_of
from .validation import ConfigError

USUAL_SIDE = {"yolox": 640, "rtdetr": 640}
"""Of the input of a model that takes any, in pixels; 300 for SSD."""
GREY = 114
"""What YOLOX is shown beside the picture."""
MEAN, SPREAD = np.array((0.485, 0.456, 0.406), np.float32), np.array((0.229, 0.224, 0.225), np.float32)
"""Of ImageNet's colours, which SSD's inputs are made of."""
STYLES = "YOLOX, RT-DETR or SSD"


@dataclass(frozen=True, slots=True)
class Detector:
    """session: of onnxruntime; size: height and width of the input; normalised: it wants colours as ImageNet
    has them; names: of the classes, in order."""

    session: Any
    style: Style
    size: tuple[int, int]
    normalised: bool
    names: tuple[str, ...]
    confidence: float

    def detect(self, image: Image) -> list[tuple[Detection, str]]:
        """What is seen in image (H, W, 3) uint8 RGB, the surest first, each with its class' name. Boxes are
        in parts of the image. Raises ConfigError where the model gives what its outputs' shapes do not
        promise."""
        shown, seen = self._shown(image)
        first, *more = self.session.get_inputs()
        given = {first.name: shown} | {one.name: np.array([self.size[::-1]], np.int64) for one in more}
        try:
            found = read(self.style, self.session.run(None, given), self.size)
        except Exception as error:
            raise ConfigError(f"--auto detector: {error}") from None
        boxes = found.boxes / seen
        return [(one, self._name(one.label)) for one in chosen(found._replace(boxes=boxes), self.confidence)]

    def _name(self, label: int) -> str:
        return self.names[label] if 0 <= label < len(self.names) else str(label)

    def _shown(self, image: Image) -> tuple[NDArray[Any], NDArray[np.float64]]:
        """The picture as the model wants it, and the part of that (x, y, x, y) which it fills."""
        height, width = self.size
        if self.style == "yolox":
            scale = min(height / image.shape[0], width / image.shape[1])
            fitted = round(image.shape[1] * scale), round(image.shape[0] * scale)
            canvas = np.full((height, width, 3), GREY, np.uint8)
            canvas[: fitted[1], : fitted[0]] = cv2.resize(image, fitted)[:, :, ::-1]
            part = fitted[0] / width, fitted[1] / height
            return canvas.transpose(2, 0, 1)[None].astype(np.float32), np.array(part * 2)
        small = cv2.resize(image, (width, height))
        whole = np.ones(4)
        if takes_bytes(self.session):
            return small[None], whole
        values = small.astype(np.float32) / 255
        if self.normalised:
            values = (values - MEAN) / SPREAD
        return np.ascontiguousarray(values.transpose(2, 0, 1)[None]), whole


def open_detector(file: Path, labels: Path | None, confidence: float) -> Detector:
    """Raises ConfigError where the file is no detector of a style that is known."""
    try:
        import onnxruntime
    except ImportError:
        raise ConfigError("--auto detector: needs onnxruntime: pip install 'keepsight[detector]'") from None
    try:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # the cores are the tracker's
        session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ConfigError(f"--auto detector: {file} is no ONNX model: {_line(error)}") from None
    shapes = [one.shape for one in session.get_outputs()]
    style = style_of(shapes)
    if style is None or len(session.get_inputs()) > 2:
        raise ConfigError(f"--auto detector: {file}: outputs of {shapes} are not those of {STYLES}")
    normalised = style == "lists" and len(session.get_inputs()) == 1 and max(map(len, shapes)) == 3
    return Detector(session, style, input_size(session, style), normalised, read_names(labels), confidence)


def takes_bytes(session: Any) -> bool:
    """Whether the model takes pictures (1, H, W, 3) uint8, and not (1, 3, H, W) float."""
    return bool(session.get_inputs()[0].type == "tensor(uint8)")


def input_size(session: Any, style: Style) -> tuple[int, int]:
    """Height and width of the input; those that are usual where it takes any."""
    shape = session.get_inputs()[0].shape
    height, width = shape[1:3] if takes_bytes(session) else shape[2:4]
    usual = USUAL_SIDE.get(style, 300)
    return height if isinstance(height, int) else usual, width if isinstance(width, int) else usual


def read_names(labels: Path | None) -> tuple[str, ...]:
    if labels is None:
        return ()
    try:
        return tuple(line.strip() for line in labels.read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--auto detector: labels {labels}: {_line(error)}") from None


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
