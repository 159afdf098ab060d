"""Starts the service: proves that it can serve before a port is bound, then keeps its workers running."""

from __future__ import annotations

import errno
import functools
import os
import socket
import tempfile
from ipaddress import ip_address
from pathlib import Path

import structlog

from churn.bundle import Bundle
from churn.errors import ChurnwatchError, SettingError, StoreUnavailable
from churn.journal import Journal
from churn.model_cache import open_model
from churn.pseudonym import key_source, pseudonyms
from churn.registry import Registry
from churn.settings import JournalSettings, ModelSettings, PseudonymSettings, StoreSettings, WebSettings
from churn.store import open_store
from web_service.keys import KeyFile
from web_service.logs import configure_logs
from web_service.supervisor import Supervisor
from web_service.worker import WorkerPlan, run_worker

log = structlog.get_logger()
STOP_SECONDS = 15


class PortInUse(ChurnwatchError):
    """The address cannot be bound."""

    def __init__(self, host: str, port: int, reason: str) -> None:
        super().__init__(f"WEB_PORT={port}: {host}:{port} {reason}; stop what uses it, or set WEB_PORT or WEB_HOST")


def serve(
    model: ModelSettings,
    store: StoreSettings,
    journal: JournalSettings,
    web: WebSettings,
    pseudonym: PseudonymSettings,
) -> None:
    """Serve until SIGTERM or SIGINT. Raises ChurnwatchError, with nothing bound, when it cannot."""
    configure_logs()
    if not model.run_id:
        raise SettingError("RUN_ID", "", "an MLflow run id (the last line of 'make train' is one) or an alias")
    bundle = open_model(model.run_id, model.contract, Registry(model.mlflow_tracking_uri), model.bundle_cache)
    pseudonyms(bundle.contract, key_source(pseudonym))
    _check_keys(web)
    _check_journal_and_store(store, journal)
    check_port(web.web_host, web.web_port)
    with tempfile.TemporaryDirectory(prefix="churnwatch-web-") as run_folder:
        plan = _plan(model, store, journal, web, pseudonym, bundle, Path(run_folder))
        log.info(
            "serving", address=f"{web.web_host}:{web.web_port}", model_run_id=bundle.run_id, workers=web.web_workers
        )
        work = functools.partial(run_worker, plan, os.getpid())
        Supervisor(work, web.web_workers, STOP_SECONDS).serve_until_stopped()


def check_port(host: str, port: int) -> None:
    """Raise PortInUse when the address is taken: workers share a port by SO_REUSEPORT, which would hide it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            raise PortInUse(host, port, "is in use" if taken else f"cannot be bound ({error.strerror})") from error


def is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_journal_and_store(store: StoreSettings, journal: JournalSettings) -> None:
    """Raise when answers cannot be logged here; a store that is away is only told, since answers can wait for it."""
    Journal(journal.journal_dir).close()
    home = open_store(store.store_url, timeout_seconds=store.store_timeout_seconds)
    try:
        home.check()
    except StoreUnavailable as error:
        log.warning("store_away", reason=str(error), hint="answers wait in the journal")
    finally:
        home.close()


def _check_keys(web: WebSettings) -> None:
    """Raise for a damaged file; say it when nobody could come in."""
    if demands_keys(web) and not any(key.revoked_at is None for key in KeyFile(web.web_keys_file).all()):
        log.warning("no_keys", hint="nobody can call: make a key by 'python -m web_service keys add NAME'")


def demands_keys(web: WebSettings) -> bool:
    """Whether callers must show a key: WEB_KEYS, by default when anybody but this host could call."""
    return web.web_keys == "always" or (web.web_keys == "auto" and not is_loopback(web.web_host))


def _plan(
    model: ModelSettings,
    store: StoreSettings,
    journal: JournalSettings,
    web: WebSettings,
    pseudonym: PseudonymSettings,
    bundle: Bundle,
    run_folder: Path,
) -> WorkerPlan:
    return WorkerPlan(
        model=model,
        store=store,
        journal=journal,
        web=web,
        pseudonym=pseudonym,
        bundle_folder=bundle.folder,
        digest=bundle.digest,
        run_folder=run_folder,
        keys_demanded=demands_keys(web),
    )
