"""The stream: its scoring path alone by step, beside the record-by-record pandas way; then the service end to end.

python -m benchmarks.stream [--quick]

Memory is that of the running service on a stream without end. The floors are loops that only read the emulator and
write as many bytes back, as often as AWS allows. Latency is from the moment before an event is put until its result is
read. Results are also written to benchmarks/results/stream.json.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson

from benchmarks.stream_end_to_end import emulator, end_to_end, latency
from benchmarks.stream_memory import memory
from benchmarks.subject import DEPTH, TREES, bundle, machine, records
from churn.bundle import Bundle
from churn.raw_records import RawRecord, score_raw
from churn.scoring import Scorer
from churn.uniform import read_uniform_documents
from stream_service import interpreter
from stream_service.pipeline import result_json

BATCH = 1_000
RESULTS = Path(__file__).parent / "results" / "stream.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tenth of the records")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        model = bundle(Path(folder) / "bundle")
        report: dict[str, Any] = {"machine": machine(), "cores": os.cpu_count(), "trees": TREES, "depth": DEPTH}
        print(f"{report['machine']}; {TREES} trees of depth {DEPTH}")
        report["scoring"] = scoring_path(model)
        report["memory"] = memory(
            model, Path(folder), payloads(10_000, with_events=False), 100_000 if quick else 1_000_000
        )
        with emulator(Path(folder)):
            report["end_to_end"] = end_to_end(model, Path(folder), payloads(10_000 if quick else 100_000))
            report["latency"] = latency(model, Path(folder), payloads(500 * (5 if quick else 20)), rate=500)
    RESULTS.write_text(json.dumps(report, indent=1) + "\n")


def payloads(count: int, with_events: bool = True) -> list[bytes]:
    """Customers as events. Without an event_id, a record is known by its place in the stream: all may come again."""
    customers = records("credit_card", min(count, 10_000), seed=21)
    return [
        orjson.dumps(
            customers[n % len(customers)] | {"customer_id": f"c-{n}"} | ({"event_id": f"e-{n}"} if with_events else {})
        )
        for n in range(count)
    ]


def exemplary_key() -> bytes:
    """For pseudonyms, which the contract asks for and a service therefore makes too."""
    return b"k" * 64


def raw(data: list[bytes]) -> list[RawRecord]:
    return [RawRecord(one, ("record", "s", "shard", str(number))) for number, one in enumerate(data)]


def scoring_path(model: Bundle) -> dict[str, Any]:
    """Bytes in to bytes out, one thread, batches of 1,000: the best of several runs, by CPU time of the process."""
    scorer = Scorer(model, key=exemplary_key)
    data = payloads(BATCH)
    batch = raw(data)
    fields = read_uniform_documents(data)
    assert fields is not None
    matrix = scorer._by_columns.columns(fields).matrix
    predictions = score_raw(scorer, batch, "stream", 1 << 18)
    interpreter.tune()  # as the service does
    steps = {
        "parse": _best(lambda: read_uniform_documents(data)),
        "validate and encode": _best(lambda: scorer._by_columns.columns(fields)),
        "score and calibrate": _best(lambda: model.probabilities(matrix)),
        "serialise": _best(lambda: [result_json(one) for one in predictions]),  # type: ignore[arg-type]
    }
    whole = _best(lambda: [result_json(one) for one in score_raw(scorer, batch, "stream", 1 << 18)])  # type: ignore[arg-type]
    steps["identities, records, rest"] = whole - sum(steps.values())
    slow = _best(lambda: [_pandas_way(model, one) for one in data[:20]], runs=3) / 20 * BATCH
    for name, seconds in steps.items():
        print(f"  {name:>26}: {seconds / BATCH * 1e6:6.2f} us a record")
    print(f"  {'whole':>26}: {whole / BATCH * 1e6:6.2f} us a record = {BATCH / whole:,.0f} records/s")
    print(
        f"  {'pandas, one by one':>26}: {slow / BATCH * 1e6:6.0f} us a record; ours: {slow / whole:,.0f} times as fast"
    )
    return {
        "records_per_second": round(BATCH / whole),
        "us_a_record": {name: round(seconds / BATCH * 1e6, 2) for name, seconds in steps.items()},
        "pandas_us_a_record": round(slow / BATCH * 1e6),
        "times_pandas": round(slow / whole),
    }


def _pandas_way(model: Bundle, data: bytes) -> bytes:
    """As it is commonly done: a frame of one row, one-hot columns, a DMatrix, a prediction, a dictionary."""
    import pandas as pd
    import xgboost

    booster = _booster(model)
    frame = pd.json_normalize(json.loads(data))
    categories = [f.name for f in model.contract.features if not f.is_numeric]
    encoded = pd.get_dummies(frame, columns=categories).reindex(columns=model.encoder.columns, fill_value=0)
    probability = float(booster.predict(xgboost.DMatrix(encoded.astype("float32"), feature_names=None))[0])
    return json.dumps({"customer_id": frame["customer_id"].iloc[0], "churn_probability": probability}).encode()


_boosters: dict[str, Any] = {}


def _booster(model: Bundle) -> Any:
    import xgboost

    if model.digest not in _boosters:
        loaded = xgboost.Booster({"nthread": 1})
        loaded.load_model(model.folder / "model.ubj")
        _boosters[model.digest] = loaded
    return _boosters[model.digest]


def _best(step: Callable[[], object], runs: int = 40) -> float:
    """CPU seconds of the quickest of several runs: what the step costs when nobody disturbs it."""
    quickest = float("inf")
    for _ in range(runs):
        started = time.process_time()
        step()
        quickest = min(quickest, time.process_time() - started)
    return quickest


if __name__ == "__main__":
    main()
