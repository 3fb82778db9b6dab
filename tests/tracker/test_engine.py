"""Work that two threads take turns at."""

from __future__ import annotations

import threading

import pytest
import torch

from keepsight.tracker import engine
from keepsight.tracker.engine import TwoAtOnce


@pytest.fixture(autouse=True)
def two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(engine, "cores", lambda: 2)


def test_results_come_in_the_order_of_the_items() -> None:
    assert TwoAtOnce()(lambda x: x * x, range(50)) == [x * x for x in range(50)]
    assert TwoAtOnce()(str, []) == []


def test_two_items_are_in_hand_at_once_and_both_without_gradient() -> None:
    both = threading.Barrier(2, timeout=10)

    def meet(_: int) -> tuple[int, bool]:
        both.wait()
        return torch.get_num_threads(), torch.is_inference_mode_enabled()

    with torch.inference_mode():
        assert TwoAtOnce()(meet, range(2)) == [(1, True)] * 2


def test_an_item_may_be_work_to_share_itself() -> None:
    each = TwoAtOnce()
    assert each(lambda x: sum(each(lambda y: x * y, range(4))), range(4)) == [0, 6, 12, 18]


def test_the_error_of_an_item_is_raised_whoever_had_it() -> None:
    both = threading.Barrier(2, timeout=10)

    def fail_elsewhere(caller: int) -> None:
        both.wait()
        if threading.get_ident() != caller:
            raise ValueError("the other thread's")

    each = TwoAtOnce()
    with pytest.raises(ValueError, match="the other thread's"):
        each(fail_elsewhere, [threading.get_ident()] * 2)
    with pytest.raises(ZeroDivisionError):
        each(lambda x: 1 / x, [0, 0, 0])
    assert each(abs, [-1, 2]) == [1, 2]


def test_a_thread_with_most_of_the_cores_works_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "cores", lambda: 1)
    assert set(TwoAtOnce()(lambda _: threading.get_ident(), range(9))) == {threading.get_ident()}
