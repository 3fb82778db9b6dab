"""A simulated pan-tilt camera (`python follow.py 1883 8090`) that follows what Keepsight tracks over MQTT:
`keepsight run http://127.0.0.1:8090/ --prompt point=0.5,0.5 -o "mqtt://127.0.0.1/?node=arm&camera=head"`"""

import asyncio
import json
import sys

import aiomqtt
import cv2
import numpy as np
from aiohttp import web

MJPEG = {"Content-Type": "multipart/x-mixed-replace; boundary=frame"}
head, seen = [640.0, 360.0], [0]  # where it points, in pixels; how often it saw the ball, which then rolls on


async def film(request: web.BaseRequest) -> None:
    await (answer := web.StreamResponse(headers=MJPEG)).prepare(request)
    while True:
        ball = round(640 + 300 * np.sin(seen[0] / 40)), round(360 + 150 * np.sin(seen[0] / 20))
        world = cv2.circle(np.full((720, 1280, 3), 80, np.uint8), ball, 30, (0, 60, 230), -1)
        jpeg = cv2.imencode(".jpg", cv2.getRectSubPix(world, (320, 240), tuple(head)))[1].tobytes()
        await answer.write(b"--frame\r\nContent-Type: image/jpeg\r\n\r\n" + jpeg + b"\r\n")
        await asyncio.sleep(0.1)


async def follow(broker: str, port: str) -> None:
    await (runner := web.ServerRunner(web.Server(film))).setup()
    await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    async with aiomqtt.Client("127.0.0.1", int(broker)) as client:
        await client.subscribe("keepsight/arm/cam/head/frames")
        async for message in client.messages:
            for x0, y0, x1, y1 in [one["box"] for one in json.loads(message.payload)["tracks"] if one["box"]]:
                seen[0] += 1
                head[:] = head[0] + 50 * (x0 + x1 - 1), head[1] + 40 * (y0 + y1 - 1)  # towards it
                print(f"pan {head[0]:.0f} tilt {head[1]:.0f} off by {abs(x0 + x1 - 1) / 2:.3f}", flush=True)


asyncio.run(follow(*sys.argv[1:]))
