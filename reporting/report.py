"""A window of predictions and a bundle -> what the report says. The verdicts are the watch's own functions."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import pandas as pd
import structlog

from churn.bundle import Bundle
from churn.contract import Contract, load_contract
from churn.drift import WindowVerdict, broken, judge
from churn.errors import ChurnwatchError, ContractError, EvidentlyFailed
from churn.evidently_remote import RunJob
from churn.evidently_report import EvidentlyResult, evidently_job
from churn.histogram import Profile
from churn.performance import Performance
from churn.quality import QualityProblem, find_problems
from churn.store.interface import PredictionStore
from reporting.alarms import alarms_in
from reporting.bars import shares
from reporting.columns import column_reports
from reporting.document import (
    NO_RUN,
    Bars,
    Figures,
    Money,
    Report,
    SecondOpinion,
    Slot,
    State,
)
from reporting.performances import estimated_of, realised_of
from reporting.tally import SCORE_CELLS, SLOTS, Tally, score_counts
from reporting.window import Window

log = structlog.get_logger()

EVIDENTLY_PAGE = "evidently.html"
LoadBundle = Callable[[str, str], Bundle]
"""Run id and contract -> its verified bundle; raises a ChurnwatchError when there is none."""
SecondOpinionOf = Callable[[Contract, pd.DataFrame, pd.DataFrame, Path], EvidentlyResult]
"""Contract, reference, sample of the window and the page's path -> Evidently's scores; raises EvidentlyFailed."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How windows are judged and sampled. `budget` is the family-wise share of false alarms."""

    budget: float = 0.01
    minimum_rows: int = 100
    evidently_rows: int = 5_000
    seed: int = 0


def ask_evidently(rules: Rules, run: RunJob | None = None) -> SecondOpinionOf:
    """Evidently in a process of its own, or where `run` has it done, as the rules say."""

    def ask(contract: Contract, reference: pd.DataFrame, window: pd.DataFrame, page: Path) -> EvidentlyResult:
        given = rules.seed, rules.evidently_rows, rules.budget
        return evidently_job(contract, reference, window, page, *given, run=run)

    return ask


def build_report(
    contract_name: str,
    run: str,
    window: Window,
    folder: Path,
    *,
    store: PredictionStore,
    load_bundle: LoadBundle,
    second_opinion: SecondOpinionOf,
    now: datetime,
    rules: Rules,
) -> Report:
    """Read the window once and judge it. Evidently's page is written into `folder`.

    A window that cannot be judged has the state and the reason that say so; only StoreUnavailable is raised.
    """
    bundle, profile, problem = _bundle(load_bundle, run, contract_name)
    contract = bundle.contract if bundle else _contract(contract_name)
    tally = Tally(window, profile.empty() if profile else None, rules.evidently_rows, rules.seed)
    tally.take(store.window(contract_name, run, window.start, window.end) if run != NO_RUN else ())
    verdict = _verdict(tally, profile, problem, rules)
    report = Report(
        contract=contract_name,
        title=contract.title if contract else contract_name,
        model_run_id=run,
        start=window.start,
        end=window.end,
        made_at=now,
        state=_state(tally, verdict),
        reason="no predictions in this window" if not tally.rows else verdict.reason,
        figures=_figures(tally),
        contract_hashes=sorted(tally.contract_hashes),
        bundle_digest=bundle.digest if bundle else None,
        budget=rules.budget,
        columns=column_reports(contract, tally, verdict, profile),
        quality=_quality(tally, profile, verdict, rules),
        alarms=alarms_in(store, contract_name, run, window),
        timeline=_timeline(tally),
    )
    if not tally.rows:
        return report
    pairs = store.labelled(contract_name, run, window.start, window.end)
    expected = estimated_of(bundle, tally, rules.seed) if bundle else None
    return replace(
        report,
        score=_score(bundle, tally),
        estimated=expected,
        realised=realised_of(pairs, tally.rows, contract.decision if contract else None),
        money=_money(contract, tally, expected),
        evidently=_second_opinion(second_opinion, bundle, tally, folder) if bundle else None,
    )


