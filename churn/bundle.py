"""What a RUN_ID leads to: a folder with everything needed to answer, explain and watch. Saved, verified, loaded here.

    contract.toml       the columns, as they were when the model was fitted
    encoder.json        the encoded layout (derived from the contract; checked at load)
    model.ubj           the model in its library's own safe format
    calibration.json    log-odds -> probability
    reference.parquet   shuffled training rows with out-of-fold scores and labels, for the watch
    profile.json        the reference's histograms, for the watch
    golden.json         inputs with their exact answers
    bundle.json         versions, data, metrics, threshold and the sha256 of every other file

The digest of a bundle is the sha256 of bundle.json, so it covers every file.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from churn.calibration import Calibration
from churn.contract import Contract, parse_contract
from churn.encoder import Encoder
from churn.errors import BundleRefused, ChurnwatchError
from churn.model import Matrix, Model, load_model

if TYPE_CHECKING:
    import pandas

MANIFEST = "bundle.json"
FORMAT_VERSION = 1
GOLDEN_TOLERANCE = 1e-6
"""How far a golden answer may be off: other CPUs sum float32 leaves in another order."""


@dataclass(frozen=True)
class Bundle:
    """A verified model with all that belongs to it. Immutable and safe to share between threads."""

    folder: Path
    digest: str
    run_id: str
    contract: Contract
    encoder: Encoder
    model: Model
    calibration: Calibration
    threshold: float
    manifest: Mapping[str, Any]

    def probabilities(self, matrix: Matrix) -> NDArray[np.float64]:
        """Calibrated churn probabilities of encoded rows, shape (rows,)."""
        return self.calibration.probabilities(self.model.log_odds(matrix))

    def contributions(self, matrix: Matrix) -> NDArray[np.float64]:
        """SHAP contributions in calibrated log-odds, shape (rows, features + 1), columns of a feature summed.

        In the order of the contract's features; the last column is the base value.
        """
        raw = self.model.contributions(matrix) * self.calibration.slope
        starts = [self.encoder.columns.index(first) for first in self._first_columns()]
        summed = np.add.reduceat(raw[:, :-1], starts, axis=1)
        return np.concatenate([summed, raw[:, -1:] + self.calibration.intercept], axis=1)

    def reference(self) -> pandas.DataFrame:
        """The reference rows: the contract's features, `churn_probability`, `churn` and `churned`."""
        import pandas  # only the rooms that watch or report pay for it

        return pandas.read_parquet(self.folder / "reference.parquet")

    def profile(self) -> dict[str, Any]:
        """The reference's histograms as churn.histogram wrote them."""
        return json.loads((self.folder / "profile.json").read_bytes())  # type: ignore[no-any-return]

    def _first_columns(self) -> list[str]:
        return [feature["columns"][0] for feature in self.encoder.layout()["features"]]


def save_bundle(
    folder: Path,
    *,
    run_id: str,
    contract: Contract,
    model: Model,
    calibration: Calibration,
    threshold: float,
    reference: pandas.DataFrame,
    profile: Mapping[str, Any],
    golden_records: Sequence[Mapping[str, Any]],
    facts: Mapping[str, Any],
) -> str:
    """Write a bundle into an empty folder and return its digest.

    `facts` are kept under bundle.json's `facts`: data version and hash, metrics, parameters, library versions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    encoder = Encoder(contract)
    (folder / "contract.toml").write_text(contract.text, encoding="utf-8")
    _write_json(folder / "encoder.json", encoder.layout())
    model.save(folder)
    _write_json(folder / "calibration.json", calibration.as_dict())
    reference.to_parquet(folder / "reference.parquet", index=False)
    _write_json(folder / "profile.json", profile)
    cleaned = [encoder.clean(record) for record in golden_records]
    answers = calibration.probabilities(model.log_odds(encoder.matrix(cleaned)))
    golden = zip(golden_records, cleaned, answers.tolist(), strict=True)
    _write_json(
        folder / "golden.json",
        [
            {"features": {**c.features, **{name: record[name] for name in c.unknown}}, "churn_probability": p}
            for record, c, p in golden
        ],
    )
    manifest = {
        "format_version": FORMAT_VERSION,
        "run_id": run_id,
        "contract": contract.name,
        "contract_sha256": contract.sha256,
        "family": model.family,
        "threshold": threshold,
        "python": sys.version.split()[0],
        "facts": dict(facts),
        "files": {path.name: _sha256(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST},
    }
    _write_json(folder / MANIFEST, manifest)
    return _sha256(folder / MANIFEST)


def bundle_digest(folder: Path) -> str:
    """The digest of a bundle's folder, unverified. Raises BundleRefused when it holds no manifest."""
    if not (folder / MANIFEST).is_file():
        raise BundleRefused("?", f"{folder} holds no {MANIFEST}")
    return _sha256(folder / MANIFEST)


