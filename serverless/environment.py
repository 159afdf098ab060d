"""The variables of the functions behind API Gateway, read once a container.

ARTIFACT         s3://BUCKET/KEY or a path: an exported model
ANSWERS_STREAM   the Kinesis stream that keeps every answer for the prediction log; `none` keeps none
PSEUDONYM_KEY    the secret behind pseudonyms, or PSEUDONYM_SECRET: the ARN of a secret that holds it
CORS_ORIGIN      origins whose pages may ask, separated by commas; none when empty
"""

from __future__ import annotations

import os
from collections.abc import Callable

from serverless.answers import NOT_LOGGED, keep_on
from serverless.door import Check, Door, Score, any_record, own_score
from serverless.secret import secret_value
from serverless.warm import Warm, fetch_from


def door_of_environment(score: Score = own_score, check: Check = any_record) -> Door:
    """Raises ValueError naming a variable that is not set."""
    answers = required(
        "ANSWERS_STREAM", f"the Kinesis stream that keeps answers for the log, or '{NOT_LOGGED}' to keep none"
    )
    return Door(
        warm=Warm(fetch_from(required("ARTIFACT", "s3://BUCKET/KEY or the path of an exported model"))),
        keep=keep_on(answers),
        key=pseudonym_key(),
        origins=[origin.strip() for origin in os.environ.get("CORS_ORIGIN", "").split(",") if origin.strip()],
        score=score,
        check=check,
    )


def required(variable: str, expected: str) -> str:
    value = os.environ.get(variable, "")
    if not value:
        raise ValueError(f"{variable}=: expected {expected}")
    return value


def pseudonym_key() -> Callable[[], str]:
    """The secret, from its variable or from Secrets Manager: read when first needed, then kept."""
    found = os.environ.get("PSEUDONYM_KEY", "")
    secret = os.environ.get("PSEUDONYM_SECRET", "")

    def key() -> str:
        nonlocal found
        if not found and secret:
            found = secret_value(secret)
        return found

    return key
