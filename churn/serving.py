"""Which model answers: loaded once, swapped in one assignment when an alias moves, kept when a newcomer is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import structlog

from churn.bundle import Bundle
from churn.errors import BundleRefused, ChurnwatchError, RegistryUnavailable
from churn.metrics import ModelMetrics
from churn.model_cache import open_resolved
from churn.pseudonym import KeySource
from churn.registry import RegisteredModel, Registry
from churn.scoring import Scorer

log = structlog.get_logger()
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The clock of those who are not given another."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Serving:
    """The model of one moment. A request takes it once and uses it to its end, so a swap never splits an answer."""

    bundle: Bundle
    scorer: Scorer
    since: datetime
    reason: str


class ServingModel:
    """Holds what is served. `current` is replaced as a whole; threads may read it without a lock."""

    def __init__(
        self,
        bundle: Bundle,
        reason: str,
        metrics: ModelMetrics,
        now: Clock = utc_now,
        key: KeySource | None = None,
    ) -> None:
        self._metrics = metrics
        self._now = now
        self._key = key
        self.refusal: dict[str, Any] | None = None
        self.current = self._serving(bundle, reason)

    def swap(self, bundle: Bundle, reason: str) -> None:
        """Serve another bundle from the next request on. Raises PseudonymKeyError, and the old one goes on."""
        previous = self.current.bundle.run_id
        serving = self._serving(bundle, reason)
        self.current, self.refusal = serving, None
        self._metrics.swaps.inc()
        log.info("model_swapped", model_run_id=bundle.run_id, previous=previous, reason=reason)

    def refuse(self, model_run_id: str, reason: str) -> None:
        """Note that a newcomer was refused: the old one goes on serving, and an alarm metric says so."""
        if self.refusal is None or self.refusal["reason"] != reason:
            log.error("model_refused", model_run_id=model_run_id, reason=reason, kept=self.current.bundle.run_id)
            self.refusal = {"model_run_id": model_run_id, "reason": reason, "since": rfc3339(self._now())}
        self._metrics.refused.set(1)

    def accept(self) -> None:
        """Note that the served model is the one asked for."""
        self.refusal = None
        self._metrics.refused.set(0)

    def describe(self) -> dict[str, Any]:
        """What GET /model answers."""
        serving = self.current
        bundle = serving.bundle
        facts = bundle.manifest.get("facts", {})
        return {
            "model_run_id": bundle.run_id,
            "digest": bundle.digest,
            "contract": bundle.contract.name,
            "contract_hash": bundle.contract.hash,
            "family": bundle.manifest["family"],
            "threshold": bundle.threshold,
            "since": rfc3339(serving.since),
            "reason": serving.reason,
            "refused": self.refusal,
            "metrics": facts.get("metrics", {}),
            "features_version": facts.get("features_version"),
        }

    def _serving(self, bundle: Bundle, reason: str) -> Serving:
        scorer = Scorer(bundle, self._now, self._key)
        warm_up(bundle)
        self._metrics.serves(bundle.run_id, bundle.contract.name, bundle.contract.hash)
        self._metrics.refused.set(0)
        return Serving(bundle, scorer, self._now(), reason)


class AliasWatch(threading.Thread):
    """Looks an alias up every few seconds and swaps the model when it leads elsewhere. Ends with `stop`."""

    def __init__(
        self, serving: ServingModel, alias: str, contract: str, registry: Registry, cache: Path, poll_seconds: float
    ) -> None:
        super().__init__(name="alias-watch", daemon=True)
        self._serving, self._alias, self._contract = serving, alias, contract
        self._registry, self._cache, self._poll_seconds = registry, cache, poll_seconds
        self._stopped = threading.Event()
        self._refused_digest: str | None = None

    def run(self) -> None:
        """Look at the alias until `stop`."""
        while not self._stopped.wait(self._poll_seconds):
            self.look()

    def stop(self) -> None:
        """End after the look that is under way."""
        self._stopped.set()

    def look(self) -> None:
        """One look: swap, refuse or leave as it is. An unreachable MLflow changes nothing."""
        try:
            model = self._registry.resolve(self._alias, self._contract)
        except RegistryUnavailable as error:
            log.warning("alias_not_looked_up", alias=self._alias, reason=str(error))
            return
        except ChurnwatchError as error:
            self._serving.refuse("?", str(error))
            return
        if model.digest == self._serving.current.bundle.digest:
            self._serving.accept()
        elif model.digest != self._refused_digest:
            self._take(model)

    def _take(self, model: RegisteredModel) -> None:
        try:
            bundle = open_resolved(model, self._registry, self._cache)
            self._check_contract(bundle)
            self._serving.swap(bundle, f"RUN_ID={self._alias} led to this run")
        except RegistryUnavailable as error:
            log.warning("model_not_fetched", model_run_id=model.run_id, reason=str(error))
        except BundleRefused as error:
            self._refused_digest = model.digest  # not fetched again and again; a mended one has another digest
            self._serving.refuse(model.run_id, error.reason)
        except (ChurnwatchError, OSError) as error:
            self._serving.refuse(model.run_id, str(error))
        else:
            self._refused_digest = None

    def _check_contract(self, bundle: Bundle) -> None:
        if bundle.contract.name != self._contract:
            raise BundleRefused(bundle.run_id, f"its contract is {bundle.contract.name}, expected {self._contract}")


def warm_up(bundle: Bundle) -> None:
    """Score one record of nulls' shape, so that the first caller does not pay for what loads on first use."""
    import numpy as np

    bundle.probabilities(np.zeros((1, bundle.encoder.width), dtype=np.float32))


def rfc3339(moment: datetime) -> str:
    """A moment in UTC as answers carry it, such as 2026-11-27T05:55:26.456106Z."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
