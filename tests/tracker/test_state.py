"""The state's size, and what is thought of a mask."""

import pytest
import torch

from keepsight.model.stability import stability
from keepsight.tracker.confidence import STABILITY_MARGIN, Opinions, confidence
from keepsight.tracker.state import initial


def test_a_tracker_begins_with_free_slots_and_no_memory():
    state = initial(3)
    assert state.slots == (None, None, None)
    assert state.records == ()
    assert state.memory is None


def test_a_tracker_without_room_is_refused():
    with pytest.raises(ValueError, match="max_objects is 0"):
        initial(0)


def test_stability_is_the_overlap_of_a_strict_and_a_lax_mask():
    logits = torch.tensor([[[2.0, 2.0, 0.5, -5.0]], [[2.0, 2.0, 2.0, 2.0]], [[-5.0, -5.0, -5.0, -5.0]]])
    assert stability(logits, STABILITY_MARGIN).tolist() == pytest.approx([2 / 3, 1.0, 0.0])
    assert stability(logits, 1.0, empty=1.0).tolist() == pytest.approx([2 / 3, 1.0, 1.0])


def test_confidence_is_presence_times_the_mean_opinion_on_the_mask():
    assert confidence(Opinions(iou=1.0, presence=0.8, stability=1.0, margin=0.0)) == pytest.approx(0.8)
    assert confidence(Opinions(iou=0.25, presence=1.0, stability=1.0, margin=1.0)) == pytest.approx(0.5)
    assert confidence(Opinions(iou=0.9, presence=1.0, stability=0.0, margin=1.0)) == 0.0
