"""How often the watch cries wolf, what it finds and what it costs: `make bench-drift`.

Quiet windows are disjoint from their reference, both drawn anew from the population each time, so the two are one
population by construction. Pairs and detections draw with replacement, so that windows of 5,000 rows exist. Evidently's
defaults see the very same windows, of which they get fewer: each costs them a second.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.evidently_defaults import drifted_columns
from benchmarks.joint import look_together, new_dependence
from benchmarks.population import Population, load, mean_shift, move_level, new_level, nulls, score
from churn.concept_drift import find_concept_shifts
from churn.contract import load_contract
from churn.drift import WindowVerdict, judge
from churn.histogram import CLASS, SCORE, Profile, make_profile
from churn.performance import estimated, realised, recalibrate
from simulation.draw import draw_population
from simulation.population import load_population

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "BankChurners.csv"
REFERENCE_ROWS = 5_000
SIMULATED_ROWS = 12_000
SIZES = (50, 100, 200, 500, 1_000, 5_000)
Shift = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]
Table = list[dict[str, Any]]


def quiet_windows(population: Population, repeats: int, evidently: int, seed: int) -> Table:
    """The share of quiet windows with any drifted column, by size."""
    random = np.random.default_rng(seed)
    ours: dict[int, list[bool]] = {size: [] for size in SIZES}
    theirs: dict[int, list[bool]] = {size: [] for size in SIZES}
    for repeat in range(repeats):
        order = random.permutation(len(population.rows))
        reference = population.rows.iloc[order[:REFERENCE_ROWS]]
        profile = _profile(population, reference)
        for size in SIZES:
            window = population.rows.iloc[order[REFERENCE_ROWS : REFERENCE_ROWS + size]]
            ours[size].append(bool(_judge(profile, window).drifted))
            if repeat < evidently:
                theirs[size].append(bool(drifted_columns(population.contract, reference, window)))
    return [
        {
            "rows": size,
            "windows": repeats,
            "any column %": _percent(ours[size]),
            "Evidently windows": len(theirs[size]),
            "Evidently any column %": _percent(theirs[size]),
        }
        for size in SIZES
        if repeats
    ]


def quiet_pairs(population: Population, repeats: int, seed: int) -> Table:
    """The share of pairs of quiet windows in a row in which one column drifts twice: the pager's rule."""
    random = np.random.default_rng(seed)
    found = dict.fromkeys(SIZES, 0)
    for _ in range(repeats):
        profile = _profile(population, _drawn(population, REFERENCE_ROWS, random))
        for size in SIZES:
            first = _judge(profile, _drawn(population, size, random)).drifted
            if first:
                found[size] += bool(set(first) & set(_judge(profile, _drawn(population, size, random)).drifted))
    return [
        {"rows": size, "pairs": repeats, "same column twice %": 100 * found[size] / repeats}
        for size in SIZES
        if repeats
    ]


def detections(population: Population, repeats: int, evidently: int, seed: int) -> Table:
    """For each planted shift: the share of first windows in which its column drifts, and is named first."""
    random = np.random.default_rng(seed)
    if not repeats:
        return []
    return [
        {"shift": name, "rows": size} | _detect(population, shifts, size, repeats, evidently, random)
        for name, size, shifts in _planted(population)
    ]


def estimates(population: Population, repeats: int, seed: int) -> Table:
    """Estimated against realised figures of windows of 1,000 rows, drawn with a tilt along a number of the contract."""
    random = np.random.default_rng(seed)
    rows, numbers = population.rows, [f.name for f in population.contract.features if f.is_numeric]
    errors, inside = [], []
    for repeat in range(repeats):
        order = random.permutation(len(rows))
        reference, rest = rows.iloc[order[:REFERENCE_ROWS]], rows.iloc[order[REFERENCE_ROWS:]]
        curve = recalibrate(reference[SCORE].to_numpy(), reference["churned"].to_numpy(dtype=bool))
        column = rest[numbers[repeat % len(numbers)]].astype(float)
        tilt = np.exp(0.8 * random.choice([-1, 1]) * ((column - column.mean()) / column.std()).clip(-3, 3))
        chosen = rest.iloc[random.choice(len(rest), 1_000, replace=False, p=tilt / tilt.sum())]
        scores, flagged = chosen[SCORE].to_numpy(), chosen[CLASS].to_numpy(dtype=bool)
        truth = realised(scores, flagged, chosen["churned"].to_numpy(dtype=bool), len(chosen)).figures
        guess = estimated(scores, flagged, curve).figures
        if truth and guess:
            errors.append(abs(guess["auc"].value - truth["auc"].value))
            inside.append(
                {name: guess[name].low <= truth[name].value <= guess[name].high for name in guess if name in truth}
            )
    if not errors:
        return []
    covered = (100 * pd.DataFrame(inside).mean()).round(1).add_prefix("within interval %: ")
    return [{"windows": len(errors), "AUC error p95": round(float(np.quantile(errors, 0.95)), 4), **covered}]


