"""What an ingest says of the transactions that its customers came out of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def told(facts: Mapping[str, Any] | None) -> Iterator[str]:
    """A manifest's `validation.transactions` in sentences; none where there is none."""
    if facts is None:
        return
    yield (
        f"as of {facts['cut_off']}; who left ordered nothing in the {facts['horizon_days']} days after it "
        "(no feature knows them: checked)"
    )
    yield (
        f"{facts['lines']:,} lines: {facts['lines_kept']:,} of {facts['customers']:,} customers kept, "
        f"{facts['lines_without_customer']:,} without a customer left out, {facts['lines_bad']:,} set aside"
    )
    if segments := facts.get("segments"):
        sizes = ", ".join(f"{name} {size:,}" for name, size in segments["customers"].items())
        yield f"{segments['count']} segments (silhouette {segments['silhouette']:.3f}): {sizes}"
