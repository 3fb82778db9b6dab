"""The command line: what it prints, what it writes, and the exit code it ends with."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import orjson
import pytest
import torch

from keepsight.model.models import MODELS
from tests.tracker.command_line import BOX, SCENE, Keepsight, frames_of, lines

KNOWN = (
    "edgetam, nano, sam2-base-plus, sam2-large, sam2-small, sam2-tiny, "
    "sam2.1-base-plus, sam2.1-large, sam2.1-small, sam2.1-tiny, test"
)
"""Every model there is."""


RECIPE = Path(__file__).parents[2] / "configs" / "train_nano.yaml"


def test_the_version_is_told(keepsight: Keepsight) -> None:
    assert keepsight("--version").out == f"keepsight {version('keepsight')}\n"


def test_help_is_quick_because_it_does_not_import_torch() -> None:
    code = (
        "import sys; from keepsight.tracker.cli.main import execute; execute(['run', '--help']); "
        "assert not {'torch', 'av', 'cv2', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--prompt-mask" in done.stdout
    assert "keepsight run street.mp4" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run"], "nothing to run: give a SOURCE, or --config FILE.yaml"),
        (["run", SCENE, "-o", "x.jsonl"], "nothing to track"),
        (["run", SCENE, *BOX], "no output"),
        (["run", SCENE, "-o", "x.jsonl", "--prompt", "box=10,20,300,400"], "not pixels"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "huge"], f"unknown model 'huge'. Known: {KNOWN}"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "sam2.1-tiny"], "no weights: save https://"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--weights", "w.safetensors"], "no such file"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--backend", "compile"], "not part of this release"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--max-objects", "0"], "--max-objects: must be greater"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "test", "--device", "cuda:7"], "--device cuda:7"),
        (
            ["run", SCENE, *BOX, "-o", "x.jsonl", "--model", "test", "--size", "100"],
            "multiples of 32, for example 96 or 128",
        ),
        (["run", SCENE, "--config", "x.yaml"], "--config stands alone"),
        (["run", "--modle", "nano"], "(see keepsight run --help)"),
        (["rum"], "No such command"),
        (["check", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (["check", str(RECIPE)], "keepsight train"),
        (["eval", "nowhere", "--model", "test"], "nowhere"),
        (["schema", "event"], "unknown schema 'event', did you mean 'events'?"),
        (["bench", "--video", "big", "--model", "test"], "must be WIDTHxHEIGHT"),
        (["run", SCENE, *BOX, "-o", "x.jsonl", "--dtype", "int4"], "--dtype: 'int4' is not one of auto,"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_mistake_is_answered_in_one_line(keepsight: Keepsight, arguments: list[str], said: str) -> None:
    if "cuda:7" in arguments and torch.cuda.device_count() > 7:
        pytest.skip("this machine has that GPU")
    done = keepsight(*arguments)
    assert done.code == 2
    assert said in done.complaint


def test_check_shows_what_would_run_and_hides_secrets(keepsight: Keepsight, tmp_path: Path) -> None:
    (tmp_path / "door.yaml").write_text(
        "source: rtsp://me:hush@camera.local/main\nmodel: test\nprompt: box=0,0,.5,.5\n"
        "output: [mqtt://me:hush@broker/keepsight, out.mp4]\n"
    )
    done = keepsight("check", "door.yaml")
    assert (done.code, done.err) == (0, "")
    assert "rtsp://me:***@camera.local/main (live)" in done.out
    assert "out.mp4" in done.out
    assert "hush" not in done.out


def test_what_a_user_names_is_shown_as_it_is(keepsight: Keepsight, tmp_path: Path) -> None:
    (tmp_path / "[bold].yaml").write_text(
        "source: rtsp://[fe80::1]:554/[/x]\nmodel: test\nprompt: box=0,0,.5,.5\noutput: '[/x]:cat:.mp4'\n"
    )
    done = keepsight("check", "[bold].yaml")
    assert (done.code, done.err) == (0, "")
    for name in ("[bold].yaml is fine", "rtsp://[fe80::1]:554/[/x] (live)", "[/x]:cat:.mp4"):
        assert name in done.out


def test_models_lists_every_model(keepsight: Keepsight) -> None:
    done = keepsight("models")
    assert done.code == 0
    assert all(name in done.out for name in MODELS)
    assert all(said in done.out for said in ("224.4 M", "13.9 M", "Apache-2.0", "hf:facebook/EdgeTAM"))


def test_schema_prints_json_schemas(keepsight: Keepsight) -> None:
    for name in keepsight("schema").out.split():
        assert orjson.loads(keepsight("schema", name).out)


def test_the_demo_writes_its_files_and_compares_with_the_truth(keepsight: Keepsight, tmp_path: Path) -> None:
    done = keepsight("demo", "--out", "shown", "--model", "test", "--frames", "10")
    assert (done.code, done.err) == (0, "")
    assert "Against the scene's truth" in done.out
    assert frames_of(tmp_path / "shown/overlay.mp4") == 10
    assert len(list((tmp_path / "shown/masks").iterdir())) == 10
    assert len(lines(tmp_path / "shown/events.jsonl")) == 10


def test_in_a_log_a_run_says_now_and_then_how_it_is_doing(
    track: Keepsight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepsight.tracker.cli.progress.LINE_SECONDS", 0.0)
    done = track(SCENE, "-o", "x.jsonl")
    assert done.code == 0
    told = done.err.splitlines()
    assert told[0].startswith("main: frame 1 of 6, ")
    assert all(line.startswith("main: frame ") for line in told)


def test_a_mistake_of_ours_is_told_in_one_line_and_traced_when_debugging(
    keepsight: Keepsight, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keepsight.tracker.config.read_deployment", lambda path: path / 0)
    done = keepsight("run", "--config", "x.yaml")
    assert done.code == 1
    assert done.complaint.startswith("TypeError: ")
    monkeypatch.setenv("KEEPSIGHT_DEBUG", "1")
    assert "Traceback" in keepsight("run", "--config", "x.yaml").err
