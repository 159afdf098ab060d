"""A bundle is answered from only when every file and every golden answer is as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from churn.bundle import MANIFEST, Bundle, bundle_digest, load_bundle, save_bundle
from churn.encoder import Encoder
from churn.errors import BundleRefused
from tests.fakes import make_bundle, random_customers, records


@pytest.fixture
def copy(bundle_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle_folder, tmp_path / "copy"))


def test_a_bundle_loads_with_the_digest_it_was_saved_with(bundle_folder: Path) -> None:
    assert load_bundle(bundle_folder, bundle_digest(bundle_folder)).contract.name == "credit_card"


def test_one_flipped_byte_in_any_file_is_refused_by_name(copy: Path) -> None:
    for path in sorted(copy.iterdir()):
        if path.name == MANIFEST:
            continue
        content = path.read_bytes()
        path.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])

        with pytest.raises(BundleRefused, match=f"{path.name} has sha256 .* it was altered"):
            load_bundle(copy)
        path.write_bytes(content)
    assert load_bundle(copy)


def test_an_altered_manifest_is_refused_by_the_registered_digest(copy: Path) -> None:
    digest = bundle_digest(copy)
    manifest = json.loads((copy / MANIFEST).read_bytes())
    (copy / MANIFEST).write_text(json.dumps({**manifest, "threshold": 0.9}))

    with pytest.raises(BundleRefused, match=r"bundle.json has sha256 .* registered was"):
        load_bundle(copy, digest)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "golden.json").unlink()

    with pytest.raises(BundleRefused, match=r"golden.json is missing"):
        load_bundle(copy)


@pytest.mark.parametrize("files", [None, [], {"profile" + " " * 300 + ".json": "0"}, {"golden.json": 1}])
def test_a_manifest_that_lists_no_such_files_is_refused(copy: Path, files: object) -> None:
    manifest = json.loads((copy / MANIFEST).read_bytes())
    manifest["files"] = files
    if files is None:
        del manifest["files"]
    (copy / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(BundleRefused, match=manifest["run_id"]):
        load_bundle(copy)


def test_a_golden_answer_that_differs_is_refused(copy: Path) -> None:
    golden = json.loads((copy / "golden.json").read_bytes())
    golden[3]["churn_probability"] += 1e-4
    (copy / "golden.json").write_text(json.dumps(golden))
    manifest = json.loads((copy / MANIFEST).read_bytes())
    manifest["files"]["golden.json"] = hashlib.sha256((copy / "golden.json").read_bytes()).hexdigest()
    (copy / MANIFEST).write_text(json.dumps(manifest))

    with pytest.raises(BundleRefused, match="golden answer 3: got"):
        load_bundle(copy)


def test_a_folder_without_a_manifest_says_so(tmp_path: Path) -> None:
    with pytest.raises(BundleRefused, match=r"holds no bundle.json"):
        load_bundle(tmp_path)


def test_contributions_and_base_sum_to_the_calibrated_log_odds(bundle: Bundle) -> None:
    frame = random_customers(bundle.contract, 20, seed=9)
    matrix = Encoder(bundle.contract).encode_frame(frame)

    contributions = bundle.contributions(matrix)

    assert contributions.shape == (20, len(bundle.contract.features) + 1)
    log_odds = np.log(bundle.probabilities(matrix)) - np.log1p(-bundle.probabilities(matrix))
    assert contributions.sum(axis=1) == pytest.approx(log_odds, abs=1e-4)


def test_a_single_row_scores_as_it_does_among_many(bundle: Bundle) -> None:
    encoder = bundle.encoder
    cleaned = [encoder.clean(record) for record in records(random_customers(bundle.contract, 50, 3), bundle.contract)]

    together = bundle.probabilities(encoder.matrix(cleaned))

    assert [bundle.probabilities(encoder.matrix([one]))[0] for one in cleaned] == together.tolist()


def test_a_golden_record_may_hold_a_level_that_the_contract_does_not_list(bundle: Bundle, tmp_path: Path) -> None:
    bank = make_bundle(tmp_path / "bank", "bank")
    record = records(random_customers(bank.contract, 1), bank.contract)[0] | {"country": "Portugal"}
    again = tmp_path / "again"

    save_bundle(
        again,
        run_id=bank.run_id,
        contract=bank.contract,
        model=bank.model,
        calibration=bank.calibration,
        threshold=bank.threshold,
        reference=bank.reference(),
        profile=bank.profile(),
        golden_records=[record],
        facts={},
    )

    assert load_bundle(again).contract.name == "bank"
    assert json.loads((again / "golden.json").read_bytes())[0]["features"]["country"] == "Portugal"
