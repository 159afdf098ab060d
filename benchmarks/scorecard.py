"""Every named shift of the simulation, end to end: customers over HTTP, the real watch behind, what rang and how soon.

`python -m benchmarks.scorecard` writes docs/scorecard.md. The model is fitted on simulated customers; its reference
is others of them, as many as the watch wants, and those who are sent are others again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import xgboost

from churn.bundle import Bundle, load_bundle, save_bundle
from churn.calibration import fit_calibration
from churn.contract import Contract, load_contract
from churn.encoder import Encoder
from churn.histogram import CLASS, SCORE, make_profile
from churn.model import XGBoostModel
from churn.store import PredictionStore, open_store
from simulation.customers import draw_customers
from simulation.draw import draw_population
from simulation.labels import post_labels
from simulation.population import load_population
from simulation.senders import send_http
from simulation.shift_specs import parse_shift
from simulation.shifts import Shift
from simulation.stage import Stage, port_is_free
from simulation.traffic import Receipt, make_events
from simulation.truth import Header, TruthFile, read_truth, shift_truths

RUN_ID = "5c0eca4d" * 4
ROWS, ONSET, WINDOW_ROWS, RATE = 4_000, 1_600, 200, 400.0
REFERENCE_ROWS = 8_000
DEADLINE_SECONDS = 60.0
SHIFTS = (
    "",
    "mean_shift",
    "unit_change",
    "segment_only",
    "new_category",
    "null_burst",
    "category_move",
    "upstream_freeze",
    "decouple",
    "concept_drift:0.2",
    "label_delay",
)
NEEDS_LABELS = ("concept_drift", "label_delay")


@dataclass(frozen=True)
class Play:
    """What one run left in the store, and when its onset was sent."""

    spec: str
    shift: Shift | None
    windows: list[dict[str, Any]]
    alarms: list[dict[str, Any]]
    concept: dict[str, Any] | None
    onset_at: datetime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[1] / "docs" / "scorecard.md")
    parser.add_argument("--only", nargs="*", help="some of the shifts")
    options = parser.parse_args()
    contract = load_contract("credit_card")
    with tempfile.TemporaryDirectory(prefix="churnwatch-scorecard-") as name:
        home = Path(name)
        bundle = fit(contract, home / "bundle")
        rows = []
        for place, spec in enumerate(options.only or SHIFTS):
            play = act(contract, bundle, home / f"play-{place}", spec)
            rows.append(judge(play))
            print(json.dumps(rows[-1]), flush=True)
    if not options.only:
        options.out.write_text(page(rows), encoding="utf-8")
        print(options.out)


def fit(contract: Contract, folder: Path) -> Bundle:
    """A model of 8,000 simulated customers; its reference is 8,000 others."""
    population, encoder = load_population(contract), Encoder(contract)
    learnt, others = (draw_population(population, REFERENCE_ROWS, seed) for seed in (21, 22))
    matrix, labels = encoder.encode_frame(learnt), learnt["churned"].to_numpy(dtype=bool)
    options = {"objective": "binary:logistic", "max_depth": 4, "eta": 0.1, "nthread": 2, "seed": 1}
    model = XGBoostModel(xgboost.train(options, xgboost.DMatrix(matrix, labels), 150))
    log_odds = model.log_odds(encoder.encode_frame(others))
    calibration = fit_calibration(log_odds, others["churned"].to_numpy(dtype=bool))
    reference = others.drop(columns="customer_id").assign(**{SCORE: calibration.probabilities(log_odds)})
    reference[CLASS] = reference[SCORE] >= 0.5
    golden = draw_customers(others, contract, 50, seed=1)
    save_bundle(
        folder,
        run_id=RUN_ID,
        contract=contract,
        model=model,
        calibration=calibration,
        threshold=0.5,
        reference=reference,
        profile=make_profile(contract, reference),
        golden_records=[customer.features for customer in golden],
        facts={},
    )
    return load_bundle(folder)


def act(contract: Contract, bundle: Bundle, home: Path, spec: str) -> Play:
    """Start the service and the watch, send, wait until all is judged, and end them."""
    customers = draw_population(load_population(contract), ROWS, seed=33)
    shift = parse_shift(f"{spec}@{ONSET}", contract, customers) if spec else None
    truth_path = home / "truth.jsonl"
    with _services(bundle, home) as (store, web_url, watch_url):
        drawn = draw_customers(customers, contract, ROWS, seed=4)
        events = list(make_events(drawn, [shift] if shift else [], prefix="s", seed=5, rate=RATE))
        onset_at: list[datetime] = []
        with TruthFile(truth_path) as truth:
            truth.begin(_header(contract, [shift] if shift else []))

            def take(receipt: Receipt) -> None:
                truth.take(receipt)
                if receipt.event.index == ONSET:
                    onset_at.append(receipt.sent_at)

            sent = send_http(events, web_url, connections=2, rate=RATE, on_receipt=take)
        if sent.answered != ROWS:
            raise SystemExit(f"{spec}: {sent.answered} of {ROWS} answered")
        prefix = f"{contract.name}/{RUN_ID}/"
        _wait(lambda: len(store.documents("verdict", prefix)) >= ROWS // WINDOW_ROWS)
        concept = None
        if shift is not None and shift.spec.startswith(NEEDS_LABELS):
            post_labels(read_truth(truth_path).events, web_url, wait=False)
            concept = _wait(lambda: _status(watch_url)["performance"]["concept_drift"], 20.0)
        windows = store.documents("verdict", prefix, newest_first=False)
        return Play(spec, shift, windows, store.documents("alarm", prefix), concept, onset_at[0])


def judge(play: Play) -> dict[str, Any]:
    """One line of the table."""
    onset_window = ONSET // WINDOW_ROWS
    planted = set(play.shift.columns) if play.shift else set()
    found = [
        (window["number"], _columns(window) | _together(window), window["judged_at"])
        for window in play.windows
        if _columns(window) | _together(window)
    ]
    after = [one for one in found if one[0] >= onset_window]
    hits = [one for one in after if planted & one[1]]
    alarms = {alarm["cause"]: alarm for alarm in play.alarms}
    others = {name for window in play.windows for name in _columns(window)} - planted
    line: dict[str, Any] = {
        "shift": play.shift.spec.partition("@")[0] if play.shift else "none",
        "columns": ", ".join(sorted(planted)),
        "found after rows": (hits[0][0] + 1) * WINDOW_ROWS - ONSET if hits else None,
        "seconds": round((_time(hits[0][2]) - play.onset_at).total_seconds(), 1) if hits else None,
        "windows": f"{len(hits)} of {len(play.windows) - onset_window}" if planted else "",
        "rang": ", ".join(sorted(alarms)),
        "false windows before": sum(number < onset_window for number, _, _ in found),
        "other features named": ", ".join(sorted(others)),
    }
    if play.concept:
        line["rang"] = f"concept drift, {play.concept['error_before']:.1%} to {play.concept['error_after']:.1%} wrong"
    return line


def page(rows: list[dict[str, Any]]) -> str:
    """docs/scorecard.md."""
    names = list(rows[0])
    lines = [
        names,
        ["---"] * len(names),
        *(["" if row[name] is None else str(row[name]) for name in names] for row in rows),
    ]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    return (
        "# Scorecard: every named shift, through the HTTP service and the real watch\n\n"
        f"`python -m benchmarks.scorecard`, {datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, "
        f"{platform.machine()}, Python {platform.python_version()}.\n"
        f"{ROWS:,} simulated customers a run over HTTP at {RATE:.0f} a second, the shift from row {ONSET:,} on; "
        "windows of\n"
        f"{WINDOW_ROWS} predictions, reference {REFERENCE_ROWS:,} rows, the pager's rule two windows in a row.\n\n"
        "`found after rows` counts from the onset to the end of the first window in which a planted column drifts or\n"
        "fails a check, or is named as one that no longer goes with the others, `seconds` to its verdict. A joint\n"
        "change, which shows in no column, rings as `joint`; here it is looked for every half second, not hourly.\n"
        "Concept drift needs labels. `label_delay` changes nothing that could be found, so nothing should ring. A level"
        " that gains ten\n"
        "points is near to chance in 200 rows, and found in a window of 1,000 (docs/drift.md).\n\n"
        f"{table}"
    )


def _columns(window: dict[str, Any]) -> set[str]:
    """The features that a window names; the score and the class follow from them."""
    named = {*window["drifted"], *(problem["column"] for problem in window["quality"])}
    return named - {SCORE, CLASS}


def _together(window: dict[str, Any]) -> set[str]:
    """The features that no longer go with the others, where the look at them together says so."""
    joint = window["joint"]
    return {name.split("=", 1)[0] for name in joint["columns"]} if joint and joint["drifted"] else set()


@contextmanager
def _services(bundle: Bundle, home: Path) -> Iterator[tuple[PredictionStore, str, str]]:
    cache = home / "cache"
    shutil.copytree(bundle.folder, cache / "bundles" / bundle.digest)
    (cache / "pointers").mkdir()
    (cache / "pointers" / RUN_ID).write_text(json.dumps({"run_id": RUN_ID, "digest": bundle.digest}))
    ports = [port for port in range(39_700, 39_900) if port_is_free(port)][:2]
    environment = {
        **os.environ,
        "CHURNWATCH_HOME": str(home),
        "RUN_ID": RUN_ID,
        "STORE_URL": f"sqlite:///{home.resolve() / 'store.db'}",
        "BUNDLE_CACHE": str(cache),
        "JOURNAL_DIR": str(home / "journal"),
        "MLFLOW_TRACKING_URI": "http://127.0.0.1:9",  # nobody: the bundle is in the cache
        "WEB_PORT": str(ports[0]),
        "WEB_WORKERS": "1",
        "WATCH_PORT": str(ports[1]),
        "WINDOW_ROWS": str(WINDOW_ROWS),
        "WATCH_POLL_SECONDS": "0.5",
        "WATCH_LATENESS_SECONDS": "1",
        "EVIDENTLY_SECONDS": "0",
        "JOINT_SECONDS": "0.5",
    }
    web_url, watch_url = (f"http://127.0.0.1:{port}" for port in ports)
    with Stage(home, environment) as stage:
        web = stage.start("web", [sys.executable, "-m", "web_service"], ports[0])
        stage.wait_ready(web, f"{web_url}/ready")
        watch = stage.start("watch", [sys.executable, "-m", "monitoring"], ports[1])
        stage.wait_ready(watch, f"{watch_url}/health")
        store = open_store(environment["STORE_URL"])
        try:
            yield store, web_url, watch_url
        finally:
            store.close()


def _header(contract: Contract, shifts: list[Shift]) -> Header:
    return Header(
        contract=contract.name,
        started_at=datetime.now(UTC),
        seed=5,
        rate=RATE,
        rows=ROWS,
        source="simulated",
        shifts=shift_truths(shifts),
    )


def _status(watch_url: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{watch_url}/status.json", timeout=10) as answer:
        run: dict[str, Any] = json.load(answer)["runs"][0]
        return run


def _wait(question: Callable[[], Any], seconds: float = DEADLINE_SECONDS) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := question()) and time.monotonic() < deadline:
        time.sleep(0.3)
    return answer


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


if __name__ == "__main__":
    main()
