"""The Lambda handler behind API Gateway: POST /predict, answered by an artifact with the standard library alone.

Variables: serverless/environment.py. boto3, which Lambda's runtime holds, is imported only to reach AWS.
"""

from __future__ import annotations

import functools

from serverless.api import Answer, Event
from serverless.environment import door_of_environment

_door = functools.cache(door_of_environment)


def handle(event: Event, context: object = None) -> Answer:
    """The entry of the Lambda function."""
    return _door().respond(event)
