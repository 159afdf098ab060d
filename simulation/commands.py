"""What each command of `python -m simulation` does, from parsed options to printed lines."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from churn.contract import Contract, load_contract
from churn.errors import DataError, SettingError
from churn.feature_store import FeatureStore
from churn.model_cache import open_model
from churn.registry import Registry
from churn.settings import FeatureStoreSettings, ModelSettings, SenderSettings, TrainSettings, read
from simulation import kinesis
from simulation.customers import held_out, held_out_of
from simulation.draw import draw_population, raw_table
from simulation.labels import due, post_labels, write_labels
from simulation.population import load_population
from simulation.run import Plan, facts, run_traffic, summary
from simulation.senders import SendError
from simulation.shift_specs import parse_shift
from simulation.truth import read_truth

FRESH_CUSTOMERS = 10_000


def positive(text: str) -> int:
    """An argparse type: a whole number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def make_data(options: argparse.Namespace) -> None:
    population = load_population(load_contract(options.contract))
    customers = draw_population(population, options.rows, options.seed)
    write_csv(raw_table(population, customers), options.out)
    share = float(customers["churned"].mean())
    sentence = f"{options.out}: {len(customers)} simulated customers, {share:.1%} of them leave"
    _say(options, sentence, file=str(options.out), customers=len(customers), churned_share=share)


def run(options: argparse.Namespace) -> None:
    if not options.http and not options.stream:
        raise SettingError("--http", "", "the address of a web_service, or --stream NAME, or both")
    contract, customers, source = _customers(options)
    plan = Plan(
        contract=contract,
        customers=customers,
        source=source,
        shifts=tuple(parse_shift(spec, contract, customers) for spec in options.shift),
        rows=options.rows,
        rate=options.rate,
        seed=options.seed,
        http_url=options.http,
        stream=options.stream,
        results_stream=options.results,
        connections=options.connections,
        batch=options.batch,
        retry_seconds=options.retry_seconds,
        api_key=read(SenderSettings).web_api_key or None,
        truth=options.truth,
        label_delay_seconds=options.label_delay,
    )
    client = kinesis.connect() if options.stream else None
    outcome = run_traffic(plan, client)
    _say(options, "\n".join(summary(outcome)), **facts(outcome))
    troubles = [trouble for sent in outcome.sent for trouble in sent.problems if sent.refused or sent.failed]
    if outcome.results is not None and outcome.results.missing:
        troubles.append(f"{outcome.results.missing} events have no answer on the stream {options.results}")
    if troubles:
        raise SendError("; ".join(troubles))


def labels(options: argparse.Namespace) -> None:
    truth = read_truth(options.truth)
    if options.out is not None:
        written = write_labels(due(truth.events, datetime.now(UTC)) if not options.wait else truth.events, options.out)
        _say(options, f"{options.out}: {written} labels", file=str(options.out), labels=written)
        return
    delivered = post_labels(
        truth.events, options.http, wait=options.wait, api_key=read(SenderSettings).web_api_key or None
    )
    sentence = (
        f"{delivered.posted} labels posted to {options.http}/feedback: {delivered.matched} found their prediction, "
        f"{delivered.unknown} did not; {delivered.later} are not known yet"
    )
    _say(options, sentence, **asdict(delivered))


def _say(options: argparse.Namespace, sentence: str, **facts: Any) -> None:
    print(json.dumps(facts) if options.json else sentence)


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write all of it or nothing. Raises DataError when the path cannot be written."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(partial, index=False)
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise DataError(f"{path} cannot be written: {error.strerror or error}; give another --out") from error


def _customers(options: argparse.Namespace) -> tuple[Contract, pd.DataFrame, str]:
    """Whom the run draws from, and a word on where they come from."""
    contract = load_contract(options.contract)
    if options.population:
        # Another seed than make-data's default: these are not the customers that a model was fitted on.
        frame = draw_population(load_population(contract), FRESH_CUSTOMERS, options.seed + 1_000_000)
        return contract, frame, "fresh simulated customers"
    features = FeatureStore(read(FeatureStoreSettings).feature_bucket)
    if options.features:
        frame = held_out(features, contract, options.features, read(TrainSettings).seed)
        return contract, frame, f"features {options.features}"
    settings = read(ModelSettings)
    run_id = options.run_id or settings.run_id
    if not run_id:
        raise SettingError("RUN_ID", "", "the run whose unseen customers are sent, or --features, or --population")
    bundle = open_model(run_id, contract.name, Registry(settings.mlflow_tracking_uri), settings.bundle_cache)
    return bundle.contract, held_out_of(bundle, features), f"rows that run {bundle.run_id} has not seen"


def demo(options: argparse.Namespace) -> None:
    from simulation.demo import demo  # imports every sender; the other commands need not wait for it
    from simulation.summary import Script

    demo(Script(options.contract, options.data, options.shift, options.trials))


def up(options: argparse.Namespace) -> None:
    from simulation.up import up

    up(options.contract)
