"""Watch a camera from an asyncio program: `python examples/track_camera.py rtsp://user:secret@camera/main`."""

import asyncio
import sys
from contextlib import aclosing

import keepsight.tracker as ks


async def watch(url: str) -> None:
    tracker = ks.load("nano", max_objects=4)
    on_it, beside_it = (0.5, 0.6), (0.1, 0.1)
    prompt = ks.Prompt(points=(on_it, beside_it), labels=(True, False), label="parcel")
    async with aclosing(tracker.atrack(url, prompts=[prompt])) as results:
        async for result in results:
            for event in result.events:
                print(f"{event.captured:.2f} {event.kind} {event.label}: {event.reason}")


asyncio.run(watch(sys.argv[1]))
