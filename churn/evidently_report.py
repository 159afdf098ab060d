"""Evidently's second opinion on a window, and its picture. The only home of Evidently, imported when first needed.

Evidently picks its test by the size of the reference and ignores that of the window, ignores nulls, and raises on
empty, missing or textual columns. So broken columns are taken out before it and listed with the reason; each
remaining one gets its method and a threshold that counts the sampling error of both sides:

* numbers: `ks`, a p-value; the threshold is the family-wise budget divided by the columns compared (Bonferroni).
* categories, with a null as a level of its own: `jensenshannon`, a distance (natural logarithm); its threshold is
  the distance that two samples of these very sizes from the pooled shares exceed with that same probability,
  found by simulation. Evidently's own chi-square takes the reference for exact, which it is not.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from churn.contract import Contract
from churn.errors import EvidentlyFailed
from churn.evidently_remote import RunJob

if TYPE_CHECKING:
    import pandas

SCORE = "churn_probability"
PREDICTED_CLASS = "churn"
MISSING_LEVEL = "(missing)"
NARROW_SCREENS = "<style>.MuiPaper-root { overflow-x: auto !important }</style>"
"""Evidently's page is 1,000 pixels wide in a box that cuts off what does not fit, the scores first; so it scrolls."""
SIMULATIONS = 20_000
"""Draws behind a distance's threshold: a tail of 1 in 2,000 is then known to about a third of itself."""


@dataclass(frozen=True, slots=True)
class EvidentlyScore:
    """One column's score. For `ks` a p-value, low is drift; for `jensenshannon` a distance, high is drift."""

    column: str
    method: str
    score: float
    threshold: float
    drifted: bool


@dataclass(frozen=True, slots=True)
class SkippedColumn:
    """A column that Evidently could not have been asked about, and why."""

    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class EvidentlyResult:
    """Scores in the contract's order, what was left out, and the rows each side was sampled to.

    `html` is a page that needs no network; None when there was no column left to compare.
    """

    scores: tuple[EvidentlyScore, ...]
    skipped: tuple[SkippedColumn, ...]
    reference_rows: int
    window_rows: int
    html: bytes | None


@dataclass(frozen=True, slots=True)
class _Prepared:
    reference: pandas.DataFrame
    window: pandas.DataFrame
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    skipped: tuple[SkippedColumn, ...]

    @property
    def columns(self) -> list[str]:
        return [str(name) for name in self.window.columns]


def evidently_report(
    contract: Contract,
    reference: pandas.DataFrame,
    window: pandas.DataFrame,
    html_path: Path | None = None,
    seed: int = 0,
    maximum_rows: int = 5_000,
    budget: float = 0.01,
) -> EvidentlyResult:
    """Compare a window with the reference, in this process: seconds of work and some 350 MB. See `evidently_job`.

    The frames hold the contract's features and, if known, `churn_probability` and `churn`; each is sampled to
    `maximum_rows` by `seed`. `budget` is the family-wise share of false alarms. The page is also written to
    `html_path`. No content of a frame raises.
    """
    prepared = _prepare(contract, reference, window, seed, maximum_rows)
    return _write_page(_compare(prepared, seed, budget), html_path)


