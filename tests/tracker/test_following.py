"""A running command follows its file, whatever comes of one look at it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from keepsight.tracker.cli.following import following
from keepsight.tracker.config import Deployment
from keepsight.tracker.fleet import Change

FILE = "source: test://\nprompt: box=0,0,.5,.5\noutput: out.jsonl\n"


class StumblingFleet:
    """Fails in a way that nobody thought of, whenever it is told of another deployment."""

    def __init__(self) -> None:
        self.told: asyncio.Queue[Deployment] = asyncio.Queue()

    async def apply(self, new: Deployment) -> Change:
        self.told.put_nowait(new)
        raise RuntimeError("nobody thought\nof this")


async def test_a_look_that_fails_is_told_in_one_line_and_the_file_is_looked_at_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, fleet = tmp_path / "one.yaml", StumblingFleet()
    file.write_text(FILE)
    async with asyncio.timeout(30), following(fleet, file):  # type: ignore[arg-type]
        await fleet.told.get()
        file.write_text(f"{FILE}max_objects: 3\n")
        assert (await fleet.told.get()).streams["main"].max_objects == 3
        os.kill(os.getpid(), signal.SIGHUP)
        await fleet.told.get()
    said = capsys.readouterr().err.splitlines()
    assert (
        said
        == [
            f"keepsight: {file} could not be followed: RuntimeError: nobody thought of this "
            "(what ran before goes on)"
        ]
        * 3
    )
