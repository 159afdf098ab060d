"""Secrets Manager: the value behind an ARN."""

from __future__ import annotations

from serverless.aws import connect


def secret_value(arn: str) -> str:
    """Raises OSError when it cannot be read; the sentence never shows it."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return str(connect("secretsmanager").get_secret_value(SecretId=arn)["SecretString"])
    except (BotoCoreError, ClientError, KeyError) as error:
        raise OSError(f"{arn}: {error}") from error
