"""The pages' blocks are found, run in one terminal, and compared as loosely as they should be and no looser."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.console import Step, Terminal, steps

PAGE = """
```console
$ make demo
```

```sh
PLACE=here
```

Words.

<!-- again: until it is there -->
```sh
echo "$PLACE"
```

```text
here
```

```python
print(1)
```

Words between, so the next is no output.

```text
2
```
"""


def test_blocks_and_their_outputs_are_found() -> None:
    found = steps(PAGE)

    assert [(step.language, step.text, step.shown, step.again) for step in found] == [
        ("sh", "PLACE=here\n", None, False),
        ("sh", 'echo "$PLACE"\n', "here\n", True),
        ("python", "print(1)\n", None, False),
    ]
    assert [step.line for step in found] == [6, 13, 21]


@pytest.mark.parametrize(
    ("shown", "printed", "fits"),
    [
        ("1,000 sent, 0.99", "998 sent, 1.0", True),
        ("1,000 sent", "1,000 lost", False),
        ('{"id":"01a21b92aa777b42"}', '{"id":"ffffffffffff0"}', True),
        ('{"at":"2026-11-27T05:55:26.456106Z"}', '{"at":"2027-01-01T00:00:00Z"}', True),
        ('{"status":422,"p":0.25}', '{"status":422,"p":5e-05}', True),
        ('{"status":422}', '{"status":500}', False),
        ('{"status":422,"p":0.5}', '{"status":500,"p":0.5}', False),
        ('{"a":1,\n "b":[2,…]}', '{"a":1,"b":[2,3,4]}', True),
        ('{"a":1,\n "b":[2,…]}', '{"a":1,"b":[2,3,4], "c":5}', False),
        ("stay", "stay\nstay", False),
        ("stay", "churn", False),
        ("", "something", False),
        ("code 422", "code four", False),
    ],
)  # fmt: skip
def test_numbers_ids_and_times_may_differ_but_no_words_counts_or_codes(shown: str, printed: str, fits: bool) -> None:
    assert Step(1, "sh", "", shown, again=False).fits(printed) is fits


def test_a_terminal_keeps_variables_and_folders_and_shows_errors(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    with Terminal(tmp_path, os.environ) as terminal:
        assert terminal.run("WHERE=there") == "\n"
        assert terminal.run('echo "$WHERE"; cat; no-such-command').split() == [
            "there",
            *terminal.run("no-such-command").split(),
        ]
        assert terminal.run("exit_code() { return 3; }; exit_code; echo $?").strip() == "3"
