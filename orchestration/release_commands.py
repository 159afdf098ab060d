"""What promote, rollback and check-run do on the command line: settings in, sentences out."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from churn.contract import Contract, load_contract
from churn.errors import BundleRefused, RunNotFound
from churn.feature_store import FeatureStore
from churn.logs import configure_logs
from churn.registry import RegisteredModel, Registry
from churn.settings import FeatureStoreSettings, ModelSettings, PromotionSettings, StoreSettings, read
from churn.store import open_store
from orchestration import env_file
from orchestration.gates import Limits
from orchestration.promotion import Desk, PromotionRefused, Request, promote, rollback

if TYPE_CHECKING:
    from orchestration.promotion import Promoted


def add_parsers(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> list[argparse.ArgumentParser]:
    """The commands; all take --contract and --json like the others."""
    promote = parts.add_parser("promote", help="judge a run on real requests; if it passes, make it the champion")
    promote.add_argument("run_id", metavar="RUN_ID", help="a run, or an alias such as challenger")
    promote.add_argument("--write", type=Path, metavar=".env.cloud", help="then set RUN_ID in this file")
    promote.add_argument("--force", action="store_true", help="promote what fails its gates; that is recorded")
    promote.add_argument("--dry-run", action="store_true", help="make and keep the evidence; move nothing")
    promote.add_argument("--page", type=Path, metavar="FILE.html", help="write the evidence page here too")
    promote.set_defaults(run=run_promote)

    back = parts.add_parser("rollback", help="give the previous champion its place back")
    back.add_argument("--write", type=Path, metavar=".env.cloud", help="then set RUN_ID in this file")
    back.set_defaults(run=run_rollback)
    for part in (promote, back):
        part.add_argument("--reason", default="", help="why, for the record")
        part.add_argument("--by", default="", help="who, for the record; default: the user of this machine")

    check = parts.add_parser("check-run", help="may this run be deployed? exit code 0 if it may, 3 if not")
    check.add_argument("run_id", metavar="RUN_ID", nargs="?", help="a run or an alias; or give --env-file")
    check.add_argument("--env-file", type=Path, metavar=".env.cloud", help="take RUN_ID and CONTRACT from this file")
    check.set_defaults(run=run_check)

    listed = parts.add_parser("releases", help="the contract's models: which is champion, which were promoted")
    listed.set_defaults(run=run_releases)
    return [promote, back, check, listed]


def run_promote(options: argparse.Namespace) -> None:
    contract, settings = _prepare(options), read(PromotionSettings)
    desk = open_desk()
    model = desk.registry.resolve(options.run_id, contract.name)
    limits = Limits(settings.promotion_calibration_error, settings.promotion_latency_seconds)
    request = Request(_by(options), options.reason, settings.promotion_requests, options.force, not options.dry_run)
    try:
        done = promote(model, contract, request, limits, desk)
    except BundleRefused as error:
        raise PromotionRefused(f"{error}; a bundle that fails its checks cannot be forced") from error
    finally:
        desk.store.close()
    if options.page:
        options.page.write_bytes(done.page)
    _say_promoted(options, done)
    if done.record.outcome == "promoted":
        _write(options, model.run_id)
    else:
        failed = "; ".join(f"{gate.name}: {gate.sentence}" for gate in done.record.failed)
        if failed:
            raise PromotionRefused(f"run {model.run_id} was not promoted. {failed}")


def run_rollback(options: argparse.Namespace) -> None:
    contract = _prepare(options)
    desk = open_desk()
    try:
        withdrawn, back = rollback(contract.name, _by(options), options.reason, desk)
    finally:
        desk.store.close()
    print(f"champion of {contract.name}: {back.run_id} again, {withdrawn.run_id} withdrawn")
    _write(options, back.run_id)
    _print_json(options, run_id=back.run_id, withdrawn_run_id=withdrawn.run_id)


def run_check(options: argparse.Namespace) -> None:
    file = options.env_file
    contract = load_contract((env_file.value_in(file, "CONTRACT") if file else "") or options.contract)
    run_id = options.run_id or (env_file.value_in(file, "RUN_ID") if file else "")
    if not run_id:
        where = f"{file} sets no RUN_ID" if file else "no RUN_ID was given"
        raise PromotionRefused(f"{where}; give a run id, or --env-file with a line RUN_ID=...")
    try:
        model = Registry(read(ModelSettings).mlflow_tracking_uri).resolve(run_id, contract.name)
    except RunNotFound as error:
        raise PromotionRefused(str(error)) from error
    _check(model, contract)
    forced = model.tags.get("churnwatch.promotion_forced") == "true"
    by, at = model.tags.get("churnwatch.promoted_by", "?"), model.tags["churnwatch.promoted_at"]
    print(f"run {model.run_id} may be deployed: promoted by {by} at {at}{', by force' if forced else ''}")
    _print_json(options, run_id=model.run_id, digest=model.digest, promoted_by=by, promoted_at=at, forced=forced)


def run_releases(options: argparse.Namespace) -> None:
    contract = load_contract(options.contract)
    found = Registry(read(ModelSettings).mlflow_tracking_uri).versions(contract.name)
    for one in found:
        if not options.json:
            state = ", ".join(one.aliases) or ("promoted before" if one.promoted_at else "never promoted")
            print(
                f"version {one.version}: run {one.run_id}: {state}{f', at {one.promoted_at}' * bool(one.promoted_at)}"
            )
    if not found and not options.json:
        print(f"no model of {contract.name} is registered yet; 'python -m orchestration tune' makes the first")
    _print_json(options, releases=[asdict(one) for one in found])


def _check(model: RegisteredModel, contract: Contract) -> None:
    if problem := model.approval_problem:
        raise PromotionRefused(f"run {model.run_id} {problem}")
    if (model.contract, model.contract_sha256) != (contract.name, contract.sha256):
        raise PromotionRefused(
            f"run {model.run_id} was tuned with contract {model.contract} {model.contract_sha256[:12]}, "
            f"deployed is {contract.name} {contract.hash}; tune and promote with this contract"
        )


def _say_promoted(options: argparse.Namespace, done: Promoted) -> None:
    record, evidence = done.record, done.record.evidence
    print(f"{record.outcome}{' by force' if record.forced else ''}: run {evidence.run_id}")
    for gate in record.gates:
        print(f"  {'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.sentence}")
    print(f"evidence: {done.folder}/evidence.html among the run's artifacts, sha256 {done.digest}")
    _print_json(
        options,
        outcome=record.outcome,
        run_id=evidence.run_id,
        replaced_run_id=evidence.champion_run_id,
        forced=record.forced,
        failed=[gate.name for gate in record.failed],
        evidence=done.folder,
        evidence_sha256=done.digest,
        requests=evidence.requests.rows,
        seconds=round(evidence.seconds, 3),
    )


def _write(options: argparse.Namespace, run_id: str) -> None:
    if options.write:
        changed = env_file.write_run_id(options.write, run_id)
        print(f"{options.write}: RUN_ID={run_id}{'' if changed else ' (as it was)'}", file=sys.stderr)


def _prepare(options: argparse.Namespace) -> Contract:
    """Find the cheap mistakes before the slow imports."""
    configure_logs("train")
    if options.write:
        env_file.check_writable(options.write)
    return load_contract(options.contract)


def open_desk() -> Desk:
    models, stores = read(ModelSettings), read(StoreSettings)
    registry = Registry(models.mlflow_tracking_uri)
    registry.check()
    store = open_store(stores.store_url, timeout_seconds=stores.store_timeout_seconds)
    store.check()
    from orchestration.releases import Releases  # MLflow takes seconds to import

    features = FeatureStore(read(FeatureStoreSettings).feature_bucket)
    return Desk(registry, Releases(registry), store, features, models.bundle_cache)


def _by(options: argparse.Namespace) -> str:
    return options.by or getpass.getuser()


def _print_json(options: argparse.Namespace, **facts: object) -> None:
    if options.json:
        print(json.dumps(facts), flush=True)
