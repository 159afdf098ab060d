"""How often the watch cries wolf, and what it finds: `make bench-drift`.

Quiet windows are disjoint from their reference, both drawn anew from the population each time, so the two are one
population by construction. Pairs and detections draw with replacement, so that windows of 5,000 rows exist.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.population import Population, load, mean_shift, move_level, new_level, nulls
from churn.contract import load_contract
from churn.drift import WindowVerdict, judge
from churn.histogram import CLASS, SCORE, Profile, make_profile

REFERENCE_ROWS = 5_000
SIZES = (50, 100, 200, 500, 1_000, 5_000)
Shift = Callable[[pd.DataFrame, pd.DataFrame], pd.DataFrame]


def quiet_windows(population: Population, repeats: int, seed: int) -> list[dict[str, Any]]:
    """The share of quiet windows with any drifted column, by size."""
    if not repeats:
        return []
    random = np.random.default_rng(seed)
    alarms: dict[int, int] = dict.fromkeys(SIZES, 0)
    lowest: dict[int, list[float]] = {size: [] for size in SIZES}
    for _ in range(repeats):
        order = random.permutation(len(population.rows))
        profile = _profile(population, order[:REFERENCE_ROWS])
        for size in SIZES:
            verdict = _judge(profile, population.rows.iloc[order[REFERENCE_ROWS : REFERENCE_ROWS + size]])
            alarms[size] += bool(verdict.drifted)
            lowest[size].append(min(column.adjusted_p_value for column in verdict.columns))
    return [
        {
            "rows": size,
            "windows": repeats,
            "any_column_percent": 100 * alarms[size] / repeats,
            "within_five_percent_budget_percent": 100 * float(np.mean(np.array(lowest[size]) <= 0.05)),
        }
        for size in SIZES
    ]


def quiet_pairs(population: Population, repeats: int, seed: int) -> list[dict[str, Any]]:
    """The share of pairs of quiet windows in a row in which one column drifts twice: the pager's rule."""
    random = np.random.default_rng(seed)
    found = dict.fromkeys(SIZES, 0)
    for _ in range(repeats):
        profile = _profile(population, _drawn(population, REFERENCE_ROWS, random))
        for size in SIZES:
            first = _judge(profile, population.rows.iloc[_drawn(population, size, random)]).drifted
            if first:
                second = _judge(profile, population.rows.iloc[_drawn(population, size, random)]).drifted
                found[size] += bool(set(first) & set(second))
    return [
        {"rows": size, "pairs": repeats, "same_column_twice_percent": 100 * found[size] / repeats}
        for size in (SIZES if repeats else ())
    ]


def detections(population: Population, repeats: int, seed: int) -> list[dict[str, Any]]:
    """For each planted shift: the share of first windows in which its column drifts, and is named first."""
    random = np.random.default_rng(seed)
    return [
        {"shift": name, "rows": size} | _detect(population, shifts, size, repeats, random)
        for name, size, shifts in _planted(population)
    ]


def cost(population: Population, seed: int) -> dict[str, float]:
    """Milliseconds for a verdict on windows of any size."""
    random = np.random.default_rng(seed)
    profile = _profile(population, _drawn(population, REFERENCE_ROWS, random))
    times = {}
    for size in (1_000, 100_000):
        window = profile.empty()
        window.update_frame(population.rows.iloc[_drawn(population, size, random)])
        started = time.perf_counter()
        for _ in range(20):
            judge(profile, window)
        times[f"verdict_ms_at_{size}_rows"] = (time.perf_counter() - started) / 20 * 1e3
    return times


