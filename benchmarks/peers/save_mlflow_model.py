"""Save a bundle as the MLflow model that tuning logs: the same pyfunc, signature and copy of the core.

python -m benchmarks.peers.save_mlflow_model BUNDLE FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import mlflow

import churn
from churn.bundle import load_bundle
from orchestration.tracking import MODEL_CODE, signature


def main(bundle: Path, folder: Path) -> None:
    mlflow.pyfunc.save_model(
        path=folder,
        python_model=str(MODEL_CODE),
        artifacts={"bundle": str(bundle)},
        code_paths=[str(Path(churn.__file__).parent)],
        signature=signature(load_bundle(bundle).contract),
        pip_requirements=["mlflow"],
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
