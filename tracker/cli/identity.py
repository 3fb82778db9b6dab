"""The work behind `keepsight eval --identity`: scenes are drawn and followed, what is finished is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from keepsight.streams.sources.hard_scenes import KINDS

from ..evaluation import identity_report as report
from ..evaluation.film import WorstScenes, film_sheet
from ..evaluation.identity import Subject, follow_scenes
from ..evaluation.prompting import prompter
from ..evaluation.propagator import PromptKind
from ..validation import ConfigError
from .console import out
from .evaluating import Evaluate, Files, check_outputs, progress_bar, until_interrupted, write

if TYPE_CHECKING:
    from ..api import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityTask:
    """What is asked for. `seeds`: how many scenes of each kind."""

    model: str
    prompt: str
    seeds: int
    files: Files


def begin(task: IdentityTask, unfit: Mapping[str, object]) -> Evaluate:
    """Raises ConfigError for all that cannot work, before the model is loaded. `unfit`: what was said beside
    that has no meaning here, by name; None where it was not."""
    for name, value in unfit.items():
        if value is not None:
            raise ConfigError(f"{name} does not go with --identity, which draws its own scenes")
    if task.prompt not in get_args(PromptKind):
        raise ConfigError(f"--prompt {task.prompt}: with --identity it is {', '.join(get_args(PromptKind))}")
    check_outputs(task.files)
    return lambda tracker: score_identities(task, tracker)


def score_identities(task: IdentityTask, tracker: Tracker) -> int:
    """Follow every scene, and tell what became of the identities."""
    from ..evaluation.stepping import one_slot_each  # torch, which a mistake need not wait for

    track = one_slot_each(tracker)
    subject = Subject(task.model, track, prompter(task.prompt, track), visible=tracker.settings.visible)
    told = report.IdentityReport(task.model, task.prompt)
    worst = WorstScenes(task.files.worst_count if task.files.worst else 0)
    with until_interrupted(len(KINDS) * task.seeds) as run, progress_bar() as show:
        for film in follow_scenes(subject, task.seeds, show):
            told = told.with_outcome(film.outcome)
            worst.see(film)
            run.finished += 1
    if run.finished:
        out.print(report.table(told))
        sheet = film_sheet(f"{task.model}: the worst scenes", worst.films) if worst.films else None
        write(task.files, report.as_csv(told), report.as_json(told), sheet)
    return run.exit_code
