"""What cameras may do to a run, counted: `python -m tests.soak_streams [MODE…] [--size N] [--model NAME]`.

kills: the server of a camera is killed and started again 20 times. freezes: it is stopped 5 times (SIGSTOP).
cuts: the way to it is cut 5 times. switches: it comes back with another codec and size 3 times, and changes
its size within a connection. corruption: for 60 s bytes of the pictures are changed. cameras: four cameras
with one thing each, then one of them with faults. Minutes each. It prints a row for each fault: seconds from
the source's return to the first frame, and to the first in which everything is tracked under the same id; and
ends with 1 where one of them took more than 5 s, or memory, threads or files grew, or a password was said.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.orbits import film
from tests.patient import LOGIN, Patient, Said, Use
from tests.peers.gate import Gate
from tests.peers.rtsp import RtspServer
from tests.peers.spoiling import Spoiler

TARGET_SECONDS = 5.0
GROWN_MIB = 32
"""Of resident memory: what the allocator may keep more or less of, from one time to another."""
WELL_SECONDS = 3.0
"""A camera is left alone for so long between two faults."""
Engine = Mapping[str, object]


@dataclass
class Trial:
    """The rows so far, and what missed its target."""

    patient: Patient
    uses: list[Use] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)

    def say(self, *cells: object) -> None:
        sys.stdout.write("  ".join(f"{cell:>9}" for cell in cells) + "\n")
        sys.stdout.flush()

    def head(self) -> None:
        names = ("noticed", "frame", "tracked", "before", "after", "epoch", "MiB", "threads", "files")
        self.say("", *names)

    def check(self, holds: bool, what: str) -> None:
        if not holds:
            self.missed.append(what)


async def fault(
    trial: Trial, name: str, fail: Callable[[], Awaitable[None]], mend: Callable[[], Awaitable[None]]
) -> None:
    """Makes one fault, mends it, and tells how the run came out of it."""
    patient = trial.patient
    last = next(said for said in reversed(patient.said) if said.kind == "frames")
    failed = time.monotonic()
    await fail()
    noticed = await patient.until(is_away, since=failed, seconds=0.01)
    await mend()
    returned = time.monotonic()
    first = await patient.until(lambda said: said.kind == "frames", since=returned)
    tracked = await patient.until(patient.is_well, since=returned)
    await asyncio.sleep(WELL_SECONDS)
    use = patient.use()
    trial.uses.append(use)
    latest = tracked or first or last
    cells = since(failed, noticed), since(returned, first), since(returned, tracked)
    ids = (" ".join(f"{number}@{place}" for number, place in said.places.items()) for said in (last, latest))
    trial.say(name, *cells, *ids, latest.message["epoch"], use.mib, use.threads, use.files)
    soon = tracked is not None and tracked.at - returned <= TARGET_SECONDS
    trial.check(soon, f"{name}: not tracked within {TARGET_SECONDS:g} s")


def is_away(said: Said) -> bool:
    return said.kind == "status" and said.message["source"] in ("stalled", "offline")


def since(moment: float, said: Said | None) -> str:
    return "-" if said is None else f"{said.at - moment:.1f} s"


def judge(trial: Trial) -> None:
    """What is to be said at the end: growth from the first fault to the last, and passwords."""
    if len(trial.uses) > 1:
        first, last = trial.uses[0], trial.uses[-1]
        trial.check(last.mib - first.mib <= GROWN_MIB, f"memory grew by {last.mib - first.mib} MiB")
        trial.check(last.threads <= first.threads, f"threads grew from {first.threads} to {last.threads}")
        trial.check(last.files <= first.files, f"open files grew from {first.files} to {last.files}")
    leaks = [*trial.patient.leaks, *trial.patient.secrets_in_files()]
    trial.check(not leaks, f"the password is in {', '.join(sorted(set(leaks)))}")


@asynccontextmanager
async def watched(folder: Path, port: int, engine: Engine) -> AsyncIterator[Trial]:
    """A run that watches the clip at a port, when everything is tracked."""
    url = f"rtsp://{LOGIN}@127.0.0.1:{port}/clip"
    async with Patient(folder, {"c1": url}, engine) as patient:
        await patient.begun()
        await asyncio.sleep(WELL_SECONDS)
        trial = Trial(patient)
        trial.head()
        use = patient.use()
        trial.say("at first", "", "", "", "", "", 0, use.mib, use.threads, use.files)
        yield trial


async def kills(folder: Path, engine: Engine, times: int) -> list[str]:
    clip = film(folder / "clip.mkv")
    with RtspServer(clip, login=LOGIN) as server:
        async with watched(folder, server.port, engine) as trial:
            for number, away in zip(range(times or 20), itertools.cycle((1, 3, 7, 12)), strict=False):

                async def kill(away: float = away) -> None:
                    server.kill()
                    await asyncio.sleep(away)

                await fault(trial, f"{number + 1}: {away} s", kill, lambda: asyncio.to_thread(server.restart))
            judge(trial)
    return trial.missed


async def freezes(folder: Path, engine: Engine, times: int) -> list[str]:
    with RtspServer(film(folder / "clip.mkv"), login=LOGIN) as server:
        async with watched(folder, server.port, engine) as trial:
            for number, away in zip(range(times or 5), itertools.cycle((4, 9, 12, 18, 25)), strict=False):

                async def freeze(away: float = away) -> None:
                    server.freeze()
                    await asyncio.sleep(away)

                async def thaw() -> None:
                    server.thaw()

                await fault(trial, f"{number + 1}: {away} s", freeze, thaw)
            judge(trial)
    return trial.missed


async def cuts(folder: Path, engine: Engine, times: int) -> list[str]:
    """In turns nothing passes any more, and nobody answers any more."""
    with RtspServer(film(folder / "clip.mkv"), login=LOGIN) as server:
        async with Gate(server.port) as gate, watched(folder, gate.port, engine) as trial:
            for number, away in zip(range(times or 5), itertools.cycle((4, 6, 12, 15, 25)), strict=False):

                async def cut(away: float = away, silent: bool = number % 2 == 0) -> None:
                    gate.hold() if silent else gate.shut()
                    await asyncio.sleep(away)

                async def mend(silent: bool = number % 2 == 0) -> None:
                    if silent:
                        gate.release()
                    else:
                        await gate.open()

                way = "silent" if number % 2 == 0 else "shut"
                await fault(trial, f"{away} s {way}", cut, mend)
            judge(trial)
    return trial.missed


async def switches(folder: Path, engine: Engine, times: int) -> list[str]:
    """The camera comes back as another one; then it changes its size without an end of the connection."""
    small, large = (480, 640), (720, 1280)
    ways = [("h265", large), ("mjpeg", small), ("h264", large)]
    clips = [film(folder / f"{codec}-{size[0]}.mkv", size, codec) for codec, size in ways]
    both = [film(folder / "small.mkv", small), film(folder / "large.mkv", large)]
    with RtspServer(both[0], login=LOGIN) as server:
        async with watched(folder, server.port, engine) as trial:
            for clip, (codec, size) in zip(clips, ways, strict=True):
                await switch(trial, server, f"{codec} {size[0]}", clip, codec=codec)
            await switch(trial, server, "h264 480", *both)
            for _ in range(3):
                await change_of_size(trial)
            judge(trial)
    return trial.missed


async def switch(trial: Trial, server: RtspServer, name: str, *clips: Path, codec: str = "h264") -> None:
    async def end() -> None:
        server.kill()
        await asyncio.sleep(1)  # what was on its way has been tracked

    async def begin() -> None:
        await asyncio.to_thread(server.restart, *clips, codec=codec)

    await fault(trial, name, end, begin)


async def change_of_size(trial: Trial) -> None:
    """From the first frame of another size on, within a connection."""
    patient = trial.patient
    last = next(said for said in reversed(patient.said) if said.kind == "frames")
    size = last.message["size"]
    changed = await patient.until(
        lambda said: said.kind == "frames" and said.message["size"] != size, since=last.at
    )
    tracked = changed and await patient.until(
        lambda said: patient.is_well(said) and said.message["size"] != size, since=last.at
    )
    if not (changed and tracked):
        trial.missed.append(f"not tracked in the other size than {size}")
        return
    use = patient.use()
    trial.uses.append(use)
    ids = (" ".join(f"{number}@{place}" for number, place in said.places.items()) for said in (last, tracked))
    cells = "", "", since(changed.at, tracked), *ids
    trial.say(
        f"to {tracked.message['size'][0]}", *cells, tracked.message["epoch"], use.mib, use.threads, use.files
    )
    trial.check(tracked.at - changed.at <= TARGET_SECONDS, "not tracked soon after a change of size")
    await asyncio.sleep(1)


async def corruption(folder: Path, engine: Engine, times: int) -> list[str]:
    """20 s each of few wrong bytes, many, and only wrong ones."""
    share = 0.0
    with RtspServer(film(folder / "clip.mkv"), login=LOGIN) as server:
        gate = Gate(server.port, lambda: Spoiler(lambda: share))
        async with gate, watched(folder, gate.port, engine) as trial:

            async def spoil() -> None:
                nonlocal share
                for share in (2e-5, 1e-3, 1.0):
                    before = len(trial.patient.said)
                    await asyncio.sleep(20)
                    frames = [s for s in trial.patient.said[before:] if s.kind == "frames"]
                    well = sum(map(trial.patient.is_well, frames))
                    trial.say(f"{share:g}", f"{len(frames)} frames, {well} of them well tracked")

            async def mend() -> None:
                nonlocal share
                share = 0.0

            for number in range(times or 1):
                await fault(trial, f"{number + 1}: 60 s", spoil, mend)
            judge(trial)
    return trial.missed


async def cameras(folder: Path, engine: Engine, times: int) -> list[str]:
    """Four cameras for a while; then the fourth is frozen, sends garbage, and is away."""
    seconds, share = float(times or 40), 0.0
    with RtspServer(film(folder / "clip.mkv"), login=LOGIN) as server:
        gate = Gate(server.port, lambda: Spoiler(lambda: share))
        async with gate:
            ports = {f"c{number}": server.port for number in (1, 2, 3)} | {"c4": gate.port}
            urls = {name: f"rtsp://{LOGIN}@127.0.0.1:{port}/clip" for name, port in ports.items()}
            async with Patient(folder, urls, engine, things=(1,)) as patient:
                await patient.begun()
                trial = Trial(patient)
                trial.say("", *(f"{name} f/s" for name in urls), "tracked", "MiB", "threads", "files")
                await asyncio.sleep(WELL_SECONDS)
                fair = await rates(trial, "all well", seconds)
                gate.hold()
                frozen = await rates(trial, "c4 frozen", seconds)
                gate.release()
                share = 1.0
                garbage = await rates(trial, "c4 spoilt", seconds)
                share = 0.0
                gate.shut()
                away = await rates(trial, "c4 away", seconds)
                await gate.open()
                returned = time.monotonic()
                back = await patient.until(patient.is_well, "c4", since=returned)
                trial.say("c4 back", since(returned, back))
                await asyncio.sleep(WELL_SECONDS)
                again = await rates(trial, "all well", seconds)
                trial.check(back is not None and back.at - returned <= TARGET_SECONDS, "c4 not back soon")
                for name, got in (("first", fair), ("last", again)):
                    trial.check(min(got.values()) > 0.8 * max(got.values()), f"{name}: not fair: {got}")
                for name, got in (("frozen", frozen), ("garbage", garbage), ("away", away)):
                    kept = min(got[one] / fair[one] for one in ("c1", "c2", "c3"))
                    trial.check(kept > 0.9, f"{name}: one of the others kept {kept:.0%} of its frames")
                judge(trial)
    return trial.missed


async def rates(trial: Trial, name: str, seconds: float) -> dict[str, float]:
    """Frames a second of each camera, counted over a time."""
    began = time.monotonic()
    await asyncio.sleep(seconds)
    patient, cameras = trial.patient, ("c1", "c2", "c3", "c4")
    frames = {
        camera: [s for s in patient.said if s.camera == camera and s.kind == "frames" and s.at > began]
        for camera in cameras
    }
    got = {camera: len(said) / seconds for camera, said in frames.items()}
    well = sum(patient.is_well(said) for all_said in frames.values() for said in all_said)
    trial.uses.append(use := patient.use())
    shares = f"{well / max(1, sum(map(len, frames.values()))):.0%}"
    trial.say(name, *(f"{got[camera]:.2f}" for camera in cameras), shares, use.mib, use.threads, use.files)
    statuses = (
        next((s.message for s in reversed(patient.said) if s.camera == c and s.kind == "status"), {})
        for c in cameras
    )
    trial.say("dropped", *(status.get("dropped", "-") for status in statuses))
    return got


MODES: dict[str, Callable[[Path, Engine, int], Coroutine[None, None, list[str]]]] = {
    "kills": kills,
    "freezes": freezes,
    "cuts": cuts,
    "switches": switches,
    "corruption": corruption,
    "cameras": cameras,
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("mode", nargs="*", choices=[*MODES, []], default=[])
    parser.add_argument("--model", default="nano")
    parser.add_argument("--size", type=int, help="the model's input, its own where not given")
    parser.add_argument("--times", type=int, default=0, help="other than the usual number of faults")
    given = parser.parse_args()
    engine = {"model": given.model} | ({"size": given.size} if given.size else {})
    missed: list[str] = []
    for mode in given.mode or MODES:
        sys.stdout.write(f"{mode}\n")
        with tempfile.TemporaryDirectory() as folder:
            found = asyncio.run(MODES[mode](Path(folder), engine, given.times))
        missed += [f"{mode}: {what}" for what in found]
    sys.stdout.write("\n".join(missed or ["all within their targets"]) + "\n")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
