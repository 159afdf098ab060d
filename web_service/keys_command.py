"""`python -m web_service keys add|put|list|revoke`."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

from churn.serving import utc_now
from web_service.keys import KeyFile, KeyFileError


def run(options: Namespace, path: Path) -> int:
    """Do what was asked; raises KeyFileError. A key is printed once, alone on its line, for scripts to take."""
    keys = KeyFile(path)
    if options.action == "add":
        print(keys.add(options.name, utc_now(), options.rate))
    elif options.action == "put":
        new = keys.put(options.name, _token(options.file), utc_now())
        print(f"{options.name}: {'in force' if new else 'was in force already'}")
    elif options.action == "revoke":
        keys.revoke(options.name, utc_now())
        print(f"{options.name}: revoked; running workers refuse it within a second")
    else:
        for key in keys.all():
            limit = "" if key.rate_per_second is None else f", {key.rate_per_second:g} requests/s"
            state = f"revoked {key.revoked_at}" if key.revoked_at else "in force"
            print(f"{key.name}: {state}, made {key.created_at}{limit}")
    return 0


def _token(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeError) as error:
        raise KeyFileError(f"{path}: cannot be read as a key ({error}); give a file that holds one") from error
