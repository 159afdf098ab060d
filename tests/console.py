"""Runs the blocks of a page in order, as a reader would in one terminal, and compares what they print, loosely."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

RUN = ("sh", "python")
SHOWN = ("text", "json")
BLOCK = re.compile(
    r"(?P<again><!-- again:[^\n]*-->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
LOOSE = re.compile(
    r"(?P<id>\b(?=[0-9a-f]*\d)[0-9a-f]{12,32}\b)"
    r"|(?P<time>\d{4}-\d\d-\d\dT[\d:.]+Z?|\d{8}T\d{6}Z)"
    r"|(?P<exact>(?<![\d.,])\d{1,3}(?!\d|[.,]\d|e[-+]?\d))|(?P<number>[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)"
    r"|(?P<rest>…)|(?P<space>\s+)"
)
PATTERNS = {
    "id": r"[0-9a-f]+",
    "time": r"[\dTZ:.+-]+",
    "number": r"[-+]?[\d,]+(?:\.\d+)?(?:e[-+]?\d+)?",
    "rest": r".*?",
    "space": r"\s*",
}
AGAIN_SECONDS = 60.0


@dataclass(frozen=True)
class Step:
    """One block to run, with what the page says it prints (None: nothing is said). `again`: until it prints that."""

    line: int
    language: str
    text: str
    shown: str | None
    again: bool

    def fits(self, printed: str) -> bool:
        """Whether the output is what the page shows. Ids, times and numbers may differ, but not counts and codes of up
        to three digits; … stands for anything."""
        return self.shown is None or re.fullmatch(loosely(self.shown.strip()), printed.strip(), re.DOTALL) is not None


def steps(page: str) -> list[Step]:
    """The blocks that run, in order. A text or json block right after one is its output."""
    found: list[Step] = []
    end = -1
    for block in BLOCK.finditer(page):
        language, text = block["language"], block["text"]
        if language in RUN:
            line = page.count("\n", 0, block.start("language")) + 1
            found.append(Step(line, language, text, None, block["again"] is not None))
        elif language in SHOWN and found and not page[end : block.start()].strip():
            last = found.pop()
            found.append(Step(last.line, last.language, last.text, text, last.again))
        end = block.end()
    return found


def loosely(shown: str) -> str:
    """A pattern for output like this one."""
    pattern, at = [], 0
    for found in LOOSE.finditer(shown):
        kind = str(found.lastgroup)
        pattern += [re.escape(shown[at : found.start()]), PATTERNS.get(kind) or re.escape(found[0])]
        at = found.end()
    return "".join([*pattern, re.escape(shown[at:])])


class Terminal:
    """One bash for a whole page, so that variables and folders carry on. Its make never makes the environment anew."""

    MARK = "<<<the step has ended>>>"
    MAKE = 'make() { command make --no-print-directory -o .venv/.installed "$@"; }'

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._shell = subprocess.Popen(
            ["bash", "--norc"], cwd=folder, env=dict(environment), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.run(self.MAKE)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shell.communicate(timeout=30)

    def play(self, step: Step) -> str:
        """Run a step and return what it printed; one marked `again` is repeated until it fits or time is up."""
        printed = self.run(step.text, step.language)
        deadline = time.monotonic() + AGAIN_SECONDS
        while step.again and not step.fits(printed) and time.monotonic() < deadline:
            time.sleep(0.5)
            printed = self.run(step.text, step.language)
        return printed

    def run(self, text: str, language: str = "sh") -> str:
        """What a block printed, errors in between. It is read from a file, so that no command eats the next one."""
        block = self._folder / f".block.{language}"
        block.write_text(text, encoding="utf-8")
        command = f". ./{block.name}" if language == "sh" else f"python {block.name}"
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{command} </dev/null\nprintf '\\n%s\\n' '{self.MARK}'\n")
        self._shell.stdin.flush()
        return "".join(self._until_mark())

    def _until_mark(self) -> Iterator[str]:
        assert self._shell.stdout is not None
        for line in self._shell.stdout:
            if line.rstrip() == self.MARK:
                return
            yield line
        raise AssertionError("the shell ended in the middle of the page")