def evidently_job(
    contract: Contract,
    reference: pandas.DataFrame,
    window: pandas.DataFrame,
    html_path: Path | None = None,
    seed: int = 0,
    maximum_rows: int = 5_000,
    budget: float = 0.01,
    timeout_seconds: float = 120.0,
    run: RunJob | None = None,
) -> EvidentlyResult:
    """As `evidently_report`, in a process of its own that gives its memory back; `run` has it done elsewhere
    (churn/evidently_remote.py). Raises EvidentlyFailed."""
    prepared = _prepare(contract, reference, window, seed, maximum_rows)
    if not prepared.columns:
        return _nothing_compared(prepared)
    with tempfile.TemporaryDirectory(prefix="churnwatch-evidently-") as name:
        folder = Path(name)
        prepared.reference.to_parquet(folder / "reference.parquet", index=False)
        prepared.window.to_parquet(folder / "window.parquet", index=False)
        job = {
            "numbers": prepared.numbers,
            "categories": prepared.categories,
            "skipped": [asdict(column) for column in prepared.skipped],
            "seed": seed,
            "budget": budget,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        (run or run_process)(folder, timeout_seconds)
        return _write_page(_read_result(folder), html_path)


def _prepare(
    contract: Contract, reference: pandas.DataFrame, window: pandas.DataFrame, seed: int, maximum_rows: int
) -> _Prepared:
    """Sampled frames of plain float64 and text columns, without those that Evidently would choke on."""
    import pandas  # not paid for by whoever only wants the types above

    sampled = [frame.sample(min(len(frame), maximum_rows), random_state=seed) for frame in (reference, window)]
    sampled = [frame.sort_index().reset_index(drop=True) for frame in sampled]
    numbers = [feature.name for feature in contract.features if feature.is_numeric] + [SCORE]
    columns: list[dict[str, Any]] = [{}, {}]
    skipped = []
    for name in (*contract.feature_names, SCORE, PREDICTED_CLASS):
        try:
            plain = [
                _plain(frame, name, name in numbers, side)
                for frame, side in zip(sampled, ("reference", "window"), strict=True)
            ]
        except _Unusable as problem:
            skipped.append(SkippedColumn(name, str(problem)))
        else:
            for side, values in zip(columns, plain, strict=True):
                side[name] = values
    kept = list(columns[0])
    return _Prepared(
        pandas.DataFrame(columns[0], index=sampled[0].index),
        pandas.DataFrame(columns[1], index=sampled[1].index),
        tuple(name for name in kept if name in numbers),
        tuple(name for name in kept if name not in numbers),
        tuple(skipped),
    )


class _Unusable(Exception):
    """Why a column cannot be compared."""


def _plain(frame: pandas.DataFrame, name: str, numeric: bool, side: str) -> pandas.Series[Any]:
    if not len(frame):
        raise _Unusable(f"the {side} has no rows")
    if name not in frame:
        raise _Unusable(f"the {side} does not have this column")
    column = frame[name].astype(object)
    present = column[column.notna()]
    if not len(present):
        raise _Unusable(f"no value in the {side}")
    if not numeric:
        return column.map(str).where(column.notna(), MISSING_LEVEL)
    wrong = present[[not isinstance(value, (int, float, np.integer, np.floating)) for value in present]]
    if len(wrong):
        raise _Unusable(f"{len(wrong):,} values in the {side} are not numbers, the first is {wrong.iloc[0]!r:.60}")
    plain = column.where(column.notna(), np.nan).astype("float64").replace([np.inf, -np.inf], np.nan)
    if not plain.notna().any():
        raise _Unusable(f"no finite value in the {side}")
    return plain


def _compare(prepared: _Prepared, seed: int, budget: float) -> EvidentlyResult:
    if not prepared.columns:
        return _nothing_compared(prepared)
    level = budget / len(prepared.columns)
    methods = {name: "ks" if name in prepared.numbers else "jensenshannon" for name in prepared.columns}
    thresholds = {
        name: level
        if name in prepared.numbers
        else distance_threshold(prepared.reference[name], prepared.window[name], level, seed)
        for name in prepared.columns
    }
    values, html = _run_evidently(prepared, methods, thresholds)
    scores = []
    for name, method in methods.items():
        # A level that one side lacks in full, or a constant, can leave rounding's NaN: no distance, no drift.
        score, threshold = float(np.nan_to_num(values[name])), thresholds[name]
        drifted = score < threshold if method == "ks" else score > threshold
        scores.append(EvidentlyScore(name, method, score, threshold, drifted))
    rows = len(prepared.reference), len(prepared.window)
    return EvidentlyResult(tuple(scores), prepared.skipped, *rows, html)


def distance_threshold(reference: Sequence[str], window: Sequence[str], level: float, seed: int) -> float:
    """The Jensen-Shannon distance that samples of these sizes exceed with probability `level` where nothing drifted."""
    counts = np.unique(np.concatenate([np.asarray(reference), np.asarray(window)]), return_counts=True)[1]
    if len(counts) < 2:
        return 0.0
    random = np.random.default_rng(seed)
    shares = counts / counts.sum()
    first = random.multinomial(len(reference), shares, SIMULATIONS) / len(reference)
    second = random.multinomial(len(window), shares, SIMULATIONS) / len(window)
    return float(np.quantile(_jensen_shannon(first, second), 1.0 - level))


def _jensen_shannon(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Row by row, with the natural logarithm, as scipy and Evidently have it."""
    middle = (first + second) / 2
    divergence = np.zeros(len(first))
    for side in (first, second):
        ratio = np.divide(side, middle, out=np.ones_like(side), where=side > 0)
        divergence += (side * np.log(ratio)).sum(axis=1) / 2
    return np.sqrt(np.maximum(divergence, 0.0))


def _run_evidently(
    prepared: _Prepared, methods: dict[str, str], thresholds: dict[str, float]
) -> tuple[dict[str, float], bytes]:
    os.environ["DO_NOT_TRACK"] = "1"  # read by Evidently when it is imported: it would phone home otherwise
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    # Without it, integers of few values would silently become categories.
    definition = DataDefinition(numerical_columns=list(prepared.numbers), categorical_columns=list(prepared.categories))
    preset = DataDriftPreset(
        columns=prepared.columns,
        per_column_method=methods,
        per_column_threshold=thresholds,
        drift_share=1 / len(prepared.columns),  # any column: the thresholds already share one budget
    )
    with np.errstate(all="ignore"):  # constant columns have no correlation, which Evidently asks for all the same
        snapshot = Report([preset], include_tests=False).run(
            Dataset.from_pandas(prepared.window, data_definition=definition),
            Dataset.from_pandas(prepared.reference, data_definition=definition),
        )
    values = {
        entry["config"]["column"]: float(entry["value"])
        for entry in snapshot.dict()["metrics"]
        if "column" in entry["config"]
    }
    page: str = snapshot.get_html_str(as_iframe=False)
    return values, page.replace("<head>", f"<head>{NARROW_SCREENS}", 1).encode()


def _nothing_compared(prepared: _Prepared) -> EvidentlyResult:
    return EvidentlyResult((), prepared.skipped, len(prepared.reference), len(prepared.window), None)


def _write_page(result: EvidentlyResult, html_path: Path | None) -> EvidentlyResult:
    if html_path is not None and result.html is not None:
        html_path.write_bytes(result.html)
    return result


def run_process(folder: Path, timeout_seconds: float) -> None:
    """The job whose files lie in a folder, in a process. Raises EvidentlyFailed."""
    command = [sys.executable, "-m", "churn.evidently_report", str(folder)]
    home = Path(__file__).resolve().parent.parent
    try:
        ended = subprocess.run(command, cwd=home, capture_output=True, text=True, timeout=timeout_seconds, check=False)
    except subprocess.TimeoutExpired:
        raise EvidentlyFailed(f"not done within {timeout_seconds:g} s; lower EVIDENTLY_ROWS") from None
    if ended.returncode != 0:
        lines = ended.stderr.strip().splitlines() or ["it said nothing; perhaps memory ran out"]
        raise EvidentlyFailed(f"its process ended with {ended.returncode}: {lines[-1]}")


def _read_result(folder: Path) -> EvidentlyResult:
    document = json.loads((folder / "result.json").read_bytes())
    return EvidentlyResult(
        tuple(EvidentlyScore(**score) for score in document["scores"]),
        tuple(SkippedColumn(**column) for column in document["skipped"]),
        document["reference_rows"],
        document["window_rows"],
        (folder / "page.html").read_bytes(),
    )


def _main(folder: Path) -> None:
    """The job's own process: frames in, result.json and page.html out."""
    import pandas

    job = json.loads((folder / "job.json").read_bytes())
    prepared = _Prepared(
        pandas.read_parquet(folder / "reference.parquet"),
        pandas.read_parquet(folder / "window.parquet"),
        tuple(job["numbers"]),
        tuple(job["categories"]),
        tuple(SkippedColumn(**column) for column in job["skipped"]),
    )
    result = _compare(prepared, job["seed"], job["budget"])
    (folder / "page.html").write_bytes(result.html or b"")
    document = {
        "scores": [asdict(score) for score in result.scores],
        "skipped": [asdict(column) for column in result.skipped],
        "reference_rows": result.reference_rows,
        "window_rows": result.window_rows,
    }
    (folder / "result.json").write_text(json.dumps(document), encoding="utf-8")


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