def load_bundle(folder: Path, expected_digest: str | None = None) -> Bundle:
    """Verify every file and the golden answers, then load. Raises BundleRefused saying what is not as it should be."""
    digest = bundle_digest(folder)
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        run_id = str(manifest["run_id"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleRefused("?", f"{MANIFEST} cannot be read: {error}") from error
    if expected_digest is not None and digest != expected_digest:
        raise BundleRefused(run_id, f"{MANIFEST} has sha256 {digest[:12]}…, registered was {expected_digest[:12]}…")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise BundleRefused(run_id, f"format version {manifest.get('format_version')}, this is {FORMAT_VERSION}")
    try:
        _verify_files(folder, run_id, manifest["files"])
        bundle = _load_verified(folder, digest, run_id, manifest)
        _verify_golden(bundle)
    except BundleRefused as error:
        raise BundleRefused(run_id, error.reason) from error
    except (ChurnwatchError, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BundleRefused(run_id, str(error)) from error
    return bundle


def _load_verified(folder: Path, digest: str, run_id: str, manifest: Mapping[str, Any]) -> Bundle:
    contract = parse_contract((folder / "contract.toml").read_text(encoding="utf-8"), "contract.toml")
    encoder = Encoder(contract)
    if json.loads((folder / "encoder.json").read_bytes()) != encoder.layout():
        raise BundleRefused(run_id, "encoder.json does not fit contract.toml; it was written by another version")
    return Bundle(
        folder=folder,
        digest=digest,
        run_id=run_id,
        contract=contract,
        encoder=encoder,
        model=load_model(manifest["family"], folder),
        calibration=Calibration.from_dict(json.loads((folder / "calibration.json").read_bytes())),
        threshold=float(manifest["threshold"]),
        manifest=manifest,
    )


def _verify_files(folder: Path, run_id: str, files: Mapping[str, str]) -> None:
    for name, sha256 in files.items():
        path = folder / name
        if Path(name).name != name or not path.is_file():
            raise BundleRefused(run_id, f"{name} is missing")
        found = _sha256(path)
        if found != sha256:
            raise BundleRefused(run_id, f"{name} has sha256 {found[:12]}…, expected {sha256[:12]}…; it was altered")


def _verify_golden(bundle: Bundle) -> None:
    golden = json.loads((bundle.folder / "golden.json").read_bytes())
    cleaned = [bundle.encoder.clean(entry["features"]) for entry in golden]
    answers = bundle.probabilities(bundle.encoder.matrix(cleaned))
    for index, (entry, answer) in enumerate(zip(golden, answers.tolist(), strict=True)):
        if not abs(answer - entry["churn_probability"]) <= GOLDEN_TOLERANCE:
            raise BundleRefused(
                bundle.run_id, f"golden answer {index}: got {answer!r}, expected {entry['churn_probability']!r}"
            )


def _write_json(path: Path, document: object) -> None:
    path.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
