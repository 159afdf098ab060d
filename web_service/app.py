"""The routes: unpack HTTP, hand to the service, pack the answer. The only home of Flask."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
import structlog
from flask import Flask, Response, request
from structlog.contextvars import bind_contextvars, clear_contextvars, get_contextvars
from werkzeug.exceptions import HTTPException

from churn.errors import ChurnwatchError
from churn.metrics import WebMetrics
from churn.serving import utc_now
from churn.store.interface import PredictionStore
from web_service.bridge import ALIVE
from web_service.by_id import records_by_id
from web_service.explain import explain
from web_service.feedback import labels_of
from web_service.gate import CLIENT, Gate
from web_service.pages import Page, Pages
from web_service.problems import MEDIA_TYPE, Problem, of_error
from web_service.request_ids import HEADER, request_id
from web_service.service import PredictionService
from web_service.strict_json import NotJson, parse, parse_records

log = structlog.get_logger()
HTTP_KINDS = {404: "not-found", 405: "method-not-allowed", 413: "too-large", 415: "not-json-media-type"}


@dataclass(frozen=True)
class Parts:
    """What the routes need, made once a process and shared by its threads."""

    service: PredictionService
    gate: Gate
    metrics: WebMetrics
    store: PredictionStore
    render_metrics: Callable[[], bytes]
    readiness: Callable[[], Mapping[str, Any]]
    body_limit: int = 16 << 20
    now: Callable[[], datetime] = utc_now


def create_app(parts: Parts) -> Flask:
    """The application: every route, for any WSGI server. web_service/front.py answers the plain POST /predict before
    it, with the same bytes."""
    app = Flask("web_service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = parts.body_limit
    _add_errors(app)
    _add_gate(app, parts)
    _add_predictions(app, parts)
    _add_feedback(app, parts)
    _add_state(app, parts)
    _add_pages(app, Pages(parts.service.model, parts.service.list_limit, parts.gate.keys is not None))
    return app


def _add_predictions(app: Flask, parts: Parts) -> None:
    def answered(body: Any) -> Response:
        try:
            answer = parts.service.predict(body, request.environ[CLIENT], request.headers.get("Idempotency-Key"))
        except (Problem, ChurnwatchError) as error:
            parts.service.count_refused(body, error)
            raise
        return json_response(answer)

    @app.post("/predict")
    def predict() -> Response:
        return answered(parse_records(raw_json()))

    @app.post("/predict/by-id")
    def predict_by_id() -> Response:
        serving = parts.service.model.current
        return answered(records_by_id(json_body(), serving.bundle.contract.name, parts.store, serving.scorer.pseudonym))

    @app.post("/explain")
    def explain_prediction() -> Response:
        return json_response(orjson.dumps(explain(parts.service.model.current, json_body())))


def _add_feedback(app: Flask, parts: Parts) -> None:
    @app.post("/feedback")
    def feedback() -> Response:
        serving = parts.service.model.current
        contract, pseudonym = serving.bundle.contract.name, serving.scorer.pseudonym
        labels = labels_of(json_body(), contract, parts.now(), parts.service.list_limit, pseudonym)
        outcome = parts.store.label(labels)
        counts = {"matched": outcome.matched, "changed": outcome.changed, "unknown": outcome.unknown}
        return json_response(orjson.dumps(counts))


def _add_state(app: Flask, parts: Parts) -> None:
    @app.get("/health")
    def health() -> Response:
        return json_response(ALIVE)

    @app.get("/ready")
    def ready() -> Response:
        document = parts.readiness()
        return json_response(orjson.dumps(document), 200 if document["ready"] else 503)

    @app.get("/model")
    def model() -> Response:
        return json_response(orjson.dumps(parts.service.model.describe()))

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(parts.render_metrics(), content_type="text/plain; version=0.0.4; charset=utf-8")


def _add_pages(app: Flask, pages: Pages) -> None:
    app.get("/", endpoint="home")(lambda: page_response(pages.home()))
    app.get("/openapi.json", endpoint="openapi")(lambda: page_response(pages.openapi()))
    app.get("/docs", endpoint="docs")(lambda: page_response(pages.docs()))
    app.get("/static/<name>", endpoint="static_file")(lambda name: page_response(pages.static_file(name)))
    app.get("/docs/<name>", endpoint="docs_file")(lambda name: page_response(pages.docs_file(name)))


def _add_gate(app: Flask, parts: Parts) -> None:
    @app.before_request
    def name() -> None:
        clear_contextvars()  # the thread answered somebody else before
        bind_contextvars(request_id=request_id(request.headers.get(HEADER)))

    @app.before_request
    def admit() -> None:
        request.environ[CLIENT] = parts.gate.admit(request.environ)

    @app.after_request
    def count(response: Response) -> Response:
        path = request.url_rule.rule if request.url_rule else "other"
        parts.metrics.requests.labels(path, str(response.status_code)).inc()
        response.headers[HEADER] = get_contextvars()["request_id"]
        return response


def _add_errors(app: Flask) -> None:
    @app.errorhandler(Problem)
    def problem(error: Problem) -> Response:
        return problem_response(error)

    @app.errorhandler(NotJson)
    def not_json(error: NotJson) -> Response:
        return problem_response(Problem("not-json", str(error)))

    @app.errorhandler(ChurnwatchError)
    def core_error(error: ChurnwatchError) -> Response:
        found = of_error(error)
        if found.status >= 500:
            log.error("request_failed", path=request.path, reason=str(error))
        return problem_response(found)

    @app.errorhandler(HTTPException)
    def http_error(error: HTTPException) -> Response:
        kind = HTTP_KINDS.get(error.code or 500, "bad-request")
        allowed = getattr(error, "valid_methods", None)
        headers = {"Allow": ", ".join(sorted(allowed))} if allowed else {}
        return problem_response(Problem(kind, error.description or error.name, headers=headers))

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.exception("request_crashed", path=request.path)
        return problem_response(Problem("internal", "the cause is in the service's log"))


def json_body() -> Any:
    """The request's body, parsed strictly. Raises Problem or NotJson."""
    return parse(raw_json())


def raw_json() -> bytes:
    """The request's body, said to be JSON. Raises Problem."""
    if request.mimetype != "application/json":
        sent = f"'{request.mimetype[:60]}'" if request.mimetype else "no Content-Type"
        raise Problem("not-json-media-type", f"the request carries {sent}; send Content-Type: application/json")
    return request.get_data(cache=False)


def json_response(body: bytes, status: int = 200) -> Response:
    return Response(body, status, content_type="application/json")


def problem_response(problem: Problem) -> Response:
    return Response(problem.as_json(), problem.status, problem.headers, content_type=MEDIA_TYPE)


def page_response(page: Page | None) -> Response:
    """A page, or 304 when the browser has it already. Raises Problem when there is none."""
    if page is None:
        raise Problem("not-found", "there is no file of that name")
    headers = {"Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff", **page.headers}
    response = Response(page.body, headers=headers, content_type=page.content_type)
    response.set_etag(page.etag)
    response.make_conditional(request)
    return response
