"""Weights from the Hugging Face Hub: fetched once, resumed, checked, and not asked for when offline."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub", reason="fetches the files")

from keepsight.tracker.hub import HubError, HubFile, fetch, fetched
from keepsight.tracker.validation import ConfigError
from keepsight.tracker.weights import PUBLISHED, find_weights, hub_file, whereabouts
from tests.peers.hub import COMMIT, Hub

CHUNK = 10 * 1024 * 1024
"""Bytes that the Hub's library keeps at a time: a download that breaks off leaves a multiple of this."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # as read where it was imported
    with Hub("me/network", "weights.pt", bytes(range(256)) * 4096) as running:
        yield running


@pytest.fixture
def wanted(hub: Hub) -> HubFile:
    return HubFile("me/network", "weights.pt", COMMIT, hub.sha256)


def test_a_file_is_fetched_once_and_found_again(hub: Hub, wanted: HubFile, tmp_path: Path) -> None:
    assert fetched(wanted, tmp_path) is None
    path = fetch(wanted, tmp_path, hub.endpoint)
    assert path.read_bytes() == hub.content
    assert fetched(wanted, tmp_path) == path
    asked = len(hub.asked)
    assert fetch(wanted, tmp_path, hub.endpoint) == path
    assert len(hub.asked) == asked


