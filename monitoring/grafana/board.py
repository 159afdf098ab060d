"""What every dashboard has: the same variables, annotations and links, what rings first and the runbook last."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    DashboardCursorSync,
    DashboardLinkType,
    DynamicConfigValue,
    GridPos,
    VariableRefresh,
    VariableSort,
)

from monitoring.grafana import panels
from monitoring.grafana.panels import GREEN, RED, SOURCE, Query

RUNBOOK = Path(__file__).resolve().parents[2] / "docs" / "operations.md"
WATCH, REPORTS = "http://127.0.0.1:8085", "http://127.0.0.1:8888"
"""On the machine itself, or through a tunnel to it, as in the alerts."""
TAG = "churnwatch"
RUNBOOK_PANEL = 100
"""A number that links can name."""
WIDTH = 24
RUN = 'contract="$contract",model_run_id="$run"'
"""The labels of the chosen run's series."""
COLUMNS = RUN + ',feature=~"$feature"'


@dataclass(frozen=True)
class Row:
    """Panels side by side, with how wide each is; those that do not fit go on below."""

    title: str
    height: int
    panels: Sequence[tuple[Any, int]]


def board(name: str, description: str, alerts: Sequence[str], rows: Sequence[Row], by_feature: bool = False) -> Any:
    """One dashboard: its first row says whether all is well, then comes what rings; the runbook is the last."""
    uid = f"churnwatch-{name.lower()}"
    to_runbook = f"/d/{uid}?viewPanel=panel-{RUNBOOK_PANEL}&${{contract:queryparam}}&${{run:queryparam}}"
    told = [(alarms_table(alerts, to_runbook), WIDTH)]
    read = panels.page("What to do when it rings", "From docs/operations.md.", runbook(alerts)).id(RUNBOOK_PANEL)
    first, *others = rows
    laid_out = [first, Row("What rings", 6, told), *others, Row("Runbook", 14, [(read, WIDTH)])]
    made = dashboard.Dashboard(f"Churnwatch: {name}").uid(uid).description(description)
    made = made.tags([TAG]).readonly().timezone("browser").refresh("30s").time("now-6h", "now")
    made = made.tooltip(DashboardCursorSync.CROSSHAIR).variables(_variables(by_feature))
    made = made.annotations([_Made(deployments()), _Made(alarms(alerts))]).links(_links(to_runbook))
    _lay_out(made, laid_out)
    return made.build()


def alarms_figure(alerts: Sequence[str]) -> Any:
    """The first panel of a dashboard: whether all is well."""
    return panels.figure(
        "Alarms",
        f"Alerts of this dashboard that ring now: {', '.join(alerts)}. The table below names them.",
        [Query(f"count({ringing(alerts)}) or vector(0)")],
        unit="none",
        empty="Prometheus does not answer",
        steps=panels.above(1),
        words={"0": ("none rings", GREEN)},
    )


def alarms_table(alerts: Sequence[str], to_runbook: str) -> Any:
    """Which alerts ring, since when, with the way to the watch's page and to Evidently's."""
    labels = "alertname, severity, contract, model_run_id, feature, check, shard, reason"
    since = f"1000 * max by ({labels}) ({since_when(alerts)})"
    columns = {
        "alertname": "Alert",
        "severity": "Severity",
        "contract": "Contract",
        "feature": "Column",
        "check": "Check",
        "shard": "Shard",
        "reason": "Reason",
        "model_run_id": "Run",
    }
    pages = [
        panels.link("What to do", to_runbook),
        panels.link("The watch's page", f"{WATCH}/"),
        panels.link("Evidently's newest page of the run", f"{WATCH}/evidently/${{contract}}/${{run}}"),
    ]
    data_links = [{"title": page.build().title, "url": page.build().url, "targetBlank": True} for page in pages]
    return panels.rows(
        "Alarms that ring",
        "Each with the time since which its condition holds. A click on its name leads to what to do.",
        [Query(since, "Since")],
        unit="dateTimeAsIso",
        empty="Nothing rings.",
        columns=columns,
        overrides={
            "Alert": [DynamicConfigValue("links", data_links)],
            "Severity": [
                DynamicConfigValue(
                    "mappings", [panels.in_words({"page": ("page", RED), "ticket": ("ticket", "orange")})]
                ),
                DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
            ],
        },
    )


def ringing(alerts: Sequence[str]) -> str:
    """Those alerts of the chosen contract, or of no contract, that fire."""
    return f'ALERTS{{alertstate="firing",{_named(alerts)}}}'


def since_when(alerts: Sequence[str]) -> str:
    """The same, their value the time at which each began."""
    return f"ALERTS_FOR_STATE{{{_named(alerts)}}} and ignoring (alertstate) {ringing(alerts)}"


