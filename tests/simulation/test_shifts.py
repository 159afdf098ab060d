from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pandas as pd
import pytest

from churn.contract import Contract
from churn.encoder import Encoder
from churn.errors import SettingError
from simulation.customers import Customer, draw_customers
from simulation.draw import draw_population
from simulation.population import load_population
from simulation.shift_specs import BUILDERS, parse_shift, usages
from simulation.shifts import Shift
from simulation.traffic import make_events

ROWS = 3_000


@pytest.fixture(scope="module")
def frame(credit_card: Contract) -> pd.DataFrame:
    return draw_population(load_population(credit_card), ROWS, seed=1)


@pytest.fixture(scope="module")
def customers(credit_card: Contract, frame: pd.DataFrame) -> list[Customer]:
    return draw_customers(frame, credit_card, ROWS, seed=1)


@pytest.fixture
def shifted(credit_card: Contract, frame: pd.DataFrame, customers: list[Customer]):
    def apply(spec: str) -> tuple[Shift, list[Customer]]:
        shift = parse_shift(spec, credit_card, frame)
        return shift, [event.customer for event in make_events(customers, [shift], prefix="t", rate=10.0)]

    return apply


def values(customers: list[Customer], column: str) -> list:
    return [customer.features[column] for customer in customers]


def mean(customers: list[Customer], column: str) -> float:
    return sum(values(customers, column)) / len(customers)


def changed_columns(before: list[Customer], after: list[Customer]) -> set[str]:
    return {
        name for a, b in zip(before, after, strict=True) for name in a.features if a.features[name] != b.features[name]
    }


@pytest.mark.parametrize("kind", BUILDERS)
def test_every_kind_works_without_arguments_changes_its_columns_only_and_stays_valid(
    kind: str, credit_card: Contract, customers: list[Customer], shifted
) -> None:
    shift, after = shifted(kind)

    encoder = Encoder(credit_card)
    for customer in after:
        encoder.clean(customer.features)
    assert changed_columns(customers, after) == set(shift.columns)
    assert [c.customer_id for c in after] == [c.customer_id for c in customers]


def test_every_kind_has_a_line_of_usage() -> None:
    assert len(usages()) == len(BUILDERS)


def test_a_mean_shift_moves_a_number_by_standard_deviations(
    frame: pd.DataFrame, customers: list[Customer], shifted
) -> None:
    _, after = shifted("mean_shift:total_trans_amt:0.5")

    moved = mean(after, "total_trans_amt") - mean(customers, "total_trans_amt")
    assert moved == pytest.approx(0.5 * frame["total_trans_amt"].std(), rel=1e-6)


def test_a_mean_shift_smaller_than_one_still_moves_whole_numbers_on_the_average(
    frame: pd.DataFrame, customers: list[Customer], shifted
) -> None:
    _, after = shifted("mean_shift:contacts_count_12_mon:0.25")

    moved = mean(after, "contacts_count_12_mon") - mean(customers, "contacts_count_12_mon")
    assert moved == pytest.approx(0.25 * float(frame["contacts_count_12_mon"].std()), abs=0.03)
    assert all(type(value) is int for value in values(after, "contacts_count_12_mon"))


def test_a_shifted_number_stays_in_its_range(shifted) -> None:
    _, after = shifted("mean_shift:months_inactive_12_mon:50")

    assert set(values(after, "months_inactive_12_mon")) == {12}


def test_a_shift_is_on_from_its_onset_to_its_end(customers: list[Customer], shifted) -> None:
    _, after = shifted("mean_shift:total_trans_amt:1@500-1000")

    changed = [a.features != b.features for a, b in zip(customers, after, strict=True)]
    assert (changed.index(True), sum(changed), changed[999], changed[1000]) == (500, 500, True, False)


def test_an_onset_in_seconds_goes_by_the_rate(customers: list[Customer], shifted) -> None:
    _, after = shifted("mean_shift:total_trans_amt:1@30s-60s")  # at 10 events a second

    changed = [a.features != b.features for a, b in zip(customers, after, strict=True)]
    assert (changed.index(True), sum(changed)) == (300, 300)


def test_an_onset_in_seconds_needs_a_rate(
    credit_card: Contract, frame: pd.DataFrame, customers: list[Customer]
) -> None:
    with pytest.raises(SettingError, match="a --rate above 0"):
        make_events(customers, [parse_shift("null_burst@5s", credit_card, frame)], prefix="t", rate=0.0)


def test_a_new_category_comes_in_its_share_and_is_unknown_to_the_contract(credit_card: Contract, shifted) -> None:
    _, after = shifted("new_category:card_category:0.1")

    encoder = Encoder(credit_card)
    unknown = sum(encoder.clean(customer.features).unknown == ("card_category",) for customer in after)
    assert unknown / ROWS == pytest.approx(0.1, abs=0.02)


def test_a_null_burst_takes_a_share_away(customers: list[Customer], shifted) -> None:
    _, after = shifted("null_burst:total_trans_ct:0.15")

    assert values(after, "total_trans_ct").count(None) / ROWS == pytest.approx(0.15, abs=0.02)


def test_a_category_moves_by_its_points(customers: list[Customer], shifted) -> None:
    _, after = shifted("category_move:gender:F:0.1")

    before = values(customers, "gender").count("F") / ROWS
    assert values(after, "gender").count("F") / ROWS - before == pytest.approx(0.1, abs=0.02)


