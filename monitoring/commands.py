"""What `python -m monitoring` can do: watch, judge what is closed and end, show the status, judge a past window."""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from churn.command_line import make_parser, wants_colour
from churn.contract import load_contract
from churn.drift import judge
from churn.errors import WatchError
from churn.histogram import Histograms, Profile
from churn.metrics import DiskMetrics
from churn.pseudonym import key_source, pseudonyms
from churn.quality import find_problems
from churn.segments import find_segments
from churn.settings import ModelSettings, PseudonymSettings, ReportSettings, StoreSettings, WatchSettings, read
from churn.signals import at_end
from churn.store import PredictionStore, open_store
from monitoring.alarms import AlarmPolicy
from monitoring.judged import VERDICT_KIND, Judged
from monitoring.reference import Reference, open_reference
from monitoring.second_opinion import SecondOpinions, ask, frame_of, start_job
from monitoring.server import StatusServer
from monitoring.service import WatchService
from monitoring.status import status_document
from monitoring.terminal import segments_text, status_text, verdict_text
from monitoring.truth import PseudonymOf, Truth, read_labels
from monitoring.watch import LoadReference, Watch, WatchRules, count
from monitoring.windows import CountWindows, TimeWindows, Window, WindowRule

if TYPE_CHECKING:
    from churn.bundle import Bundle

VERBS = ("serve", "status", "evidently", "segments", "labels", "judge")
SEGMENT_ROWS = 20_000


def parser() -> argparse.ArgumentParser:
    """Every command with its options."""
    top = make_parser("monitoring", "The watch over what the models answer.")
    commands = top.add_subparsers(dest="command", metavar="VERB", required=True)
    serve = commands.add_parser("serve", help="judge windows as they close and serve the gauges (the default)")
    serve.add_argument("--once", action="store_true", help="judge every window that is closed, and end")
    status = commands.add_parser("status", help="show what the watch knows")
    status.add_argument("--json", action="store_true", help="the same as JSON")
    opinion = commands.add_parser("evidently", help="ask Evidently about a judged window; keep its page and scores")
    opinion.add_argument("key", help="CONTRACT/RUN_ID/SERIES/NUMBER, as the status has it")
    opinion.add_argument("--json", action="store_true", help="the page's place as JSON")
    parts = commands.add_parser("segments", help="which groups of customers changed in a judged window")
    parts.add_argument("key", help="CONTRACT/RUN_ID/SERIES/NUMBER, as the status has it")
    parts.add_argument("--json", action="store_true", help="the segments as JSON")
    labels = commands.add_parser("labels", help="bring ground truth from a CSV file into the store")
    labels.add_argument("file", type=Path, metavar="FILE.csv", help="prediction_id (or customer_id), churned")
    labels.add_argument("--json", action="store_true", help="the counts as JSON")
    past = commands.add_parser("judge", help="judge any past stretch of time; nothing is kept")
    past.add_argument("--from", dest="start", required=True, type=_moment, metavar="TIME", help="ISO time, UTC")
    past.add_argument("--to", dest="end", required=True, type=_moment, metavar="TIME", help="ISO time, UTC")
    past.add_argument("--contract", help="default: every contract with predictions in the window")
    past.add_argument("--run", help="default: every run with predictions in the window")
    against = past.add_mutually_exclusive_group()
    against.add_argument("--reference", metavar="RUN_ID", help="compare with another run's reference")
    against.add_argument("--against", choices=["previous"], help="compare with the stretch of equal length before")
    past.add_argument("--json", action="store_true", help="the verdicts as JSON")
    return top


def watch(once: bool) -> int:
    """Watch until SIGTERM or Ctrl-C; or judge once what is closed. Returns the exit code."""
    settings, store = read(WatchSettings), _open_store()
    store.check()
    service = WatchService(_watch(settings, store), CollectorRegistry(), settings.watch_poll_seconds, _now)
    if once:
        for judged in service.poll():
            print(f"{judged.window.key}: {judged.verdict.state}, {judged.verdict.rows} rows, {judged.verdict.reason}")
        return 0
    return _serve(settings, store)


def show_status(as_json: bool) -> int:
    """Print what the store says was judged."""
    store = _open_store()
    watch = _watch(read(WatchSettings), store)
    watch.remember()
    runs = list(watch.runs.values())
    truth = Truth(store, watch.decision)
    truth.remember(runs)
    truths = {(run.contract, run.model_run_id): found for run in runs if (found := truth.of(run))}
    pages = SecondOpinions(store, 0.0, _now, start_job).pages(runs)
    document = status_document(runs, _now(), pages, truths)
    print(json.dumps(document, indent=1) if as_json else status_text(document, wants_colour(sys.stdout)))
    return 0


def ask_evidently(key: str, as_json: bool) -> int:
    """Print where Evidently's page lies."""
    page = ask(_open_store(), key, _bundles(), read(WatchSettings).evidently_dir, read(ReportSettings).evidently_rows)
    found = str(page) if page else None
    print(json.dumps({"page": found}) if as_json else found or "Evidently had no column to compare")
    return 0


def show_segments(key: str, as_json: bool) -> int:
    """Print the segments of a judged window that changed, the largest change first."""
    store = _open_store()
    document = store.document(VERDICT_KIND, key)
    if document is None:
        raise WatchError(f"no window {key} was judged; `python -m monitoring status --json` lists keys")
    window = Judged.from_document(document).window
    bundle = _bundles()(window.contract, window.model_run_id)
    sample = store.window(window.contract, window.model_run_id, window.start, window.end, sample=SEGMENT_ROWS)
    profile = open_reference(bundle).profile
    segments = find_segments(profile, bundle.reference(), frame_of(bundle.contract, sample))
    print(json.dumps([asdict(segment) for segment in segments]) if as_json else segments_text(segments))
    return 0


