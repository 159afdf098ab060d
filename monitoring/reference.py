"""What a run's windows are compared with, from its bundle: the reference's counts and how much each feature matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from churn.errors import BundleRefused
from churn.histogram import SCORE, Profile
from churn.joint_drift import JointReference, Matrix
from churn.performance import Recalibration, recalibrate

if TYPE_CHECKING:
    import pandas

    from churn.bundle import Bundle
    from churn.contract import Decision
    from churn.encoder import Encoder

LABEL = "churned"
"""The reference's column of true labels."""
IMPORTANCE_ROWS = 300
"""Reference rows whose SHAP contributions are averaged: a share is then good to about a point."""


@dataclass(frozen=True)
class Reference:
    """One run's reference. `importance` sums to 1 over the features; `recalibration` is None without labels."""

    model_run_id: str
    digest: str
    profile: Profile
    importance: Mapping[str, float]
    recalibration: Recalibration | None = None
    decision: Decision | None = None
    encoder: Encoder | None = None
    matrix: Matrix | None = None
    """The reference's rows encoded."""

    @cached_property
    def joint(self) -> JointReference | None:
        """What its features say of each other, for what columns cannot show. Learnt when first asked for: seconds."""
        if self.encoder is None or self.matrix is None:
            return None
        return JointReference(self.matrix, self.encoder.columns)


def open_reference(bundle: Bundle) -> Reference:
    """Raises BundleRefused when the profile cannot be read or belongs to other columns."""
    try:
        profile = Profile.from_json(bundle.profile())
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BundleRefused(bundle.run_id, f"profile.json: {error}") from error
    if profile.contract_sha256 != bundle.contract.sha256:
        raise BundleRefused(bundle.run_id, "profile.json was made for another contract")
    rows = bundle.reference()
    matrix = bundle.encoder.encode_frame(rows)
    return Reference(
        bundle.run_id,
        bundle.digest,
        profile,
        _importance(bundle, matrix),
        _recalibration(rows),
        bundle.contract.decision,
        bundle.encoder,
        matrix,
    )


def _recalibration(rows: pandas.DataFrame) -> Recalibration | None:
    if not {LABEL, SCORE} <= set(rows.columns) or rows[LABEL].nunique() < 2:
        return None
    return recalibrate(rows[SCORE].to_numpy(dtype=np.float64), rows[LABEL].to_numpy(dtype=bool))


def _importance(bundle: Bundle, matrix: Matrix) -> dict[str, float]:
    weights = np.abs(bundle.contributions(matrix[:IMPORTANCE_ROWS])[:, :-1]).mean(axis=0)
    shares = weights / max(float(weights.sum()), 1e-12)
    return dict(zip(bundle.contract.feature_names, shares.round(4).tolist(), strict=True))
