"""What tests of the command line share: how it is asked, and how what it writes is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import orjson

BOX = ("--prompt", "box=0.2,0.2,0.7,0.8")
SCENE = "test://?frames=6&size=160x120"


@dataclass(frozen=True)
class Said:
    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr, without the program's name."""
        (line,) = self.err.splitlines()
        assert line.startswith("keepsight: ")
        return line.removeprefix("keepsight: ")


Keepsight = Callable[..., Said]


def lines(path: Path) -> list[dict[str, object]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]


def frames_of(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))
