"""What `--auto motion` finds in real footage: `python -m tests.soak_seeding CLIP… [--out FILE.jpg]`.

A clip is a video, or a sequence of the MOTChallenge's layout, whose true boxes are compared with. Tells of
each how many tracks were found, how often two of them were one thing (mask IoU above a half), and, with a
truth, how many tracks never were on a true box (also those of things that the truth leaves out). The picture
shows what was tracked, evenly over each clip.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np

from keepsight.streams.drawing import overlay
from keepsight.streams.sources import open_source
from keepsight.streams.types import Frame, Image, Result
from keepsight.tracker.api import load
from keepsight.tracker.auto import parse_auto
from keepsight.tracker.engine import model_threads
from keepsight.tracker.evaluation.mot import BoxSequence, PixelBox, find_boxes, is_mot
from keepsight.tracker.finding import finding
from keepsight.tracker.iou import box_iou, mask_iou
from keepsight.tracker.pipeline import Session, results
from keepsight.tracker.session import TrackerSession

ROOM = 16
"""Objects at once."""
DOUBLE = 0.5
"""Two tracks with a larger mask IoU are one thing."""
HIT = 0.3
"""A track with this box IoU is on the true object."""
ACROSS, DOWN, WIDTH = 4, 3, 400
"""Pictures of each clip in the sheet, and their width in pixels."""

Truth = Mapping[int, PixelBox]


@dataclass(slots=True)
class Found:
    """What came of one clip. doubles: pairs of tracks that were one thing, summed over the frames."""

    frames: int = 0
    tracks: set[int] = field(default_factory=set)
    hits: set[int] = field(default_factory=set)
    doubles: int = 0
    shown: list[Image] = field(default_factory=list)

    def note(self, result: Result, truth: Truth) -> None:
        height, width = result.frame.size
        there = [track for track in result.tracks if track.box]
        self.frames += 1
        self.tracks |= {track.object_id for track in result.tracks}
        self.doubles += sum(mask_iou(one.mask, other.mask) > DOUBLE for one, other in combinations(there, 2))
        for track in there:
            assert track.box is not None
            x0, y0, x1, y1 = track.box
            box = x0 * width, y0 * height, x1 * width, y1 * height
            if any(box_iou(box, true) >= HIT for true in truth.values()):
                self.hits.add(track.object_id)

    def line(self, name: str, has_truth: bool) -> str:
        said = f"{name}: {self.frames} frames, {len(self.tracks)} tracks, {self.doubles} doubles"
        said += f" ({self.doubles / max(1, self.frames):.3f} a frame)"
        return said + (f", {len(self.tracks - self.hits)} false starts" if has_truth else "")


async def search(clip: Path, boxes: BoxSequence | None, seconds: float) -> Found:
    """What is found in the first `seconds` of a clip."""
    source = open_source(str(boxes.images[0].parent if boxes else clip))
    tracker, found = load("nano", max_objects=ROOM), Found()
    spacing = seconds / (ACROSS * DOWN)
    async with model_threads() as threads:

        async def start(frame: Frame) -> Session:
            await threads.share_cores()
            session = TrackerSession(threads, tracker.model, ROOM, tracker.settings)
            return await finding(session, parse_auto("motion"), threads, tracker.model, lambda: True, ROOM)

        async with aclosing(results(source, start)) as coming:
            async for result in coming:
                if result.frame.time >= seconds:
                    break
                found.note(result, boxes.truth[result.frame.index] if boxes else {})
                if result.frame.time >= (len(found.shown) + 0.5) * spacing:
                    found.shown.append(cell(result))
    return found


def cell(result: Result) -> Image:
    height, width = result.frame.size
    size = WIDTH, round(height * WIDTH / width)
    return np.asarray(cv2.resize(overlay(result, {}), size, interpolation=cv2.INTER_AREA), np.uint8)


def sheet(shown: list[Image]) -> Image:
    """The pictures of one clip, which are of one size, row by row."""
    blank = np.zeros_like(shown[0])
    padded = [*shown, *[blank] * (-len(shown) % ACROSS)]
    rows = [np.hstack(padded[at : at + ACROSS]) for at in range(0, len(padded), ACROSS)]
    return np.asarray(np.vstack(rows), np.uint8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each clip")
    parser.add_argument("--out", type=Path, default=Path("seeding.jpg"))
    given = parser.parse_args()
    sheets = []
    for clip in given.clips:
        boxes = find_boxes(clip).sequences[0] if clip.is_dir() and is_mot(clip) else None
        found = asyncio.run(search(clip, boxes, given.seconds))
        sys.stdout.write(found.line(clip.name, boxes is not None) + "\n")
        sys.stdout.flush()
        if found.shown:
            sheets.append(sheet(found.shown))
    if sheets:
        cv2.imwrite(str(given.out), np.vstack(sheets)[:, :, ::-1])


if __name__ == "__main__":
    main()
