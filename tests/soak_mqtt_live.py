"""How long a command takes on a live stream: `python -m tests.soak_mqtt live`.

A camera of GStreamer's RTSP server, `keepsight run` as a process of its own, and mosquitto with TLS,
passwords and an access list between it and a client that prompts a box, waits for the answer, the first frame
and the first mask, and forgets it, again and again.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import statistics
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from keepsight.streams.sources.scene import make_scene
from tests.clips import write_clip
from tests.peers.asker import Asker
from tests.peers.mosquitto import Mosquitto
from tests.peers.rtsp import RtspServer
from tests.streams.test_mqtt_secured import Certificates

TRIPS = 30
SIZE = 360, 640
CAMERA = "keepsight/n/cam/c"
BOX = {"box": [0.3, 0.3, 0.6, 0.7]}
RIGHTS = f"""
user node
topic readwrite keepsight/n/#
topic write homeassistant/#
topic read homeassistant/status
user robot
topic read keepsight/#
topic write {CAMERA}/cmd/#
"""
PROGRAM = "from keepsight.tracker.cli import main; main()"


async def live(
    folder: Path, count: int = TRIPS, model: str = "nano", size: tuple[int, int] = SIZE
) -> dict[str, Any]:
    scene = make_scene(size, 3, 0)
    clip = folder / "clip.mp4"
    write_clip(clip, frames=100, size=size, draw=lambda index, _: scene.image(index / 25))
    certificates = Certificates(folder)
    await certificates.make()
    for user in ("node", "robot"):
        new = ["-c"] if user == "node" else []
        await called("mosquitto_passwd", "-b", *new, str(folder / "pw"), user, user)
    (folder / "acl").write_text(RIGHTS)
    settings = (
        f"certfile {folder / 'localhost.crt'}",
        f"keyfile {folder / 'localhost.key'}",
        "allow_anonymous false",
        f"password_file {folder / 'pw'}",
        f"acl_file {folder / 'acl'}",
    )
    tls = ssl.create_default_context(cafile=certificates.ca)
    heard = f"{CAMERA}/masks"
    with RtspServer(clip) as camera:
        async with Mosquitto(folder, *settings) as broker:
            sink = f"mqtts://localhost:{broker.port}/?node=n&camera=c&masks=1&ca={certificates.ca}"
            running = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PROGRAM, "run", camera.url, "--model", model, "-o", sink),
                env=os.environ
                | {"KEEPSIGHT_MQTT_USERNAME": "node", "KEEPSIGHT_MQTT_PASSWORD": "node"}
                | {"KEEPSIGHT_STATE": str(folder)},
                stdout=PIPE,
                stderr=DEVNULL,
            )
            try:
                async with Asker(broker.port, CAMERA, heard, login="robot:robot", tls=tls) as asker:
                    found = await trips(asker, count)
            finally:
                running.terminate()
                await running.communicate()
    return found


async def trips(asker: Asker, count: int) -> dict[str, Any]:
    await asker.until("/frames")
    answered, framed, masked = [], [], []
    for number in range(1, count + 1):
        began = time.time()
        await asker.ask("prompt", {"request_id": f"p{number}", "object_id": number, **BOX})
        answer = await asker.answer(f"p{number}")
        assert answer["ok"], answer
        answered.append(time.time() - began)
        await asker.until("/frames", lambda said, number=number: holds(said, "tracks", number))
        framed.append(time.time() - began)
        await asker.until("/masks", lambda said, number=number: holds(said, "masks", number))
        masked.append(time.time() - began)
        await asker.ask("forget", {"request_id": f"f{number}", "object_id": number})
        assert (await asker.answer(f"f{number}"))["ok"]
    frames = [said for topic, said in asker.heard if topic.endswith("/frames") and said["tracks"]]
    return {
        "round trips": count,
        "prompt to answer": milliseconds(answered),
        "prompt to first frame": milliseconds(framed),
        "prompt to first mask": milliseconds(masked),
        "frames with an object": len(frames),
        "capture to publish, by the clock below": milliseconds(
            [said["published"] - said["captured"] for said in frames]
        ),
        "clock of the capture times": sorted({said["clock"] for said in frames}),
    }


def holds(said: dict[str, Any], what: str, number: int) -> bool:
    return number in [one["object_id"] for one in said[what]]


def milliseconds(seconds: Sequence[float]) -> str:
    last = statistics.quantiles(seconds, n=20, method="inclusive")[-1]  # never beyond what was measured
    return f"median {1e3 * statistics.median(seconds):.0f} ms, p95 {1e3 * last:.0f} ms"


async def called(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec(*arguments, stdout=DEVNULL, stderr=DEVNULL)
    assert await process.wait() == 0
