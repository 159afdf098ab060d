"""What the audience sees: numbered acts with their times, lines below them, and a table at the end."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

from churn.command_line import wants_colour


class Curtain:
    """Prints to a stream; bold and colour only on a terminal."""

    def __init__(self, out: TextIO = sys.stdout, clock: Callable[[], float] = time.monotonic) -> None:
        self.out, self._clock = out, clock
        self._colour = wants_colour(out)
        self._started = clock()
        self._act = 0

    @contextmanager
    def act(self, title: str) -> Iterator[None]:
        """Announce a step, and when it is over say how long it took."""
        self._act += 1
        started = self._clock()
        self._print(f"{self._stamp()} {self._bold(f'{self._act}. {title}')}")
        yield
        self.say(f"done in {self._clock() - started:.1f} s")

    @property
    def elapsed_seconds(self) -> float:
        return self._clock() - self._started

    def say(self, line: str) -> None:
        self._print(f"          {line}")

    def table(self, title: str, rows: Sequence[tuple[str, str]]) -> None:
        """Two columns, the first as wide as it needs."""
        width = max(len(name) for name, _ in rows)
        self._print("\n" + self._bold(title))
        for name, value in rows:
            self._print(f"  {name:<{width}}  {value}")

    def _stamp(self) -> str:
        return f"[{self.elapsed_seconds:6.1f} s]"

    def _bold(self, text: str) -> str:
        return f"\033[1m{text}\033[0m" if self._colour else text

    def _print(self, line: str) -> None:
        print(line, file=self.out, flush=True)