def test_a_shift_of_one_segment_leaves_the_others_alone(customers: list[Customer], shifted) -> None:
    _, after = shifted("segment_only:total_trans_amt:1:gender=F")

    changed = {a.features["gender"] for a, b in zip(customers, after, strict=True) if a.features != b.features}
    assert changed == {"F"}


def test_decoupling_keeps_a_columns_distribution_and_breaks_what_hangs_together(
    customers: list[Customer], shifted
) -> None:
    _, after = shifted("decouple:total_trans_amt")

    tied = pd.DataFrame({"amount": values(customers, "total_trans_amt"), "count": values(customers, "total_trans_ct")})
    loose = tied.assign(amount=values(after, "total_trans_amt"))
    assert loose["amount"].mean() == pytest.approx(tied["amount"].mean(), rel=0.05)
    assert tied.corr().iloc[0, 1] > 0.6
    assert abs(loose.corr().iloc[0, 1]) < 0.1


def test_a_frozen_feed_repeats_one_value(shifted) -> None:
    _, after = shifted("upstream_freeze:total_trans_ct")

    assert len(set(values(after, "total_trans_ct"))) == 1


def test_concept_drift_turns_labels_and_nothing_else(customers: list[Customer], shifted) -> None:
    _, after = shifted("concept_drift:0.1")

    turned = sum(a.churned != b.churned for a, b in zip(customers, after, strict=True))
    assert turned / ROWS == pytest.approx(0.1, abs=0.02)


def test_delayed_labels_come_later(shifted) -> None:
    _, after = shifted("label_delay:90")

    assert {customer.label_delay_seconds for customer in after} == {90.0}


def test_what_a_shift_does_to_a_row_depends_on_seed_shift_and_row_alone(
    credit_card: Contract, frame: pd.DataFrame, customers: list[Customer]
) -> None:
    burst, category = (parse_shift(spec, credit_card, frame) for spec in ("null_burst::0.5", "new_category::0.5"))

    both = list(make_events(customers, [category, burst], prefix="a", seed=1))
    alone = list(make_events(customers, [burst], prefix="b", seed=1))
    part = list(make_events(customers[100:], [burst], prefix="c", seed=1, first=100))

    column = burst.columns[0]
    assert [e.customer.features[column] for e in both] == [e.customer.features[column] for e in alone]
    assert [e.customer for e in part] == [e.customer for e in alone[100:]]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("meanshift", "expected one of mean_shift, unit_change"),
        ("mean_shift:nothing", "a number in place of 'nothing'"),
        ("mean_shift:gender", "a number in place of 'gender'"),
        ("mean_shift:credit_limit:lots", "standard deviations from -100 to 100 in place of 'lots'"),
        ("mean_shift:credit_limit:1:2", "no more arguments after mean_shift: '2' is too many"),
        ("null_burst:credit_limit", "a feature that is not required in place of 'credit_limit'"),
        ("null_burst::1.5", "a share from 0 to 1 in place of '1.5'"),
        ("new_category:credit_limit", "a category or ordinal that is not strict"),
        ("category_move:gender:X", "a level of gender in place of 'X': F, M"),
        ("category_move:gender:F:0.9", "points; gender is 'F' in all other records already"),
        ("segment_only:credit_limit:1:gender=X", "a level of gender in place of 'X'"),
        ("null_burst@soon", "an onset such as @500, @500-1000, @30s or @30s-60s"),
        ("null_burst@500-100", "an onset such as"),
        ("null_burst@500-60s", "an onset such as"),
        ("null_burst@-5", "an onset such as"),
    ],
)
def test_a_wrong_spec_says_what_was_expected(credit_card: Contract, frame: pd.DataFrame, spec: str, said: str) -> None:
    with pytest.raises(SettingError) as caught:
        parse_shift(spec, credit_card, frame)

    assert said in str(caught.value)
    assert str(caught.value).startswith(f"--shift={spec}: expected ")


def test_a_contract_without_a_fitting_column_is_a_clear_error(credit_card: Contract, frame: pd.DataFrame) -> None:
    from churn.contract import parse_contract

    text = 'name="n"\ntitle="t"\n[source]\nid="i"\n[source.target]\ncolumn="c"\npositive="1"\n'
    numbers = parse_contract(text + '[features.x]\ntype="number"\nrequired=true\n')

    with pytest.raises(SettingError, match="a contract with a feature that is not required; n has none"):
        parse_shift("null_burst", numbers, frame)


def test_shifts_draw_from_the_given_randomness_only(credit_card: Contract, frame: pd.DataFrame) -> None:
    customer = Customer("1", {"total_trans_ct": 5}, churned=False)
    burst = parse_shift("null_burst:total_trans_ct:0.5", credit_card, frame)

    first = [burst.apply(customer, Random(seed)).features["total_trans_ct"] for seed in range(20)]

    assert first == [burst.apply(customer, Random(seed)).features["total_trans_ct"] for seed in range(20)]
    assert set(first) == {5, None}


def test_the_page_lists_every_shift_as_the_help_does() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "simulation.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)(\S*)` \| (.*) \|$", page, flags=re.MULTILINE)

    assert [f"{kind}{arguments}  {text}" for kind, arguments, text in listed] == usages()


def test_decoupling_chooses_a_column_that_hangs_together_with_another(
    credit_card: Contract, frame: pd.DataFrame
) -> None:
    assert parse_shift("decouple", credit_card, frame).columns[0] in {"total_trans_amt", "total_trans_ct"}
