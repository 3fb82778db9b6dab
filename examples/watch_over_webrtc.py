"""Track on the generated scene and watch it in a browser, over WebRTC."""

import asyncio

from aiohttp import web

import keepsight.tracker as ks
from keepsight.streams.encoder import SharedEncoder
from keepsight.streams.webrtc import whep

PAGE = """<video autoplay muted playsinline></video><script type="module">
const connection = new RTCPeerConnection();
connection.addTransceiver("video", {direction: "recvonly"});
connection.ontrack = ({track}) => document.querySelector("video").srcObject = new MediaStream([track]);
await connection.setLocalDescription();
while (connection.iceGatheringState !== "complete") await new Promise(done => setTimeout(done, 50));
const body = new Blob([connection.localDescription.sdp], {type: "application/sdp"});
const answer = await fetch("/whep/scene", {method: "POST", body});
await connection.setRemoteDescription({type: "answer", sdp: await answer.text()});
</script>"""


async def page(_: web.Request) -> web.Response:
    return web.Response(text=PAGE, content_type="text/html")


async def main() -> None:
    tracker, encoder, application = ks.load("nano"), SharedEncoder("scene"), web.Application()
    application.router.add_get("/", page)
    whep.mount(application, {"scene": encoder})
    await (runner := web.AppRunner(application)).setup()
    await web.TCPSite(runner, "127.0.0.1", 8080).start()
    async with encoder:
        async for result in tracker.atrack(
            "test://?live=1&frames=100000", prompts=[ks.Prompt(box=(0.1, 0.2, 0.3, 0.6))]
        ):
            await encoder.write(result)


asyncio.run(main())
