"""hyperopt's home: TPE over all families in one conditional space. The other is task_trials.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import hyperopt
import numpy as np
import structlog
from hyperopt import hp
from tqdm import tqdm

from churn.errors import ChurnwatchError
from orchestration.families.family import Dimension, Family
from orchestration.outcome import Outcome
from orchestration.task_trials import Pool, TaskTrials, misc

log = structlog.get_logger()


class SearchFailed(ChurnwatchError):
    """No trial succeeded, or the search cannot go on."""


def search(
    pool: Pool,
    families: Sequence[Family],
    trials: int,
    seed: int,
    time_budget_seconds: float | None = None,
    show_progress: bool = True,
    known: Sequence[Outcome] = (),
) -> list[Outcome]:
    """Run trials in the pool until there are `trials`, those of an earlier search (`known`) included; in their order.

    A trial that fails is logged and counts; the search goes on. It ends at once when the pool raises, and raises
    SearchFailed when no trial succeeded. No trial begins after the time budget is used up.
    """
    expressions = space(families)
    run = TaskTrials(pool, lambda values: _point(expressions, values))
    labels = _labels(families)
    for outcome in sorted(known, key=lambda one: one.number):
        run.know(outcome, _values(outcome, families), labels)
    with tqdm(total=trials, initial=len(known), desc="tuning", unit="trial", disable=not show_progress) as bar:

        def tell(outcome: Outcome) -> None:
            _log(outcome)
            bar.set_postfix_str(_so_far(run))
            bar.update()

        run.on_outcome = tell
        run.fmin(
            _never_called,
            expressions,
            algo=_starts_then_tpe(families, seed),
            max_evals=trials,
            timeout=time_budget_seconds,
        )
    outcomes = sorted(run.outcomes.values(), key=lambda one: one.number)
    if run.best is None:
        last = outcomes[-1].reason if outcomes else "the time budget ended before one"
        raise SearchFailed(f"none of {len(outcomes)} trials succeeded; the last: {last}")
    return outcomes


def ranked(outcomes: Sequence[Outcome]) -> list[Outcome]:
    """The finished ones, best first."""
    finished = [one for one in outcomes if one.status == "finished"]
    return sorted(finished, key=lambda one: (one.loss, one.number))


def space(families: Sequence[Family]) -> Any:
    """One conditional space: a choice of family, below it that family's own hyperparameters."""
    return hp.choice(
        "family",
        [
            {"family": family.name, **{name: _expression(family.name, name, d) for name, d in family.space.items()}}
            for family in families
        ],
    )


def space_sha256(families: Sequence[Family]) -> str:
    """Tells whether a search can be resumed: other families, bounds or starts are another search."""
    told = [
        [family.name, {name: asdict(d) for name, d in family.space.items()}, dict(family.start)] for family in families
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _never_called(_: Any) -> None:
    """hyperopt wants an objective; the pool's tasks are it."""


def _log(outcome: Outcome) -> None:
    if outcome.status == "failed":
        parameters = dict(outcome.parameters)
        log.warning("trial_failed", trial=outcome.number, parameters=parameters, reason=outcome.reason)


def _so_far(run: TaskTrials) -> str:
    statuses = [one.status for one in run.outcomes.values()]
    best = f"best log loss {run.best.loss:.4f} ({run.best.family})" if run.best else "none yet"
    counts = [f"{name} {statuses.count(name)}" for name in ("pruned", "failed") if name in statuses]
    return ", ".join([best, *counts])


def _starts_then_tpe(families: Sequence[Family], seed: int) -> Callable[..., Any]:
    """Each family's own start first, so that a short search has seen every family at a sound point.

    A point's randomness comes from its number, and what it learns from does too, so that a resumed search draws what
    the whole one would have drawn.
    """
    starts = [_start(family, families) for family in families if family.start]
    labels = _labels(families)

    def suggest(new_ids: Sequence[int], domain: Any, trials: TaskTrials, _: int) -> Any:
        number = new_ids[0]
        if number < len(starts):
            return trials.new_trial_docs(
                [number], [None], [domain.new_result()], [misc(number, starts[number], labels)]
            )
        own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0]) % 2**31
        return hyperopt.tpe.suggest(new_ids, domain, trials.known_to(number), own)

    return suggest


def _labels(families: Sequence[Family]) -> list[str]:
    return ["family", *(f"{family.name}.{name}" for family in families for name in family.space)]


def _start(family: Family, families: Sequence[Family]) -> dict[str, float]:
    values = {f"{family.name}.{name}": value for name, value in family.start.items()}
    return {"family": families.index(family), **values}


def _values(outcome: Outcome, families: Sequence[Family]) -> dict[str, float]:
    """hyperopt's values of a known trial."""
    names = [family.name for family in families]
    values = {f"{outcome.family}.{name}": value for name, value in outcome.parameters.items()}
    return {"family": names.index(outcome.family), **values}


def _point(expressions: Any, values: Mapping[str, float]) -> tuple[str, dict[str, Any]]:
    point = hyperopt.space_eval(expressions, dict(values))
    return point["family"], {name: value for name, value in point.items() if name != "family"}


def _expression(family: str, name: str, dimension: Dimension) -> Any:
    label = f"{family}.{name}"
    if dimension.kind == "uniform":
        return hp.uniform(label, dimension.low, dimension.high)
    if dimension.kind == "log_uniform":
        return hp.loguniform(label, np.log(dimension.low), np.log(dimension.high))
    return hp.uniformint(label, dimension.low, dimension.high)
