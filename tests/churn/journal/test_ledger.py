"""The ledger: one whole page at any moment."""

from __future__ import annotations

from pathlib import Path

from churn.journal.ledger import SLOT_BYTES, Ledger, Page, Totals, read_page


def page(shipped: int) -> Page:
    return Page(totals=Totals(shipped=shipped, rejected={"damaged": 1}), segment=3, offset=400, index=5)


def test_a_new_ledger_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "ledger").page == Page(totals=Totals())
    assert read_page(tmp_path / "nothing") == Page(totals=Totals())


def test_the_last_page_written_is_the_one_read(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger")
    for shipped in range(5):
        ledger.write(page(shipped), durable=shipped == 4)

    assert Ledger(tmp_path / "ledger").page == page(4)
    assert read_page(tmp_path / "ledger") == page(4)


def test_a_page_torn_at_any_byte_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "ledger"
    ledger = Ledger(path)
    ledger.write(page(1))
    before = path.read_bytes()
    ledger.write(page(2))
    after = path.read_bytes()
    changed = [position for position in range(2 * SLOT_BYTES) if before[position] != after[position]]
    for position in range(changed[0], changed[-1] + 1):
        path.write_bytes(after[:position] + before[position:])

        assert read_page(path).totals.shipped == 1


def test_totals_add_up_by_reason() -> None:
    one = Totals(shipped=5, repeated=1, rejected={"refused": 2}, settled_bytes=10)
    two = Totals(shipped=1, rejected={"refused": 1, "damaged": 4}, settled_bytes=5)

    assert one + two == Totals(shipped=6, repeated=1, rejected={"damaged": 4, "refused": 3}, settled_bytes=15)
    assert (one + two).settled == 13
