"""make fuzz: every parser of strangers' bytes against inputs that almost were right, for so many seconds.

    python -m tests.fuzz [--seconds 600] [--seed N] [--target NAME]
    python -m tests.fuzz --seed N --target NAME --number I        that one input again

Input I of a target is made from (seed, target, I) alone, so a finding is repeated by its three words. No server is
needed and none is started.
"""

from __future__ import annotations

import argparse
import resource
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from itertools import count
from pathlib import Path
from random import Random, SystemRandom
from types import FrameType

import structlog

from tests.fuzz.mutate import mutate
from tests.fuzz.targets import Target, make_targets

SLOW_SECONDS = 5.0
"""Of CPU for one input: whoever sends such bytes would hold a worker."""
HANG_SECONDS = 60
MEMORY_BYTES = 8 << 30
"""Of address space: where a parser asks for more, that is a finding and not the end of the machine."""
AT_ONCE = 25
FINDINGS_KEPT = 20


class Hangs(Exception):
    """No end in sight."""


class Finding(Exception):
    """An input that a parser does not answer as it should."""


def made(target: Target, seed: int, number: int) -> bytes:
    """The input of this number. The first few are the seeds themselves, which must pass too."""
    if number < len(target.seeds):
        return target.seeds[number]
    random = Random(f"{seed}/{target.name}/{number}")
    return mutate(random.choice(target.seeds), random, target.seeds)


def attempt(target: Target, data: bytes) -> None:
    """Raises Finding with what came out."""
    began = time.process_time()
    signal.alarm(HANG_SECONDS)
    try:
        target.run(data)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        raise Finding(traceback.format_exc()) from error
    finally:
        signal.alarm(0)
    if (taken := time.process_time() - began) > SLOW_SECONDS:
        raise Finding(f"{taken:.1f} s of CPU for {len(data)} bytes")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=SystemRandom().randrange(10**9))
    parser.add_argument("--target")
    parser.add_argument("--number", type=int)
    asked = parser.parse_args()
    quiet()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    with tempfile.TemporaryDirectory() as folder:
        targets = make_targets(Path(folder))
        if asked.target and asked.target not in targets:
            parser.error(f"--target {asked.target}: expected one of {', '.join(targets)}")
        chosen = [targets[asked.target]] if asked.target else list(targets.values())
        if asked.number is not None:
            data = made(chosen[0], asked.seed, asked.number)
            print(f"{len(data)} bytes: {data[:2_000]!r}")
            attempt(chosen[0], data)
            return 0
        return run(chosen, asked.seed, asked.seconds)


def quiet() -> None:
    """Hung inputs end; what the parsers log is not looked at."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise Hangs(f"no answer within {HANG_SECONDS} s")

    signal.signal(signal.SIGALRM, ring)
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


def run(targets: list[Target], seed: int, seconds: float) -> int:
    """Every target in turn until the time is up; the exit code."""
    print(f"seed {seed}, {seconds:.0f} s, {len(targets)} targets", flush=True)
    ends = time.monotonic() + seconds
    tried: Counter[str] = Counter()
    findings: dict[tuple[str, str], str] = {}
    for turn in count():
        for target in targets:
            for number in range(turn * AT_ONCE, (turn + 1) * AT_ONCE):
                if time.monotonic() >= ends or len(findings) >= FINDINGS_KEPT:
                    return told(tried, findings)
                tried[target.name] += 1
                try:
                    attempt(target, made(target, seed, number))
                except Finding as finding:
                    note(findings, target.name, seed, number, str(finding))
    raise AssertionError("count() has no end")


def note(findings: dict[tuple[str, str], str], name: str, seed: int, number: int, what: str) -> None:
    """Each kind once: by its target and the lines where it was raised."""
    lines = [line for line in what.splitlines() if line.startswith("  File ")]
    kind = (name, "".join(lines[-2:]) or what)
    if kind not in findings:
        again = f"python -m tests.fuzz --seed {seed} --target {name} --number {number}"
        findings[kind] = f"{name}: again by {again}\n{what}"
        print(findings[kind], file=sys.stderr, flush=True)


def told(tried: Counter[str], findings: dict[tuple[str, str], str]) -> int:
    for name, times in sorted(tried.items()):
        print(f"  {name:>14} {times:>9,} inputs")
    print(f"{sum(tried.values()):,} inputs, {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
