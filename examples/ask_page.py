"""Ask the page's API: `python ask_page.py http://127.0.0.1:8080 main 0.5,0.6` tracks what is there."""

import asyncio
import os
import sys

import aiohttp


async def main(address: str, camera: str, point: str) -> None:
    password = os.environ.get("KEEPSIGHT_WEB_PASSWORD", "")
    headers = {"Authorization": f"Bearer {password}"} if password else {}
    async with aiohttp.ClientSession(address, headers=headers) as http:
        prompt = {"points": [[float(part) for part in point.split(",")]], "label": "thing"}
        async with http.post(f"/api/cameras/{camera}/prompt", json=prompt) as answer:
            said = await answer.json()
        if not said.get("ok"):
            sys.exit(said["error"])
        print(f"object {said['object_id']} is tracked from frame {said['applied']['index']} on")
        for _ in range(10):
            await asyncio.sleep(1)
            async with http.get(f"/api/cameras/{camera}/tracks") as answer:
                for track in (await answer.json())["tracks"]:
                    print(track["object_id"], track["state"], track["confidence"], track["box"])


asyncio.run(main(*sys.argv[1:]))
