"""Files of weights: every layout is taken, and what is wrong or hostile is refused with a reason."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from keepsight.model.models import MODELS, build, outline
from keepsight.model.nano import Nano
from keepsight.model.nano_config import NANO, NanoConfig
from keepsight.model.sam2_config import TEST
from keepsight.tracker.build import load_predictor, sized
from keepsight.tracker.config import engine
from keepsight.tracker.validation import ConfigError
from keepsight.tracker.weight_file import load_weights, read_weights
from tests.model import shapes


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    return build(MODELS["test"]).state_dict()


def refusal(path: Path, name: str = "test") -> str:
    """What is said of the file as the weights of a model; one line."""
    with pytest.raises(ConfigError) as refused:
        load_weights(outline(MODELS[name]), path, name)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{path}: ")


def numbers(layout: str, model: str) -> dict[str, Tensor]:
    """A published checkpoint with half-precision zeros, to be small; variances are one."""
    meta = shapes.checkpoint(layout, model)
    return {key: torch.zeros(value.shape, dtype=torch.bfloat16) for key, value in meta.items()}


@pytest.mark.parametrize("layout", shapes.LAYOUTS)
def test_both_published_layouts_of_edgetam_load(tmp_path: Path, layout: str) -> None:
    path = tmp_path / ("edgetam.pt" if layout == "official" else "model.safetensors")
    if layout == "official":
        torch.save({"model": numbers(layout, "edgetam")}, path)
    else:
        save_file(numbers(layout, "edgetam"), path)
    network = load_predictor(engine({"model": "edgetam", "weights": path, "device": "cpu", "size": 256}))
    assert not any(parameter.is_meta for parameter in network.parameters())


def test_the_weights_of_another_size_are_refused_by_its_name(tmp_path: Path) -> None:
    weights = shapes.checkpoint("official", "sam2.1-small")
    path = tmp_path / "tiny.pt"
    torch.save({key: torch.zeros(1).expand(value.shape) for key, value in weights.items()}, path)
    said = refusal(path, "sam2.1-tiny")
    assert said == "not the weights of sam2.1-tiny, but those of sam2.1-small: use --model sam2.1-small"


@pytest.mark.parametrize("layout", shapes.LAYOUTS)
def test_a_published_checkpoint_is_known_by_whatever_model_it_is_given_to(
    tmp_path: Path, layout: str
) -> None:
    save_file(numbers(layout, "sam2.1-tiny"), tmp_path / "w.safetensors")
    said = refusal(tmp_path / "w.safetensors", "nano")
    assert said == "not the weights of nano, but those of sam2.1-tiny: use --model sam2.1-tiny"


def test_the_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    assert "not the weights of test: " in refusal(tmp_path / "w.safetensors")
    assert "not the weights of nano: " in refusal(tmp_path / "w.safetensors", "nano")


class RunsCode:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch was_run",)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"model": {"weight": RunsCode()}}, tmp_path / "hostile.pt")
    assert "it would run posix.system, so it was not opened" in refusal(tmp_path / "hostile.pt")
    assert not (tmp_path / "was_run").exists()


def zipped(content: bytes) -> Callable[[Path], None]:
    """A file of torch's layout with this in the place of its pickle."""

    def write(path: Path) -> None:
        with ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
            archive.writestr("archive/version", "3")
            archive.writestr("archive/byteorder", "little")

    return write


def holding(**tensors: Tensor) -> Callable[[Path], None]:
    """The weights of "test" with these in the place of some."""
    return lambda path: torch.save({**build(MODELS["test"]).state_dict(), **tensors}, path)


def quantised(*shape: int) -> Tensor:
    return torch.quantize_per_tensor(torch.zeros(shape), 0.1, 0, torch.qint8)