def concept(repeats: int, seed: int) -> Table:
    """Errors of 3.4 % that rise to 10 %, and errors that do not."""
    random = np.random.default_rng(seed)
    if not repeats:
        return []
    quiet = find_concept_shifts(random.random(100_000) < 0.034)
    delays = []
    for _ in range(repeats):
        errors = np.concatenate([random.random(3_000) < 0.034, random.random(3_000) < 0.10])
        delays += [shift.index - 3_000 for shift in find_concept_shifts(errors) if shift.index >= 3_000][:1]
    return [
        {
            "alarms in 100,000 quiet labels": len(quiet),
            "runs": repeats,
            "found": len(delays),
            "median labels to find": float(np.median(delays)),
            "95 of 100 within": float(np.quantile(delays, 0.95)),
        }
    ]


def cost(population: Population, seed: int) -> Table:
    """Milliseconds for a verdict on windows of any size."""
    random = np.random.default_rng(seed)
    profile = _profile(population, _drawn(population, REFERENCE_ROWS, random))
    times = {}
    for size in (1_000, 100_000):
        window = profile.empty()
        window.update_frame(_drawn(population, size, random))
        started = time.process_time()
        for _ in range(20):
            judge(profile, window)
        times[f"verdict ms at {size:,} rows"] = round((time.process_time() - started) / 20 * 1e3, 1)
    return [times]


def _planted(population: Population) -> Iterator[tuple[str, int, list[tuple[str, Shift]]]]:
    """Each shift with the columns that it is tried on in turn: all that it fits."""
    features = population.contract.features
    numbers = [feature.name for feature in features if feature.is_numeric]
    listed = [feature for feature in features if feature.levels]
    moves = []
    for feature in listed:
        shares = population.rows[feature.name].value_counts(normalize=True)
        if shares.iloc[0] > 0.1:
            moves.append((feature.name, move_level(feature.name, str(shares.index[0]), str(shares.index[1]), 0.10)))
    yield "mean + 0.5 sd", 200, [(name, mean_shift(name, 0.5)) for name in numbers]
    yield "mean + 0.25 sd", 1_000, [(name, mean_shift(name, 0.25)) for name in numbers]
    yield "mean + 0.1 sd", 5_000, [(name, mean_shift(name, 0.1)) for name in numbers]
    yield "a level loses 10 points", 1_000, moves
    yield "a new level of 2 %", 1_000, [(feature.name, new_level(feature.name, 0.02)) for feature in listed]
    yield "15 % nulls", 1_000, [(f.name, nulls(f.name, 0.15)) for f in features if not f.required]


def _detect(
    population: Population,
    shifts: list[tuple[str, Shift]],
    size: int,
    repeats: int,
    evidently: int,
    random: np.random.Generator,
) -> dict[str, Any]:
    runs, theirs = [], []
    for index in range(repeats):
        column, shift = shifts[index % len(shifts)]
        reference = _drawn(population, REFERENCE_ROWS, random)
        window = _rescored(population, shift(_drawn(population, size, random), reference))
        drifted = _judge(_profile(population, reference), window).drifted
        named = [name for name in drifted if name not in (SCORE, CLASS)]
        runs.append((column, column in named, named[:1] == [column], bool(set(named) - {column})))
        if index < evidently:
            theirs.append(column in drifted_columns(population.contract, reference, window))
    frame = pd.DataFrame(runs, columns=["column", "found", "first", "others"])
    by_column = 100 * frame.groupby("column")["found"].mean()
    return {
        "runs": repeats,
        "found %": _percent(frame["found"]),
        "named first %": _percent(frame[frame["found"]]["first"]),
        "another named %": _percent(frame["others"]),
        "hardest column": f"{by_column.idxmin()} {by_column.min():.0f} %",
        "Evidently runs": len(theirs),
        "Evidently found %": _percent(theirs),
    }


