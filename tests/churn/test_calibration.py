"""Calibration turns log-odds into honest probabilities and keeps their order."""

from __future__ import annotations

import numpy as np
import pytest

from churn.calibration import Calibration, fit_calibration
from churn.errors import BundleRefused


def test_the_curve_that_made_the_labels_is_found_again() -> None:
    random = np.random.default_rng(3)
    log_odds = random.normal(0, 2, 50_000)
    labels = random.random(50_000) < 1 / (1 + np.exp(-(0.5 * log_odds - 1.0)))

    found = fit_calibration(log_odds, labels)

    assert found.slope == pytest.approx(0.5, abs=0.02)
    assert found.intercept == pytest.approx(-1.0, abs=0.03)


def test_perfectly_separated_rows_stay_finite() -> None:
    found = fit_calibration(np.array([-3.0, -2.0, 2.0, 3.0]), np.array([False, False, True, True]))

    assert np.isfinite(found.probabilities(np.array([-50.0, 50.0]))).all()


def test_it_survives_its_own_document() -> None:
    calibration = Calibration(0.8123456789012345, -0.3)

    assert Calibration.from_dict(calibration.as_dict()) == calibration


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(BundleRefused, match="'isotonic' is not known"):
        Calibration.from_dict({"method": "isotonic"})