def _planted(population: Population) -> list[tuple[str, int, list[tuple[str, Shift]]]]:
    """Each shift with the columns that it is tried on in turn: all that it fits."""
    features = population.contract.features
    numbers = [feature.name for feature in features if feature.is_numeric]
    listed = [feature for feature in features if feature.levels]
    optional = [feature.name for feature in features if not feature.required]
    moves = []
    for feature in listed:
        shares = population.rows[feature.name].value_counts(normalize=True)
        if shares.iloc[0] > 0.1:
            moves.append((feature.name, move_level(feature.name, str(shares.index[0]), str(shares.index[1]), 0.10)))
    return [
        ("mean + 0.5 sd", 200, [(name, mean_shift(name, 0.5)) for name in numbers]),
        ("mean + 0.25 sd", 1_000, [(name, mean_shift(name, 0.25)) for name in numbers]),
        ("mean + 0.1 sd", 5_000, [(name, mean_shift(name, 0.1)) for name in numbers]),
        ("a level loses 10 points", 1_000, moves),
        ("a new level of 2 %", 1_000, [(feature.name, new_level(feature.name, 0.02)) for feature in listed]),
        ("15 % nulls", 1_000, [(name, nulls(name, 0.15)) for name in optional]),
    ]


def _detect(
    population: Population, shifts: list[tuple[str, Shift]], size: int, repeats: int, random: np.random.Generator
) -> dict[str, Any]:
    runs = []
    for index in range(repeats):
        column, shift = shifts[index % len(shifts)]
        reference = population.rows.iloc[_drawn(population, REFERENCE_ROWS, random)]
        profile = Profile.from_json(make_profile(population.contract, reference))
        window = shift(population.rows.iloc[_drawn(population, size, random)], reference)
        drifted = [
            name for name in _judge(profile, _rescored(population, window)).drifted if name not in (SCORE, CLASS)
        ]
        runs.append((column, column in drifted, drifted[:1] == [column], len(set(drifted) - {column})))
    frame = pd.DataFrame(runs, columns=["column", "found", "first", "others"])
    found = frame[frame["found"]]
    weakest = frame.groupby("column")["found"].mean()
    return {
        "runs": repeats,
        "found_percent": 100 * float(frame["found"].mean()),
        "named_first_percent": 100 * float(found["first"].mean()),
        "another_feature_named_percent": 100 * float((frame["others"] > 0).mean()),
        "weakest_column": f"{weakest.idxmin()} {100 * weakest.min():.0f}",
    }


def _rescored(population: Population, window: pd.DataFrame) -> pd.DataFrame:
    known = {feature.name: set(feature.levels) for feature in population.contract.features if feature.levels}
    readable = window.assign(**{n: window[n].where(window[n].isin(levels), None) for n, levels in known.items()})
    scored = population.rescore(readable)
    return window.assign(**{SCORE: scored[SCORE], CLASS: scored[CLASS]})


def _drawn(population: Population, rows: int, random: np.random.Generator) -> Any:
    return random.integers(0, len(population.rows), rows)


def _profile(population: Population, positions: Any) -> Profile:
    return Profile.from_json(make_profile(population.contract, population.rows.iloc[positions]))


def _judge(profile: Profile, rows: pd.DataFrame) -> WindowVerdict:
    window = profile.empty()
    window.update_frame(rows)
    return judge(profile, window)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--contract", default="credit_card")
    parser.add_argument("--repeats", type=int, default=1_000, help="quiet windows of each size")
    parser.add_argument("--pairs", type=int, default=3_000, help="pairs of quiet windows of each size")
    parser.add_argument("--detections", type=int, default=400, help="runs of each planted shift")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    population = load(load_contract(arguments.contract), arguments.csv)
    print(f"{arguments.csv.name}: {len(population.rows)} rows, {platform.machine()}, Python {sys.version.split()[0]}")
    seed = arguments.seed
    parts: list[tuple[str, Callable[[], list[dict[str, Any]]]]] = [
        ("quiet windows", lambda: quiet_windows(population, arguments.repeats, seed)),
        ("quiet pairs", lambda: quiet_pairs(population, arguments.pairs, seed + 1)),
        ("detection", lambda: detections(population, arguments.detections, seed + 2)),
        ("cost", lambda: [cost(population, seed + 3)]),
    ]
    for title, measure in parts:
        if rows := measure():
            print(f"\n{title}\n{pd.DataFrame(rows).round(2).to_string(index=False)}", flush=True)
            print(json.dumps({title: rows}), file=sys.stderr)


if __name__ == "__main__":
    main()
