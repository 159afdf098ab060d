"""Pseudonyms: the same for the same id and key, another for all else, and no id to be had without the key."""

from __future__ import annotations

import hmac
import multiprocessing
import os
import re
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from churn.bundle import Bundle
from churn.contract import Contract
from churn.errors import PseudonymKeyError
from churn.prediction import Prediction, to_json
from churn.pseudonym import key_source, pseudonyms, read_key
from churn.scoring import COLUMNWISE_FROM, Scorer
from churn.settings import PseudonymSettings
from tests.fakes import pseudonym_key, random_customers, records

KEY = "an-exemplary-secret-of-32-letters"


@pytest.fixture
def asking(credit_card: Contract) -> Contract:
    return replace(credit_card, pseudonymise=("customer_id",))


@pytest.fixture
def open_one(credit_card: Contract) -> Contract:
    return replace(credit_card, pseudonymise=())


def test_an_id_has_one_pseudonym_by_which_it_cannot_be_told(asking: Contract) -> None:
    pseudonym = pseudonyms(asking, pseudonym_key)

    assert pseudonym("42") == "a855843453c748af66a40dc1ba891429"
    assert pseudonym("42") != pseudonym("43")
    assert re.fullmatch("[0-9a-f]{32}", pseudonym("\ud800 any text"))


def test_another_key_or_another_contract_gives_another_pseudonym(asking: Contract) -> None:
    pseudonym = pseudonyms(asking, pseudonym_key)

    assert pseudonyms(asking, lambda: b"x" * 64)("42") != pseudonym("42")
    assert pseudonyms(replace(asking, name="telco"), pseudonym_key)("42") != pseudonym("42")


def test_a_contract_that_does_not_ask_leaves_ids_alone_and_needs_no_key(open_one: Contract, tmp_path: Path) -> None:
    file = tmp_path / "pseudonym.key"

    assert pseudonyms(open_one, key_source(PseudonymSettings(pseudonym_key_file=file)))("42") == "42"
    assert pseudonyms(open_one, None)("42") == "42"
    assert not file.exists()


def test_without_a_key_no_id_gets_through(asking: Contract) -> None:
    with pytest.raises(PseudonymKeyError, match="contract credit_card asks for pseudonyms"):
        pseudonyms(asking, None)("42")


@pytest.mark.parametrize("rows", [1, COLUMNWISE_FROM])
def test_nothing_of_a_prediction_holds_the_id(bundle: Bundle, asking: Contract, rows: int) -> None:
    scorer = Scorer(replace(bundle, contract=asking), key=pseudonym_key)
    sent = [
        {**record, "CLIENTNUM": f"client-{number}"}
        for number, record in enumerate(records(random_customers(asking, rows, seed=3), asking))
    ]

    predictions = scorer.score(sent, "http")

    pseudonym = pseudonyms(asking, pseudonym_key)
    for number, prediction in enumerate(predictions):
        assert isinstance(prediction, Prediction)
        assert prediction.customer_id == pseudonym(f"client-{number}")
        assert b"client-" not in to_json(prediction)


def test_a_key_is_made_once_for_its_user_alone(tmp_path: Path) -> None:
    file = tmp_path / "home" / "pseudonym.key"
    key = read_key("", file)

    assert re.fullmatch(rb"[0-9a-f]{64}", key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert read_key("", file) == key
    assert os.listdir(file.parent) == ["pseudonym.key"]


def test_rooms_that_start_together_share_one_key(tmp_path: Path) -> None:
    file = tmp_path / "pseudonym.key"
    with multiprocessing.get_context("fork").Pool(8) as pool:
        keys = pool.starmap(read_key, [("", file)] * 64)

    assert set(keys) == {read_key("", file)}


def test_the_setting_wins_over_the_file(tmp_path: Path) -> None:
    settings = PseudonymSettings(pseudonym_key=KEY, pseudonym_key_file=tmp_path / "pseudonym.key")

    assert key_source(settings)() == KEY.encode()
    assert not settings.pseudonym_key_file.exists()
    assert KEY not in repr(settings)


@pytest.mark.parametrize("text", ["s3cret", "", " " * 40])
def test_a_short_key_is_refused_and_not_shown(tmp_path: Path, text: str) -> None:
    file = tmp_path / "pseudonym.key"
    file.write_text(text)

    with pytest.raises(PseudonymKeyError, match=r"pseudonym\.key: \d+ characters are too few") as raised:
        read_key("", file)
    assert "s3cret" not in str(raised.value)


def test_a_key_that_cannot_be_read_says_where_and_what_to_do(tmp_path: Path) -> None:
    folder = tmp_path / "pseudonym.key"
    folder.mkdir()

    with pytest.raises(PseudonymKeyError, match=r"pseudonym\.key: .*Is a directory.*set PSEUDONYM_KEY"):
        read_key("", folder)


@pytest.mark.parametrize("customer_id", ["", "1", "7" * 200, "ü\x00", "\ud800"])
def test_a_pseudonym_is_hmac_sha256_of_the_id_under_a_key_of_the_contracts_own(
    credit_card: Contract, customer_id: str
) -> None:
    own_key = hmac.digest(b"k" * 64, b"churnwatch/customer_id/credit_card", "sha256")

    expected = hmac.digest(own_key, customer_id.encode("utf-8", "surrogatepass"), "sha256")[:16].hex()

    assert pseudonyms(credit_card, lambda: b"k" * 64)(customer_id) == expected
