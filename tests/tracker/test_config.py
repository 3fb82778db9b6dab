"""What users write in YAML and on the command line: what is understood, and how mistakes are answered."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from keepsight.streams.base import SinkError
from keepsight.tracker.config import VARIABLE, RunConfig, read_deployment, run_config
from keepsight.tracker.deployment import prepare
from keepsight.tracker.validation import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs"
RECIPES = ("train_", "finetune")
DEPLOYMENTS = sorted(file for file in CONFIGS.glob("*.yaml") if not file.name.startswith(RECIPES))
ONE = "source: test://\nprompt: box=0,0,.5,.5\noutput: out.jsonl\n"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "deployment.yaml"


def complaint(file: Path, text: str) -> str:
    """What `read_deployment` says of a file with this text, which must be one line that names the file."""
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_deployment(file)
    message = str(caught.value)
    assert message.startswith(f"{file}: ")
    assert "\n" not in message
    return message.removeprefix(f"{file}: ")


def test_one_stream_is_written_with_the_names_of_the_options(written: Path) -> None:
    written.write_text(ONE + "model: test\nmax_objects: 3\n")
    deployment = read_deployment(written)
    assert deployment.model == "test"
    assert deployment.streams["main"].max_objects == 3
    assert deployment.streams["main"].prompt == ("box=0,0,.5,.5",)


def test_several_streams_share_one_model(written: Path) -> None:
    written.write_text(
        "model: test\nstreams:\n  door: {source: 'test://', output: a.mp4}\n  yard: {source: 'test://'}\n"
    )
    assert list(read_deployment(written).streams) == ["door", "yard"]


def test_an_unknown_key_is_answered_with_the_known_ones(written: Path) -> None:
    said = complaint(written, ONE + "modle: nano\n")
    assert said.startswith("modle: unknown key 'modle', did you mean 'model'? Known: auto, backend, ")
    assert "max_objects" in said


def test_an_unknown_key_of_a_stream_is_answered_with_the_keys_of_streams(written: Path) -> None:
    said = complaint(written, "streams:\n  door: {source: 'test://', outptu: a.mp4}\n")
    assert said.startswith("streams.door.outptu: unknown key 'outptu', did you mean 'output'? Known: ")
    assert "device" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("model: nano\n", "source: is required"),
        (ONE + "max_objects: 0\n", "max_objects: must be greater than or equal to 1, not 0"),
        (ONE + "max_objects: many\n", "max_objects: must be a valid integer, unable to parse"),
        (ONE + "device: gpu\n", "device: 'gpu' is not auto, cpu, cuda or cuda:N"),
        (ONE + "dtype: float16\n", "dtype: 'float16' is not one of auto, float32, bfloat16"),
        (
            ONE + "backend: compile\n",
            "backend: 'compile' is not part of this release; use auto or torch or openvino",
        ),
        (ONE + "auto: detector=x\n", "auto: 'detector=x': there is no file x"),
        (ONE + "auto: all\n", "auto: 'all' is not one of off, motion, grid"),
        (
            "streams:\n  Front Door: {source: 'test://'}\n",
            "streams.Front Door.[key]: 'Front Door' is not a name",
        ),
        ("streams: {}\n", "streams: "),
        ("- a\n- b\n", "must map keys to values"),
        ("source: [\n", "is not valid YAML in line 2"),
        ("", "must map keys to values"),
    ],
)
def test_what_is_not_allowed_is_said_with_its_key(written: Path, text: str, said: str) -> None:
    assert complaint(written, text).startswith(said)


@pytest.mark.parametrize("character", ["\\0", "\\ud800"])
def test_what_no_name_can_hold_is_refused(written: Path, character: str) -> None:
    said = complaint(written, f'source: "x{character}y"\nprompt: box=0,0,.5,.5\noutput: out.jsonl\n')
    assert said.startswith("source: 'x\\")
    assert said.endswith("y' holds a NUL or half a character")


def test_a_missing_file_and_a_binary_file_are_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: No such file"):
        read_deployment(tmp_path / "nowhere.yaml")
    (tmp_path / "video.yaml").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match="is not a text file"):
        read_deployment(tmp_path / "video.yaml")


def test_secrets_come_from_the_environment(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMERA_PASSWORD", "hush")
    written.write_text("source: rtsp://me:${CAMERA_PASSWORD}@camera/main\n")
    assert read_deployment(written).streams["main"].source == "rtsp://me:hush@camera/main"


def test_a_secret_in_the_wrong_place_is_not_shown(written: Path) -> None:
    said = complaint(written, "source: ['rtsp://me:hush@camera/main']\n")
    assert said == "source: must be a valid string, not ['rtsp://me:***@camera/main']"


def test_a_secret_that_is_not_set_is_said(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOBODY_SET_THIS", raising=False)
    said = complaint(written, "streams:\n  door: {source: 'rtsp://${NOBODY_SET_THIS}@camera'}\n")
    assert said == "streams.door.source: the environment variable NOBODY_SET_THIS is not set"


def test_an_option_is_named_as_it_was_typed() -> None:
    with pytest.raises(ConfigError, match=r"^--max-objects: must be less than or equal to 255"):
        run_config({"source": "test://", "max_objects": 1000})


def test_a_configuration_cannot_be_changed() -> None:
    config = RunConfig(source="test://")
    with pytest.raises(ValueError, match="frozen"):
        config.model = "other"  # type: ignore[misc]


def test_a_stream_needs_something_to_track_and_somewhere_to_put_it() -> None:
    with pytest.raises(ConfigError, match="no output: say where the results go"):
        prepare(run_config({"source": "test://", "prompt": ["box=0,0,1,1"]}).deployment())
    with pytest.raises(ConfigError, match="nothing to track: show it"):
        prepare(run_config({"source": "test://", "output": ["x.jsonl"]}).deployment())


def test_an_output_never_overwrites_the_source_or_another_output(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.touch()
    options = {"source": str(clip), "prompt": "box=0,0,1,1"}
    for output in (f"{tmp_path}/x/../clip.mp4", f"mot:{tmp_path}/clip.txt", f"coco:{tmp_path}/clip.json"):
        name = tmp_path / Path(output).name
        name.touch()
        with pytest.raises(ConfigError, match="is a source or another output"):
            prepare(run_config({**options, "source": str(name), "output": output}).deployment())


@pytest.mark.parametrize(
    ("scheme", "place"),
    [("masks", "out"), ("hls", "out"), ("coco", "out.json"), ("mot", "out.txt"), ("", "out.jsonl")],
)
def test_two_outputs_do_not_share_a_folder_or_a_file(scheme: str, place: str) -> None:
    scheme = scheme and f"{scheme}:"
    options = {"source": "test://", "output": [f"{scheme}{place}", f"{scheme}./{place}"], "auto": "motion"}
    with pytest.raises(ConfigError, match=rf"output {scheme}\./{place} is a source or another output"):
        prepare(run_config(options).deployment())


@pytest.mark.parametrize("scheme", ["masks", "hls", "clips"])
def test_a_folder_is_not_written_like_a_url(scheme: str) -> None:
    options = {"source": "test://", "output": f"{scheme}:///out", "auto": "motion"}
    with pytest.raises(SinkError, match=f"^{scheme}://: is a folder of this machine: write {scheme}:DIR$"):
        prepare(run_config(options).deployment())


@pytest.mark.parametrize(("scheme", "place"), [("coco", "FILE.json"), ("mot", "FILE.txt")])
def test_a_file_is_not_written_like_a_url(scheme: str, place: str) -> None:
    with pytest.raises(SinkError, match=f"^{scheme}://: is a file of this machine: write {scheme}:{place}$"):
        prepare(
            run_config({"source": "test://", "output": f"{scheme}:///out", "auto": "motion"}).deployment()
        )


@pytest.mark.parametrize(
    ("shown", "output", "lost"),
    [
        ({"prompts": "log.jsonl"}, "./log.jsonl", "log.jsonl"),
        ({"prompts": "log.json"}, "coco:log.json", "log.json"),
        ({"prompts": "log.txt"}, "mot:log.txt", "log.txt"),
        ({"prompt_mask": "masks/00007.png@7"}, "masks:masks", "masks/00007.png"),
        ({"prompt_mask": ["a.png", "00001.png"]}, "masks:.", "00001.png"),
    ],
)
def test_an_output_never_overwrites_what_was_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: dict[str, object], output: str, lost: str
) -> None:
    monkeypatch.chdir(tmp_path)
    deployment = run_config({"source": "test://", "output": output, **shown}).deployment()
    said = re.escape(f"main: output {output} would overwrite the prompts in {tmp_path / lost}")
    with pytest.raises(ConfigError, match=f"^{said}$"):
        prepare(deployment)


def test_masks_go_beside_a_prompt_of_another_name(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "first.png"), np.eye(50, dtype=np.uint8))
    options = {"source": "test://", "prompt_mask": str(tmp_path / "first.png"), "output": f"masks:{tmp_path}"}
    (stream,) = prepare(run_config(options).deployment())
    assert len(stream.cues) == 1


@pytest.mark.parametrize("file", DEPLOYMENTS, ids=lambda file: file.name)
def test_the_deployments_that_come_along_are_right(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLE.findall(file.read_text(encoding="utf-8")):
        monkeypatch.setenv(name, "hush")
    assert read_deployment(file).streams
