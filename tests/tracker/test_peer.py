"""The race against another implementation: both run the same network on the same frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from keepsight.model.models import MODELS
from keepsight.model.sam2_config import TEST, Sam2Config
from keepsight.tracker.peer import PEERS_MEMORY, check_peer, pair
from keepsight.tracker.race import Ours, Theirs, drifting, races
from keepsight.tracker.validation import ConfigError

SMALL = replace(TEST, dim=128, memory_dim=PEERS_MEMORY)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@torch.inference_mode()
def test_both_find_the_same_masks_of_two_objects_frame_by_frame() -> None:
    """To a thousandth of the logits' spread, room for the order of sums: untrained masks are nearly flat. No
    more frames than ours has pointers for."""
    pytest.importorskip("transformers", reason="is the peer")
    reference, network = pair(SMALL, torch.device("cpu"))
    peer = Theirs(reference, SMALL, 2)
    with Ours(network, 2) as own:
        for index, frame in enumerate(drifting(SMALL.image_size, 5)):
            if index == 3:
                own.remember_again(1)
                peer.remember_again(1)
            theirs, ours = peer.track(frame).pred_masks[:, 0], own.track(frame, None).logits
            torch.testing.assert_close(ours, theirs, atol=1e-3 * float(theirs.std()), rtol=0)


def test_a_race_times_every_frame_of_both_after_the_memory_is_full() -> None:
    pytest.importorskip("transformers", reason="is the peer")
    first, second = races(SMALL, [1, 2], 3, torch.device("cpu"))
    assert [first.objects, second.objects] == [1, 2]
    for found in (first, second):
        assert len(found.ours) == len(found.peers) == 3
        assert min(*found.ours, *found.peers, found.ratio) > 0


def test_a_network_that_the_peer_has_not_is_refused() -> None:
    tiny = MODELS["sam2.1-tiny"]
    assert isinstance(tiny, Sam2Config)
    assert check_peer("transformers", "sam2.1-tiny", tiny) is tiny
    for name in ("nano", "edgetam", "test"):
        with pytest.raises(ConfigError, match=f"--peer transformers: it has no {name}"):
            check_peer("transformers", name, MODELS[name])
    with pytest.raises(ConfigError, match="--peer: unknown peer 'tensorflow'"):
        check_peer("tensorflow", "sam2.1-tiny", tiny)
