"""How panels look: every one has words, a unit, a text for when it is empty, and its thresholds drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, statetimeline, table, text, timeseries
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat
from grafana_foundation_sdk.models.text import TextMode

SOURCE = DataSourceRef(type_val="prometheus", uid="prometheus")
"""As monitoring/grafana/provisioning/datasources names it."""
GREEN, AMBER, RED, BLUE, QUIET = "green", "orange", "red", "blue", "text"
Step = tuple[float | None, str]
"""From this value on, this colour; the first step has no value."""
Words = Mapping[str, tuple[str, str]]
"""A value -> the words and the colour that it is shown as."""


@dataclass(frozen=True, slots=True)
class Query:
    """One PromQL expression; in a table, `legend` is the column's title."""

    expr: str
    legend: str = ""


def above(value: float, colour: str = RED) -> tuple[Step, ...]:
    """Green, and from a value on not."""
    return ((None, GREEN), (value, colour))


def below(value: float, colour: str = RED) -> tuple[Step, ...]:
    """Green from a value on."""
    return ((None, colour), (value, GREEN))


def figure(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    empty: str,
    steps: Sequence[Step] = ((None, QUIET),),
    words: Words | None = None,
    decimals: int | None = None,
) -> Any:
    """What is so now, as a number or in words; one value a series."""
    panel = stat.Panel().reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    panel = panel.graph_mode(looks.BigValueGraphMode.NONE).color_mode(looks.BigValueColorMode.BACKGROUND_SOLID)
    if all(colour == QUIET for _, colour in steps) and not words:
        panel = panel.color_mode(looks.BigValueColorMode.NONE)
    panel = panel.color_scheme(_colour(FieldColorModeId.THRESHOLDS))
    return _finish(panel, title, description, queries, unit, empty, steps, words, decimals, instant=True)


def lines(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    empty: str,
    steps: Sequence[Step] = (),
    many: bool = False,
    dashed: str = "",
    logarithmic: bool = False,
    stacked: bool = False,
    minimum: float | None = 0.0,
    maximum: float | None = None,
) -> Any:
    """What was so over time. `many` lists the series beside the picture; legends that match `dashed` are limits."""
    panel = timeseries.Panel().line_width(1).fill_opacity(8 if not many else 0).span_nulls(False)
    panel = panel.color_scheme(_colour(FieldColorModeId.PALETTE_CLASSIC))
    panel = panel.show_points(looks.VisibilityMode.AUTO)
    panel = panel.legend(_legend(many)).tooltip(
        common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING)
    )
    if steps:
        panel = panel.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    if logarithmic:
        scale = common.ScaleDistributionConfig().type(looks.ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    if stacked:
        panel = panel.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL).group("A")).fill_opacity(30)
    if minimum is not None and not logarithmic:
        panel = panel.axis_soft_min(minimum)
    if maximum is not None:
        panel = panel.axis_soft_max(maximum)
    if dashed:
        panel = panel.override_by_regexp(dashed, _dashed())
    return _finish(panel, title, description, queries, unit, empty, steps, None, None, instant=False)


def states(title: str, description: str, queries: Sequence[Query], *, empty: str, words: Words) -> Any:
    """What was so, window by window, as bands: a row a series, its colour the state."""
    panel = statetimeline.Panel().show_value(looks.VisibilityMode.NEVER).row_height(0.8).fill_opacity(75)
    panel = panel.merge_values(True).legend(_legend(many=False)).line_width(0)
    panel = panel.color_scheme(_colour(FieldColorModeId.THRESHOLDS))
    return _finish(panel, title, description, queries, "none", empty, (), words, None, instant=False)


def rows(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    empty: str,
    columns: Mapping[str, str],
    overrides: Mapping[str, Sequence[DynamicConfigValue]] | None = None,
    sort_by: str = "",
) -> Any:
    """A table: queries that share labels are one row. `columns` are the labels shown, each with its title."""
    panel = table.Panel().filterable(True)
    if sort_by:
        panel = panel.sort_by([common.TableSortByFieldState().display_name(sort_by).desc(True)])
    values = {_value(place, queries): query.legend for place, query in enumerate(queries)}
    order = [*columns, *values]
    organize = {
        "excludeByName": {"Time": True},
        "indexByName": {name: place for place, name in enumerate(order)},
        "renameByName": {**columns, **values},
    }
    panel = panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel = panel.with_transformation(DataTransformerConfig(id_val="organize", options=organize))
    for name, properties in (overrides or {}).items():
        panel = panel.override_by_name(name, list(properties))
    return _finish(panel, title, description, queries, unit, empty, (), None, None, instant=True, as_table=True)


def page(title: str, description: str, content: str) -> Any:
    """Words in Markdown."""
    return text.Panel().title(title).description(description).mode(TextMode.MARKDOWN).content(content)


def in_words(words: Words) -> ValueMap:
    """Values as words with a colour, for a whole panel or one column."""
    results = {
        value: ValueMappingResult(text=said, color=colour, index=place)
        for place, (value, (said, colour)) in enumerate(words.items())
    }
    return ValueMap(options=results)


def link(title: str, url: str, new_tab: bool = True) -> Any:
    return dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url).target_blank(new_tab)


def coloured(steps: Sequence[Step]) -> list[DynamicConfigValue]:
    """For a column of a table: its cells in the colours of their values."""
    return [
        DynamicConfigValue("thresholds", {"mode": "absolute", "steps": [_step(*step).to_json() for step in steps]}),
        DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
    ]


def _finish(
    panel: Any,
    title: str,
    description: str,
    queries: Sequence[Query],
    unit: str,
    empty: str,
    steps: Sequence[Step],
    words: Words | None,
    decimals: int | None,
    *,
    instant: bool,
    as_table: bool = False,
) -> Any:
    panel = panel.title(title).description(description).datasource(SOURCE).unit(unit).no_value(empty)
    thresholds = [_step(*step) for step in steps or ((None, QUIET),)]
    panel = panel.thresholds(dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(thresholds))
    if words:
        panel = panel.mappings([in_words(words)])
    if decimals is not None:
        panel = panel.decimals(decimals)
    for place, query in enumerate(queries):
        target = prometheus.Dataquery().datasource(SOURCE).expr(query.expr).ref_id(chr(ord("A") + place))
        target = target.legend_format(query.legend or "__auto")
        target = target.instant() if instant else target.range()
        panel = panel.with_target(target.format(PromQueryFormat.TABLE) if as_table else target)
    return panel


def _step(value: float | None, colour: str) -> Threshold:
    return Threshold(value=value, color=colour)


def _colour(mode: FieldColorModeId) -> Any:
    return dashboard.FieldColor().mode(mode)


def _legend(many: bool) -> Any:
    legend = common.VizLegendOptions().show_legend(True)
    if not many:
        return legend.display_mode(looks.LegendDisplayMode.LIST).placement(looks.LegendPlacement.BOTTOM)
    legend = legend.display_mode(looks.LegendDisplayMode.TABLE).placement(looks.LegendPlacement.RIGHT)
    return legend.calcs(["lastNotNull"]).sort_by("Last *").sort_desc(True)


def _dashed() -> list[DynamicConfigValue]:
    return [
        DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [6, 6]}),
        DynamicConfigValue("custom.fillOpacity", 0),
    ]


def _value(place: int, queries: Sequence[Query]) -> str:
    """What Grafana calls the values of a query in a table."""
    return "Value" if len(queries) == 1 else f"Value #{chr(ord('A') + place)}"
