"""Motion JPEG, the fallback that every viewer understands: pictures in a `multipart/x-mixed-replace` body."""

from __future__ import annotations

import asyncio

from aiohttp import web

from .camera import Camera
from .pictures import ClosedError, Picture, Scale

BOUNDARY = "keepsight-frame"
PATIENCE_SECONDS = 20.0
"""Who takes nothing for so long is let go."""


async def stream_mjpeg(request: web.Request, camera: Camera, scale: Scale) -> web.StreamResponse:
    """Sends pictures until the viewer goes, each with its own headers.

    `X-Frame: EPOCH/INDEX` names the frame, `X-Captured` is its capture time in seconds since 1970.

    The next picture is asked for when the one before it was taken: a slow viewer gets fewer.
    """
    response = web.StreamResponse(
        headers={
            "Content-Type": f"multipart/x-mixed-replace; boundary={BOUNDARY}",
            "Cache-Control": "no-store",
        }
    )
    await response.prepare(request)
    picture: Picture | None = None
    while True:
        try:
            picture = await camera.pictures.after(picture.result if picture else None, scale)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await response.write(_part(picture))
        except (TimeoutError, ConnectionError, ClosedError):
            if request.transport is not None:
                request.transport.abort()
            return response


def _part(picture: Picture) -> bytes:
    frame = picture.result.frame
    head = (
        f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n"
        f"X-Frame: {frame.epoch}/{frame.index}\r\nX-Captured: {frame.captured:.6f}\r\n\r\n"
    )
    return head.encode() + picture.jpeg + b"\r\n"
