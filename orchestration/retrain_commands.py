"""What retrain, serve and receive do on the command line: settings in, sentences out."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import threading
from datetime import UTC, datetime

from churn.contract import CONTRACTS_FOLDER, load_contract
from churn.errors import ChurnwatchError, Refused
from churn.settings import ReceiverSettings, ScheduleSettings, StoreSettings, read
from churn.store import PredictionStore, open_store
from orchestration import commands
from orchestration.claims import cooling
from orchestration.prefect_api import run_deployment
from orchestration.receiver import Receiver, ReceiverServer, Trigger

DEPLOYMENT = "retrain/retrain"
HEARTBEAT_SECONDS = "30"
"""Prefect takes no shorter one."""


def add_parsers(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """The three commands; all take --contract and --json like the others."""
    retrain = parts.add_parser("retrain", help="tune on ingested customers and the log's labels; judge the challenger")
    retrain.add_argument("--reason", default="asked for by hand", help="why, for the record")
    retrain.add_argument("--trials", type=commands.positive, help="default: TRIALS, or 10")
    retrain.add_argument("--if-alarmed", action="store_true", help="only if an alarm of the watch rings")
    retrain.add_argument("--force", action="store_true", help="do not wait for the cool-down to end")
    retrain.set_defaults(run=run_retrain)

    serve = parts.add_parser("serve", help="run Prefect's deployments on this host, and receive Alertmanager's webhook")
    serve.add_argument("--no-receiver", action="store_true", help="no webhook; another host receives it")
    serve.set_defaults(run=run_serve)

    receive = parts.add_parser("receive", help="receive Alertmanager's webhook, and start retrainings elsewhere")
    receive.set_defaults(run=run_receive)
    return [retrain, serve, receive]


def run_retrain(options: argparse.Namespace) -> None:
    commands.prepare(options)
    from orchestration.retrain_flow import retrain as flow

    done = flow(options.contract, options.reason, options.trials, options.if_alarmed, options.force)
    if done.outcome == "not begun":
        raise Refused(done.sentence)
    auc = "" if done.test_auc is None else f"; AUC {done.test_auc:.4f} on the test rows"
    print(f"{done.outcome} in {done.seconds:.0f} s: {done.sentence}")
    if done.run_id:
        print(f"learnt from {done.labelled_requests:,} labelled requests, in version {done.features_version}{auc}")
        print(f"evidence: {done.evidence}/evidence.html among the run's artifacts\nRUN_ID={done.run_id}")
    commands.print_json(options, **done.to_document())


def run_serve(options: argparse.Namespace) -> None:
    if not os.environ.get("PREFECT_API_URL"):
        raise ChurnwatchError("serve needs a Prefect server; start one and set PREFECT_API_URL=http://HOST:4200/api")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", HEARTBEAT_SECONDS)
    commands.prepare(options)
    server = None if options.no_receiver else _start_receiver(options.contract)
    from orchestration.deployments import serve_deployments

    try:
        serve_deployments(options.contract, read(ScheduleSettings))
    finally:
        if server:
            server.close()


def run_receive(options: argparse.Namespace) -> None:
    commands.prepare(options)
    server = _start_receiver(options.contract)
    try:
        threading.Event().wait()
    finally:
        server.close()


def _start_receiver(contract: str) -> ReceiverServer:
    settings, store = read(ReceiverSettings), _store()
    alerts = frozenset(name.strip() for name in settings.retrain_alerts.split(",") if name.strip())
    url = os.environ.get("PREFECT_API_URL", "")
    receiver = Receiver(
        contracts={path.stem: path.stem for path in CONTRACTS_FOLDER.glob("*.toml")}
        | {load_contract(contract).name: contract},
        alerts=alerts,
        trigger=prefect_trigger(url) if url else start_command,
        why_not=lambda name: cooling(store, name, datetime.now(UTC)),
    )
    server = ReceiverServer(receiver, settings.retrain_host, settings.retrain_port, settings.retrain_token)
    server.start()
    print(f"receiving at http://{settings.retrain_host}:{server.port}/alerts: {', '.join(sorted(alerts))}", flush=True)
    return server


def prefect_trigger(api_url: str) -> Trigger:
    """A flow run of the deployment `retrain`, wherever it is served."""
    return lambda contract, reason: run_deployment(api_url, DEPLOYMENT, {"contract": contract, "reason": reason})


def start_command(contract: str, reason: str) -> str:
    """Without a Prefect server: the flow in a process of its own, which claims its turn like any other."""
    plain = re.sub(r"[^\w .,:-]", "", reason)
    command = [sys.executable, "-m", "orchestration", "retrain", "--contract", contract, f"--reason={plain}"]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=process.wait, daemon=True).start()  # so that none is left as a zombie
    return f"process {process.pid}"


def _store() -> PredictionStore:
    settings = read(StoreSettings)
    store = open_store(settings.store_url, timeout_seconds=settings.store_timeout_seconds)
    store.check()
    return store
