"""What `--auto` says: whether a stream finds its objects itself, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .pipeline import Stream

Kind = Literal["off", "motion", "grid", "detector"]
KNOWN = "off, motion, grid[,every=SECONDS], detector=FILE.onnx[,labels=FILE][,every=SECONDS][,confidence=0.5]"
EVERY = {"grid": 10.0, "detector": 1.0}
"""Seconds from one search to the next; a search of the grid takes as long as many frames."""


@dataclass(frozen=True, slots=True)
class Auto:
    """every: seconds from one search to the next, on the stream's clock; file, labels: of the detector, and
    the names of its classes; confidence: what it must be sure of a box, from 0 to 1."""

    kind: Kind = "off"
    every: float = 0.0
    file: Path | None = None
    labels: Path | None = None
    confidence: float = 0.5


def parse_auto(text: str) -> Auto:
    """Raises ValueError, which lists what there is."""
    head, *rest = text.split(",")
    kind, _, file = head.partition("=")
    options = dict(part.partition("=")[::2] for part in rest)
    match kind:
        case "off" | "motion" if head == kind and not options:
            return Auto("off" if kind == "off" else "motion")
        case "grid" if head == kind and options.keys() <= {"every"}:
            return Auto("grid", _number(text, options, "every", EVERY["grid"]))
        case "detector" if file and options.keys() <= {"every", "labels", "confidence"}:
            return Auto(
                "detector",
                _number(text, options, "every", EVERY["detector"]),
                _file(text, file),
                _file(text, options["labels"]) if "labels" in options else None,
                _number(text, options, "confidence", 0.5, 1.0),
            )
    raise ValueError(f"{text!r} is not one of {KNOWN}")


def _number(text: str, options: dict[str, str], name: str, usual: float, most: float = 86400) -> float:
    try:
        value = float(options.get(name, usual))
    except ValueError:
        value = -1.0
    if not 0 < value <= most:
        raise ValueError(f"{text!r}: {name} is not a number above 0, at most {most:g}")
    return value


def _file(text: str, name: str) -> Path:
    if not Path(name).is_file():
        raise ValueError(f"{text!r}: there is no file {name}")
    return Path(name)


def points_back(stream: Stream) -> bool:
    """Whether commands of a stream may be for frames that are past: those of users, and of who searches."""
    return bool(stream.commanders) or parse_auto(stream.auto).every > 0


def checked_auto(text: str) -> str:
    """The text, where it can be meant."""
    parse_auto(text)
    return text
