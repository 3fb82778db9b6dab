"""The command runs a file that is edited meanwhile: streams come, go and change, and the others go on."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

from tests.test_end_to_end import PATIENCE_SECONDS, Keepsight, lines_of

SCENE = "test://?frames=0&size=160x120&live=1"
STREAM = {"source": SCENE, "prompt": "box=0.2,0.2,0.7,0.8"}
ZONE = {"points": [[0, 0], [1, 0], [1, 1], [0, 1]], "anchor": "centre"}


def write(folder: Path, **streams: object) -> None:
    (folder / "cameras.yaml").write_text(json.dumps({"model": "test", "streams": streams}))


async def said(run: Keepsight, words: str) -> str:
    """The next line of stderr with these words."""
    assert run.process.stderr is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        async for line in run.process.stderr:
            if words in line.decode():
                return line.decode().strip()
    raise AssertionError(f"it ended without a line with {words!r}")


async def test_streams_follow_the_edited_file_and_a_bad_edit_is_refused(tmp_path: Path) -> None:
    door = {**STREAM, "output": "door.jsonl"}
    write(tmp_path, door=door)
    async with Keepsight(tmp_path, "run", "--config", "cameras.yaml") as run:
        await run.has_written("door.jsonl", 1000)
        write(tmp_path, door=door, yard={**STREAM, "outptu": "yard.jsonl"})
        refusal = await said(run, "outptu")
        assert refusal.startswith(
            "keepsight: cameras.yaml: streams.yard.outptu: unknown key 'outptu', did you"
        )
        assert refusal.endswith("(what ran before goes on)")

        watched = {**door, "rules": {"zones": {"all": ZONE}}}
        write(tmp_path, door=watched, yard={**STREAM, "output": "yard.jsonl"})
        assert await said(run, "yard") == "cameras.yaml: added yard; other rules for door"
        await run.has_written("yard.jsonl", 1000)

        write(tmp_path, door=watched)
        run.process.send_signal(signal.SIGHUP)
        assert await said(run, "yard") == "cameras.yaml: removed yard"
        written = (tmp_path / "door.jsonl").stat().st_size
        await run.has_written("door.jsonl", written + 1000)
        ended = await run.end(signal.SIGTERM)
    assert ended.code == 143
    assert "door: " in ended.out
    results = lines_of(tmp_path / "door.jsonl")
    epochs = {line["epoch"] for line in results}
    indices = [line["index"] for line in results]
    assert epochs == {0}
    assert indices[0] < 10, "it was never begun again"
    assert indices == sorted(indices)
    kinds = [event["kind"] for line in results for event in line["events"]]
    assert kinds.count("new") <= 1, "its object was never another"
    assert [zone["name"] for zone in results[-1]["watched"]] == ["all"]
    assert results[0]["watched"] == []
    assert lines_of(tmp_path / "yard.jsonl")[-1]["events"][-1]["kind"] == "end"