def runbook(alerts: Sequence[str]) -> str:
    """The paragraphs of docs/operations.md on these alerts. Raises KeyError for one that has none."""
    parts = re.split(r"^## (\w+)\n", RUNBOOK.read_text(encoding="utf-8"), flags=re.MULTILINE)
    paragraphs = dict(zip(parts[1::2], parts[2::2], strict=True))
    without_links = {name: re.sub(r"\[([^]]+)\]\([^)]+\)", r"\1", paragraph) for name, paragraph in paragraphs.items()}
    return "\n\n".join(f"### {name}\n{without_links[name].strip()}" for name in alerts)


def deployments() -> Annotation:
    """A line where a service began to serve a model: a deployment, a swap, a restart of all workers."""
    since = 'min by (job, model_run_id) (churnwatch_model_served_since_timestamp_seconds{contract="$contract"}) * 1000'
    query = AnnotationQuery(name="Deployments", datasource=SOURCE, icon_color="blue", expr=since)
    return Annotation(query, {"titleFormat": "{{job}} serves {{model_run_id}}", "tagKeys": "job"}, times=True)


def alarms(alerts: Sequence[str]) -> Annotation:
    """A band for as long as an alert of this dashboard rings."""
    expression = f"max by (alertname, severity, feature, shard) ({ringing(alerts)})"
    query = AnnotationQuery(name="Alarms", datasource=SOURCE, icon_color="red", expr=expression)
    return Annotation(query, {"titleFormat": "{{alertname}} {{feature}}{{shard}}", "tagKeys": "severity"}, times=False)


class Annotation:
    """An annotation with what Grafana's Prometheus adds to it and the SDK's model leaves out. `times` says that its
    values are the times to mark, in milliseconds."""

    def __init__(self, query: AnnotationQuery, told: Mapping[str, object], times: bool) -> None:
        self._query = query
        self._told = {**told, "useValueForTime": times, "step": "60s"}

    def to_json(self) -> dict[str, object]:
        return {**self._query.to_json(), **self._told}


class _Made:
    """What is built already, where the SDK asks for a builder."""

    def __init__(self, made: Any) -> None:
        self._made = made

    def build(self) -> Any:
        return self._made


def _named(alerts: Sequence[str]) -> str:
    return f'alertname=~"{"|".join(alerts)}",contract=~"$contract|"'


def _variables(by_feature: bool) -> list[Any]:
    known = '{__name__=~"churnwatch_model_info|churnwatch_window_state"}'
    # What is served now comes first, then what had the newest window: that is the one to look at.
    served = 'max by (model_run_id) (churnwatch_model_served_since_timestamp_seconds{contract="$contract"})'
    judged = 'max by (model_run_id) (churnwatch_window_end_timestamp_seconds{contract="$contract"})'
    waiting = 'max by (model_run_id) (churnwatch_window_state{contract="$contract"})'
    runs = f"query_result(sort_desc({served} or {judged} or {waiting}))"
    contract = _variable("contract", "Contract", f"label_values({known}, contract)")
    run = _variable("run", "Run", runs).sort(VariableSort.DISABLED).build()
    run.regex = '/model_run_id="([^"]+)"/'
    found = [contract.sort(VariableSort.ALPHABETICAL_ASC), _Made(run)]
    if by_feature:
        features = f"label_values(churnwatch_feature_drift_p_value{{{RUN}}}, feature)"
        column = _variable("feature", "Column", features).sort(VariableSort.ALPHABETICAL_ASC)
        found.append(column.multi(True).include_all(True).all_value(".*"))
    return found


def _variable(name: str, label: str, query: str) -> Any:
    made = dashboard.QueryVariable(name).label(label).datasource(SOURCE).query({"query": query, "refId": name})
    return made.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)


def _links(to_runbook: str) -> list[Any]:
    others = dashboard.DashboardLink("Churnwatch").type(DashboardLinkType.DASHBOARDS).tags([TAG])
    return [
        others.as_dropdown(False).include_vars(True).keep_time(True),
        panels.link("Runbook", to_runbook),
        panels.link("The watch's page", f"{WATCH}/"),
        panels.link("Evidently's newest page", f"{WATCH}/evidently/${{contract}}/${{run}}"),
        panels.link("Reports", f"{REPORTS}/"),
    ]


def _lay_out(made: Any, rows: Sequence[Row]) -> None:
    """Rows from top to bottom, panels from left to right. The first row needs no title."""
    number, y = 1, 0
    for place, row in enumerate(rows):
        if place:
            made.with_row(dashboard.Row(row.title).id(number).grid_pos(GridPos(h=1, w=WIDTH, x=0, y=y)))
            number, y = number + 1, y + 1
        x = 0
        for panel, width in row.panels:
            if x + width > WIDTH:
                x, y = 0, y + row.height
            place_on_grid = panel.grid_pos(GridPos(h=row.height, w=width, x=x, y=y))
            made.with_panel(place_on_grid if place_on_grid.build().id_val else place_on_grid.id(number))
            number, x = number + 1, x + width
        y += row.height
