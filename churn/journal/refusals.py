"""Why the journal cannot take a record, in a sentence that says what to do."""

from __future__ import annotations

import errno
from pathlib import Path

from churn.errors import JournalFull

REMEDIES = {
    errno.ENOSPC: "its disk is full; free some space",
    errno.EDQUOT: "its disk quota is used up; free some space or raise it",
    errno.EFBIG: "a file size limit was reached; raise it (ulimit -f)",
    errno.EROFS: "its file system is read-only; mount it writable or name another JOURNAL_DIR",
    errno.EACCES: "this user may not write there; change the rights or name another JOURNAL_DIR",
    errno.EPERM: "this user may not write there; change the rights or name another JOURNAL_DIR",
}


def refusal(directory: Path, error: BaseException) -> JournalFull:
    """A new error for each thread that is refused: they must not share one traceback."""
    reason = REMEDIES.get(error.errno or 0, str(error)) if isinstance(error, OSError) else repr(error)
    return JournalFull(f"the journal {directory} cannot take the record: {reason}")
