"""SDP offers as strangers send them over HTTP."""

from __future__ import annotations

from aiohttp import web

from .peer import MOST_SDP, SDP


async def read_offer(request: web.Request) -> str:
    """The SDP offer in a request's body. Raises the HTTP error to answer with."""
    if request.content_type != SDP:
        raise web.HTTPUnsupportedMediaType(text=f"the offer must be {SDP}\n")
    body = b""
    while len(body) <= MOST_SDP and (more := await request.content.read(MOST_SDP + 1 - len(body))):
        body += more
    if len(body) > MOST_SDP:
        raise web.HTTPRequestEntityTooLarge(MOST_SDP, len(body))
    offer = body.decode("utf-8", "replace")
    if not offer.startswith("v=0"):
        raise web.HTTPBadRequest(text="not an SDP offer\n")
    if "m=video" not in offer:
        raise web.HTTPNotAcceptable(text="the offer has no video\n")
    return offer
