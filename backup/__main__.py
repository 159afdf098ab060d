"""`python -m backup`: everything that cannot be made anew, into one folder with checksums, and back."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import orjson

from backup import parts, work
from backup.manifest import Manifest
from churn.command_line import finish, make_parser, progress
from churn.logs import configure_logs
from churn.settings import (
    BackupSettings,
    JournalSettings,
    ReportSettings,
    StoreSettings,
    WatchSettings,
    WebSettings,
    read,
)

SHOWN = 6


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)

    def run() -> None:
        configure_logs("backup")
        with progress() as say:
            answer = options.run(options, say)
        print(orjson.dumps(answer).decode() if options.json else _text(answer))

    return finish(run)


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = make_parser("backup", "Backup and restore of the log, models, features, runs, reports and keys.")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    make = verbs.add_parser("make", help="copy everything into an empty folder, while all runs")
    make.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    make.add_argument("--found", action="append", default=[], metavar="NAME", help="dumps that lie in it already")
    make.set_defaults(run=_make)
    check = verbs.add_parser("check", help="whether every file of a backup is what was written")
    check.add_argument("--from", dest="source", type=Path, required=True, metavar="FOLDER")
    check.set_defaults(run=lambda options, _: _facts(work.check(options.source)))
    restore = verbs.add_parser("restore", help="put a backup back where the settings lead; stop the services before")
    restore.add_argument("--from", dest="source", type=Path, required=True, metavar="FOLDER")
    restore.add_argument("--replace", action="store_true", help="write over what is there")
    restore.set_defaults(run=_restore)
    for verb in (make, check, restore):
        verb.add_argument("--json", action="store_true", help="the counts as one line of JSON")
    return top


def _make(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, object]:
    return _facts(work.make(keepers(), options.to, options.found, datetime.now(UTC), say))


def _restore(options: argparse.Namespace, say: Callable[[str], None]) -> dict[str, object]:
    return {"restored": work.restore(keepers(), options.source, options.replace, say)}


def keepers() -> list[parts.Keeper]:
    """Every part by the settings, in the order in which a running system is copied."""
    home, store = read(BackupSettings), read(StoreSettings)
    kept = [
        parts.files("journal", read(JournalSettings).journal_dir, skip=parts.RUNTIME),
        parts.store(store.store_url, max(60.0, store.store_timeout_seconds)),
        parts.sqlite("mlflow", home.backup_mlflow_database),
        parts.files("mlflow-files", home.backup_mlflow_files),
        parts.sqlite("prefect", home.backup_prefect_database),
        parts.files("aws", home.backup_aws_files),
        parts.files("reports", read(ReportSettings).report_dir),
        parts.files("evidently", read(WatchSettings).evidently_dir),
        parts.files("keys", read(WebSettings).web_keys_file),
    ]
    names = [name.strip() for name in home.backup_buckets.split(",") if name.strip()]
    if names:
        from backup.buckets import bucket  # boto3 is for those who name one

        kept += [bucket(name) for name in names]
    return kept


def _facts(manifest: Manifest) -> dict[str, object]:
    return {
        "made_at": manifest.made_at.isoformat(),
        "parts": {part.name: part.counts for part in manifest.parts},
        "files": len(manifest.files),
        "bytes": sum(file.bytes for file in manifest.files),
    }


def _text(answer: dict[str, object]) -> str:
    told = answer.get("parts") or answer.get("restored") or {}
    assert isinstance(told, dict)  # noqa: S101  # both are
    lines = [f"{name:<14} {_largest(counts)}" for name, counts in told.items()]
    if "bytes" in answer:
        lines.append(f"{answer['files']:,} files, {answer['bytes']:,} bytes, all with checksums")
    return "\n".join(lines)


def _largest(counts: dict[str, int]) -> str:
    """The tables with the most in them; --json and the manifest have all."""
    found = sorted(((count, what) for what, count in counts.items() if count), reverse=True)
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return ", ".join(f"{count:,} {what}" for count, what in found[:SHOWN]) + more or "nothing yet"


if __name__ == "__main__":
    sys.exit(main())
