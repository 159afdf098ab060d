"""Artifact + record -> answer, with the standard library alone. The rules are those of churn/encoder.py.

tests/serverless holds both to the same answers, within 1e-6.
"""

from __future__ import annotations

import hashlib
import json
import math
from array import array
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

FORMAT, VERSION = "churnwatch-artifact", 1
LARGEST_NUMBER = 3.0e38
CLIP = 1e-9
TOLERANCE = 1e-6
LEAF = -1
LINKS = ("log_odds", "probability")
NAN = math.nan
Document = Mapping[str, Any]
Converted = tuple[Any, tuple[float, ...]]


class ArtifactError(ValueError):
    """These bytes are no artifact, not of this version, or were altered."""


class InvalidRecord(ValueError):
    """A record that can never be scored: (field, value, what was expected) of every wrong field."""

    def __init__(self, problems: Sequence[tuple[str, Any, str]]) -> None:
        super().__init__("; ".join(f"{name}={shown(value)}: expected {expected}" for name, value, expected in problems))
        self.problems = tuple(problems)


class _Unknown(Exception):
    """A level that the contract does not list."""


class _Wrong(Exception):
    """A value that can never be right for its feature."""


class Read(NamedTuple):
    """A record that fits its contract: its features as the log holds them, and the same encoded as `row`."""

    features: dict[str, Any]
    missing: list[str]
    unknown: list[str]
    ignored: int
    row: list[float]


