"""The whole loop, once: data, features, tuning, serving, quiet traffic, a shift, the watch, a report, a verdict.

The demo plays the other rooms' own commands on the embedded default; it holds no shortcut of its own. It fails when a
count does not agree, when the watch misses the shift, or when it cries without one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from churn import settings
from churn.contract import load_contract
from churn.errors import DataError
from churn.feature_store import FeatureStore
from churn.store import open_store
from simulation.curtain import Curtain
from simulation.customers import Customer, draw_customers, held_out
from simulation.draw import draw_population, raw_table
from simulation.kinesis import connect, read_results, send_kinesis
from simulation.population import load_population
from simulation.rooms import Rooms, wait_until
from simulation.senders import send_http
from simulation.shift_specs import parse_shift
from simulation.stage import Stage, StageSettings, environment
from simulation.summary import DemoFailed, Played, Script, disagreements, summary
from simulation.traffic import Event, make_events
from simulation.truth import Header, TruthFile, shift_truths
from simulation.watched import Watched, watched

SIMULATED_ROWS = 10_000
LOGGED_SECONDS = 60.0
JUDGED_SECONDS = 60.0


def demo(script: Script) -> None:
    """Play it on the embedded default under CHURNWATCH_HOME; no process is left behind, however it ends."""
    ports, home = settings.read(StageSettings), settings.HOME
    if script.data is not None and not script.data.is_file():
        raise DataError(f"{script.data}: no such file; give DATA the path of a CSV file")
    contract = load_contract(script.contract)
    try:
        (home / "demo").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{home} cannot be written: {reason}; set CHURNWATCH_HOME to a folder that can") from error
    os.environ.update(environment(home, ports, contract.name))
    curtain = Curtain()
    with Stage(home, os.environ) as stage:
        Demo(script, stage, Rooms(stage, ports), curtain).run()
    curtain.say(f"all processes have ended; {curtain.elapsed_seconds:.0f} s in all")


class Demo:
    """One run. Raises ChurnwatchError at the first thing that is not right; the stage ends every process."""

    def __init__(self, script: Script, stage: Stage, rooms: Rooms, curtain: Curtain) -> None:
        self.script, self.stage, self.rooms, self.curtain = script, stage, rooms, curtain
        self.contract = load_contract(script.contract)
        self.played = Played()
        self.store = open_store(settings.read(settings.StoreSettings).store_url)

    def run(self) -> None:
        """All acts in order, then the summary."""
        script, played, act, say = self.script, self.played, self.curtain.act, self.curtain.say
        with act("start S3 and Kinesis (an emulator), MLflow and Prefect on this machine"):
            say(self.rooms.start_ground())
        with act("ingest: clean and validate customers, write a version of features to S3"):
            played.ingested = self._ingest(self._data())
        with act(f"tune: {self.script.trials} hyperopt trials under Prefect, every candidate in MLflow"):
            played.tuned = self._tune(played.ingested["version"])
        with act(f"serve RUN_ID={self.run_id} over HTTP and Kinesis, and start the watch"):
            self._serve()
        customers = self._cast()
        played.began = datetime.now(UTC)
        with act(f"send {self.script.rows // 2:,} customers as they are"):
            self._send(customers, 0)
        with act(f"send {self.script.rows // 2:,} customers shifted by {self.script.shift}"):
            self._send(customers, 1)
        with act(f"watch: judge windows of {self.script.window_rows} predictions"):
            played.watched = self._watch()
        with act("report on what was sent"):
            played.report = self._report()
        self.curtain.table("Summary", summary(script, played, self.contract, self.run_id))
        if wrong := disagreements(script, played):
            raise DemoFailed("; ".join(wrong))

    @property
    def run_id(self) -> str:
        return str(self.played.tuned["run_id"])

    def _data(self) -> Path:
        if self.script.data is not None:
            return self.script.data
        path = self.stage.home / "demo" / f"{self.contract.name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        population = load_population(self.contract)
        raw_table(population, draw_population(population, SIMULATED_ROWS, seed=1)).to_csv(path, index=False)
        self.curtain.say(f"{SIMULATED_ROWS:,} simulated customers (DATA=file.csv brings your own)")
        return path

    def _ingest(self, data: Path) -> dict[str, Any]:
        done = self._command("orchestration", "ingest", "--contract", self.script.contract, str(data), "--json")
        rows, bad = done["rows"], done["quarantined_rows"]
        self.curtain.say(f"version {done['version']}: {rows:,} rows, {bad:,} in quarantine")
        return done

    def _tune(self, version: str) -> dict[str, Any]:
        trials = str(self.script.trials)
        done = self._command(
            *("orchestration", "tune", "--contract", self.script.contract),
            *("--version", version, "--trials", trials, "--json"),
            progress=True,
        )
        self.curtain.say(f"best RUN_ID {done['run_id']}, AUC on rows never used before: {done['test_auc']:.4f}")
        return done

    def _serve(self) -> None:
        self.curtain.say(self.rooms.start_services(self.run_id))
        self.rooms.start_watch(
            WINDOW_ROWS=str(self.script.window_rows),
            MINIMUM_ROWS=str(min(100, self.script.window_rows)),
            WATCH_POLL_SECONDS="1",
            WATCH_LATENESS_SECONDS="2",
        )

    def _cast(self) -> list[Customer]:
        """Customers that the model has not seen, and the shift as it applies to them."""
        bucket = settings.read(settings.FeatureStoreSettings).feature_bucket
        unseen = held_out(
            FeatureStore(bucket),
            self.contract,
            self.played.ingested["version"],
            settings.read(settings.TrainSettings).seed,
        )
        self.played.shift = parse_shift(self.script.shift, self.contract, unseen)
        return draw_customers(unseen, self.contract, self.script.rows, seed=2)

    def _send(self, customers: Sequence[Customer], half: int) -> None:
        """One half of each route's customers, on both routes, until all are answered and logged."""
        script, stream = self.script, settings.read(settings.StreamSettings)
        began, kinesis = datetime.now(UTC), connect()
        http, streamed = self._events(customers, half)
        with TruthFile(self.stage.home / "demo" / "truth.jsonl") as truth:
            truth.begin(self._header(half, began))
            self.played.http.append(send_http(http, self.rooms.web_url, connections=8, on_receipt=truth.take))
            self.played.stream.append(
                send_kinesis(streamed, kinesis, stream.input_stream, contract=self.contract.name, on_receipt=truth.take)
            )
        found = read_results(kinesis, stream.results_stream, [e.event_id for e in streamed], since=began)
        self.played.results += len(found.prediction_ids)
        self.played.conflicts += found.conflicts
        over_http, over_stream = self.played.http[-1], self.played.stream[-1]
        self.curtain.say(
            f"HTTP {over_http.answered} answered, {over_http.rate:.0f} a second, "
            f"median {over_http.latency(0.5) * 1e3:.1f} ms; "
            f"stream {len(found.prediction_ids)} answered in {found.seconds:.1f} s"
        )
        for problem in over_http.problems + over_stream.problems:
            self.curtain.say(f"problem: {problem}")
        self._wait_logged((half + 1) * script.rows // 2)

    def _events(self, customers: Sequence[Customer], half: int) -> tuple[list[Event], list[Event]]:
        script = self.script
        shifts = [self.played.shift] if half and self.played.shift else []
        prefix = f"demo-{self.played.began:%Y%m%dT%H%M%S}-{half}"
        first = half * script.rows // 2
        mine = customers[first : first + script.rows // 2]
        cut = script.http_rows // 2
        http = list(make_events(mine[:cut], shifts, prefix=f"{prefix}-http", seed=3))
        return http, list(make_events(mine[cut:], shifts, prefix=f"{prefix}-stream", seed=4))

    def _header(self, half: int, began: datetime) -> Header:
        shifts = [self.played.shift] if half and self.played.shift else []
        return Header(
            contract=self.contract.name,
            started_at=began,
            seed=3,
            rate=0.0,
            rows=self.script.rows // 2,
            source=self.played.ingested["version"],
            shifts=shift_truths(shifts),
        )

    def _wait_logged(self, expected: int) -> None:
        """The journal ships in the background: wait until the log holds every answer."""
        name, run_id = self.contract.name, self.run_id
        wait_until(lambda: self.store.count(name, run_id) >= expected, LOGGED_SECONDS)
        self.played.logged = {
            "http": self.store.count(name, run_id, route="http"),
            "stream": self.store.count(name, run_id, route="stream"),
        }

    def _watch(self) -> Watched:
        windows = self.script.rows // self.script.window_rows
        found: list[Watched] = []

        def judged() -> bool:
            found[:] = [watched(self.rooms.watch_url, self.store, self.contract, self.run_id)]
            return len(found[0].windows) >= windows

        if not wait_until(judged, JUDGED_SECONDS, 0.5):
            raise DemoFailed(
                f"the watch judged {len(found[0].windows)} of {windows} windows within {JUDGED_SECONDS:.0f} s; "
                f"see {self.stage.home}/logs/watch.log"
            )
        for window in found[0].windows:
            self.curtain.say(window.line())
        self.curtain.say(f"numbers: {self.rooms.watch_url}/metrics ({found[0].gauges} series of churnwatch_)")
        return found[0]

    def _report(self) -> str:
        until = datetime.now(UTC) + timedelta(seconds=1)
        done = self._command(
            *("reporting", "--contract", self.contract.name, "--run", self.run_id, "--json"),
            *("--from", self.played.began.isoformat(), "--to", until.isoformat()),
        )
        self.curtain.say(done["index"])
        return str(done["index"])

    def _command(self, *arguments: str, progress: bool = False) -> dict[str, Any]:
        """Run a room's command and read the JSON on its last line of output; `progress` lets it draw on the screen."""
        done = subprocess.run(
            [sys.executable, "-m", *arguments],
            env=self.stage.environment,
            stdout=subprocess.PIPE,
            stderr=None if progress else subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            said = (done.stderr or b"see above").decode(errors="replace").strip()
            raise DemoFailed(f"'python -m {' '.join(arguments)}' ended with code {done.returncode}: {said}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
