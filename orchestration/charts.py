"""matplotlib's home: the curves on a tuning's page in MLflow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from orchestration.contenders import (
    Contender,
    Contributions,
    calibration,
    explain,
    precision_recall,
    roc,
    threshold_curve,
)
from orchestration.training import TrainingSet

COLOURS = {
    "xgboost": "#3f72b8",
    "lightgbm": "#27704a",
    "random_forest": "#a8480a",
    "decision_tree": "#8a5bb0",
    "logistic": "#8a94a6",
}
INK, SOFT, RULE = "#1c2330", "#586173", "#dfe2e7"
MOST_FEATURES = 15
DOTS_PER_INCH = 110


def draw_charts(folder: Path, contenders: Sequence[Contender], data: TrainingSet) -> list[Path]:
    """Write the charts as PNG files, the best contender first among `contenders`; in the order to be read."""
    labels = data.labels[data.parts.validation]
    drawn: dict[str, Callable[[Any], None]] = {
        "roc": lambda axes: _roc(axes, contenders, labels),
        "precision_recall": lambda axes: _precision_recall(axes, contenders, labels),
        "calibration": lambda axes: _calibration(axes, contenders, labels),
        "threshold_profit": lambda axes: _thresholds(axes, contenders[0], data),
        "shap": lambda axes: _shap(axes, explain(contenders[0], data)),
    }
    return [_save(folder / f"{name}.png", draw) for name, draw in drawn.items()]


def _save(path: Path, draw: Callable[[Any], None]) -> Path:
    from matplotlib.figure import Figure  # takes a second to import, and only a tuning's end needs it

    figure = Figure(figsize=(6.8, 5.0), layout="constrained")
    axes = figure.subplots()
    axes.tick_params(colors=SOFT, labelsize=9)
    axes.grid(color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(RULE)
    draw(axes)
    axes.title.set(fontsize=12, color=INK)
    figure.savefig(path, dpi=DOTS_PER_INCH)
    return path


def _roc(axes: Any, contenders: Sequence[Contender], labels: Any) -> None:
    for rank, one in enumerate(contenders):
        _line(axes, rank, one, *roc(one, labels))
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
    axes.set(
        title="ROC: leavers found against stayers disturbed, validation rows",
        xlabel="share of stayers contacted",
        ylabel="share of leavers contacted",
    )
    axes.legend(frameon=False, fontsize=9)


def _precision_recall(axes: Any, contenders: Sequence[Contender], labels: Any) -> None:
    for rank, one in enumerate(contenders):
        _line(axes, rank, one, *precision_recall(one, labels))
    axes.axhline(labels.mean(), color=SOFT, linewidth=0.8, linestyle=":")
    axes.set(title="Precision and recall, validation rows", xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    axes.legend(frameon=False, fontsize=9)


def _calibration(axes: Any, contenders: Sequence[Contender], labels: Any) -> None:
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.8, linestyle=":")
    for rank, one in enumerate(contenders):
        _line(axes, rank, one, *calibration(one, labels), marker="o", markersize=3.5)
    axes.set(
        title="Calibration: tenths of the validation rows",
        xlabel="mean probability given",
        ylabel="share that left",
    )
    axes.legend(frameon=False, fontsize=9)


def _thresholds(axes: Any, best: Contender, data: TrainingSet) -> None:
    decision, chosen = data.contract.decision, best.bundle.threshold
    curve = threshold_curve(best, data.labels[data.parts.validation], decision)
    (money,) = axes.plot(curve.thresholds, curve.profit_per_1000, color=COLOURS["xgboost"], linewidth=1.8)
    axes.axhline(0, color=SOFT, linewidth=0.8)
    line = axes.axvline(chosen, color=INK, linewidth=1.0, linestyle="--")
    shares = axes.twinx()
    (recall,) = shares.plot(curve.thresholds, curve.recall, color=COLOURS["lightgbm"], linewidth=1.0)
    (precision,) = shares.plot(curve.thresholds, curve.precision, color=COLOURS["random_forest"], linewidth=1.0)
    shares.set(ylim=(0, 1.02), ylabel="recall, precision")
    shares.tick_params(colors=SOFT, labelsize=9)
    for side in ("top", "left", "bottom"):
        shares.spines[side].set_visible(False)
    axes.set(
        title=f"What a threshold earns: {best.family}, validation rows",
        xlabel="threshold",
        ylabel=f"profit per 1,000 customers, {decision.currency}",
        xlim=(0, 1),
    )
    told = ["profit", f"chosen: {chosen:.3f}", "recall", "precision"]
    axes.legend([money, line, recall, precision], told, frameon=False, fontsize=9, loc="lower center", ncols=2)


def _shap(axes: Any, given: Contributions) -> None:
    """A dot a customer: how far a feature moved the answer; its colour is the feature's value."""
    order = np.argsort(np.abs(given.contributions).mean(axis=0))[-MOST_FEATURES:]
    random = np.random.default_rng(0)
    points = None
    for place, index in enumerate(order):
        moved, ranks = given.contributions[:, index], given.ranks[:, index]
        heights = place + random.uniform(-0.28, 0.28, len(moved))
        blank = np.isnan(ranks)
        axes.scatter(moved[blank], heights[blank], color="#b4bac6", s=5, linewidths=0)
        points = axes.scatter(
            moved[~blank], heights[~blank], c=ranks[~blank], cmap="coolwarm", vmin=0, vmax=1, s=5, linewidths=0
        )
    axes.axvline(0, color=SOFT, linewidth=0.8)
    axes.set_yticks(range(len(order)), [given.features[index] for index in order])
    axes.set(title=f"Why: SHAP contributions, {len(given.contributions)} customers", xlabel="log-odds of leaving")
    if points is not None:
        bar = axes.figure.colorbar(points, ax=axes, ticks=[0, 1], aspect=40, pad=0.01)
        bar.ax.set_yticklabels(["low", "high"], fontsize=9, color=SOFT)
        bar.outline.set_visible(False)
        bar.set_label("value (grey: a category, or missing)", fontsize=9, color=SOFT)


def _line(axes: Any, rank: int, one: Contender, x: Any, y: Any, **more: Any) -> None:
    colour = COLOURS.get(one.family, INK)
    axes.plot(x, y, color=colour, linewidth=1.8 if rank == 0 else 1.1, label=one.family, zorder=9 - rank, **more)
