"""Requests on their way to the fold, and their answers: bounded, and each answered once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from keepsight.streams.control import Request
from keepsight.streams.sinks.requests import MAX_ANSWERS, MAX_WAITING, Answer, Asker, Requests
from keepsight.streams.types import Applied, Command, Correct, Forget, Prompt, Refusal, Reset

from .results import result

ASKER = Asker("forget")


def ask(requests: Requests, number: int = 1) -> Command:
    """A request to forget an object; its id is the object's number."""
    command = Forget(number, requests.token())
    requests.put(ASKER, Request(str(number), command))
    return command


def answers(requests: Requests) -> list[Answer]:
    """All answers, taken out."""
    told = list(requests.next_answers(MAX_ANSWERS))
    for answer in told:
        requests.told(answer)
    return told


def test_commands_are_taken_in_order_and_once() -> None:
    requests = Requests("r")
    asked = [ask(requests, number) for number in (1, 2, 3)]
    assert requests.take() == tuple(asked)
    assert requests.take() == ()


def test_requests_are_answered_in_order_by_the_result_that_tells_of_them_and_only_once() -> None:
    requests = Requests("r")
    failed, done = ask(requests, 2), ask(requests, 1)
    requests.take()
    applied, refusal = Applied(done, (0, 7), 1), Refusal(failed, "there is no object 2")
    told = replace(result(7), applied=(applied,), refusals=(refusal, Refusal(Reset(), "not ours")))
    for _ in range(2):
        requests.settle(told)
    assert answers(requests) == [Answer(ASKER, "2", "there is no object 2"), Answer(ASKER, "1", applied)]
    assert requests.unanswered == 0


def test_what_does_not_fit_is_refused_and_the_rest_is_carried_out() -> None:
    requests = Requests("r")
    for number in range(1, MAX_WAITING + 3):
        ask(requests, number)
    assert len(requests.take()) == MAX_WAITING
    refused = answers(requests)
    assert [answer.request_id for answer in refused] == [str(MAX_WAITING + 1), str(MAX_WAITING + 2)]
    assert refused[0].outcome == "64 commands are already waiting for the next frame"


def test_masks_that_wait_are_bounded_in_bytes() -> None:
    requests = Requests("r")
    mask = np.broadcast_to(np.True_, (2**14, 2**13))  # 128 MiB, as it says, that hold none
    for place in range(4):
        kind = Prompt(object_id=1, mask=mask, frame_ref=(9, 9), request=requests.token())
        requests.put(Asker("prompt"), Request(str(place), kind))
    assert len(requests.take()) == 2
    assert [answer.request_id for answer in answers(requests)] == ["2", "3"]
    unmasked = Correct(object_id=1, box=(0, 0, 1, 1), request=requests.token())
    requests.put(Asker("correct"), Request("4", unmasked))
    assert requests.take() == (unmasked,)


def test_who_is_refused_is_answered_at_once() -> None:
    requests = Requests("r")
    requests.put(ASKER, Request("a", refusal="object_id: is required"))
    assert requests.take() == ()
    assert answers(requests) == [Answer(ASKER, "a", "object_id: is required")]


def test_the_end_of_a_run_answers_whoever_still_waits() -> None:
    requests = Requests("r")
    ask(requests, 1)
    requests.take()
    ask(requests, 2)
    requests.refuse_open("the run ended")
    assert [(answer.request_id, answer.outcome) for answer in answers(requests)] == [
        ("1", "the run ended"),
        ("2", "the run ended"),
    ]
    assert requests.take() == ()


def test_answers_that_wait_for_the_broker_are_bounded() -> None:
    requests = Requests("r")
    for number in range(MAX_ANSWERS + 5):
        requests.put(ASKER, Request(str(number), refusal="no"))
    assert requests.dropped == 5
    assert answers(requests)[0].request_id == "5"


def test_tokens_of_two_sinks_are_never_the_same() -> None:
    one, other = Requests("a"), Requests("b")
    assert len({requests.token() for requests in (one, other) for _ in range(100)}) == 200