def _bundle(load_bundle: LoadBundle, run: str, contract: str) -> tuple[Bundle | None, Profile | None, str]:
    if run == NO_RUN:
        return None, None, ""
    try:
        bundle = load_bundle(run, contract)
        if bundle.contract.name != contract:
            return None, None, f"run {run} belongs to the contract {bundle.contract.name}, these predictions do not"
        return bundle, Profile.from_json(bundle.profile()), ""
    except (ChurnwatchError, OSError, ValueError, KeyError) as error:
        log.warning("bundle_unusable", contract=contract, model_run_id=run, reason=str(error))
        return None, None, f"nothing to compare with: {error}"


def _contract(name: str) -> Contract | None:
    try:
        return load_contract(name)
    except ContractError:
        return None


def _verdict(tally: Tally, profile: Profile | None, problem: str, rules: Rules) -> WindowVerdict:
    if profile is None or tally.histograms is None:
        return broken(problem, tally.rows, rules.budget)
    return judge(profile, tally.histograms, rules.budget, rules.minimum_rows)


def _quality(tally: Tally, profile: Profile | None, verdict: WindowVerdict, rules: Rules) -> list[QualityProblem]:
    """As the watch has it: only windows that can be judged have quality problems; the others' shares are told."""
    if profile is None or tally.histograms is None or verdict.state != "ok":
        return []
    return list(find_problems(profile, tally.histograms, rules.budget))


def _state(tally: Tally, verdict: WindowVerdict) -> State:
    if not tally.rows:
        return "empty"
    return "broken" if verdict.state == "stale" else verdict.state


def _figures(tally: Tally) -> Figures:
    latencies = tally.latency_quantiles() or (None, None)
    return Figures(
        rows=tally.rows,
        routes=dict(sorted(tally.routes.items())),
        flagged=tally.flagged,
        mean_probability=tally.mean_probability,
        thresholds=[threshold for threshold, _ in tally.thresholds.most_common()],
        ignored_fields=tally.ignored_fields,
        first_at=tally.first_at,
        last_at=tally.last_at,
        median_latency_seconds=latencies[0],
        p99_latency_seconds=latencies[1],
    )


def _timeline(tally: Tally) -> list[Slot]:
    step = (tally.window.end - tally.window.start) / SLOTS
    pairs = zip(tally.slot_rows.tolist(), tally.slot_flagged.tolist(), strict=True)
    return [Slot(tally.window.start + index * step, rows, flagged) for index, (rows, flagged) in enumerate(pairs)]


def _score(bundle: Bundle | None, tally: Tally) -> Bars:
    reference = [0.0] * SCORE_CELLS
    if bundle is not None:
        reference = shares(score_counts(bundle.reference()["churn_probability"].to_numpy(dtype=float))).tolist()
    labels = [f"{cell / SCORE_CELLS:g} to {(cell + 1) / SCORE_CELLS:g}" for cell in range(SCORE_CELLS)]
    return Bars("steps", labels, reference, shares(tally.score_counts).tolist())


def _money(contract: Contract | None, tally: Tally, expected: Performance | None) -> Money | None:
    if contract is None:
        return None
    decision = contract.decision
    leavers = tally.flagged_probability_sum
    plain = decision.profit(leavers, tally.flagged - leavers)
    profit = expected.figures.get("profit") if expected else None
    return Money(
        currency=decision.currency,
        contacted=tally.flagged,
        expected_profit=profit.value if profit else plain,
        offer_cost=decision.offer_cost,
        kept_value=decision.kept_value,
        success_rate=decision.success_rate,
        low=profit.low if profit else None,
        high=profit.high if profit else None,
    )


def _second_opinion(ask: SecondOpinionOf, bundle: Bundle, tally: Tally, folder: Path) -> SecondOpinion:
    rows = [
        {**prediction.features, "churn_probability": prediction.churn_probability, "churn": prediction.churn}
        for prediction in sorted(tally.sample, key=lambda prediction: prediction.created_at)
    ]
    started = time.monotonic()
    try:
        result = ask(bundle.contract, bundle.reference(), pd.DataFrame(rows), folder / EVIDENTLY_PAGE)
    except EvidentlyFailed as error:
        log.warning("evidently_failed", contract=bundle.contract.name, model_run_id=bundle.run_id, reason=str(error))
        return SecondOpinion(rows=len(rows), problem=str(error))
    return SecondOpinion(
        scores=[asdict(score) for score in result.scores],
        skipped=[asdict(column) for column in result.skipped],
        rows=result.window_rows,
        page=EVIDENTLY_PAGE if result.html is not None else None,
        seconds=round(time.monotonic() - started, 2),
    )
