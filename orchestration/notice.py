"""Who is told of a retraining: the log always, a webhook where one is set."""

from __future__ import annotations

import json

import structlog
import urllib3

from orchestration.retraining import Notice

log = structlog.get_logger()

TIMEOUT_SECONDS = 5.0


def tell(notice: Notice, webhook_url: str = "") -> bool:
    """Log it, and post it as JSON. False when the webhook did not take it, which is logged: the training is done."""
    document = notice.to_document()
    (log.warning if notice.outcome == "failed" else log.info)("retraining", **document)
    if not webhook_url:
        return True
    text = f"Retraining of {notice.contract} ({notice.reason}): {notice.outcome}. {notice.sentence}"
    payload = json.dumps({"text": text, **document}).encode()  # chat services show `text`
    pool = urllib3.PoolManager(
        timeout=TIMEOUT_SECONDS, retries=urllib3.Retry(2, backoff_factor=0.5, allowed_methods=None)
    )
    try:
        status = pool.request("POST", webhook_url, payload, headers={"Content-Type": "application/json"}).status
        problem = "" if status < 300 else f"it answered {status}"
    except (urllib3.exceptions.HTTPError, ValueError) as error:
        problem = type(error).__name__  # its text would name the address, which may hold a token
    if problem:
        log.error("retraining_notice_not_taken", reason=problem)
    return not problem
