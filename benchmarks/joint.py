"""Changes of the joint distribution that leave every column exactly as it was, the same values being dealt out
otherwise, and what the hourly look makes of them. Part of `python -m benchmarks.drift`.

What a column has to do with the others is measured: its agreement is its correlation with what trees foretell of it
from the other features, on rows that they did not see, of the whole population. A column without any is independent as
far as anyone can tell: to deal it out anew changes nothing, and nothing should be found.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from benchmarks.population import Population
from churn.encoder import Encoder
from churn.histogram import SCORE
from churn.joint_drift import JointReference

WINDOW_ROWS = (1_000, 5_000)
NEW_CORRELATIONS = (0.1, 0.15, 0.2, 0.25, 0.3)
TIES = (("strong ties, 0.15 and more", 0.15), ("weak ties, 0.05 to 0.15", 0.05), ("no tie", -1.0))
"""Columns by their agreement with the others in the whole population; 0.026 is where chance ends for 10,000 rows."""
Deal = Callable[[pd.DataFrame, str, np.random.Generator], pd.DataFrame]
"""(window, column, random) -> the window with that column's values among other rows."""


def look_together(
    population: Population, reference_rows: int, repeats: int, planted: int, seed: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[dict[str, Any]]]:
    """Three tables: quiet looks; what was found of each change; each column's agreement, and whether it was found.

    Every repeat has a reference and disjoint rows of its own, of which the quiet windows are cut; in the first so many
    repeats each change is planted in each column that it fits.
    """
    random, encoder = np.random.default_rng(seed), Encoder(population.contract)
    matrix, seconds = encoder.encode_frame(population.rows), []
    quiet: list[tuple[int, float]] = []
    found: list[tuple[str, int, str, bool, bool]] = []
    for repeat in range(repeats):
        order = random.permutation(len(matrix))
        began = time.process_time()
        reference = JointReference(matrix[order[:reference_rows]], encoder.columns, seed=repeat)
        learnt, rest = time.process_time() - began, order[reference_rows:]
        for size in WINDOW_ROWS:
            for first in range(0, len(rest) - size + 1, size):
                began = time.process_time()
                verdict = reference.find_drift(matrix[rest[first : first + size]], seed=repeat)
                quiet.append((size, verdict.p_value))
            seconds.append((size, learnt, time.process_time() - began))
            if repeat < planted:
                found += _planted(population, encoder, matrix, rest[:size], reference, random)
    if not repeats:
        return [], [], []
    agreements = _agreements(JointReference(matrix, encoder.columns))
    frame = pd.DataFrame(found, columns=["change", "rows", "column", "found", "named"])
    return _quiet_table(quiet, seconds), _found_table(frame, agreements), _column_table(frame, agreements)


def new_dependence(population: Population, reference_rows: int, repeats: int, seed: int) -> list[dict[str, Any]]:
    """Columns that had nothing to do with each other, and in the window have: the share found, by rank correlation.

    One number is dealt out anew in the whole population, so that the reference has it independent of all, exactly;
    in the window it rises with another number, by the Gaussian copula. Each number in turn.
    """
    random, encoder = np.random.default_rng(seed), Encoder(population.contract)
    numbers = [feature.name for feature in population.contract.features if feature.is_numeric]
    found: list[tuple[int, float, bool, bool]] = []
    for repeat in range(repeats):
        column = numbers[repeat % len(numbers)]
        partner = str(random.choice([name for name in numbers if name != column]))
        frame = dealt_out(population.rows, column, random).iloc[random.permutation(len(population.rows))]
        matrix = encoder.encode_frame(frame.iloc[:reference_rows])
        reference = JointReference(matrix, encoder.columns, seed=repeat)
        for size in WINDOW_ROWS:
            window = frame.iloc[reference_rows : reference_rows + size]
            for correlation in NEW_CORRELATIONS:
                tied = _dealt_by_copula(window, column, partner, correlation, random)
                verdict = reference.find_drift(encoder.encode_frame(tied), seed=repeat)
                found.append((size, correlation, verdict.drifted, {column, partner} <= set(verdict.columns)))
    table = pd.DataFrame(found, columns=["rows", "rank correlation", "found", "both named"])
    return [
        {
            "rows": rows,
            "rank correlation": correlation,
            "runs": len(runs),
            "found %": round(100 * float(runs["found"].mean()), 1),
            "both columns named %": round(100 * float(runs[runs["found"]]["both named"].mean()), 1),
        }
        for (rows, correlation), runs in table.groupby(["rows", "rank correlation"])
    ]


def _planted(
    population: Population,
    encoder: Encoder,
    matrix: NDArray[np.float32],
    rows: NDArray[np.intp],
    reference: JointReference,
    random: np.random.Generator,
) -> list[tuple[str, int, str, bool, bool]]:
    """Each change in each column that it fits: whether it was found, and that column named."""
    results = []
    frame = population.rows.iloc[rows]
    for feature in population.contract.features:
        own = [place for place, name in enumerate(encoder.columns) if name.split("=", 1)[0] == feature.name]
        ordered = feature.is_numeric and bool(frame[feature.name].notna().all())
        for change, deal in (CHANGES | NUMBERS_CHANGES if ordered else CHANGES).items():
            window = matrix[rows].copy()
            window[:, own] = encoder.encode_frame(deal(frame, feature.name, random)[[feature.name]])[:, own]
            verdict = reference.find_drift(window, seed=len(results))
            named = feature.name in {column.split("=", 1)[0] for column in verdict.columns}
            results.append((change, len(rows), feature.name, verdict.drifted, named))
    return results


