"""The code that a logged model brings with it: pyfunc_model.py, and of the core what it imports, nothing else.

Each file is an upload of its own to MLflow, so it is packed into one, which Python imports from as it is. The archive
is the same for the same code, byte for byte.
"""

from __future__ import annotations

import ast
import functools
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import churn

MODEL_CODE = Path(__file__).with_name("pyfunc_model.py")
CORE = Path(churn.__file__).parent
ARCHIVE = "churn.zip"
"""Where pyfunc_model.py looks for it."""


def pack_served_code(folder: Path) -> Path:
    """Put the part of the core that serving a bundle needs into `folder`, as an archive whose path is returned."""
    path = folder / ARCHIVE
    path.write_bytes(_archive())
    return path


@functools.lru_cache(maxsize=1)
def _archive() -> bytes:
    """Packed once a process: each trial brings the same."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in served_files():
            archive.writestr(zipfile.ZipInfo(f"{CORE.name}/{name}"), (CORE / name).read_bytes(), zipfile.ZIP_DEFLATED)
    return packed.getvalue()


@functools.lru_cache(maxsize=1)
def served_files() -> tuple[str, ...]:
    """What pyfunc_model.py imports of the core, and what that imports, as paths in it."""
    found: set[Path] = {CORE / "__init__.py"}
    waiting = [MODEL_CODE]
    while waiting:
        new = set(_imported(waiting.pop())) - found
        found |= new
        waiting += new
    return tuple(sorted(str(path.relative_to(CORE)) for path in found))


def _imported(path: Path) -> Iterator[Path]:
    """The core's files that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == CORE.name:
            yield from _files(node.module, [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == CORE.name:
                    yield from _files(alias.name, [])


def _files(module: str, names: list[str]) -> Iterator[Path]:
    """A module's file; of a package its own, and those of the modules named. Those of the packages they are in come
    along, since of an archive Python imports no folder without one."""
    parts = module.split(".")
    base = CORE.parent.joinpath(*parts)
    yield from (CORE.parent.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts)))
    if base.is_dir():
        yield base / "__init__.py"
        yield from (base / f"{name}.py" for name in names if (base / f"{name}.py").is_file())
    else:
        yield base.with_suffix(".py")
