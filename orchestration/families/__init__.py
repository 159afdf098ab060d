"""Families of models: what to search for each, and how to fit it. One small class a family, one file a library."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import structlog

from churn.errors import SettingError
from orchestration.families.family import Family

log = structlog.get_logger()

HOMES = {
    "xgboost": ("xgboost_family", "XGBoostFamily"),
    "lightgbm": ("lightgbm_family", "LightGBMFamily"),
    "random_forest": ("sklearn_families", "RandomForestFamily"),
    "decision_tree": ("sklearn_families", "DecisionTreeFamily"),
    "logistic": ("sklearn_families", "LogisticFamily"),
}
"""Imported when asked for: a family whose library is absent is left out, not in the way of the others."""


def make_families(names: Sequence[str], threads: int = 2) -> dict[str, Family]:
    """The families of these names, in their order, each fitting `threads` folds side by side.

    Raises SettingError for an unknown one, or when none is left.
    """
    found: dict[str, Family] = {}
    for name in names:
        if name not in HOMES:
            raise SettingError("FAMILIES", ",".join(names), f"names out of {', '.join(HOMES)}, separated by commas")
        module, kind = HOMES[name]
        try:
            found[name] = getattr(importlib.import_module(f"{__name__}.{module}"), kind)(threads)
        except ImportError as error:
            log.warning("family_left_out", family=name, reason=str(error))
    if not found:
        raise SettingError("FAMILIES", ",".join(names), "at least one family whose library is installed")
    return found
