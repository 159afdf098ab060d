"""RUN_ID -> a verified bundle, by way of a local cache, so that a service starts while MLflow is down.

CACHE/bundles/DIGEST/    one bundle, never altered once there
CACHE/pointers/NAME      which run and digest a run id or an alias last led to
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import structlog

from churn.bundle import Bundle, load_bundle
from churn.errors import BundleRefused, FolderUnusable, RegistryUnavailable
from churn.registry import DIGEST_PATTERN, RUN_ID_PATTERN, RegisteredModel, Registry

log = structlog.get_logger()


def open_model(run_or_alias: str, contract: str, registry: Registry, cache_folder: Path) -> Bundle:
    """Resolve, fetch when not cached, verify and load. `contract` is only needed for an alias.

    When MLflow cannot be reached, the bundle that the name last led to is taken from the cache. Raises RunNotFound,
    RegistryUnavailable (and nothing fitting is cached), BundleRefused, or FolderUnusable.
    """
    pointer = _pointer(cache_folder, run_or_alias, contract)
    try:
        try:
            model = registry.resolve(run_or_alias, contract)
        except RegistryUnavailable as error:
            return _from_cache(pointer, cache_folder, run_or_alias, error)
        bundle = open_resolved(model, registry, cache_folder)
        _write_pointer(pointer, model)
        return bundle
    except OSError as error:
        raise FolderUnusable(cache_folder, error) from error


def open_resolved(model: RegisteredModel, registry: Registry, cache_folder: Path) -> Bundle:
    """The bundle of a model that is already resolved. A cached copy that was altered is fetched anew."""
    folder = cache_folder / "bundles" / model.digest
    if folder.is_dir():
        try:
            return load_bundle(folder, model.digest)
        except BundleRefused as error:
            log.warning("cached_bundle_refused", model_run_id=model.run_id, reason=error.reason)
            _remove(folder)
    _fetch(model, registry, folder)
    return load_bundle(folder, model.digest)


def _remove(folder: Path) -> None:
    """A link in the cache is taken away, what it leads to is not."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder)


def _fetch(model: RegisteredModel, registry: Registry, folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".fetching-") as temporary:
        fetched = Path(temporary) / "bundle"
        fetched.mkdir()
        registry.download(model, fetched)
        load_bundle(fetched, model.digest)  # what does not pass its checks is not kept
        try:
            fetched.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first, with the same digest
                raise


def _from_cache(pointer: Path, cache_folder: Path, run_or_alias: str, outage: RegistryUnavailable) -> Bundle:
    if not pointer.is_file():
        raise RegistryUnavailable(f"{outage}; nothing is cached for RUN_ID={run_or_alias}") from outage
    try:
        digest = str(json.loads(pointer.read_bytes())["digest"])
        if not DIGEST_PATTERN.fullmatch(digest):
            raise ValueError("its digest is none")
    except (ValueError, KeyError, TypeError) as error:
        raise RegistryUnavailable(f"{outage}; and {pointer} is damaged: {error}") from error
    try:
        bundle = load_bundle(cache_folder / "bundles" / digest, digest)
    except BundleRefused as error:
        raise RegistryUnavailable(f"{outage}; and the cached copy is no good: {error.reason}") from error
    log.warning("started_from_cache", model_run_id=bundle.run_id, reason=str(outage))
    return bundle


def _pointer(cache_folder: Path, run_or_alias: str, contract: str) -> Path:
    is_run = RUN_ID_PATTERN.fullmatch(run_or_alias)
    name = run_or_alias if is_run else f"{contract}@{run_or_alias}"
    return cache_folder / "pointers" / name.replace("/", "_")


def _write_pointer(pointer: Path, model: RegisteredModel) -> None:
    pointer.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=pointer.parent, prefix=".", delete=False) as file:
        json.dump({"run_id": model.run_id, "digest": model.digest}, file)
    Path(file.name).rename(pointer)
