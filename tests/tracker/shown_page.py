"""What a page shows in a browser, and where on it the places of the picture are."""

from __future__ import annotations

import cv2
import numpy as np

from tests.peers.browser import Chromium
from tests.tracker.known_scene import SlowScene, middle

FRAME = "document.querySelector('#picture').dataset.frame"
WAY = "document.querySelector('#way')?.textContent"
IDS = "[...document.querySelectorAll('#tracks li')].map((one) => Number(one.dataset.object))"


def faults(page: Chromium) -> list[str]:
    """What went wrong in the page; a picture of an object that was forgotten a moment ago may be missing."""
    return [one for one in page.complaints if "status of 404" not in one]


async def index_shown(page: Chromium) -> int:
    return int((await page.until(FRAME)).split("/")[1])


async def place(page: Chromium, point: tuple[float, float]) -> tuple[float, float]:
    """Where a point of the picture is on the page."""
    x, y, width, height = await page.value(
        "(({x, y, width, height}) => [x, y, width, height])"
        "(document.querySelector('#picture').getBoundingClientRect())"
    )
    return x + point[0] * width, y + point[1] * height


async def check_pixels(page: Chromium, source: SlowScene) -> None:
    """What the canvas shows is the frame that it says it shows."""
    name, shown = await page.value(
        "(() => { const small = new OffscreenCanvas(160, 90).getContext('2d');"
        "const picture = document.querySelector('#picture'); small.drawImage(picture, 0, 0, 160, 90);"
        "return [picture.dataset.frame, [...small.getImageData(0, 0, 160, 90).data]]; })()"
    )
    picture = np.array(shown, np.float32).reshape(90, 160, 4)[:, :, :3]
    true, other = (
        cv2.resize(source.image(int(name.split("/")[1]) + ahead), (160, 90), interpolation=cv2.INTER_AREA)
        for ahead in (0, 8)
    )
    off, off_other = (np.abs(picture[:80] - one[:80]).mean() for one in (true, other))  # without the clock
    assert off < 8, "of 255: JPEG, H.264 and the browser's scaling lose a little"
    assert off < 0.7 * off_other, "and it is no other frame"


async def press_on(page: Chromium, source: SlowScene, thing: int, *, shift: bool = False) -> None:
    """Click on the middle of a thing, as it is shown."""
    await page.press(*await place(page, middle(source.truth(await index_shown(page), thing))), shift=shift)
