"""Whether memory stays flat over a long run, measured: `python -m tests.soak_memory [FRAMES] [SIZE]`.

Tracks five objects of a drawn scene as `keepsight run` does, and tells what is resident, and the bytes of the
tracker's memory, on the way. Ends with 1 where more than a hundredth was added after the first 300 frames.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing

from keepsight.streams.sinks.minute import resident_bytes
from keepsight.streams.sources.synthetic import SyntheticSource
from keepsight.streams.types import Frame
from keepsight.tracker.api import load
from keepsight.tracker.demo import boxes_of_truth
from keepsight.tracker.engine import model_threads
from keepsight.tracker.heap import keep_heap
from keepsight.tracker.pipeline import results
from keepsight.tracker.session import TrackerSession

OBJECTS, SETTLED, EVERY = 5, 300, 100
GROWTH = 0.01
"""Of what is resident after the first 300 frames: a frame that leaves 2 KiB behind would add as much."""


async def soak(frames: int, size: str) -> bool:
    """Whether the resident memory settled, and the tracker's did not change at all."""
    source = SyntheticSource(f"test://?objects={OBJECTS}&frames={frames}&size={size}")
    tracker = load("nano", max_objects=OBJECTS)
    sessions: list[TrackerSession] = []
    resident: dict[int, int] = {}
    held: set[int] = set()
    async with model_threads() as threads:

        async def start(frame: Frame) -> TrackerSession:
            await threads.share_cores()
            sessions.append(TrackerSession(threads, tracker.model, OBJECTS, tracker.settings))
            return sessions[0]

        async with aclosing(results(source, start, boxes_of_truth(source))) as coming:
            async for result in coming:
                if result.frame.index == 10 or (result.frame.index % EVERY == 0 and result.frame.index):
                    held.add(sessions[0].memory_bytes)
                    resident[result.frame.index] = resident_bytes()
                    tell(result.frame.index, resident[result.frame.index], held, len(result.tracks))
    settled = [count for index, count in resident.items() if index >= SETTLED]
    growth = max(settled) / settled[0] - 1
    sys.stdout.write(f"grew by {growth:.2%} after the first {SETTLED} frames\n")
    return growth < GROWTH and len(held) == 1


def tell(index: int, resident: int, held: set[int], objects: int) -> None:
    told = {"frame": index, "MiB resident": round(resident / 2**20, 1), "bytes of Memory": max(held)}
    sys.stdout.write(json.dumps({**told, "objects": objects}) + "\n")
    sys.stdout.flush()


def main() -> None:
    keep_heap()
    frames, size = [*sys.argv[1:], *("3001", "640x360")[len(sys.argv) - 1 :]]
    if int(frames) <= SETTLED:
        sys.exit(f"at least {SETTLED + 1} frames")
    sys.exit(0 if asyncio.run(soak(int(frames), size)) else 1)


if __name__ == "__main__":
    main()
