"""A tape played again: the frames and commands of a session that has been, and what came of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing

from keepsight.streams.base import Sink
from keepsight.streams.types import Result

from .endings import closing, ended
from .pipeline import Session
from .rules import NO_RULES
from .tape import Step
from .watching import begin as begin_watch
from .watching import step as watch_step
from .writing import writing

Run = Callable[..., Awaitable[Step | None]]


async def replay_tape(
    steps: Iterator[Step],
    live: bool,
    session: Session,
    sinks: Sequence[Sink],
    run: Run,
    goes_on: Callable[[int], bool],
) -> int:
    """Step everything, and write the results to the sinks, which are opened before that; how many there were.

    `run` calls what reads in a thread; `goes_on` is told how many steps were done, and says whether there is
    to be another one. Raises ConfigError where the tape is damaged, SinkError, and WriteError.
    """
    stepped = 0
    async with writing(sinks) as write, aclosing(results(steps, live, session, run)) as coming:
        async for result in coming:
            await write(result)
            stepped += not result.closing
            if not goes_on(stepped):
                break
    return stepped


async def results(steps: Iterator[Step], live: bool, session: Session, run: Run) -> AsyncGenerator[Result]:
    """What `pipeline.run` gave its sinks when it was taped: the result of a file waits for the next step."""
    watch, rules = begin_watch(NO_RULES), NO_RULES
    last: Result | None = None
    while (step := await run(next, steps, None)) is not None:
        result = await session.step(step.frame, step.commands)
        watch, rules = watch if last else begin_watch(step.rules), step.rules
        if (due := result if live else last) is not None:
            watch, watched = watch_step(watch, rules, due)
            yield watched
        last = result
    if last is not None:
        told = closing(last) if live else last
        yield watch_step(watch, rules, ended(told, session.finish(last.frame)))[1]
