"""What can go wrong, named. Each error builds its sentence from facts: what, which value, what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


class ChurnwatchError(Exception):
    """The base of every error that a user can mend. Doors translate it: 422, 503, dead letter, exit code 1."""


class Refused(ChurnwatchError):
    """Asked properly, and the answer is no: a gate not passed, a run not approved. Exit code 3."""


class SettingError(ChurnwatchError):
    """A variable holds a value that cannot be used."""

    def __init__(self, variable: str, value: object, expected: str) -> None:
        super().__init__(f"{variable}={value}: expected {expected}")
        self.variable = variable


class ContractError(ChurnwatchError):
    """A contract file is wrong. Carries every problem found, not only the first."""

    def __init__(self, source: str, problems: Sequence[str]) -> None:
        super().__init__(f"{source}: " + "; ".join(problems))
        self.source = source
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """One wrong field: its name, the value received (shortened) and what was expected."""

    field: str
    value: object
    expected: str

    def __str__(self) -> str:
        return f"{self.field}={shown(self.value)}: expected {self.expected}"


class InvalidInput(ChurnwatchError):
    """Input that can never succeed: the sender's to mend. Carries every wrong field at once."""

    def __init__(self, problems: Sequence[FieldProblem]) -> None:
        super().__init__("; ".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


class DataError(ChurnwatchError):
    """A file of training data that cannot be used: missing, empty, without its columns, or of one class only."""


class BackupError(ChurnwatchError):
    """A backup cannot be made, is damaged or not finished, or does not fit where it is to be restored."""


class FeatureStoreError(ChurnwatchError):
    """A version of the feature store is missing, altered, or exists already."""


class FeatureStoreUnavailable(FeatureStoreError):
    """S3 cannot be reached, or refuses."""


class PseudonymKeyError(ChurnwatchError):
    """A contract asks for pseudonyms, and their key is missing, too short or cannot be read."""


class RunNotFound(ChurnwatchError):
    """No run, or no model under it, answers to this RUN_ID."""

    def __init__(self, run: str, where: str) -> None:
        super().__init__(
            f"RUN_ID={run}: no model of that run in {where}; copy a run id from the MLflow page or from 'make train'"
        )


class RegistryUnavailable(ChurnwatchError):
    """MLflow cannot be reached and nothing fitting is in the local cache."""


class BundleRefused(ChurnwatchError):
    """A bundle whose files, golden answers or contract are not what they should be. The old model goes on serving."""

    def __init__(self, run: str, reason: str) -> None:
        super().__init__(f"the bundle of run {run} was refused: {reason}")
        self.reason = reason


class StoreUnavailable(ChurnwatchError):
    """The prediction store cannot be reached, or refuses; what was not saved is still the caller's."""


class WatchError(ChurnwatchError):
    """The watch was asked for something that it cannot tell."""


class LeaseLost(ChurnwatchError):
    """Another worker holds the shard now: this one must drop its batch and move on."""


class StreamUnavailable(ChurnwatchError):
    """Kinesis cannot be reached, refuses, or slows us down. `cause` is a short word that a metric may carry."""

    def __init__(self, action: str, cause: str, detail: str) -> None:
        super().__init__(f"{action}: {detail}")
        self.cause = cause


class StreamMissing(StreamUnavailable):
    """The stream, or a shard of it, does not exist (any more)."""


class TooManyDeadLetters(ChurnwatchError):
    """So many records cannot be scored that the contract or the model must be wrong: nothing of the batch was done."""


class JournalFull(ChurnwatchError):
    """The journal cannot take the record (disk full, read-only, or its limit reached): nothing was acknowledged."""


class EvidentlyFailed(ChurnwatchError):
    """Evidently gave no answer: crashed, or took too long. Our own verdicts do not depend on it."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Evidently gave no second opinion: {reason}")


class ReportError(ChurnwatchError):
    """A report that cannot be made or written: a window that makes no sense, a folder that cannot be written."""


class FolderUnusable(ChurnwatchError):
    """A data folder cannot be written or read: full, read-only or not ours."""

    def __init__(self, folder: Path, error: OSError) -> None:
        reason = error.strerror or error
        super().__init__(f"{folder} cannot be used: {reason}; free space there or choose another folder")
        self._facts = folder, error

    def __reduce__(self) -> tuple[type[FolderUnusable], tuple[Path, OSError]]:
        """It travels from a worker of a cluster to whoever waits for it."""
        return FolderUnusable, self._facts


def shown(value: object, limit: int = 60) -> str:
    """A value as it may appear in a message: text quoted, long ones cut at `limit` characters."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[:limit] + "…"
