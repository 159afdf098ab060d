"""The Lambda handler in front of a SageMaker endpoint: checks {"data": [numbers]} and forwards it, answers in words.

The artifact of the endpoint's run gives the order of the numbers, what each may be, the threshold and the labels; the
endpoint gives the probability. Variables: those of serverless/environment.py, and

ENDPOINT        the name of the endpoint
ENDPOINT_BODY   `csv` for the numbers in their order, as SageMaker's own XGBoost takes them (the default); `mlflow` for
                named fields, as a model of MLflow takes them
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from serverless.api import Answer, Event, Problem
from serverless.door import Door, Score
from serverless.environment import door_of_environment, required
from serverless.lines import log
from serverless.score import Artifact, Read, numbers_expected, shown

READ_SECONDS = 10
BUSY = ("ThrottlingException", "ModelNotReadyException", "ServiceUnavailable", "InternalFailure")
Body = Callable[[Mapping[str, Any], Read], tuple[str, str]]
"""A record -> what the endpoint is sent: the media type and the text."""


def handle(event: Event, context: object = None) -> Answer:
    """The entry of the Lambda function."""
    return _door().respond(event)


def score_by(endpoint: str, body: Body, client: Any = None) -> Score:
    """The probability that a SageMaker endpoint gives, by boto3's `sagemaker-runtime`."""

    def score(artifact: Artifact, record: Mapping[str, Any], read: Read) -> float:
        nonlocal client
        from botocore.exceptions import BotoCoreError, ClientError

        from serverless.aws import connect

        media_type, text = body(record, read)
        try:
            client = client or connect("sagemaker-runtime", READ_SECONDS)
            found = client.invoke_endpoint(EndpointName=endpoint, ContentType=media_type, Body=text.encode())
            answer = found["Body"].read()
        except ClientError as error:
            log("endpoint_refused", endpoint=endpoint, reason=str(error))
            code = error.response["Error"]["Code"]
            raise Problem(503 if code in BUSY else 502, f"endpoint {endpoint}: {code}") from error
        except BotoCoreError as error:
            log("endpoint_away", endpoint=endpoint, reason=str(error))
            raise Problem(503, f"endpoint {endpoint} cannot be reached; try again") from error
        return _probability(endpoint, answer)

    return score


def bare_numbers(artifact: Artifact, record: Mapping[str, Any]) -> None:
    """Raises Problem for a record of anything else."""
    order = artifact.positional
    if not order:
        raise Problem(503, f"contract {artifact.contract['name']} gives no order of bare numbers; set `positional`")
    if "data" not in record:
        expected = numbers_expected(order)
        errors = [{"field": "data", "value": "None", "expected": expected}]
        raise Problem(422, f"data=None: expected {expected}", errors)


def as_csv(record: Mapping[str, Any], read: Read) -> tuple[str, str]:
    """The numbers as they came, in one line."""
    return "text/csv", ",".join(repr(number) for number in record["data"])


def as_mlflow(record: Mapping[str, Any], read: Read) -> tuple[str, str]:
    """Named fields, one record."""
    return "application/json", json.dumps({"dataframe_records": [read.features]})


BODIES: dict[str, Body] = {"csv": as_csv, "mlflow": as_mlflow}


@functools.cache
def _door() -> Door:
    body = os.environ.get("ENDPOINT_BODY", "csv")
    if body not in BODIES:
        raise ValueError(f"ENDPOINT_BODY={body}: expected {' or '.join(BODIES)}")
    endpoint = required("ENDPOINT", "the name of a SageMaker endpoint")
    return door_of_environment(score_by(endpoint, BODIES[body]), bare_numbers)


def _probability(endpoint: str, answer: bytes) -> float:
    """Of a bare number, a list of one, or `predictions` of numbers or of objects with a score."""
    try:
        found = json.loads(answer.decode().strip())
        for _ in range(4):
            if isinstance(found, dict):
                found = found["predictions"] if "predictions" in found else found["score"]
            elif isinstance(found, list) and len(found) == 1:
                found = found[0]
        if type(found) not in (int, float) or not (math.isfinite(found) and 0 <= found <= 1):
            raise ValueError
    except (ValueError, KeyError, RecursionError) as error:
        detail = f"endpoint {endpoint} answered {shown(answer[:60])}: expected a probability from 0 to 1"
        raise Problem(502, detail) from error
    return float(found)
