"""`python -m reporting`: reports on a window, on the days that were missed, and the index over all of them."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from churn.bundle import Bundle
from churn.contract import load_contract
from churn.errors import ChurnwatchError
from churn.model_cache import open_model
from churn.registry import Registry
from churn.settings import ModelSettings, ReportSettings, StoreSettings, WatchSettings, read
from churn.store import open_store
from reporting.maker import Made, Maker
from reporting.report import Rules
from reporting.shelf import PAGE, Shelf
from reporting.window import Window, last_hours, make_window

VERBS = ("make", "catch-up", "index", "purge")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is written, 1 with one sentence when not."""
    options = _parser().parse_args(arguments)
    try:
        maker = _maker()
        made = _run(options, maker)
    except ChurnwatchError as error:
        print(f"reporting: {error}", file=sys.stderr)
        return 1
    if options.json:
        index = str(maker.shelf.folder.resolve() / PAGE)
        print(msgspec.json.encode({"index": index, "reports": made}).decode())
    else:
        for line in [_line(each) for each in made] or [_nothing(options.verb)]:
            print(line)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reporting",
        description="Write reports into REPORT_DIR: a one-page summary, Evidently's page, their JSON twin, an index.",
        epilog="make: one window (yesterday, UTC, unless told); catch-up: the days that were missed; "
        "index: rebuild the index; purge: remove reports older than --keep-days.",
    )
    parser.add_argument("verb", nargs="?", default="make", choices=VERBS)
    parser.add_argument(
        "--contract",
        help="only this use case, by name or by the path of its .toml file; it gets a report even without predictions",
    )
    parser.add_argument("--run", help="only this model's run id")
    parser.add_argument("--from", dest="start", metavar="TIME", help="first moment, ISO, UTC unless it says otherwise")
    parser.add_argument("--to", dest="end", metavar="TIME", help="first moment after the window")
    parser.add_argument(
        "--last-hours", type=float, metavar="H", help="the H hours that end now, instead of --from, --to"
    )
    parser.add_argument("--again", action="store_true", help="write anew what was reported before")
    parser.add_argument("--most-days", type=int, default=30, metavar="N", help="how far catch-up looks back")
    parser.add_argument("--keep-days", type=int, default=400, metavar="N", help="what purge keeps")
    parser.add_argument("--json", action="store_true", help="say what was made as JSON")
    return parser


def _run(options: argparse.Namespace, maker: Maker) -> list[Made]:
    if (options.contract or "").endswith(".toml"):
        options.contract = load_contract(options.contract).name
    now = maker.now()
    if options.verb == "catch-up":
        return maker.catch_up(options.contract, options.most_days)
    if options.verb == "purge":
        maker.shelf.purge(now - timedelta(days=options.keep_days))
    if options.verb in ("index", "purge"):
        maker.write_index()
        return []
    if options.last_hours is not None:
        window = last_hours(options.last_hours, now)
    else:
        window = make_window(options.start, options.end, now)
    return maker.make(window, options.contract, options.run, options.again)


def _maker() -> Maker:
    model, store = read(ModelSettings), read(StoreSettings)
    reports, watch = read(ReportSettings), read(WatchSettings)
    registry = Registry(model.mlflow_tracking_uri)

    @functools.cache
    def load(run: str, contract: str) -> Bundle:
        return open_model(run, contract, registry, model.bundle_cache)

    return Maker(
        store=open_store(store.store_url, timeout_seconds=store.store_timeout_seconds),
        shelf=Shelf(reports.report_dir),
        load_bundle=load,
        now=lambda: datetime.now(UTC),
        rules=Rules(watch.false_alarm_budget, watch.minimum_rows, reports.evidently_rows),
    )


def _nothing(verb: str) -> str:
    if verb in ("index", "purge"):
        return "the index is written"
    return "nothing to report: no predictions in this window; --contract NAME makes a report that says so"


def _line(made: Made) -> str:
    what = f"{made.contract} {made.model_run_id[:12]} {Window(made.start, made.end)}"
    if not made.written:
        return f"was reported before: {what}: {made.path}/index.html"
    drifted = f", drifted: {', '.join(made.drifted)}" if made.drifted else ""
    return f"written: {what}: {made.rows:,} predictions, {made.state}{drifted}: {made.path}/index.html"


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))  # stdout is for --json
    sys.exit(main())
