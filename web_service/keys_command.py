"""`python -m web_service keys add|put|list|revoke`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import orjson

from churn.serving import utc_now
from web_service.keys import Key, KeyFile, KeyFileError

SHOWN = ("name", "created_at", "revoked_at", "rate_per_second")


def run(options: Namespace, path: Path) -> int:
    """Do what was asked; raises KeyFileError. A key is printed once, alone on its line, for scripts to take."""
    keys = KeyFile(path)
    if options.action == "add":
        token = keys.add(options.name, utc_now(), options.rate)
        _say(options, token, name=options.name, key=token)
    elif options.action == "put":
        new = keys.put(options.name, _token(options.file), utc_now())
        _say(options, f"{options.name}: {'in force' if new else 'was in force already'}", name=options.name, new=new)
    elif options.action == "revoke":
        keys.revoke(options.name, utc_now())
        _say(options, f"{options.name}: revoked; running workers refuse it within a second", name=options.name)
    else:
        lines = [_line(key) for key in keys.all()]
        facts = [{name: getattr(key, name) for name in SHOWN} for key in keys.all()]
        _say(options, "\n".join(lines) or "no keys", keys=facts)
    return 0


def _say(options: Namespace, sentence: str, **facts: Any) -> None:
    print(orjson.dumps(facts).decode() if options.json else sentence)


def _line(key: Key) -> str:
    limit = "" if key.rate_per_second is None else f", {key.rate_per_second:g} requests/s"
    state = f"revoked {key.revoked_at}" if key.revoked_at else "in force"
    return f"{key.name}: {state}, made {key.created_at}{limit}"


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise KeyFileError(f"{path}: cannot be read as a key ({error}); give a file that holds one") from error
