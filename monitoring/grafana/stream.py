"""Stream: is every shard moving, how late are answers, and what was set aside."""

from __future__ import annotations

from typing import Any

from monitoring.grafana import panels
from monitoring.grafana.board import Row, alarms_figure, board
from monitoring.grafana.panels import AMBER, GREEN, RED, Query

ALERTS = ("StreamLag", "DeadLetters", "ManyDeadLetters", "ServiceDown", "ModelMismatch", "ModelRefused")
AWAY = "The stream service does not answer, or owns no shard."
QUIET = "No record in 15 minutes."


def build() -> Any:
    return board(
        "Stream",
        "The Kinesis service, shard by shard: lag, throughput, dead letters and what had to be tried again.",
        ALERTS,
        [
            Row("", 4, _first()),
            Row("Is it keeping up", 9, [(_lag(), 12), (_records(), 12)]),
            Row("What was set aside", 8, [(_dead_letters(), 8), (_dead_share(), 8), (_retries(), 8)]),
            Row("Inside", 8, [(_batches(), 8), (_checkpoints(), 8), (_behind(), 8)]),
        ],
    )


def _first() -> list[tuple[Any, int]]:
    lag = panels.figure(
        "Lag",
        "Over all shards. Past a minute, for five minutes, it pages.",
        [Query("max(churnwatch_stream_lag_seconds)")],
        unit="s",
        empty=AWAY,
        steps=panels.above(60),
        decimals=0,
    )
    stuck = panels.figure(
        "Stuck shards",
        "Records wait there and the checkpoint has stood still for too long.",
        [Query("sum(churnwatch_stream_shard_stuck)")],
        unit="none",
        empty=AWAY,
        steps=panels.above(1),
        words={"0": ("none", GREEN)},
    )
    share = panels.figure(
        "Dead letters",
        "Share of the records of 15 minutes that can never be scored. From one in twenty on, the contract or the "
        "sender is wrong.",
        [Query("churnwatch:dead_letters:ratio15m >= 0")],
        unit="percentunit",
        empty=QUIET,
        steps=panels.above(0.05),
        decimals=2,
    )
    rate = panels.figure(
        "Records",
        "Read from the input stream, over five minutes.",
        [Query("sum(rate(churnwatch_stream_records_total[5m]))")],
        unit="cps",
        empty=AWAY,
        decimals=1,
    )
    owned = panels.figure(
        "Shards read",
        "By all workers together. Fewer than the stream has: a lease is waited for, or a worker is needed.",
        [Query("sum(churnwatch_stream_shard_owned)")],
        unit="none",
        empty=AWAY,
        steps=panels.below(1),
    )
    return [(alarms_figure(ALERTS), 4), (lag, 4), (stuck, 4), (share, 4), (rate, 4), (owned, 4)]


def _lag() -> Any:
    return panels.lines(
        "Lag by shard",
        "Age of the oldest record not yet answered. Past the line it rings.",
        [Query("max by (shard) (churnwatch_stream_lag_seconds)", "{{shard}}")],
        unit="s",
        empty=AWAY,
        steps=((None, GREEN), (60, RED)),
    )


def _records() -> Any:
    return panels.lines(
        "Records read, results put",
        "By shard what is read; together what is put on the results stream.",
        [
            Query("sum by (shard) (rate(churnwatch_stream_records_total[$__rate_interval]))", "{{shard}}"),
            Query("sum(rate(churnwatch_stream_results_total[$__rate_interval]))", "results"),
        ],
        unit="cps",
        empty=AWAY,
        dashed="results",
    )


def _dead_letters() -> Any:
    return panels.lines(
        "Dead letters by reason",
        "In 15 minutes. Each has its bytes, its reason and the command that replays it.",
        [Query("sum by (reason) (increase(churnwatch_dead_letters_total[15m])) > 0", "{{reason}}")],
        unit="short",
        empty="Nothing was set aside.",
        steps=((None, GREEN), (1, AMBER)),
        stacked=True,
    )


def _dead_share() -> Any:
    return panels.lines(
        "Dead letters of all records",
        "Share over 15 minutes. Past the line, one in twenty, it pages: the contract or the sender is wrong.",
        [Query("churnwatch:dead_letters:ratio15m", "share")],
        unit="percentunit",
        empty=QUIET,
        steps=((None, GREEN), (0.05, RED)),
        maximum=0.1,
    )


def _retries() -> Any:
    calls = "sum by (call, cause) (rate(churnwatch_stream_retries_total[$__rate_interval])) > 0"
    return panels.lines(
        "Calls made again",
        "By what was called and why it failed. An outage stops progress, not truth: nothing is checkpointed meanwhile.",
        [
            Query(calls, "{{call}} {{cause}}"),
            Query("sum(rate(churnwatch_stream_lost_leases_total[$__rate_interval])) > 0", "lost leases"),
        ],
        unit="cps",
        empty="No call had to be made again.",
    )


def _batches() -> Any:
    def of_batches(share: float) -> Query:
        buckets = "sum by (le) (rate(churnwatch_stream_batch_records_bucket[$__rate_interval]))"
        return Query(f"histogram_quantile({share}, {buckets}) >= 0", f"{share:.0%}")

    return panels.lines(
        "Records scored at once",
        "The median batch and the largest of twenty: large ones mean that it is catching up.",
        [of_batches(0.5), of_batches(0.95)],
        unit="short",
        empty="No batch at the moment.",
    )


def _checkpoints() -> Any:
    return panels.lines(
        "Age of the checkpoint",
        "By shard. It stands still where no record comes; with lag beside it, the shard is stuck.",
        [Query("time() - max by (shard) (churnwatch_stream_checkpoint_timestamp_seconds) < 1e9", "{{shard}}")],
        unit="s",
        empty="No checkpoint has moved yet.",
    )


def _behind() -> Any:
    return panels.lines(
        "Behind the tip",
        "What Kinesis says of the newest read (MillisBehindLatest).",
        [Query("max by (shard) (churnwatch_stream_behind_seconds)", "{{shard}}")],
        unit="s",
        empty=AWAY,
    )
