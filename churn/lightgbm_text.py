"""LightGBM's own text format (.txt) read into plain trees, so that serving needs no LightGBM.

Source: LightGBM's src/io/tree.cpp, `Tree::ToString` and `Tree::NumericalDecision`. Only what our training writes is
read: numerical splits and constant leaves of a binary objective with sigmoid 1; anything else is refused by name.
"""

from __future__ import annotations

import numpy as np

from churn.trees import LEAF, TreeEnsemble

DEFAULT_LEFT, MISSING_NAN = 2, 2
Fields = dict[str, str]


def read_lightgbm(text: str) -> TreeEnsemble:
    """The trees of a model file; a row's score is its log-odds. Raises ValueError for what is no such file."""
    head, *blocks = text.partition("\nend of trees")[0].split("\nTree=")
    header = _fields(head)
    if "end of trees" not in text or header.get("objective") != "binary sigmoid:1":
        raise ValueError(f"no LightGBM model of a binary objective with sigmoid 1: {head[:40]!r}")
    if not blocks:
        raise ValueError("the LightGBM model holds no trees")
    trees = [_read_tree(_fields(block)) for block in blocks]
    starts = np.cumsum([0, *(len(tree["value"]) for tree in trees)])[:-1]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([tree[name] for tree in trees])

    def moved(name: str) -> np.ndarray:
        parts = [np.where(t[name] == LEAF, LEAF, t[name] + start) for t, start in zip(trees, starts, strict=True)]
        return np.concatenate(parts).astype(np.int32)

    found = TreeEnsemble(
        width=int(header["max_feature_idx"]) + 1,
        roots=starts.astype(np.int32),
        feature=joined("feature"),
        threshold=joined("threshold"),
        left=moved("left"),
        right=moved("right"),
        missing_left=joined("missing_left"),
        value=joined("value"),
        cover=joined("cover"),
    )
    found.check()
    return found


def _read_tree(tree: Fields) -> dict[str, np.ndarray]:
    """One tree's nodes: inner ones first, as they are numbered there, then the leaves, which it numbers ~0, ~1, …"""
    if tree["num_cat"] != "0" or tree.get("is_linear", "0") != "0":
        raise ValueError("a LightGBM tree with categorical splits or linear leaves is not read here")
    leaves = _numbers(tree, "leaf_value")
    if tree["num_leaves"] == "1":
        none = np.empty(0)
        return _nodes(none, none, none, none, none, leaves, none, np.ones(1))
    return _nodes(
        _numbers(tree, "split_feature"),
        _numbers(tree, "threshold"),
        _numbers(tree, "decision_type"),
        _numbers(tree, "left_child"),
        _numbers(tree, "right_child"),
        leaves,
        _numbers(tree, "internal_count"),
        _numbers(tree, "leaf_count"),
    )


def _nodes(
    feature: np.ndarray,
    threshold: np.ndarray,
    decision: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    leaves: np.ndarray,
    inner_cover: np.ndarray,
    leaf_cover: np.ndarray,
) -> dict[str, np.ndarray]:
    inner, of_leaves = len(feature), np.full(len(leaves), LEAF)
    kind = decision.astype(int)
    knows_missing = (kind >> 2) & 3 == MISSING_NAN
    # A split that saw nothing missing takes a missing value for 0.
    missing_left = np.where(knows_missing, kind & DEFAULT_LEFT != 0, threshold >= 0)
    return {
        "feature": np.concatenate([feature, np.zeros(len(leaves))]).astype(np.int32),
        "threshold": np.concatenate([threshold, np.zeros(len(leaves))]),
        "left": np.concatenate([_positions(left, inner), of_leaves]),
        "right": np.concatenate([_positions(right, inner), of_leaves]),
        "missing_left": np.concatenate([missing_left, np.zeros(len(leaves))]).astype(bool),
        "value": np.concatenate([np.zeros(inner), leaves]),
        "cover": np.concatenate([inner_cover, leaf_cover]),
    }


def _positions(children: np.ndarray, inner: int) -> np.ndarray:
    numbers = children.astype(int)
    return np.where(numbers >= 0, numbers, inner + ~numbers)


def _fields(block: str) -> Fields:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _numbers(tree: Fields, name: str) -> np.ndarray:
    return np.array([float(text) for text in tree[name].split()])
