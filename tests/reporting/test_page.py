"""The pages: complete, small, closed to the network, and safe whatever a log or a contract holds."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser

import pytest

from churn.performance import Figure, Performance
from churn.quality import QualityProblem
from reporting.document import (
    Bars,
    ColumnReport,
    Figures,
    Money,
    Report,
    SecondOpinion,
    Slot,
    State,
    WatchAlarm,
)
from reporting.index import index_json, index_page
from reporting.page import summary_page

DAY = datetime(2026, 1, 29, tzinfo=UTC)
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"
VOID = {"meta", "br", "img", "input", "link", "hr"}


class Balanced(HTMLParser):
    """Notes tags that are not closed in order, and every address and script."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.seen: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "action")]
        self.wrong += [name for name, _ in attrs if name.startswith("on")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


def parsed(page: str) -> Balanced:
    parser = Balanced()
    parser.feed(page)
    assert parser.open == []
    assert parser.wrong == []
    return parser


def report(columns: int = 3, text: str = "plain", state: State = "ok", rows: int = 500) -> Report:
    cells = Bars("levels", [text, "b", "missing"], [0.5, 0.5, 0.0], [0.2, 0.5, 0.3])
    steps = Bars(
        "steps", ["below 0", *(f"{i} to {i + 1}" for i in range(24)), "above 24"], [1 / 26] * 26, [1 / 26] * 26
    )
    reports = [
        ColumnReport(
            f"{text} {index}",
            text,
            text,
            "drifted" if index % 2 == 0 else "quiet",
            text,
            text,
            1e-30,
            0.3,
            bars=cells if index % 3 else steps,
            missing_window=0.3,
            outside_window=0.01,
        )
        for index in range(columns)
    ]
    return Report(
        contract="c",
        title=text,
        model_run_id=text,
        start=DAY,
        end=DAY + timedelta(days=1),
        made_at=DAY + timedelta(days=2),
        state=state,
        reason=text,
        figures=Figures(rows, {text: rows}, 100, 0.2, [0.5], 3, DAY, DAY, 0.001, 0.002),
        contract_hashes=[text],
        budget=0.01,
        columns=reports,
        quality=[QualityProblem(f"{text} 0", "missing", 0.3, 0.0, 0.02, 1e-9, text)],
        alarms=[WatchAlarm(text, text, text, DAY, None), WatchAlarm(text, text, text, DAY, DAY)],
        score=Bars("steps", [str(i) for i in range(20)], [0.05] * 20, [0.05] * 20),
        timeline=[Slot(DAY + index * timedelta(hours=1), 20, 4) for index in range(24)],
        estimated=Performance("estimated", 500, 1.0, text),
        realised=Performance(
            "realised", 100, 0.2, "", {"auc": Figure(0.9, 0.85, 0.95), "profit": Figure(-12.0, -30.0, 5.0)}
        ),
        money=Money(text, 100, -1_234.5, 25, 300, 0.3),
        evidently=SecondOpinion(
            [{"column": text, "method": text, "score": 0.1, "threshold": 0.2, "drifted": True}],
            [{"column": text, "reason": text}],
            500,
            "evidently.html",
        ),
        changes=[text],
        previous="c/w/r",
    )


def test_hostile_text_stays_text_everywhere() -> None:
    page, index = summary_page(report(text=HOSTILE)), index_page([("c/w/r", report(text=HOSTILE))])

    assert "script" not in parsed(page).seen
    assert "img" not in parsed(page).seen + parsed(index).seen
    assert parsed(index).seen.count("script") == 1
    assert "&lt;script&gt;alert(&#x27;x&#x27;)" in page


@pytest.mark.parametrize("state", ["ok", "insufficient", "empty", "broken"])
def test_every_state_has_its_page(state: State) -> None:
    page = summary_page(report(state=state))

    parsed(page)
    words = {
        "ok": "▲ 2 columns drifted, 1 column of bad quality",
        "insufficient": "… Too few predictions to judge",
        "empty": "○ No predictions",
        "broken": "✕ Could not be judged",
    }
    assert words[state] in page


def test_a_page_without_anything_is_still_a_page() -> None:
    figures = Figures(0, {}, 0, None, [], 0, None, None, None, None)
    bare = Report("c", "C", "no-predictions", DAY, DAY + timedelta(days=1), DAY, "empty", "no predictions", figures)

    page = summary_page(bare)

    parsed(page)
    assert "29 Jan 2026, UTC" in page
    assert len(page) < 10_000


def test_nothing_is_fetched_and_links_stay_in_the_folder() -> None:
    for page in (summary_page(report()), index_page([("c/w/r", report())])):
        addresses = parsed(page).addresses
        assert addresses
        assert not [address for address in addresses if re.match(r"[a-z]+:|//|/", address)]
        assert "url(" not in page
        assert "@import" not in page
        assert "default-src &#x27;none&#x27;" in page


def test_a_contract_of_400_columns_stays_under_300_kb() -> None:
    assert len(summary_page(report(columns=400)).encode()) < 300_000


def test_it_can_be_read_without_colour() -> None:
    page = summary_page(report())

    assert "this window, filled" in page
    assert "reference, outline" in page
    assert page.count("▲ drifted") == 2 + 1
    assert page.count("✓ quiet") == 1
    assert 'role="img" aria-label="plain 0, window against reference. ' in page


def test_money_and_labels_are_told_with_sign_interval_and_coverage() -> None:
    page = summary_page(report())

    assert "−1,234 plain" in page
    assert "100 of 500 predictions have ground truth (20 %). It is early:" in page
    assert '<td>AUC</td><td class="n">0.900<small>0.850 to 0.950</small></td>' in page
    assert '<td>Profit</td><td class="n">−12 plain<small>−30 to 5</small></td>' in page


def test_the_second_opinion_says_where_it_differs() -> None:
    ours = [ColumnReport("a", "", None, "drifted", ""), ColumnReport("b", "", None, "quiet", "")]
    score = {"method": "ks", "score": 0.1, "threshold": 0.2}
    opinion = SecondOpinion(
        [{"column": "a", "drifted": False, **score}, {"column": "b", "drifted": True, **score}], [], 500, "e.html"
    )
    page = summary_page(replace(report(), columns=ours, evidently=opinion))

    assert "Only the watch: a. Only Evidently: b." in page


def test_the_index_lists_what_can_be_searched() -> None:
    drifted, quiet = report(), replace(report(columns=0), contract="other", quality=[])
    page = index_page([("c/w/r", drifted), ("other/w/r", quiet)])

    parsed(page)
    assert 'data-contract="c" data-state="drifted"' in page
    assert 'data-contract="other" data-state="ok"' in page
    assert '<a href="c/w/r/index.html">29 Jan 2026, UTC</a>' in page
    assert b'"path": "other/w/r"' in index_json([("c/w/r", drifted), ("other/w/r", quiet)])


def test_bad_quality_without_drift_is_not_called_quiet() -> None:
    page = report(columns=0)

    assert "▲ 1 column of bad quality" in summary_page(page)
    assert 'data-state="bad quality"' in index_page([("c/w/r", page)])


def test_an_empty_shelf_says_how_the_first_report_comes_about() -> None:
    assert "python -m reporting" in index_page([])
