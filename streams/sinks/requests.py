"""What others ask over MQTT, on its way to the fold, and the answers on their way back."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..control import Request
from ..types import Applied, Command, Correct, Prompt, Result

MAX_WAITING = 64
"""Commands that may wait for the next step."""
MAX_GIVEN = 2048
"""Commands that may be with the fold; most are answered by its next result, some wait for their frame."""
MAX_MASK_BYTES = 2**28
"""What the masks of all these commands may hold together."""
MAX_ANSWERS = 4096
"""Answers that may wait for the broker; past it the oldest are dropped and counted."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who is to be answered. `command`: the name in the topic; `respond_to`, `correlation`: MQTT 5, 4.10."""

    command: str
    respond_to: str | None = None
    correlation: bytes | None = None


class Answer(NamedTuple):
    """What became of a request: carried out, or refused for a reason."""

    asker: Asker
    request_id: str | None
    outcome: Applied | str


class _Open(NamedTuple):
    """A request that was not answered yet."""

    asker: Asker
    request_id: str | None
    mask_bytes: int


class Requests:
    """Every request is answered once: when a result tells what became of it, or at once where it is refused.

    `run` makes the tokens of commands unlike those of any other sink.
    """

    def __init__(self, run: str) -> None:
        self.dropped = 0
        self._run = run
        self._count = 0
        self._waiting: deque[Command] = deque()
        self._open: dict[str, _Open] = {}
        self._answers: deque[Answer] = deque(maxlen=MAX_ANSWERS)

    def token(self) -> str:
        """What the next request is known by."""
        self._count += 1
        return f"{self._run}/{self._count}"

    def put(self, asker: Asker, request: Request) -> None:
        """Let a request wait for the next step, or refuse it."""
        command = request.command
        reason = request.refusal if command is None else self._objection(command)
        if command is None or command.request is None or reason:
            self._answer(Answer(asker, request.request_id, reason))
            return
        self._open[command.request] = _Open(asker, request.request_id, _mask_bytes(command))
        self._waiting.append(command)

    def take(self) -> tuple[Command, ...]:
        """The commands for the next step, oldest first."""
        taken = tuple(self._waiting)
        self._waiting.clear()
        return taken

    def settle(self, result: Result) -> None:
        """Answer what a result tells of, in the order it was asked. What it tells again is answered once."""
        outcomes: dict[str | None, Applied | str] = {one.command.request: one for one in result.applied}
        outcomes |= {refusal.command.request: refusal.reason for refusal in result.refusals}
        for token in [token for token in self._open if token in outcomes]:
            self._close(token, outcomes[token])

    def refuse_open(self, reason: str) -> None:
        """No more results come: whoever still waits is told why there is no answer."""
        for token in list(self._open):
            self._close(token, reason)
        self._waiting.clear()

    def refuse_unread(self, count: int) -> None:
        """Tell that so many messages came too fast to be read."""
        self._answer(Answer(Asker(""), None, f"{count} messages came faster than they can be read"))

    def next_answers(self, limit: int) -> Sequence[Answer]:
        """The oldest answers; they stay until they are `told`."""
        return [self._answers[place] for place in range(min(limit, len(self._answers)))]

    def told(self, answer: Answer) -> None:
        """Remove an answer, unless it was dropped while it was on its way."""
        if self._answers and self._answers[0] is answer:
            self._answers.popleft()

    @property
    def unanswered(self) -> int:
        """Answers that the broker has not taken yet."""
        return len(self._answers)

    def _objection(self, command: Command) -> str:
        """Why there is no room for a command; empty where there is."""
        if len(self._waiting) >= MAX_WAITING:
            return f"{MAX_WAITING} commands are already waiting for the next frame"
        if len(self._open) >= MAX_GIVEN:
            return f"{MAX_GIVEN} requests are not answered yet"
        held = sum(request.mask_bytes for request in self._open.values())
        if _mask_bytes(command) + held > MAX_MASK_BYTES:
            return f"the masks that wait for their frames hold {held} bytes already"
        return ""

    def _close(self, token: str, outcome: Applied | str) -> None:
        request = self._open.pop(token)
        self._answer(Answer(request.asker, request.request_id, outcome))

    def _answer(self, answer: Answer) -> None:
        self.dropped += len(self._answers) == self._answers.maxlen
        self._answers.append(answer)


def _mask_bytes(command: Command) -> int:
    return command.mask.nbytes if isinstance(command, Prompt | Correct) and command.mask is not None else 0
