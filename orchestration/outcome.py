"""How a trial ended, in plain words: what a search goes on by, MLflow keeps, and a resumed tuning starts from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["finished", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One logged candidate."""

    run_id: str
    model_id: str
    digest: str
    family: str
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One trial's end. `loss` is of all folds: measured when finished, expected when pruned, absent when failed.

    `trial` is the candidate of a finished one, where it was logged.
    """

    number: int
    status: Status
    family: str
    parameters: Mapping[str, Any]
    loss: float | None = None
    fold_losses: tuple[float, ...] = ()
    reason: str = ""
    trial: Trial | None = field(default=None, compare=False)

    def to_json(self) -> str:
        """All but the candidate, exactly: floats come back as they were."""
        known = {name: value for name, value in asdict(self).items() if name != "trial"}
        return json.dumps({**known, "reason": self.reason[:500]})

    @classmethod
    def from_json(cls, text: str, trial: Trial | None = None) -> Outcome:
        known = json.loads(text)
        return cls(**{**known, "fold_losses": tuple(known["fold_losses"])}, trial=trial)
