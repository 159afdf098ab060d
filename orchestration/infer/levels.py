"""Which levels of a column may be one and the same, spelled differently."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import NamedTuple

NEAR = 0.85
SHORTEST_NEAR = 5
"""Shorter words are near one another by chance: Male and Female."""


class Respelled(NamedTuple):
    """`spelling` is taken for `level`, for a reason in words."""

    spelling: str
    level: str
    reason: str


def same_levels(levels: Mapping[str, int]) -> list[Respelled]:
    """Spellings of one level: the same but for case, blanks and signs, or its initials. The more frequent one, and of
    initials the one in full, is the level."""
    found: list[Respelled] = []
    first: dict[str, str] = {}
    for level in sorted(levels, key=lambda level: -levels[level]):
        plain = _plain(level)
        if plain and plain in first:
            found.append(Respelled(level, first[plain], "differs in case, blanks or signs only"))
        else:
            first[plain] = level
    kept = list(first.values())
    for short in kept:
        full = [level for level in kept if level != short and _initials(level) == short]
        if len(full) == 1:
            found = [one._replace(level=full[0]) if one.level == short else one for one in found]
            found.append(Respelled(short, full[0], "has the same initials"))
    return found


def near_levels(levels: Mapping[str, int], taken: set[str]) -> list[tuple[str, str]]:
    """Pairs that may be one level, which only a person can tell; `taken` are spellings settled already."""
    kept = [level for level in levels if level not in taken]
    return [(a, b) for i, a in enumerate(kept) for b in kept[i + 1 :] if _is_near(a, b)]


def _is_near(a: str, b: str) -> bool:
    if any(map(str.isdigit, a + b)):
        return False  # 1-2 years and 2-3 years are near one another, and no mistake
    words, others = set(_words(a)), set(_words(b))
    if words < others or others < words:
        return True
    if min(len(a), len(b)) < SHORTEST_NEAR:
        return False
    return difflib.SequenceMatcher(None, a.casefold(), b.casefold()).ratio() >= NEAR


def _plain(level: str) -> str:
    """Without case, blanks and signs; but a sign may be all that tells two numbers apart (<5 and >5)."""
    return "".join(level.casefold().split()) if any(map(str.isdigit, level)) else "".join(_words(level))


def _words(level: str) -> list[str]:
    return re.findall(r"\w+", level.casefold())


def _initials(level: str) -> str:
    words = re.findall(r"\w+", level)
    return "".join(word[0] for word in words).upper() if len(words) > 1 else ""