def _rescored(population: Population, window: pd.DataFrame) -> pd.DataFrame:
    known = {feature.name: set(feature.levels) for feature in population.contract.features if feature.levels}
    readable = window.assign(**{n: window[n].where(window[n].isin(levels), None) for n, levels in known.items()})
    scored = population.rescore(readable)
    return window.assign(**{SCORE: scored[SCORE], CLASS: scored[CLASS]})


def _drawn(population: Population, rows: int, random: np.random.Generator) -> pd.DataFrame:
    return population.rows.iloc[random.integers(0, len(population.rows), rows)]


def _profile(population: Population, reference: pd.DataFrame) -> Profile:
    return Profile.from_json(make_profile(population.contract, reference))


def _judge(profile: Profile, rows: pd.DataFrame) -> WindowVerdict:
    window = profile.empty()
    window.update_frame(rows)
    return judge(profile, window)


def _percent(flags: Any) -> float:
    return round(100 * float(np.mean(flags)), 2) if len(flags) else float("nan")


def _populations(csv: Path | None, only: str) -> Iterator[tuple[str, Population]]:
    contract = load_contract("credit_card")
    real = csv or (DATA if DATA.is_file() else None)
    if real is not None and only != "simulated":
        yield real.name, load(contract, real)
    if csv is None and only != "real":
        customers = draw_population(load_population(contract), SIMULATED_ROWS, seed=1)
        yield "simulated customers", score(contract, customers.drop(columns="customer_id"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path, nargs="?", help="default: BankChurners.csv if here, and simulated customers")
    parser.add_argument("--quiet", type=int, default=1_000, help="quiet windows of each size")
    parser.add_argument("--pairs", type=int, default=3_000, help="pairs of quiet windows of each size")
    parser.add_argument("--detections", type=int, default=400, help="runs of each planted shift")
    parser.add_argument("--estimates", type=int, default=400, help="windows with an estimated performance")
    parser.add_argument("--joint", type=int, default=100, help="references whose features are looked at together")
    parser.add_argument("--planted", type=int, default=12, help="of those, how many with every change in every column")
    parser.add_argument("--tied", type=int, default=42, help="references in which a column is independent")
    parser.add_argument("--concept", type=int, default=100, help="runs of rising errors")
    parser.add_argument("--evidently", type=int, default=50, help="windows and runs that Evidently sees too")
    parser.add_argument("--only", choices=("real", "simulated"), default="", help="one population; default: both")
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    print(f"{platform.machine()}, Python {sys.version.split()[0]}")
    for name, population in _populations(o.csv, o.only):
        print(f"\n## {name}: {len(population.rows):,} rows")
        _show("quiet windows", quiet_windows(population, o.quiet, o.evidently, o.seed))
        _show("quiet pairs", quiet_pairs(population, o.pairs, o.seed + 1))
        _show("detection", detections(population, o.detections, o.evidently, o.seed + 2))
        _show("estimated performance", estimates(population, o.estimates, o.seed + 3))
        quiet, found, columns = look_together(population, REFERENCE_ROWS, o.joint, o.planted, o.seed + 6)
        _show("features together: quiet", quiet)
        _show("features together: changes that leave every column as it was", found)
        _show("features together: column by column", columns)
        tied = new_dependence(population, REFERENCE_ROWS, o.tied, o.seed + 7)
        _show("features together: a dependence where there was none", tied)
        _show("cost", cost(population, o.seed + 4))
    _show("concept drift", concept(o.concept, o.seed + 5))


def _show(title: str, rows: Table) -> None:
    if rows:
        print(f"\n{title}\n{pd.DataFrame(rows).to_string(index=False)}", flush=True)


if __name__ == "__main__":
    main()
