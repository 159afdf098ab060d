"""How Python is set up for this work: two of its habits cost a stream of small records dearly."""

from __future__ import annotations

import gc
import sys

SWITCH_SECONDS = 0.0005


def tune() -> None:
    """Once, when all is loaded.

    A batch makes tens of thousands of small objects without cycles: looking for some costs a fifth of the time. And a
    thread that waits for Kinesis gets its turn back after half a millisecond instead of five: one shard's calls would
    else crawl while another's batch is scored.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    sys.setswitchinterval(SWITCH_SECONDS)
