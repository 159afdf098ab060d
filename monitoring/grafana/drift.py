"""Drift: has the world of the model changed, which column, since when, and does the model still work."""

from __future__ import annotations

from typing import Any

from grafana_foundation_sdk.models.dashboard import DynamicConfigValue

from churn.drift import FALSE_ALARM_BUDGET, MINIMUM_EFFECT
from churn.joint_drift import THRESHOLD
from monitoring.alarms import PAGE_EFFECT
from monitoring.grafana import panels
from monitoring.grafana.board import COLUMNS, RUN, Row, alarms_figure, board
from monitoring.grafana.panels import AMBER, BLUE, GREEN, RED, Query

ALERTS = (
    "FeatureDrift",
    "JointDrift",
    "BadInput",
    "ConceptDrift",
    "EstimateOff",
    "WindowsBroken",
    "NoPredictions",
    "WatchDown",
    "WatchStuck",
)
NO_WINDOW = "No window of this run has closed yet."
STATES = {
    "0": ("ok", GREEN),
    "1": ("insufficient: too few rows", BLUE),
    "2": ("stale: no predictions", RED),
    "3": ("broken", RED),
}
VERDICTS = {"0": ("as the reference", "super-light-green"), "1": ("drifted", AMBER), "2": ("bad input", RED)}
ODD = {"unknown": "unknown", "invalid": "impossible", "out_of_range": "out of range"}
"""Shares of odd values, as metrics and in words. Of impossible ones none is allowed."""
PSI_STEPS = ((None, GREEN), (0.1, AMBER), (0.25, RED))
"""As those who know PSI read it: a small shift from a tenth, a large one from a quarter."""

ESTIMATE_OFF = 0.05
"""As the alert EstimateOff has it."""
BUDGET_STEPS = ((None, AMBER), (FALSE_ALARM_BUDGET, GREEN))


def build() -> Any:
    return board(
        "Drift",
        "Whether the customers are still those that the model was fitted on, column by column.",
        ALERTS,
        [
            Row("", 4, _first()),
            Row("Which columns", 13, [(_verdicts(), 13), (_columns_now(), 11)]),
            Row("How far, and how surely", 9, [(_effect(), 12), (_chance(), 12)]),
            Row("What the columns hold", 8, [(_missing(), 8), (_odd(), 8), (_psi(), 8)]),
            Row("What columns cannot show", 8, [(_auc(), 7), (_estimate_error(), 5), (_joint(), 6), (_evidently(), 6)]),
        ],
        by_feature=True,
    )


def _first() -> list[tuple[Any, int]]:
    def of(state: str) -> str:
        return f'sum(churnwatch_window_state{{{RUN},state="{state}"}})'

    state = panels.figure(
        "Newest window",
        "Whether the newest window could be judged. Silence and a bundle that is gone count more than what it said.",
        [Query(f"{of('insufficient')} + 2 * {of('stale')} + 3 * {of('broken')}")],
        unit="none",
        empty="No predictions of this run yet.",
        words=STATES,
    )
    told = panels.figure(
        "Columns",
        "In the newest window: those that drifted, and those that failed a check of quality. One window rings nothing.",
        [
            Query(f"sum(churnwatch_feature_drift_alarm{{{RUN}}})", "drifted"),
            Query(f"sum(max by (feature) (churnwatch_feature_quality_alarm{{{RUN}}}))", "bad input"),
        ],
        unit="none",
        empty=NO_WINDOW,
        steps=panels.above(1, AMBER),
    )
    size = panels.figure(
        "Rows",
        "Predictions in the newest window, and rows of the reference it is compared with.",
        [
            Query(f"churnwatch_window_rows{{{RUN}}}", "window"),
            Query(f"churnwatch_reference_rows{{{RUN}}}", "reference"),
        ],
        unit="locale",
        empty=NO_WINDOW,
    )
    age = panels.figure(
        "Window ended",
        "How old the newest verdict is. A window is judged when it has closed.",
        [Query(f"1000 * churnwatch_window_end_timestamp_seconds{{{RUN}}}")],
        unit="dateTimeFromNow",
        empty=NO_WINDOW,
    )
    looked = panels.figure(
        "Watch looked",
        "How long ago the watch read the log. Past five minutes it pages.",
        [Query("time() - churnwatch_watch_last_poll_timestamp_seconds")],
        unit="s",
        empty="The watch does not answer.",
        steps=panels.above(300),
        decimals=0,
    )
    auc = panels.figure(
        "AUC",
        "Estimated without labels (blind to concept drift), and realised by the labels that came.",
        [Query(f"churnwatch_auc{{{RUN}}}", "{{kind}}")],
        unit="none",
        empty="Neither an estimate nor labels yet.",
        decimals=3,
    )
    return [(alarms_figure(ALERTS), 4), (state, 4), (told, 4), (size, 3), (age, 3), (looked, 3), (auc, 3)]