def test_a_download_that_breaks_off_goes_on_where_it_stopped(
    hub: Hub, wanted: HubFile, tmp_path: Path
) -> None:
    hub.drops, hub.content = True, bytes(range(256)) * (CHUNK // 100)
    assert fetch(replace(wanted, sha256=hub.sha256), tmp_path, hub.endpoint).read_bytes() == hub.content
    ranges = [asked[2] for asked in hub.asked if asked[0] == "GET"]
    assert ranges == [None, f"bytes={CHUNK}-"]


def test_a_file_that_is_not_the_published_one_is_refused_and_removed(
    hub: Hub, wanted: HubFile, tmp_path: Path
) -> None:
    other = replace(wanted, sha256="0" * 64)
    with pytest.raises(HubError, match="what came has the SHA-256"):
        fetch(other, tmp_path, hub.endpoint)
    assert fetched(other, tmp_path) is None


def test_a_file_that_was_changed_after_it_came_is_refused(hub: Hub, wanted: HubFile, tmp_path: Path) -> None:
    fetch(wanted, tmp_path, hub.endpoint).resolve().write_bytes(b"something else")
    with pytest.raises(HubError, match="as published"):
        fetch(wanted, tmp_path, hub.endpoint)


def test_a_file_that_looks_the_same_is_not_read_twice(hub: Hub, wanted: HubFile, tmp_path: Path) -> None:
    path = fetch(wanted, tmp_path, hub.endpoint).resolve()
    about = path.stat()
    path.write_bytes(bytes(about.st_size))
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    fetch(wanted, tmp_path, hub.endpoint)


def test_offline_nothing_is_asked(
    hub: Hub, wanted: HubFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(HubError, match="HF_HUB_OFFLINE is set"):
        fetch(wanted, tmp_path, hub.endpoint)
    assert not hub.asked


def test_offline_what_was_fetched_before_is_found(
    hub: Hub, wanted: HubFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(wanted, tmp_path, hub.endpoint)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert fetch(wanted, tmp_path) == path


def test_a_file_that_the_hub_does_not_have_is_an_error_of_one_line(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(HubError) as refusal:
        fetch(HubFile("me/network", "other.pt", COMMIT), tmp_path, hub.endpoint)
    assert str(refusal.value).startswith("the Hugging Face Hub: ")
    assert "\n" not in str(refusal.value)


def test_a_hub_that_does_not_answer_is_an_error_of_one_line(
    hub: Hub, wanted: HubFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its library tries again for 23 s in all, which are not waited for here."""
    waits: list[float] = []
    monkeypatch.setattr("time.sleep", waits.append)
    with Hub("me/network", "weights.pt", b"") as gone:
        endpoint = gone.endpoint
    with pytest.raises(HubError) as refusal:
        fetch(wanted, tmp_path, endpoint)
    assert "\n" not in str(refusal.value)
    assert waits, "one refusal is not the end"


def test_weights_are_sought_in_the_cache_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPSIGHT_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert whereabouts("sam2.1-tiny") == "hf:facebook/sam2.1-hiera-tiny"
    with pytest.raises(ConfigError) as refusal:
        find_weights("sam2.1-tiny", None)
    assert f"save {PUBLISHED['sam2.1-tiny'].url} as {tmp_path / 'sam2.1-tiny.pt'}" in str(refusal.value)
    (tmp_path / "sam2.1-tiny.pt").write_bytes(b"")
    assert find_weights("sam2.1-tiny", None) == tmp_path / "sam2.1-tiny.pt"
    assert whereabouts("sam2.1-tiny") == str(tmp_path / "sam2.1-tiny.pt")


def test_of_two_files_the_bundled_one_comes_before_the_cache_and_safetensors_before_pt_before_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPSIGHT_CACHE", str(tmp_path))
    (tmp_path / "nano.safetensors").write_bytes(b"")
    bundled = find_weights("nano", None)
    assert bundled is not None
    assert bundled.parent.name == "weights"
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    of_hub = fetched_before(PUBLISHED["edgetam"], tmp_path / "hub")
    assert fetched(PUBLISHED["edgetam"], tmp_path / "hub") == of_hub
    for name in ("edgetam.pt", "edgetam.safetensors"):
        (tmp_path / name).write_bytes(b"")
        assert find_weights("edgetam", None) == tmp_path / name


def fetched_before(file: HubFile, folder: Path) -> Path:
    """An empty file as the Hub's library would have left it."""
    repository = folder / f"models--{file.repository.replace('/', '--')}"
    place = repository / "snapshots" / file.revision / file.file
    place.parent.mkdir(parents=True)
    place.write_bytes(b"")
    return place


def test_a_given_file_comes_before_all_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEEPSIGHT_CACHE", str(tmp_path))
    (tmp_path / "sam2.1-tiny.pt").write_bytes(b"")
    (tmp_path / "mine.pt").write_bytes(b"")
    assert find_weights("sam2.1-tiny", tmp_path / "mine.pt") == tmp_path / "mine.pt"


def test_a_file_on_the_hub_can_be_named() -> None:
    assert hub_file("hf:me/network") == HubFile("me/network", "model.safetensors")
    assert hub_file("hf:me/network/some/weights.pt") == HubFile("me/network", "some/weights.pt")
    assert hub_file("hf:me/network@v1") == HubFile("me/network", "model.safetensors", "v1")
    assert hub_file(f"hf:me/network@{COMMIT}/w.pt") == HubFile("me/network", "w.pt", COMMIT)
    for wrong in ("hf:network", "hf:me/@v1", "hf:me/network@/w.pt"):
        with pytest.raises(ConfigError, match="write hf:owner/name"):
            hub_file(wrong)


def test_a_named_revision_is_the_one_that_is_fetched(hub: Hub, tmp_path: Path) -> None:
    for revision in ("main", COMMIT):
        hub.asked.clear()
        found = fetch(hub_file(f"hf:me/network@{revision}/weights.pt"), tmp_path / revision, hub.endpoint)
        assert found.read_bytes() == hub.content
        assert {path for _, path, _ in hub.asked} == {f"/me/network/resolve/{revision}/weights.pt"}


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("kind", [Terminal, StringIO])
def test_a_download_is_shown_on_a_terminal_and_nowhere_else(
    hub: Hub, wanted: HubFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[StringIO]
) -> None:
    shown = kind()
    monkeypatch.setattr("sys.stderr", shown)
    fetch(wanted, tmp_path, hub.endpoint)
    assert ("100%" in shown.getvalue()) == (kind is Terminal)


def test_without_its_library_the_hub_is_left_alone_and_how_to_get_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEEPSIGHT_CACHE", str(tmp_path))
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for given in (None, Path("hf:me/network")):
        with pytest.raises(ConfigError) as refusal:
            find_weights("sam2.1-tiny", given)
        assert "to have it fetched: pip install 'keepsight[hub]'" in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_every_published_file_is_checked_and_all_but_one_are_pinned() -> None:
    assert all(len(file.sha256 or "") == 64 for file in PUBLISHED.values())
    unpinned = [name for name, file in PUBLISHED.items() if len(file.revision) != 40]
    assert unpinned == ["sam2-base-plus"]
