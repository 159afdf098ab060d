"""A judged window: its verdict with all that explains it, to and from the document that the store keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from churn.drift import WindowVerdict
from churn.joint_drift import JointVerdict
from churn.performance import Performance
from churn.quality import QualityProblem
from monitoring.windows import Position, Window

VERDICT_KIND = "verdict"


@dataclass(frozen=True)
class Judged:
    """Written once for each window. `last` is its last prediction, where the next window by count begins.

    `histograms` are the counts as churn.histogram writes them; `importance` is each feature's share in the model's
    decisions (mean absolute SHAP), empty where there is no model. `joint` is what the domain classifier said when it
    was last asked, at `joint_at`: that is in this window or in one before.
    """

    window: Window
    last: Position | None
    judged_at: datetime
    bundle_digest: str | None
    verdict: WindowVerdict
    quality: tuple[QualityProblem, ...] = ()
    routes: Mapping[str, int] = field(default_factory=dict)
    importance: Mapping[str, float] = field(default_factory=dict)
    histograms: Mapping[str, Any] | None = None
    estimated: Performance | None = None
    joint: JointVerdict | None = None
    joint_at: datetime | None = None

    def to_document(self) -> dict[str, Any]:
        """JSON-like, times as ISO texts; flat where people query: state, rows, drifted."""
        window = self.window
        return {
            "key": window.key,
            "contract": window.contract,
            "model_run_id": window.model_run_id,
            "series": window.series,
            "number": window.number,
            "start": window.start.isoformat(),
            "end": window.end.isoformat(),
            "after": _position_document(window.after),
            "rows_wanted": window.rows,
            "last": _position_document(self.last),
            "judged_at": self.judged_at.isoformat(),
            "bundle_digest": self.bundle_digest,
            "routes": dict(self.routes),
            "quality": [asdict(problem) for problem in self.quality],
            "importance": dict(self.importance),
            "histograms": None if self.histograms is None else dict(self.histograms),
            "estimated": self.estimated.to_json() if self.estimated else None,
            "joint": self.joint.to_json() if self.joint else None,
            "joint_at": self.joint_at.isoformat() if self.joint_at else None,
            **self.verdict.to_json(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Judged:
        window = Window(
            contract=document["contract"],
            model_run_id=document["model_run_id"],
            series=document["series"],
            number=int(document["number"]),
            start=datetime.fromisoformat(document["start"]),
            end=datetime.fromisoformat(document["end"]),
            after=_position(document["after"]),
            rows=document["rows_wanted"],
        )
        return cls(
            window=window,
            last=_position(document["last"]),
            judged_at=datetime.fromisoformat(document["judged_at"]),
            bundle_digest=document["bundle_digest"],
            verdict=WindowVerdict.from_json(document),
            quality=tuple(QualityProblem(**problem) for problem in document["quality"]),
            routes=document["routes"],
            importance=document["importance"],
            histograms=document["histograms"],
            estimated=Performance.from_json(document["estimated"]) if document.get("estimated") else None,
            joint=JointVerdict.from_json(document["joint"]) if document.get("joint") else None,
            joint_at=datetime.fromisoformat(document["joint_at"]) if document.get("joint_at") else None,
        )


def _position_document(position: Position | None) -> dict[str, str] | None:
    if position is None:
        return None
    return {"created_at": position.created_at.isoformat(), "prediction_id": position.prediction_id}


def _position(document: Mapping[str, str] | None) -> Position | None:
    if document is None:
        return None
    return Position(datetime.fromisoformat(document["created_at"]), document["prediction_id"])
