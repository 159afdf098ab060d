from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from churn.bundle import Bundle
from churn.contract import Contract
from churn.encoder import Encoder
from churn.errors import DataError
from churn.split import split
from simulation.customers import draw_customers, held_out, held_out_of
from simulation.draw import draw_population
from simulation.population import load_population


class OneVersion:
    """A feature store of one version."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def read(self, contract: str, version: str) -> pd.DataFrame:
        assert (contract, version) == ("credit_card", "v1")
        return self.frame


@pytest.fixture(scope="module")
def frame(credit_card: Contract) -> pd.DataFrame:
    return draw_population(load_population(credit_card), 100, seed=1)


def test_customers_are_drawn_in_a_seeded_order_each_once_before_any_twice(
    credit_card: Contract, frame: pd.DataFrame
) -> None:
    drawn = [customer.customer_id for customer in draw_customers(frame, credit_card, 250, seed=3)]

    assert drawn == [customer.customer_id for customer in draw_customers(frame, credit_card, 250, seed=3)]
    assert sorted(drawn[:100]) == sorted(drawn[100:200]) == sorted(frame["customer_id"])
    assert drawn[:100] != drawn[100:200]
    assert len(set(drawn[200:])) == 50


def test_a_customer_carries_clean_features_and_the_truth(credit_card: Contract, frame: pd.DataFrame) -> None:
    by_id = frame.set_index("customer_id")
    encoder = Encoder(credit_card)

    for customer in draw_customers(frame, credit_card, 100, seed=0):
        assert encoder.clean(customer.features).features == customer.features
        assert customer.churned == bool(by_id.loc[customer.customer_id, "churned"])


def test_a_table_read_back_from_parquet_gives_the_same_customers(
    credit_card: Contract, frame: pd.DataFrame, tmp_path: Path
) -> None:
    frame.to_parquet(tmp_path / "features.parquet")

    again = pd.read_parquet(tmp_path / "features.parquet")

    assert draw_customers(again, credit_card, 100, 0) == draw_customers(frame, credit_card, 100, 0)


def test_held_out_customers_are_those_the_model_was_not_fitted_on(credit_card: Contract, frame: pd.DataFrame) -> None:
    unseen = held_out(OneVersion(frame), credit_card, "v1", seed=7)  # type: ignore[arg-type]

    trained = set(frame.iloc[split(frame, 7).train]["customer_id"])
    assert len(unseen) == 40
    assert not trained & set(unseen["customer_id"])


def test_a_bundle_that_does_not_say_its_features_is_a_clear_error(bundle: Bundle, frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="does not say its 'features_version'; give --features VERSION"):
        held_out_of(bundle, OneVersion(frame))  # type: ignore[arg-type]


def test_an_empty_table_is_a_clear_error(credit_card: Contract, frame: pd.DataFrame) -> None:
    with pytest.raises(DataError, match="no customers to draw from"):
        draw_customers(frame.head(0), credit_card, 1, 0)
