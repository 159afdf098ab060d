"""What a person sees: the page with the form, the API's documentation and their files. The only home of Jinja2.

No HTTP here: each page is bytes with headers, and the routes in app.py hand them out. Everything comes from this
package or from flask_swagger_ui's folder, so that a browser asks no other host; the policy below says so to it.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from churn.contract import Feature
from churn.serving import Serving, ServingModel, rfc3339
from web_service.examples import customer_at_risk, typical_customer
from web_service.openapi import document

FOLDER = Path(__file__).resolve().parent / "page"
STATIC_FILES = FOLDER / "static"
SWAGGER_FILES = ("swagger-ui.css", "swagger-ui-bundle.js")
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
"""Nothing inline and nothing from elsewhere; data: are the small pictures inside Swagger UI's style sheet."""
DOCS_POLICY = f"{POLICY}; style-src 'self' 'unsafe-inline'"
"""Swagger UI writes style attributes; scripts stay as strict."""


@dataclass(frozen=True)
class Page:
    """A body with its headers. `etag` changes when, and only when, the body does."""

    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def etag(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:32]


class Pages:
    """Makes the pages of the model that is served now, once a model. Safe to share between threads."""

    def __init__(self, model: ServingModel, list_limit: int, keys_demanded: bool) -> None:
        self._model = model
        self._list_limit = list_limit
        self._keys_demanded = keys_demanded
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        self._templates.filters.update(in_words=in_words, control_id=control_id)
        self._made: tuple[Serving, dict[str, Page]] | None = None
        self._files: dict[Path, Page] = {}

    def home(self) -> Page:
        """The form, made from the contract."""
        return self._pages()["home"]

    def openapi(self) -> Page:
        return self._pages()["openapi"]

    def docs(self) -> Page:
        """Swagger UI over /openapi.json."""
        return self._pages()["docs"]

    def static_file(self, name: str) -> Page | None:
        """A script, style sheet or picture of ours; None when there is none of that name."""
        known = {path.name: path for path in STATIC_FILES.iterdir()}
        return self._file(known[name]) if name in known else None

    def docs_file(self, name: str) -> Page | None:
        """A file of Swagger UI; None when there is none of that name."""
        return self._file(swagger_folder() / name) if name in SWAGGER_FILES else None

    def _pages(self) -> dict[str, Page]:
        serving = self._model.current
        if self._made is None or self._made[0] is not serving:
            self._made = serving, self._make(serving)
        return self._made[1]

    def _make(self, serving: Serving) -> dict[str, Page]:
        bundle = serving.bundle
        examples = {"typical": typical_customer(bundle), "at_risk": customer_at_risk(bundle)}
        specification = document(
            bundle.contract,
            list_limit=self._list_limit,
            keys_demanded=self._keys_demanded,
            example=examples["typical"],
        )
        facts = {
            "contract": bundle.contract,
            "model_run_id": bundle.run_id,
            "threshold": bundle.threshold,
            "since": rfc3339(serving.since),
            "keys_demanded": self._keys_demanded,
            "examples": orjson.dumps(examples).decode(),
        }
        return {
            "home": self._html("index.html", facts, POLICY),
            "docs": self._html("docs.html", facts, DOCS_POLICY),
            "openapi": Page(orjson.dumps(specification), "application/json"),
        }

    def _html(self, template: str, facts: Mapping[str, Any], policy: str) -> Page:
        body = self._templates.get_template(template).render(facts).encode()
        headers = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
        return Page(body, "text/html; charset=utf-8", headers)

    def _file(self, path: Path) -> Page:
        if path not in self._files:
            self._files[path] = Page(path.read_bytes(), MEDIA_TYPES[path.suffix])
        return self._files[path]


def in_words(feature: Feature) -> str:
    """A feature's name as a label: total_trans_ct -> Total trans ct."""
    words = feature.name.replace("_", " ").strip()
    return words[:1].upper() + words[1:]


def control_id(feature: Feature) -> str:
    """An id for its control that no other element of the page can have, whatever the contract calls the feature."""
    return "field-" + re.sub(r"\W|-", lambda match: f"-{ord(match[0]):x}-", feature.name, flags=re.ASCII)


def swagger_folder() -> Path:
    """Where the package keeps Swagger UI's files. The package itself is not imported: only its files are wanted."""
    found = importlib.util.find_spec("flask_swagger_ui")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("flask_swagger_ui is not installed; install the extra 'web'")
    return Path(found.origin).parent / "dist"
