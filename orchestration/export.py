"""export: a run's model as one JSON artifact, in a file or in S3.

boto3 has homes in churn/feature_store.py, stream_service/kinesis.py, serverless/gateway.py and here.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from churn.artifact import make_artifact
from churn.contract import load_contract
from churn.errors import FolderUnusable, SettingError
from churn.logs import configure_logs
from churn.model_cache import open_model
from churn.registry import Registry
from churn.settings import ModelSettings, read

S3 = "s3://"


def add_parser(parts: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    export = parts.add_parser("export", help="write a run's model as one JSON file that needs no library to score")
    export.add_argument("run_id", metavar="RUN_ID", help="a run, or an alias such as champion")
    export.add_argument("--to", metavar="FILE|s3://BUCKET/KEY", help="default: CONTRACT-RUN_ID.json")
    export.set_defaults(run=run_export)
    return export


def run_export(options: argparse.Namespace) -> None:
    configure_logs("train")
    contract, settings = load_contract(options.contract), read(ModelSettings)
    registry = Registry(settings.mlflow_tracking_uri)
    bundle = open_model(options.run_id, contract.name, registry, settings.bundle_cache)
    target = options.to or f"{bundle.contract.name}-{bundle.run_id}.json"
    artifact = make_artifact(bundle)
    write_artifact(artifact, target)
    print(f"{target}: run {bundle.run_id}, {len(artifact):,} bytes", file=sys.stderr if options.json else sys.stdout)
    if options.json:
        print(json.dumps({"artifact": target, "run_id": bundle.run_id, "bytes": len(artifact)}))


def write_artifact(artifact: bytes, target: str) -> None:
    """To a path (whole or not at all) or s3://BUCKET/KEY. Raises SettingError or FolderUnusable."""
    if not target.startswith(S3):
        path = Path(target)
        try:
            temporary = path.with_name(f".{path.name}.part")
            temporary.write_bytes(artifact)
            temporary.replace(path)
        except OSError as error:
            raise FolderUnusable(path.parent, error) from error
        return
    bucket, _, key = target.removeprefix(S3).partition("/")
    if not bucket or not key:
        raise SettingError("--to", target, "a path, or s3://BUCKET/KEY")
    import boto3  # not for those who write a file
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=artifact, ContentType="application/json")
    except (BotoCoreError, ClientError) as error:
        raise SettingError("--to", target, f"a place that can be written ({error})") from error