def _agreements(reference: JointReference) -> dict[str, float]:
    """Of each feature, the largest of its encoded columns'."""
    agreements: dict[str, float] = {}
    for column, agreement in reference.agreements().items():
        feature = column.split("=", 1)[0]
        agreements[feature] = max(agreement, agreements.get(feature, -1.0))
    return agreements


def _quiet_table(
    looks: Sequence[tuple[int, float]], seconds: Sequence[tuple[int, float, float]]
) -> list[dict[str, Any]]:
    frame = pd.DataFrame(looks, columns=["rows", "chance"])
    cost = pd.DataFrame(seconds, columns=["rows", "learnt", "looked"])
    return [
        {
            "rows": size,
            "quiet looks": len(chances),
            "rang %": round(100 * float((chances <= 0.001).mean()), 2),
            **{f"chance <= {b:.0%}, in %": round(100 * float((chances <= b).mean()), 1) for b in (0.01, 0.05, 0.2)},
            "CPU seconds to learn": round(float(cost["learnt"].median()), 1),
            "to look": round(float(cost.loc[cost["rows"] == size, "looked"].median()), 2),
        }
        for size, chances in frame.groupby("rows")["chance"]
    ]


def _found_table(found: pd.DataFrame, agreements: dict[str, float]) -> list[dict[str, Any]]:
    if found.empty:
        return []
    strength = {name: next(said for said, least in TIES if tie >= least) for name, tie in agreements.items()}
    table = []
    for (change, rows), runs in found.groupby(["change", "rows"], sort=False):
        by_strength = runs.groupby(runs["column"].map(strength))
        line: dict[str, Any] = {"change": change, "rows": rows, "runs": len(runs)}
        for said, _ in TIES:
            if said in by_strength.groups:
                line[f"{said}: found %"] = round(100 * float(by_strength.get_group(said)["found"].mean()), 1)
        line["column named %"] = round(100 * float(runs[runs["found"]]["named"].mean()), 1)
        table.append(line)
    return table


def _column_table(found: pd.DataFrame, agreements: dict[str, float]) -> list[dict[str, Any]]:
    if found.empty:
        return []
    table = []
    for column, agreement in sorted(agreements.items(), key=lambda item: item[1]):
        line: dict[str, Any] = {"column": column, "agreement": round(agreement, 3)}
        for (change, rows), runs in found[found["column"] == column].groupby(["change", "rows"], sort=False):
            line[f"{change}, {rows:,}"] = f"{100 * float(runs['found'].mean()):.0f} %"
        table.append(line)
    return table


def dealt_out(window: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    """Every row gets the value of another: the column says nothing of the others any more."""
    return _shuffled(window, column, np.arange(len(window)), random)


def half_dealt_out(window: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    """So it goes for half of the rows, drawn at random, as with a join that fails for some."""
    return _shuffled(window, column, random.permutation(len(window))[: len(window) // 2], random)


def segment_dealt_out(window: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    """So it goes in one segment: the lower half by another number, the first that there is."""
    by = next(name for name in window.select_dtypes("number") if name != column)
    order = np.argsort(window[by].to_numpy(), kind="stable")
    return _shuffled(window, column, order[: len(window) // 2], random)


def turned_round(window: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    """The row with the largest value gets the smallest and so on: what rose with the column now falls."""
    values = window[column].to_numpy()
    order = np.lexsort((random.random(len(values)), values))
    turned = values.copy()
    turned[order] = values[order[::-1]]
    return window.assign(**{column: turned})


def other_copula(window: pd.DataFrame, column: str, random: np.random.Generator) -> pd.DataFrame:
    """The column keeps its rank correlation with the number it is closest to, but by another law, the Gaussian
    copula's, and what it had to do with the rest it keeps only by way of that one."""
    near = _numbers(window).corr("spearman")[column].drop(column)
    partner = str(near.abs().idxmax())
    return _dealt_by_copula(window, column, partner, float(near[partner]), random)


CHANGES: dict[str, Deal] = {
    "dealt out anew": dealt_out,
    "for half of the rows": half_dealt_out,
    "in one segment": segment_dealt_out,
}
NUMBERS_CHANGES: dict[str, Deal] = {"turned round": turned_round, "another copula": other_copula}
"""For columns with an order and without missing values."""


def _shuffled(window: pd.DataFrame, column: str, rows: NDArray[np.intp], random: np.random.Generator) -> pd.DataFrame:
    values = window[column].to_numpy().copy()
    values[rows] = values[random.permutation(rows)]
    return window.assign(**{column: values})


def _numbers(window: pd.DataFrame) -> pd.DataFrame:
    return window.select_dtypes("number").drop(columns=["row", SCORE], errors="ignore")


def _dealt_by_copula(
    window: pd.DataFrame, column: str, partner: str, spearman: float, random: np.random.Generator
) -> pd.DataFrame:
    # Pearson's correlation of the normal scores that gives Spearman's (Kruskal, JASA 53, 1958).
    strength = 2 * np.sin(np.pi * spearman / 6)
    place = window[partner].rank(method="first").to_numpy() / (len(window) + 1)
    score = _normal_scores(place) * strength + np.sqrt(1 - strength**2) * random.standard_normal(len(window))
    values = window[column].to_numpy().copy()
    values[np.argsort(score)] = np.sort(values)
    return window.assign(**{column: values})


def _normal_scores(places: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([NormalDist().inv_cdf(place) for place in places])