def bring_labels(path: Path, as_json: bool) -> int:
    """Print what became of the labels."""
    store = _open_store()
    found = read_labels(path, store, _now(), _pseudonym_of(_watch(read(WatchSettings), store)))
    sentence = (
        f"{found.matched} predictions labelled, {found.changed} labels changed, {found.unknown} fit no prediction yet"
    )
    print(json.dumps(asdict(found)) if as_json else sentence)
    return 0


def judge_past(options: argparse.Namespace) -> int:
    """Print the verdict on every contract and run that has predictions in the window."""
    settings, store, load = read(WatchSettings), _open_store(), _loader()
    if options.end <= options.start:
        raise WatchError(f"--from {options.start.isoformat()}: expected a time before --to {options.end.isoformat()}")
    pairs = [
        (contract, run)
        for contract, run in store.runs(options.start, options.end)
        if options.contract in (None, contract) and options.run in (None, run)
    ]
    if not pairs:
        raise WatchError("no predictions in that window; `python -m monitoring status` shows which there are")
    for contract, run in pairs:
        window = Window(contract, run, "past", 0, options.start, options.end)
        profile = _past_profile(store, window, load(contract, options.reference or run), options.against)
        histograms = _counted(store, window, profile)
        verdict = judge(profile, histograms, settings.false_alarm_budget, settings.minimum_rows)
        problems = find_problems(profile, histograms, settings.false_alarm_budget) if verdict.state == "ok" else ()
        if options.json:
            facts = {"contract": contract, "model_run_id": run, "quality": [asdict(p) for p in problems]}
            print(json.dumps(facts | verdict.to_json()))
        else:
            print(f"{contract} {run}\n{verdict_text(verdict, problems, wants_colour(sys.stdout))}")
    return 0


def _serve(settings: WatchSettings, store: PredictionStore) -> int:
    stop = threading.Event()
    at_end(stop.set)
    registry = CollectorRegistry()
    opinions = (
        SecondOpinions(store, settings.evidently_seconds, _now, start_job) if settings.evidently_seconds else None
    )
    service = WatchService(
        _watch(settings, store), registry, settings.watch_poll_seconds, _now, opinions, settings.watch_gateway
    )
    DiskMetrics(registry, {"watch": settings.evidently_dir})
    server = StatusServer(
        settings.watch_host,
        settings.watch_port,
        registry,
        service.status,
        service.health,
        settings.evidently_dir,
        service.notify,
    )
    structlog.get_logger().info("watching", port=server.port, series=_rule(settings).series)
    try:
        service.run(stop)
    finally:
        if opinions is not None:
            opinions.close()
        server.close()
        store.close()
    return 0


def _watch(settings: WatchSettings, store: PredictionStore) -> Watch:
    rules = WatchRules(
        settings.false_alarm_budget,
        settings.minimum_rows,
        AlarmPolicy(
            settings.alarm_windows,
            max(settings.alarm_windows, settings.alarm_of_windows),
            settings.alarm_cooldown_windows,
        ),
        settings.watch_stale_seconds,
        settings.joint_seconds,
    )
    return Watch(store, _rule(settings), rules, _loader(), _now)


def _rule(settings: WatchSettings) -> WindowRule:
    if settings.window_rows:
        return CountWindows(settings.window_rows, settings.watch_lateness_seconds)
    return TimeWindows(settings.window_seconds, settings.watch_lateness_seconds)


def _loader() -> LoadReference:
    bundles = _bundles()

    def load(contract: str, run: str) -> Reference:
        return open_reference(bundles(contract, run))

    return load


def _bundles() -> Callable[[str, str], Bundle]:
    settings = read(ModelSettings)

    def load(contract: str, run: str) -> Bundle:
        from churn.model_cache import open_model  # XGBoost with it: not for those who only ask for the status
        from churn.registry import Registry

        return open_model(run, contract, Registry(settings.mlflow_tracking_uri), settings.bundle_cache)

    return load


def _past_profile(store: PredictionStore, window: Window, reference: Reference, against: str | None) -> Profile:
    if against is None:
        return reference.profile
    before = Window(
        window.contract, window.model_run_id, "past", 0, window.start - (window.end - window.start), window.start
    )
    profile = reference.profile
    return Profile(profile.contract, profile.contract_sha256, _counted(store, before, profile))


def _counted(store: PredictionStore, window: Window, profile: Profile) -> Histograms:
    histograms = profile.empty()
    count(window, window.read(store), histograms)
    return histograms


def _pseudonym_of(watch: Watch) -> PseudonymOf:
    """By the contract of the newest run in the log whose bundle can be had, else by the contract's file."""
    key = key_source(read(PseudonymSettings))

    @cache
    def pseudonym_of(contract: str) -> Callable[[str], str]:
        watch.remember()
        return pseudonyms(watch.contract(contract) or load_contract(contract), key)

    return pseudonym_of


def _open_store() -> PredictionStore:
    settings = read(StoreSettings)
    return open_store(settings.store_url, timeout_seconds=settings.store_timeout_seconds)


def _now() -> datetime:
    return datetime.now(UTC)


def _moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}': expected a time such as 2026-01-31T12:00:00Z") from None
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
