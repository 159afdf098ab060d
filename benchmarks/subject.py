"""What every benchmark measures on: one bundle of fixed size, fitted on simulated customers, and fresh customers."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import Any

import numpy as np
import xgboost

from churn.bundle import Bundle, load_bundle, save_bundle
from churn.calibration import fit_calibration
from churn.contract import load_contract
from churn.encoder import Encoder
from churn.histogram import make_profile
from churn.model import XGBoostModel
from simulation.draw import draw_population
from simulation.population import load_population

TREES, DEPTH = 300, 6
RUN_ID = "b" * 32


def machine() -> str:
    return f"{platform.machine()}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def bundle(folder: Path, contract_name: str = "credit_card", trees: int = TREES, depth: int = DEPTH) -> Bundle:
    """Fit, save and load a bundle of exactly `trees` trees of at most `depth`, without MLflow."""
    contract = load_contract(contract_name)
    customers = draw_population(load_population(contract), 6_000, seed=11)
    matrix = Encoder(contract).encode_frame(customers)
    labels = customers["churned"].to_numpy(dtype=bool)
    parameters = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.1, "nthread": 2, "seed": 1}
    model = XGBoostModel(xgboost.train(parameters, xgboost.DMatrix(matrix, labels), trees))
    calibration = fit_calibration(model.log_odds(matrix), labels)
    reference = customers.drop(columns="customer_id")
    reference["churn_probability"] = calibration.probabilities(model.log_odds(matrix))
    reference["churn"] = reference["churn_probability"] >= 0.5
    save_bundle(
        folder,
        run_id=RUN_ID,
        contract=contract,
        model=model,
        calibration=calibration,
        threshold=0.5,
        reference=reference,
        profile=make_profile(contract, reference),
        golden_records=records(contract_name, 50, seed=12),
        facts={"trees": trees, "depth": depth},
    )
    return load_bundle(folder)


def records(contract_name: str, rows: int, seed: int) -> list[dict[str, Any]]:
    """Fresh customers as callers would send them."""
    contract = load_contract(contract_name)
    customers = draw_population(load_population(contract), rows, seed)[list(contract.feature_names)]
    plain = customers.astype(object).where(customers.notna(), None)
    return [{str(name): value for name, value in row.items()} for row in plain.to_dict("records")]


def percentiles(seconds: list[float]) -> dict[str, float]:
    """p50, p95 and p99 in microseconds."""
    p50, p95, p99 = np.percentile(np.array(seconds) * 1e6, [50, 95, 99])
    return {"p50_us": round(float(p50), 1), "p95_us": round(float(p95), 1), "p99_us": round(float(p99), 1)}
