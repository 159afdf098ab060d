"""What `make site` adds to the pages in docs/: the core's API, the files beside docs/, links that lead out of it."""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
BESIDE = {"CONTRIBUTING.md": "contributing.md", "SECURITY.md": "security.md", "CHANGELOG.md": "changelog.md"}
PARTS = {
    "What a use case is": ("contract", "contract_reader", "feature", "positional", "expectation", "columns", "encoder"),
    "From fields to an answer": ("scoring", "prediction", "raw_records", "pseudonym", "errors"),
    "Models and bundles": (
        *("bundle", "model", "calibration", "registry", "model_cache", "serving", "artifact"),
        *("xgboost_native", "lightgbm_text", "trees", "linear"),
    ),
    "Data": ("feature_store", "split"),
    "The log": ("store", "journal"),
    "The watch": (
        *("histogram", "two_sample", "drift", "quality", "performance", "concept_drift", "joint_drift", "pair_drift"),
        *("segments", "evidently_report"),
    ),
    "Configuration, logs, commands": ("settings", "metrics", "logs", "command_line", "small_http"),
}
LINK = re.compile(r"(?<=\]\()((?:\.\./)+[^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the API, the decisions and the files beside docs/ into the navigation."""
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    reference: list[Any] = next(part["Reference"] for part in config.nav or [] if "Reference" in part)
    reference.append({"The core's API": [{title: api_page(title)} for title in api_parts()]})
    if rest := sorted(pages() - listed(config.nav or [])):
        reference.append({"More pages": rest})
    reference.append({"Decisions": [f"decisions/{page.name}" for page in decisions]})
    present = {name: page for name, page in BESIDE.items() if (ROOT / name).exists()}
    reference.append({"The project": [{name.removesuffix(".md").title(): page} for name, page in present.items()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in docs/: one a part of the core, and the files beside docs/."""
    for title, modules in api_parts().items():
        files.append(File.generated(config, api_page(title), content=api_text(title, modules)))
    for name, page in BESIDE.items():
        if (ROOT / name).exists():
            files.append(File.generated(config, page, content=beside(ROOT / name)))
    for source in linked_sources():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, published(source), content=text))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links out of docs/ towards the copies that the site holds."""
    here = posixpath.dirname(page.file.src_uri)

    def turned(link: re.Match[str]) -> str:
        source = posixpath.normpath(posixpath.join("docs", here, link[1]))
        if source.startswith("docs/") or not (ROOT / source).is_file():
            return link[1]
        return posixpath.relpath(BESIDE.get(source, published(source)), here or ".")

    return LINK.sub(turned, markdown)


def pages() -> set[str]:
    """Every page in docs/ that a person wrote, but for the decisions, which have a place of their own."""
    folder = ROOT / "docs"
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.md") if path.parent.name != "decisions"}


def listed(nav: Any) -> set[str]:
    """The pages that a part of the navigation names."""
    if isinstance(nav, str):
        return {nav}
    return {page for part in (nav.values() if isinstance(nav, dict) else nav) for page in listed(part)}


def api_parts() -> dict[str, list[str]]:
    """The modules of each page; one that no page names yet goes to the last, so that none is forgotten."""
    core = ROOT / "churn"
    found = {path.stem for path in core.glob("*.py")} | {path.parent.name for path in core.glob("*/__init__.py")}
    found -= {"__init__"}
    parts = {title: [name for name in names if name in found] for title, names in PARTS.items()}
    rest = found - {name for names in parts.values() for name in names}
    return {**parts, "More": sorted(rest)} if rest else parts


def api_page(title: str) -> str:
    return f"reference/api/{title.lower().replace(',', '').replace(' ', '-')}.md"


def api_text(title: str, modules: list[str]) -> str:
    """A heading a module, with what its docstrings say; a package is shown file by file."""
    lines = [
        f"# {title}",
        "",
        "What the core offers to rooms, from its docstrings. Names that begin with `_` are not for use.",
    ]
    for name in modules:
        folder = ROOT / "churn" / name
        files = sorted(folder.glob("[a-z]*.py"), key=interface_first)
        inner = [f"{name}.{path.stem}" for path in files]
        for module in inner or [name]:
            if has_public(ROOT / "churn" / f"{module.replace('.', '/')}.py"):
                lines += [
                    "",
                    f"## `churn.{module}`",
                    "",
                    f"::: churn.{module}",
                    "    options:",
                    "      heading_level: 3",
                ]
    return "\n".join(lines) + "\n"


def interface_first(path: Path) -> tuple[bool, str]:
    """A package's interface before what is behind it."""
    return path.stem != "interface", path.stem


def has_public(path: Path) -> bool:
    """Whether a module defines a class or a function for others."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    return any(isinstance(node, ast.ClassDef | ast.FunctionDef) and not node.name.startswith("_") for node in body)


def beside(path: Path) -> str:
    """A page from the project's root, its links as seen from docs/."""
    text = re.sub(r"(?<=\]\()docs/", "", path.read_text(encoding="utf-8"))
    return re.sub(r"(?<=\]\()([A-Z]+\.md)", lambda link: BESIDE.get(link[1], link[1]), text)


def linked_sources() -> list[str]:
    """Every file outside docs/ that a page links to, by its path in the repository."""
    found = set()
    for page in (ROOT / "docs").rglob("*.md"):
        for link in LINK.findall(page.read_text(encoding="utf-8")):
            target = (page.parent / link).resolve()
            if target.is_file() and not target.is_relative_to(ROOT / "docs") and target.is_relative_to(ROOT):
                found.add(target.relative_to(ROOT).as_posix())
    return sorted(found - set(BESIDE))


def published(source: str) -> str:
    """Where the site keeps a copy of a file of the repository: as text, which browsers show."""
    return f"files/{source}.txt"
