"""Log-odds of a model -> calibrated probabilities.

Platt's method: a logistic curve over the model's log-odds, fitted on rows that the model has not seen (J. Platt,
"Probabilistic outputs for support vector machines", 1999). It keeps the ranking and has no plateaus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from churn.errors import BundleRefused


@dataclass(frozen=True, slots=True)
class Calibration:
    """probability = 1 / (1 + exp(-(slope * log_odds + intercept)))."""

    slope: float = 1.0
    intercept: float = 0.0

    def probabilities(self, log_odds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Shape kept; float64 in and out."""
        return np.asarray(1.0 / (1.0 + np.exp(-(self.slope * log_odds + self.intercept))))

    def as_dict(self) -> dict[str, float | str]:
        """What `calibration.json` of a bundle holds."""
        return {"method": "platt", "slope": self.slope, "intercept": self.intercept}

    @classmethod
    def from_dict(cls, document: dict[str, float | str]) -> Calibration:
        """The inverse of `as_dict`. Raises BundleRefused for a method that is not known here."""
        if document.get("method") != "platt":
            raise BundleRefused("?", f"calibration method {document.get('method')!r} is not known; expected 'platt'")
        return cls(float(document["slope"]), float(document["intercept"]))


def fit_calibration(log_odds: NDArray[np.float64], labels: NDArray[np.bool_], steps: int = 100) -> Calibration:
    """The calibration that fits labels best: log-odds and labels of shape (rows,), of rows the model had not seen.

    Newton's method on the log loss, with Platt's softened targets so that a perfect split stays finite.
    """
    positives = float(labels.sum())
    negatives = float(len(labels) - positives)
    targets = np.where(labels, (positives + 1.0) / (positives + 2.0), 1.0 / (negatives + 2.0))
    design = np.stack([log_odds, np.ones_like(log_odds)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(steps):
        probability = 1.0 / (1.0 + np.exp(-(design @ weights)))
        gradient = design.T @ (probability - targets)
        hessian = (design * (probability * (1.0 - probability))[:, None]).T @ design + 1e-9 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        weights = weights - step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if float(np.abs(step).max()) < 1e-10:
            break
    return Calibration(float(weights[0]), float(weights[1]))