def _verdicts() -> Any:
    drifted = f"max by (feature) (churnwatch_feature_drift_alarm{{{COLUMNS}}})"
    bad = f"2 * max by (feature) (churnwatch_feature_quality_alarm{{{COLUMNS}}})"
    return panels.states(
        "Verdict on each column, window by window",
        "Drift has a family-wise budget: in one quiet window of a hundred a column may show up by chance. "
        "A column rings when it lasts.",
        [Query(f"({bad} > 0) or {drifted}", "{{feature}}")],
        empty=NO_WINDOW,
        words=VERDICTS,
    )


def _columns_now() -> Any:
    def by_feature(metric: str, more: str = "") -> str:
        return f"max by (feature) (churnwatch_feature_{metric}{{{COLUMNS}{more}}})"

    three = [DynamicConfigValue("decimals", 3)]
    share = [DynamicConfigValue("unit", "percentunit"), DynamicConfigValue("decimals", 1)]
    return panels.rows(
        "Columns in the newest window",
        "The chance is corrected over all columns and tests; importance is the share in the model's decisions.",
        [
            Query(by_feature("drift_score", ',method="effect"'), "Effect"),
            Query(by_feature("drift_p_value"), "Chance"),
            Query(by_feature("drift_score", ',method="psi"'), "PSI"),
            Query(by_feature("missing_ratio"), "Missing"),
            Query(by_feature("importance_ratio"), "Importance"),
        ],
        unit="none",
        empty=NO_WINDOW,
        columns={"feature": "Column"},
        overrides={
            "Effect": [*three, *panels.coloured(((None, GREEN), (MINIMUM_EFFECT, AMBER), (PAGE_EFFECT, RED)))],
            "Chance": [
                DynamicConfigValue("unit", "sci"),
                DynamicConfigValue("decimals", 1),
                *panels.coloured(BUDGET_STEPS),
            ],
            "PSI": [*three, *panels.coloured(PSI_STEPS)],
            "Missing": share,
            "Importance": share,
        },
        sort_by="Effect",
    )


def _effect() -> Any:
    return panels.lines(
        "Effect",
        f"Jensen-Shannon distance from the reference less what sampling brings: the same at any number of rows. From "
        f"{MINIMUM_EFFECT:g} it counts, from {PAGE_EFFECT:g} it pages.",
        [Query(f'max by (feature) (churnwatch_feature_drift_score{{{COLUMNS},method="effect"}})', "{{feature}}")],
        unit="none",
        empty=NO_WINDOW,
        steps=((None, GREEN), (MINIMUM_EFFECT, AMBER), (PAGE_EFFECT, RED)),
        many=True,
    )


def _chance() -> Any:
    chance = f"clamp_min(max by (feature) (churnwatch_feature_drift_p_value{{{COLUMNS}}}), 1e-6)"
    return panels.lines(
        "Chance of such a move by sampling alone",
        "Corrected over all columns and tests; drawn from one in a million. At or below the dashed budget, and with "
        "enough effect, a column drifts.",
        [Query(chance, "{{feature}}"), Query(f"max(churnwatch_feature_drift_threshold{{{RUN}}})", "budget")],
        unit="none",
        empty=NO_WINDOW,
        many=True,
        dashed="budget",
        logarithmic=True,
    )


