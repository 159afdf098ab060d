"""The C library gives the bits that XGBoost's Python package gives, for any number of rows and from any thread."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import xgboost

from churn.bundle import Bundle
from churn.xgboost_native import NativeBooster, NativeError

WIDTH = 7


@pytest.fixture(scope="module")
def rows() -> np.ndarray:
    random = np.random.default_rng(3)
    rows = random.normal(size=(2_000, WIDTH)).astype(np.float32)
    rows[random.random(rows.shape) < 0.1] = np.nan
    return rows


@pytest.fixture(scope="module")
def booster(rows: np.ndarray) -> xgboost.Booster:
    labels = np.nan_to_num(rows[:, 0]) + np.nan_to_num(rows[:, 1]) ** 2 > 0.5
    return xgboost.train(
        {"objective": "binary:logistic", "max_depth": 6, "nthread": 1}, xgboost.DMatrix(rows, labels), 60
    )


@pytest.fixture(scope="module")
def native(booster: xgboost.Booster) -> NativeBooster:
    return NativeBooster(bytes(booster.save_raw()))


@pytest.mark.parametrize("count", [1, 2, 64, 65, 2_000])
def test_margins_are_the_same_bits(
    native: NativeBooster, booster: xgboost.Booster, rows: np.ndarray, count: int
) -> None:
    expected = booster.inplace_predict(rows[:count], predict_type="margin").astype(np.float64)

    np.testing.assert_array_equal(native.margins(rows[:count]), expected)


def test_rows_one_by_one_are_the_same_bits_as_together(native: NativeBooster, rows: np.ndarray) -> None:
    alone = [native.margins(rows[i : i + 1])[0] for i in range(300)]

    np.testing.assert_array_equal(alone, native.margins(rows[:300]))


def test_contributions_are_the_same_bits(native: NativeBooster, booster: xgboost.Booster, rows: np.ndarray) -> None:
    expected = booster.predict(xgboost.DMatrix(rows[:50]), pred_contribs=True)

    np.testing.assert_array_equal(native.contributions(rows[:50]), expected.astype(np.float64))


def test_threads_do_not_mix_their_rows(native: NativeBooster, rows: np.ndarray) -> None:
    expected = native.margins(rows)

    def one_by_one(start: int) -> bool:
        return all(native.margins(rows[i : i + 1])[0] == expected[i] for i in range(start, 2_000, 8))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(one_by_one, range(8)))


def test_no_rows_give_no_margins(native: NativeBooster) -> None:
    assert native.margins(np.empty((0, WIDTH), np.float32)).shape == (0,)


def test_rows_of_another_width_are_refused(native: NativeBooster) -> None:
    with pytest.raises(NativeError, match=r"rows of shape \(1, 3\): expected \(rows, 7\)"):
        native.margins(np.zeros((1, 3), np.float32))


def test_bytes_that_are_no_model_are_refused() -> None:
    with pytest.raises(NativeError):
        NativeBooster(b"no model")


def test_a_saved_model_loads_again(native: NativeBooster, rows: np.ndarray) -> None:
    again = NativeBooster(native.save_raw())

    np.testing.assert_array_equal(again.margins(rows), native.margins(rows))


def test_loading_a_bundle_imports_no_table_library(bundle: Bundle) -> None:
    code = (
        "import sys; from pathlib import Path; from churn.bundle import load_bundle; "
        f"load_bundle(Path({str(bundle.folder)!r})); "
        "print(*sorted({'pandas', 'scipy', 'sklearn', 'pyarrow', 'xgboost'} & set(sys.modules)))"
    )

    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=".")

    assert shown.stdout.strip() == ""