ROW = 1, TEST.dim
ODD: dict[str, Callable[[Path], None]] = {
    "numbers for names": lambda path: torch.save({0: torch.zeros(2), 1: torch.zeros(2)}, path),
    "an empty pickle": zipped(b""),
    "a stack that is empty": zipped(b"."),
    "a tuple of an empty stack": zipped(b"\x80\x02\x85."),
    "a number that is cut off": zipped(b"\x80\x02J\x00."),
    "text that is cut off": zipped(b"\x80\x02X\x05\x00\x00\x00a"),
    "a tensor of no storage": zipped(b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R."),
    "a storage of no kind": zipped(b"\x80\x02}Q."),
    "a storage of too few words": zipped(b"\x80\x02X\x07\x00\x00\x00storage\x85Q."),
    "complex numbers": holding(no_memory=torch.zeros(ROW, dtype=torch.complex64)),
    "truth values": holding(no_memory=torch.zeros(ROW, dtype=torch.bool)),
    "integers": holding(no_memory=torch.zeros(ROW, dtype=torch.int64)),
    "sparse": holding(no_memory=torch.zeros(ROW).to_sparse()),
    "quantised": holding(no_memory=quantised(*ROW)),
    "without numbers": holding(no_memory=torch.zeros(ROW, device="meta")),
    "without axes": holding(**{"image_encoder.trunk.patch_embed.weight": torch.tensor(0.0)}),
    "official and without axes": lambda path: torch.save(
        dict.fromkeys(("sam_mask_decoder.x", "image_encoder.neck.convs.0.conv.weight"), torch.tensor(0.0)),
        path,
    ),
}


@pytest.mark.parametrize("write", ODD.values(), ids=ODD)
def test_whatever_else_is_in_a_file_it_is_refused_in_one_line(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "odd.pt")
    assert refusal(tmp_path / "odd.pt").startswith(
        ("cannot be read as weights: ", "not the weights of test: ")
    )


def test_what_counts_batches_may_be_integers(tmp_path: Path) -> None:
    network = torch.nn.BatchNorm2d(3)
    save_file(network.state_dict(), tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors")["num_batches_tracked"].dtype == torch.int64


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_a_file_that_was_cut_off_is_refused(tmp_path: Path, state: dict[str, Tensor], suffix: str) -> None:
    path = tmp_path / f"whole{suffix}"
    torch.save(state, path) if suffix == ".pt" else save_file(state, path)
    content = path.read_bytes()
    for share in (0.0, 0.01, 0.6):
        path.write_bytes(content[: int(share * len(content))])
        assert refusal(path).startswith("cannot be read as weights: ")


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    for name in ("text.pt", "text.safetensors"):
        (tmp_path / name).write_text("hello, this is not a file of weights\n" * 9)
        assert refusal(tmp_path / name).startswith("cannot be read as weights: ")


def test_tensors_without_names_are_refused(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    assert "it does not hold tensors by name" in refusal(tmp_path / "list.pt")


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    broken = {key: value.clone() for key, value in state.items()}
    broken["no_memory"][0, 3] = torch.nan
    save_file(broken, tmp_path / "nan.safetensors")
    assert refusal(tmp_path / "nan.safetensors") == ("damaged: 1 tensors are not finite, such as no_memory")


def test_a_tensor_too_few_too_many_or_misshapen_is_refused(tmp_path: Path, state: dict[str, Tensor]) -> None:
    first, second = "no_memory", "frame_times"
    changed = {key: value for key, value in state.items() if key != first}
    changed |= {"surplus": torch.zeros(1), second: state[second][:2].clone()}
    save_file(changed, tmp_path / "w.safetensors")
    said = refusal(tmp_path / "w.safetensors")
    assert "1 tensors are missing, 1 unknown and 1 of another shape, such as frame_times" in said


def test_an_input_size_that_the_perceiver_cannot_divide_is_refused() -> None:
    with pytest.raises(
        ConfigError,
        match="--size 384: this model takes multiples of 256, for example 256 or 512; 1024 is its own",
    ):
        load_predictor(engine({"model": "edgetam", "device": "cpu", "size": 384}))


@pytest.mark.parametrize("side", [NANO.image_side, 300, 65])
def test_nano_takes_an_input_of_any_size(side: int) -> None:
    config = sized(NANO, side)
    assert isinstance(config, NanoConfig)
    assert config.image_side == side
    with torch.random.fork_rng():
        found = Nano(config).input_size((720, 1280))
    assert all(length % 32 == 0 for length in found)
    assert 0.6 < found[0] * found[1] / side**2 < 1.5