def _missing() -> Any:
    missing = f"max by (feature) (churnwatch_feature_missing_ratio{{{COLUMNS}}}) > 0"
    return panels.lines(
        "Missing values",
        "Share of rows without a value, and what is allowed, dashed: the reference's own share and a tolerance.",
        [Query(missing, "{{feature}}"), Query(_allowed("missing", missing), "{{feature}} allowed")],
        unit="percentunit",
        empty="No column misses a value, or no window has closed yet.",
        dashed="/allowed$/",
    )


def _allowed(check: str, where: str) -> str:
    """The threshold of a check, for the columns that have something to show."""
    return f'max by (feature) (churnwatch_feature_quality_threshold{{{COLUMNS},check="{check}"}}) and ({where})'


def _odd() -> Any:
    def share(what: str) -> str:
        return f"max by (feature) (churnwatch_feature_{what}_ratio{{{COLUMNS}}}) > 0"

    shown = [Query(share(what), f"{{{{feature}}}} {said}") for what, said in ODD.items()]
    limits = [
        Query(_allowed(what, share(what)), f"{{{{feature}}}} {said} allowed")
        for what, said in ODD.items()
        if what != "invalid"
    ]
    return panels.lines(
        "Unknown, impossible or out of range",
        "Share of rows with a level that the contract does not list, an impossible value, or one beyond the reference.",
        [*shown, *limits],
        unit="percentunit",
        empty="Every value is one the contract knows, or no window has closed yet.",
        dashed="/allowed$/",
    )


def _psi() -> Any:
    return panels.lines(
        "PSI over six hours",
        "Population stability index of all windows of six hours together, by Prometheus from the bins' counters.",
        [Query(f"churnwatch:feature_psi:6h{{{COLUMNS}}}", "{{feature}}")],
        unit="none",
        empty="Windows of six hours are counted first.",
        steps=PSI_STEPS,
    )


def _auc() -> Any:
    figures = f'churnwatch_performance{{{RUN},metric="auc"}}'
    return panels.lines(
        "AUC: estimated, and realised when labels come",
        "With its 95 % interval, dashed. The estimate follows a changed population and is blind to concept drift: "
        "where realised falls and estimated does not, customers behave differently.",
        [Query(figures, "{{kind}} {{bound}}")],
        unit="none",
        empty="Neither an estimate nor labels yet.",
        dashed="/(low|high)$/",
        minimum=None,
        maximum=1.0,
    )


def _estimate_error() -> Any:
    return panels.lines(
        "How far the estimated AUC was off",
        f"From the realised one, once labels came. From {ESTIMATE_OFF:g} on, for ten minutes, it rings.",
        [Query(f'abs(churnwatch_estimate_error{{{RUN},metric="auc"}})', "off by")],
        unit="none",
        empty="No labels yet.",
        steps=((None, GREEN), (ESTIMATE_OFF, AMBER)),
    )


def _joint() -> Any:
    return panels.lines(
        "Features together: chance that they go together as they did",
        f"At or below the line, {THRESHOLD:g}, it rings; drawn from one in a million. Asked hourly, while no column "
        "moves.",
        [Query(f"clamp_min(churnwatch_joint_drift_p_value{{{RUN}}}, 1e-6)", "chance")],
        unit="none",
        empty="Not asked yet: hourly, while no column moves.",
        steps=((None, RED), (THRESHOLD, GREEN)),
        logarithmic=True,
    )


def _evidently() -> Any:
    scores = f'max by (feature, method) (churnwatch_feature_drift_score{{{COLUMNS},method=~"evidently:.*"}})'
    return panels.lines(
        "Evidently, the second opinion",
        "Its scores of a sample of the newest window it was asked about, by its own method. Its page has the pictures.",
        [Query(scores, "{{feature}} {{method}}")],
        unit="none",
        empty="Evidently was not asked yet.",
    )
