"""`python -m reporting`: reports on a window, on the days that were missed, and the index over all of them."""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec

from churn.bundle import Bundle
from churn.command_line import finish, make_parser, with_verb
from churn.contract import load_contract
from churn.evidently_remote import ask_elsewhere
from churn.logs import configure_logs
from churn.model_cache import open_model
from churn.registry import Registry
from churn.settings import ModelSettings, ReportSettings, StoreSettings, WatchSettings, read
from churn.store import open_store
from churn.tracing import start_tracing
from reporting.index import Line, lines
from reporting.maker import Made, Maker
from reporting.report import Rules, ask_evidently
from reporting.shelf import PAGE, ReportShelf, Shelf
from reporting.window import Window, last_hours, make_window, moment

VERBS = ("make", "catch-up", "list", "index", "purge")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when all is written, 1 with one sentence when not."""
    options = parser().parse_args(with_verb(arguments, VERBS, "make"))
    return finish(lambda: _work(options))


def _work(options: argparse.Namespace) -> None:
    configure_logs("report")
    start_tracing("report", {"reporting.maker:Maker": ("make", "catch_up", "write_index")})
    maker = _maker()
    if options.verb == "list":
        listed = _listed(options, maker)
        text = "\n".join(
            f"{one.start} {one.contract} {one.model_run_id[:12]} {one.state}: {one.path}" for one in listed
        )
        print(msgspec.json.encode({"reports": listed}).decode() if options.json else text or "no such report")
        return
    made = _run(options, maker)
    index = maker.shelf.address(PAGE)
    if options.json:
        print(msgspec.json.encode({"index": index, "reports": made}).decode())
    else:
        print("\n".join([*([_line(each) for each in made] or [_nothing(options.verb)]), f"all reports: {index}"]))


def parser() -> argparse.ArgumentParser:
    """Every verb with its options."""
    top = make_parser(
        "reporting", "Reports: a one-page summary, Evidently's page, their JSON twin, and an index over all of them."
    )
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    make = verbs.add_parser("make", help="report on one window: yesterday, UTC, unless told (the default)")
    make.add_argument("--from", dest="start", metavar="TIME", help="first moment, ISO, UTC unless it says otherwise")
    make.add_argument("--to", dest="end", metavar="TIME", help="first moment after the window")
    make.add_argument("--last-hours", type=float, metavar="H", help="the H hours that end now, instead of --from, --to")
    make.add_argument("--again", action="store_true", help="write anew what was reported before")
    catch_up = verbs.add_parser("catch-up", help="report on the days that were missed: for cron")
    catch_up.add_argument("--most-days", type=int, default=30, metavar="N", help="how far to look back")
    listed = verbs.add_parser("list", help="the reports there are, newest first")
    listed.add_argument("--from", dest="start", metavar="TIME", help="whose window ends after this")
    listed.add_argument("--to", dest="end", metavar="TIME", help="whose window begins before this")
    index = verbs.add_parser("index", help="rebuild the index")
    purge = verbs.add_parser("purge", help="remove old reports")
    purge.add_argument("--keep-days", type=int, default=400, metavar="N", help="how long a report is kept")
    for verb in (make, catch_up, listed):
        verb.add_argument(
            "--contract", help="only this use case, by name or by its .toml file; make reports even on its silence"
        )
        verb.add_argument("--run", help="only this model's run id")
    for verb in (make, catch_up, listed, index, purge):
        verb.add_argument("--json", action="store_true", help="say what was made as JSON")
    return top


def _listed(options: argparse.Namespace, maker: Maker) -> list[Line]:
    """What the index lists, by contract, run and time."""
    start = moment(options.start) if options.start else None
    end = moment(options.end) if options.end else None
    found = (
        (path, report)
        for path, report in maker.shelf.reports(_name(options.contract))
        if options.run in (None, report.model_run_id)
        and (start is None or report.end > start)
        and (end is None or report.start < end)
    )
    return lines(found)


def _name(contract: str | None) -> str | None:
    return load_contract(contract).name if contract and contract.endswith(".toml") else contract


def _run(options: argparse.Namespace, maker: Maker) -> list[Made]:
    now = maker.now()
    if options.verb == "catch-up":
        return maker.catch_up(_name(options.contract), options.most_days)
    if options.verb == "purge":
        maker.shelf.purge(now - timedelta(days=options.keep_days))
    if options.verb in ("index", "purge"):
        maker.write_index()
        return []
    if options.last_hours is not None:
        window = last_hours(options.last_hours, now)
    else:
        window = make_window(options.start, options.end, now)
    return maker.make(window, _name(options.contract), options.run, options.again)


def _maker() -> Maker:
    model, store = read(ModelSettings), read(StoreSettings)
    reports, watch = read(ReportSettings), read(WatchSettings)
    registry = Registry(model.mlflow_tracking_uri)
    rules = Rules(watch.false_alarm_budget, watch.minimum_rows, reports.evidently_rows)

    @functools.cache
    def load(run: str, contract: str) -> Bundle:
        return open_model(run, contract, registry, model.bundle_cache)

    return Maker(
        store=open_store(store.store_url, timeout_seconds=store.store_timeout_seconds),
        shelf=_shelf(reports),
        load_bundle=load,
        now=lambda: datetime.now(UTC),
        rules=rules,
        second_opinion=ask_evidently(rules, ask_elsewhere(url) if (url := reports.evidently_url) else None),
    )


def _shelf(reports: ReportSettings) -> ReportShelf:
    if not reports.reports_url:
        return Shelf(reports.report_dir)
    from reporting.bucket import BucketShelf  # boto3 is for those who have a bucket

    return BucketShelf(reports.reports_url)


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
    sys.exit(main())
