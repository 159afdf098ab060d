"""What each command of `python -m orchestration` does: check first what can be wrong, run the flow, say the result."""

from __future__ import annotations

import argparse
import json
import logging
import os
import time
from datetime import date

import urllib3

from churn.contract import load_contract
from churn.errors import ChurnwatchError, DataError
from churn.logs import configure_logs
from churn.registry import Registry
from churn.settings import ModelSettings, TrainSettings, read


class PrefectUnavailable(ChurnwatchError):
    """PREFECT_API_URL is set and nobody answers there."""

    def __init__(self, url: str, reason: object) -> None:
        super().__init__(
            f"Prefect at {url} cannot be reached ({reason}); start it, or unset PREFECT_API_URL to run without a server"
        )


def ingest(options: argparse.Namespace) -> None:
    prepare(options)
    from orchestration.expectations import sentence
    from orchestration.flows import ingest as flow
    from orchestration.transactions.told import told

    started = time.perf_counter()
    manifest = flow(options.file, options.contract, options.cut_off)
    seconds = time.perf_counter() - started
    print(
        f"{manifest.rows:,} customers of {manifest.source}, {manifest.churned_rows / manifest.rows:.1%} churned, "
        f"{manifest.quarantined_rows} rows set aside, in {seconds:.1f} s"
    )
    for line in told(manifest.validation.get("transactions")):
        print(f"  {line}")
    for warning in manifest.validation["warnings"]:
        print(f"  {'warning' if warning['broken'] else 'ok'}: {sentence(warning)}")
    print(f"VERSION={manifest.version}")
    print_json(
        options,
        version=manifest.version,
        rows=manifest.rows,
        quarantined_rows=manifest.quarantined_rows,
        sha256=manifest.sha256,
        seconds=round(seconds, 3),
    )


def load(options: argparse.Namespace) -> None:
    prepare(options)
    from orchestration.online import online
    from orchestration.transactions.loading import load as load_file

    contract, started = load_contract(options.contract), time.perf_counter()
    with online(contract) as (store, pseudonym):
        saved = load_file(options.file, contract, store, pseudonym, read(TrainSettings).maximum_bad_share)
        total = store.count_transactions(contract.name)
    seconds = time.perf_counter() - started
    print(
        f"{saved.stored:,} transactions stored, {saved.repeated:,} were there already; {total:,} in all, "
        f"in {seconds:.1f} s"
    )
    print_json(options, stored=saved.stored, repeated=saved.repeated, total=total, seconds=round(seconds, 3))


def tune(options: argparse.Namespace) -> None:
    prepare(options)
    Registry(read(ModelSettings).mlflow_tracking_uri).check()
    from orchestration.flows import tune as flow

    started = time.perf_counter()
    tuned = flow(
        options.contract,
        options.version,
        options.trials,
        options.time_budget_seconds,
        not options.no_progress,
        options.resume,
    )
    seconds = time.perf_counter() - started
    best, others = tuned.best, f"{tuned.pruned} more pruned, {tuned.failed} failed"
    print(
        f"best of {len(tuned.trials)} trials ({others}) in {seconds:.1f} s: {best.family}, log loss "
        f"{best.metrics['cv_log_loss']:.4f} in cross-validation; on the test rows AUC {tuned.test['auc']:.4f}, "
        f"recall {tuned.test['recall']:.3f}, precision {tuned.test['precision']:.3f}\n"
        f"registered as version {tuned.model_version}, alias challenger\nRUN_ID={best.run_id}"
    )
    print_json(
        options,
        run_id=best.run_id,
        digest=best.digest,
        model_version=tuned.model_version,
        parent_run_id=tuned.parent_run_id,
        features_version=tuned.features_version,
        trials=len(tuned.trials),
        pruned=tuned.pruned,
        failed=tuned.failed,
        threshold=best.metrics["threshold"],
        cv_log_loss=best.metrics["cv_log_loss"],
        **{f"test_{name}": value for name, value in tuned.test.items()},
        seconds=round(seconds, 3),
    )


def positive(text: str) -> int:
    """An argument that must be a whole number of 1 or more."""
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a whole number, 1 or more")
    return number


def day(text: str) -> date:
    """An argument that must be a date."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: expected a day such as 2026-01-31") from None


def prepare(options: argparse.Namespace) -> None:
    """Find the cheap mistakes before the slow imports, and keep Prefect's log out of the way of our sentences."""
    load_contract(options.contract)
    file = getattr(options, "file", None)
    if file is not None and not file.is_file():
        raise DataError(f"{file}: no such file; give the path of a CSV file")
    _check_prefect(os.environ.get("PREFECT_API_URL", ""))
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    configure_logs("train")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_not_of_a_run)


def _is_not_of_a_run(record: logging.LogRecord) -> bool:
    """Prefect logs a failed run once as a task and once as a flow; the command's last line says it in a sentence."""
    return not record.name.startswith(("prefect.task_runs", "prefect.flow_runs"))


def _check_prefect(url: str) -> None:
    if not url:
        return
    try:
        response = urllib3.PoolManager(timeout=5.0, retries=1).request("GET", f"{url.rstrip('/')}/health")
    except urllib3.exceptions.HTTPError as error:
        raise PrefectUnavailable(url, getattr(error, "reason", None) or error) from error
    if response.status != 200:
        raise PrefectUnavailable(url, f"status {response.status}")


def print_json(options: argparse.Namespace, **facts: object) -> None:
    if options.json:
        print(json.dumps(facts), flush=True)