class Artifact:
    """A loaded artifact, ready to score. Immutable; raises ArtifactError unless the bytes are whole."""

    def __init__(self, raw: bytes) -> None:
        document = _verified(raw)
        try:
            self._read(document)
            self._prove(document["examples"])
        except ArtifactError:
            raise
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ArtifactError(f"the artifact is not whole: {type(error).__name__}: {error}") from error

    def _read(self, document: Document) -> None:
        self.run_id = str(document["model_run_id"])
        self.contract = {key: str(document["contract"][key]) for key in ("name", "hash")}
        self.threshold = float(document["threshold"])
        self.id_column = str(document["id_column"])
        self.pseudonymised = bool(document["pseudonymise"])
        stays, leaves = document["labels"]
        self._labels = (str(stays), str(leaves))
        self._slope = float(document["calibration"]["slope"])
        self._intercept = float(document["calibration"]["intercept"])
        missing = frozenset(document["missing_spellings"])
        self._plan = [(f, _converter(f, missing), _blank(f)) for f in map(_whole, document["features"])]
        self._known = {f["name"] for f in document["features"]} | {*document["envelope"], self.id_column}
        self.positional = tuple(document["positional"])
        model, width = document["model"], sum(len(blank) for _, _, blank in self._plan)
        self._log_odds = _linear(model) if model["kind"] == "linear" else _trees(_sound(model, width))

    def _prove(self, examples: Sequence[Document]) -> None:
        """As a bundle does with its golden answers: what this machine makes of the file is what was meant."""
        for number, example in enumerate(examples):
            found = self.probability(self.read(example["record"]).row)
            if not abs(found - example["churn_probability"]) <= TOLERANCE:
                raise ArtifactError(f"example {number}: got {found}, expected {example['churn_probability']}")

    def answer(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """What a caller gets, but for who asked and when. Raises InvalidRecord with every wrong field."""
        read = self.read(record)
        return self.told(read, self.probability(read.row))

    def told(self, read: Read, probability: float) -> dict[str, Any]:
        """The answer that a probability of this record makes."""
        churn = probability >= self.threshold
        return {
            "churn_probability": probability,
            "churn": churn,
            "churn_label": self._labels[churn],
            "threshold": self.threshold,
            "model_run_id": self.run_id,
            "contract": self.contract["name"],
            "contract_hash": self.contract["hash"],
            "missing": read.missing,
            "unknown": read.unknown,
            "ignored": read.ignored,
        }

    def probability(self, row: Sequence[float]) -> float:
        """The calibrated churn probability of an encoded row."""
        # Models see float32, and what a threshold separates depends on it.
        log_odds = self._slope * self._log_odds(array("f", row).tolist()) + self._intercept
        if log_odds < 0:  # exp of a large number would overflow
            odds = math.exp(log_odds)
            return odds / (1.0 + odds)
        return 1.0 / (1.0 + math.exp(-log_odds))

    def read(self, record: Mapping[str, Any]) -> Read:
        """Check and encode a record. Raises InvalidRecord with every wrong field."""
        record = self._named(record)
        read = Read({}, [], [], sum(name not in self._known for name in record), [])
        problems: list[tuple[str, Any, str]] = []
        for feature, convert, blank in self._plan:
            name, expected = feature["name"], feature["expected"]
            raw = record.get(name)
            read.features[name] = None
            try:
                value, columns = (None, blank) if raw is None else convert(raw)
            except _Unknown:
                read.unknown.append(name)
                read.row.extend(blank)
                if feature["strict"]:
                    problems.append((name, raw, expected))
                continue
            except _Wrong:
                problems.append((name, raw, expected))
                continue
            if value is None:
                read.missing.append(name)
                if feature["required"]:
                    problems.append((name, raw, f"{expected}; it is required"))
            read.features[name] = value
            read.row.extend(columns)
        if problems:
            raise InvalidRecord(problems)
        return read

    def _named(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """A body of bare numbers, {"data": [...]}, as named fields, where the contract gives their order."""
        if not self.positional or "data" not in record:
            return record
        numbers = record["data"]
        if type(numbers) is not list or len(numbers) != len(self.positional):
            received = f"{len(numbers)} values" if type(numbers) is list else numbers
            raise InvalidRecord([("data", received, numbers_expected(self.positional))])
        features = {feature["name"]: feature for feature, _, _ in self._plan}
        both = sorted(features.keys() & record.keys())
        if both:
            raise InvalidRecord([(both[0], record[both[0]], "either named fields or 'data', not both")])
        wrong = [
            (f"data[{i}]", number, f"a number: {self.positional[i]}")
            for i, number in enumerate(numbers)
            if type(number) is not int and type(number) is not float
        ]
        if wrong:
            raise InvalidRecord(wrong)
        named = {name: value for name, value in record.items() if name != "data"}
        return named | _by_place(self.positional, numbers, features)


def numbers_expected(order: Sequence[str]) -> str:
    """What a body of bare numbers is, in words."""
    return f"a list of {len(order)} numbers: {', '.join(order)}"


def shown(value: Any, limit: int = 60) -> str:
    """A value as it may stand in a message."""
    text = f"'{value}'" if isinstance(value, str) else str(value)
    return text if len(text) <= limit else text[:limit] + "…"


def _verified(raw: bytes) -> Document:
    head, _, body = raw.partition(b"\n")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"the artifact is not JSON: {error}") from error
    if not isinstance(document, dict) or (document.get("format"), document.get("version")) != (FORMAT, VERSION):
        raise ArtifactError(f"no {FORMAT} of version {VERSION}: {head[:60]!r}")
    if hashlib.sha256(body).hexdigest() != document.get("sha256"):
        raise ArtifactError("the artifact was altered: its sha256 does not fit its bytes; export it again")
    return document


def _by_place(order: Sequence[str], numbers: Sequence[float], features: Mapping[str, Document]) -> dict[str, Any]:
    named: dict[str, Any] = {}
    parted: dict[str, list[tuple[str, float]]] = {}
    problems: list[tuple[str, Any, str]] = []
    for i, (word, number) in enumerate(zip(order, numbers, strict=True)):
        if word not in features:
            name = next(name for name in features if word.startswith(f"{name}="))
            parted.setdefault(name, []).append((word[len(name) + 1 :], number))
            continue
        levels = features[word]["levels"]
        if features[word]["type"] != "category":
            named[word] = number
        elif 0 <= number < len(levels) and number == int(number):
            named[word] = levels[int(number)]
        else:
            codes = ", ".join(f"{code} ({level})" for code, level in enumerate(levels))
            problems.append((f"data[{i}]", number, f"{word} as one of {codes}"))
    for name, places in parted.items():
        found = [level for level, number in places if number == 1]
        named[name] = found[0] if found else None
        if len(found) > 1 or any(number not in (0, 1) for _, number in places):
            levels_text = ", ".join(level for level, _ in places)
            expected = f"1 for the {name} of the customer and 0 for the others ({levels_text})"
            problems.append(("data", [number for _, number in places], expected))
    if problems:
        raise InvalidRecord(problems)
    return named


def _whole(feature: Document) -> Document:
    """The feature, with all that reading a record asks of it."""
    kinds = (("name", str), ("expected", str), ("required", bool), ("strict", bool))
    if wrong := [key for key, kind in kinds if not isinstance(feature[key], kind)]:
        raise ArtifactError(f"feature {shown(feature['name'])}: {wrong[0]} is {shown(feature[wrong[0]])}")
    return feature


def _blank(feature: Document) -> tuple[float, ...]:
    return (0.0,) * len(feature["levels"]) if feature["type"] == "category" else (NAN,)


def _converter(feature: Document, missing: frozenset[str]) -> Callable[[Any], Converted]:
    if feature["type"] in ("number", "integer"):
        return _number(feature, missing)
    return _boolean(feature, missing) if feature["type"] == "boolean" else _level(feature, missing)


def _number(feature: Document, missing: frozenset[str]) -> Callable[[Any], Converted]:
    low = -LARGEST_NUMBER if feature["minimum"] is None else feature["minimum"]
    high = LARGEST_NUMBER if feature["maximum"] is None else feature["maximum"]
    whole = feature["type"] == "integer"
    if whole:
        low, high = max(low, -(2**63)), min(high, 2**63 - 1)

    def convert(raw: Any) -> Converted:
        kind = type(raw)
        if kind is int or kind is float:
            if low <= raw <= high and not (whole and raw != int(raw)):
                return (int(raw) if whole else raw), (float(raw),)
        elif kind is str and raw.strip() in missing:
            return None, (NAN,)
        raise _Wrong

    return convert


def _boolean(feature: Document, missing: frozenset[str]) -> Callable[[Any], Converted]:
    spelled = {"true": True, "false": False, **feature["spellings"]}

    def convert(raw: Any) -> Converted:
        kind = type(raw)
        if kind is bool or ((kind is int or kind is float) and raw in (0, 1)):
            return bool(raw), (float(bool(raw)),)
        text = raw.strip() if kind is str else None
        if text in spelled:
            return spelled[text], (float(spelled[text]),)
        if text in missing:
            return None, (NAN,)
        raise _Wrong

    return convert


def _level(feature: Document, missing: frozenset[str]) -> Callable[[Any], Converted]:
    levels, ordered = feature["levels"], feature["type"] == "ordinal"
    count = len(levels)
    codes = [(float(i),) if ordered else tuple(float(i == j) for j in range(count)) for i in range(count)]
    known: dict[str, Converted] = {level: (level, codes[i]) for i, level in enumerate(levels)}
    for spelling, level in feature["spellings"].items():
        known[spelling] = known[level]

    def convert(raw: Any) -> Converted:
        kind = type(raw)
        if kind is str:
            found = known.get(raw) or known.get(raw.strip())
            if found is not None:
                return found
            if raw.strip() in missing:
                return None, _blank(feature)
            raise _Unknown
        if ordered and (kind is int or kind is float) and 0 <= raw < count and raw == int(raw):
            return levels[int(raw)], codes[int(raw)]
        raise _Wrong

    return convert


def _linear(model: Document) -> Callable[[list[float]], float]:
    terms = list(zip(model["mean"], model["scale"], model["weight"], strict=True))
    intercept = float(model["intercept"])

    def log_odds(row: list[float]) -> float:
        pairs = zip(row, terms, strict=True)
        return intercept + math.fsum((x - mean) / scale * weight for x, (mean, scale, weight) in pairs if x == x)

    return log_odds


def _sound(model: Document, width: int) -> Document:
    """The trees, proved to end: as many entries everywhere, places that exist, and no node below two others."""
    left, right, roots, feature = model["left"], model["right"], model["roots"], model["feature"]
    nodes = len(left)
    inner = 2 * nodes - left.count(LEAF) - right.count(LEAF)
    below = {*left, *right} - {LEAF}
    used = below.union(roots)
    fits = (
        all(len(model[name]) == nodes for name in ("feature", "threshold", "right", "value", "missing_left"))
        and model["link"] in LINKS
        and len(below) == inner
        and below.isdisjoint(roots)
        and (not used or (min(used) >= 0 and max(used) < nodes))
        and (not feature or (min(feature) >= 0 and max(feature) < width))
    )
    if not fits:
        raise ArtifactError("the artifact's trees are no trees")
    return model


def _trees(model: Document) -> Callable[[list[float]], float]:
    left, right, feature, threshold = model["left"], model["right"], model["feature"], model["threshold"]
    value, missing_left, roots, base = model["value"], model["missing_left"], model["roots"], model["base"]

    def score(row: list[float]) -> float:
        total = base
        for node in roots:
            while left[node] != LEAF:
                x = row[feature[node]]
                goes_left = x <= threshold[node] if x == x else missing_left[node]
                node = left[node] if goes_left else right[node]
            total += value[node]
        return float(total)

    if model["link"] == "log_odds":
        return score

    def log_odds_of_probability(row: list[float]) -> float:
        clipped = min(max(score(row), CLIP), 1.0 - CLIP)
        return math.log(clipped) - math.log1p(-clipped)

    return log_odds_of_probability
