"""Evidently's job in another container: its files over HTTP and back, so that one image carries Evidently, not two.

`ask_elsewhere` stands where the job's process would: it sends the folder's inputs and writes the results into it.
`answer` is what the other side does with them. Inside, nobody else speaks to it: the watch's port is on loopback.
"""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import urllib3

from churn.errors import EvidentlyFailed

GIVEN = ("job.json", "reference.parquet", "window.parquet")
MADE = ("result.json", "page.html")
LARGEST_BYTES = 64 << 20
"""Of what is sent, and of what it unpacks to. Two samples of 50,000 rows are a tenth of it."""
RunJob = Callable[[Path, float], None]
"""Folder and patience in seconds -> results in the folder; raises EvidentlyFailed."""
_one_at_a_time = threading.Lock()


def ask_elsewhere(url: str) -> RunJob:
    """A job's process, at an address such as http://watch:8085/evidently-jobs."""

    def run(folder: Path, timeout_seconds: float) -> None:
        try:
            pool = urllib3.PoolManager(timeout=urllib3.Timeout(connect=5, read=timeout_seconds), retries=False)
            answer = pool.request("POST", url, body=_packed(folder, GIVEN))
        except urllib3.exceptions.HTTPError as error:
            raise EvidentlyFailed(f"{url} cannot be reached ({error}); see EVIDENTLY_URL") from error
        if answer.status != 200:
            raise EvidentlyFailed(f"{url} answered {answer.status}: {answer.data[:200].decode('utf-8', 'replace')}")
        _unpack(answer.data, folder, MADE)

    return run


def answer(body: bytes, run: RunJob, timeout_seconds: float) -> bytes:
    """Do a job that was sent. One at a time: a second one waits. Raises EvidentlyFailed."""
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="churnwatch-evidently-") as name:
        folder = Path(name)
        _unpack(body, folder, GIVEN)
        run(folder, timeout_seconds)
        return _packed(folder, MADE)


def _packed(folder: Path, names: tuple[str, ...]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in names:
            archive.write(folder / name, name)
    return packed.getvalue()


def _unpack(body: bytes, folder: Path, names: tuple[str, ...]) -> None:
    """Exactly the files expected, by our names: what an archive calls them leads nowhere."""
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if sorted(archive.namelist()) != sorted(names):
                raise EvidentlyFailed(f"expected the files {', '.join(names)}")
            if sum(entry.file_size for entry in archive.infolist()) > LARGEST_BYTES:
                raise EvidentlyFailed(f"more than {LARGEST_BYTES >> 20} MB; lower EVIDENTLY_ROWS")
            for name in names:
                (folder / name).write_bytes(archive.read(name))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError) as error:
        raise EvidentlyFailed(f"what came is no archive of a job ({error})") from error
