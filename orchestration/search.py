"""hyperopt's home: TPE over all families in one conditional space."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import hyperopt
import numpy as np
import structlog
from hyperopt import hp
from tqdm import tqdm

from churn.errors import ChurnwatchError, RegistryUnavailable
from orchestration.families.family import Dimension, Family

log = structlog.get_logger()
Result = TypeVar("Result")


class SearchFailed(ChurnwatchError):
    """No trial succeeded, or the search cannot go on."""


@dataclass(frozen=True, slots=True)
class Found(Generic[Result]):
    """One finished trial: its loss, and whatever the trial returned."""

    number: int
    loss: float
    result: Result


def search(
    trial: Callable[[int, str, Mapping[str, Any]], tuple[float, Result]],
    families: Sequence[Family],
    trials: int,
    seed: int,
    time_budget_seconds: float | None = None,
    show_progress: bool = True,
) -> tuple[list[Found[Result]], int]:
    """Run `trial(number, family, parameters) -> (loss, result)`; return the finished, best first, and how many failed.

    A trial that raises is logged and counts as failed; the search goes on. It ends at once when MLflow is gone, and
    raises SearchFailed when no trial succeeded. No trial begins after the time budget is used up.
    """
    found: list[Found[Result]] = []
    failures: list[str] = []
    bar = tqdm(total=trials, desc="tuning", unit="trial", disable=not show_progress)

    def objective(point: Mapping[str, Any]) -> dict[str, Any]:
        number = len(found) + len(failures)
        parameters = {name: value for name, value in point.items() if name != "family"}
        try:
            loss, result = trial(number, point["family"], parameters)
            if not np.isfinite(loss):
                raise SearchFailed(f"trial {number}: its loss is {loss}")
            found.append(Found(number, loss, result))
            return {"status": hyperopt.STATUS_OK, "loss": loss}
        except (RegistryUnavailable, MemoryError):
            raise
        except Exception as error:  # a family's library may raise anything, and one trial must not end the search
            log.warning("trial_failed", trial=number, parameters=parameters, reason=f"{type(error).__name__}: {error}")
            failures.append(f"{type(error).__name__}: {error}")
            return {"status": hyperopt.STATUS_FAIL}
        finally:
            bar.update()
            if found:
                bar.set_postfix_str(f"best log loss {min(f.loss for f in found):.4f}, failed {len(failures)}")

    try:
        _minimise(objective, families, trials, seed, time_budget_seconds)
    finally:
        bar.close()
    if not found:
        last = failures[-1] if failures else "the time budget ended before one"
        raise SearchFailed(f"none of {len(failures)} trials succeeded; the last: {last}")
    return sorted(found, key=lambda one: (one.loss, one.number)), len(failures)


def space(families: Sequence[Family]) -> Any:
    """One conditional space: a choice of family, below it that family's own hyperparameters."""
    return hp.choice(
        "family",
        [
            {"family": family.name, **{name: _expression(family.name, name, d) for name, d in family.space.items()}}
            for family in families
        ],
    )


def _minimise(
    objective: Callable[[Mapping[str, Any]], dict[str, Any]],
    families: Sequence[Family],
    trials: int,
    seed: int,
    time_budget_seconds: float | None,
) -> None:
    try:
        hyperopt.fmin(
            objective,
            space(families),
            algo=_starts_then_tpe(families),
            max_evals=trials,
            trials=hyperopt.Trials(),
            rstate=np.random.default_rng(seed),
            timeout=time_budget_seconds,
            show_progressbar=False,
            verbose=False,
            return_argmin=False,
        )
    except hyperopt.exceptions.AllTrialsFailed:
        return  # said by `search`, with the reason


def _starts_then_tpe(families: Sequence[Family]) -> Callable[..., Any]:
    """Each family's own start first, so that a short search has seen every family at a sound point."""
    starts = [_start(family, families) for family in families if family.start]

    def suggest(new_ids: Sequence[int], domain: Any, trials: hyperopt.Trials, seed: int) -> Any:
        number = new_ids[0]
        if number >= len(starts):
            return hyperopt.tpe.suggest(new_ids, domain, trials, seed)
        # A label that plays no part in this point has an empty list, as hyperopt keeps its own points.
        point = starts[number]
        misc = {
            "tid": number,
            "cmd": domain.cmd,
            "workdir": domain.workdir,
            "idxs": {label: [number] if label in point else [] for label in domain.params},
            "vals": {label: [point[label]] if label in point else [] for label in domain.params},
        }
        return trials.new_trial_docs([number], [None], [domain.new_result()], [misc])

    return suggest


def _start(family: Family, families: Sequence[Family]) -> dict[str, float]:
    values = {f"{family.name}.{name}": value for name, value in family.start.items()}
    return {"family": families.index(family), **values}


def _expression(family: str, name: str, dimension: Dimension) -> Any:
    label = f"{family}.{name}"
    if dimension.kind == "uniform":
        return hp.uniform(label, dimension.low, dimension.high)
    if dimension.kind == "log_uniform":
        return hp.loguniform(label, np.log(dimension.low), np.log(dimension.high))
    return hp.uniformint(label, dimension.low, dimension.high)
