"""Decision trees as plain arrays: scored and explained by numpy alone, so that serving needs no library that fits them.

A row goes left where its value is at most the threshold, and where it is NaN and the node says so. All trees of an
ensemble are walked at once, a level a step.

Contributions are the Shapley values of path-dependent TreeSHAP (S. Lundberg et al., "From local explanations to global
understanding with explainable AI for trees", 2020): what a leaf adds is a product over the features on its path, so
their Shapley values are integrals of polynomials, which Gauss and Legendre's quadrature gives exactly (as in P. Yu et
al., "Linear TreeShap", 2022).
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Matrix = NDArray[np.float32]
LEAF = -1
CELLS_AT_ONCE = 1 << 15
"""Rows times trees (or leaves) walked in one go: small enough for a core's cache."""


@dataclass(frozen=True)
class TreeEnsemble:
    """Trees, node by node. `left` and `right` are LEAF at a leaf, else positions in these same arrays.

    `value` counts at leaves; a row's score is the sum over trees. `cover` is the weight of training rows that reached
    a node. Immutable and safe to share between threads.
    """

    width: int
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: Floats
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]
    value: Floats
    cover: Floats

    def scores(self, matrix: Matrix) -> Floats:
        """The sum of the leaves that each row reaches, shape (rows,)."""
        matrix = self._checked(matrix)
        found = np.empty(len(matrix))
        step = max(1, CELLS_AT_ONCE // len(self.roots))
        for first in range(0, len(matrix), step):
            found[first : first + step] = self._walk(matrix[first : first + step]).sum(axis=1)
        return found

    def contributions(self, matrix: Matrix) -> Floats:
        """Shapley values of the columns, shape (rows, width + 1), the last being the mean score; rows sum to theirs."""
        matrix, paths = self._checked(matrix), self._paths
        found = np.zeros((len(matrix), self.width + 1))
        found[:, -1] = paths.mean
        step = max(1, CELLS_AT_ONCE // paths.elsewhere.size)
        for first in range(0, len(matrix), step):
            self._add_shapley(matrix[first : first + step], paths, found[first : first + step])
        return found

    def save(self, path: Path) -> None:
        """As .npz without pickle; the same trees give the same bytes."""
        arrays: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(self)}
        np.savez_compressed(path, **arrays)

    @classmethod
    def load(cls, path: Path) -> TreeEnsemble:
        """Raises ValueError for anything but such a file."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            trees = cls(width=int(arrays.pop("width")), **arrays)
        except (zipfile.BadZipFile, TypeError, KeyError, EOFError) as error:
            raise ValueError(f"{path.name} holds no trees: {error}") from error
        trees.check()
        return trees

    def check(self) -> None:
        """Raise ValueError when walking these trees would leave the arrays or never end."""
        nodes = np.arange(len(self.feature))
        inner = self.left != LEAF
        for side in (self.left[inner], self.right[inner]):
            if not np.all((side > nodes[inner]) & (side < len(nodes))):
                raise ValueError("the trees are damaged: a node leads backwards or out of them")
        if not np.all((self.feature >= 0) & (self.feature < self.width)) or not len(self.roots):
            raise ValueError(f"the trees are damaged: a node asks for a column outside 0 to {self.width - 1}")

    @cached_property
    def _children(self) -> NDArray[np.int32]:
        """Where node n leads: at 2 n to the right, at 2 n + 1 to the left. Leaves lead to themselves, so that all rows
        can take as many steps."""
        nodes, leaf = np.arange(len(self.feature), dtype=np.int32), self.left == LEAF
        sides = np.where(leaf, nodes, self.right), np.where(leaf, nodes, self.left)
        return np.stack(sides, axis=1).ravel().astype(np.int32)

    def _walk(self, matrix: Matrix) -> Floats:
        """The leaves' values, shape (rows, trees)."""
        children = self._children
        nodes = np.tile(self.roots, (len(matrix), 1))
        starts = (np.arange(len(matrix), dtype=np.int32) * self.width)[:, None]
        values, missing = matrix.ravel(), np.isnan(matrix).ravel()
        some_missing = bool(missing.any())
        for _ in range(self._depth):
            cells = starts + self.feature.take(nodes)
            go_left = values.take(cells) <= self.threshold.take(nodes)
            if some_missing:
                go_left |= missing.take(cells) & self.missing_left.take(nodes)
            nodes = children.take(2 * nodes + go_left)
        return self.value.take(nodes)

    @cached_property
    def _depth(self) -> int:
        """Most steps from a root to a leaf; parents stand before their children."""
        depth = np.zeros(len(self.feature), dtype=int)
        for node in np.flatnonzero(self.left != LEAF).tolist():
            depth[[self.left[node], self.right[node]]] = depth[node] + 1
        return int(depth.max())

    @cached_property
    def _paths(self) -> _Paths:
        return _find_paths(self)

    def _add_shapley(self, matrix: Matrix, paths: _Paths, found: Floats) -> None:
        """Each leaf's value, shared among the columns on its path, added to `found`."""
        values = matrix[:, paths.column]
        holds = (values > paths.above) & (values <= paths.up_to)
        missing = np.isnan(values)
        holds = np.where(missing, paths.missing_holds, holds)[..., None]
        # For each point of the quadrature: t where the row goes along, plus (1 - t) times the cover's share anyway.
        factors = np.where(holds, paths.points + paths.elsewhere, paths.elsewhere)
        product = factors.prod(axis=2, keepdims=True)
        integrals = (product / factors) @ paths.weights
        shares = (holds[..., 0] - paths.share) * integrals * paths.value[:, None]
        width = self.width + 1  # padding stands in the last column, with a share of nothing
        for row, of_row in enumerate(shares):
            found[row] += np.bincount(paths.column.ravel(), of_row.ravel(), minlength=width)[:width]

    def _checked(self, matrix: Matrix) -> Matrix:
        if matrix.ndim != 2 or matrix.shape[1] != self.width:
            raise ValueError(f"rows of shape {matrix.shape}: expected (rows, {self.width})")
        return matrix


class _Paths(NamedTuple):
    """Every leaf with the columns on its path, shape (leaves, most columns), padded with a column that changes
    nothing. A row goes along where above < value <= up_to, or where it is missing and `missing_holds`."""

    value: Floats
    mean: float
    column: NDArray[np.int32]
    above: Floats
    up_to: Floats
    missing_holds: NDArray[np.bool_]
    share: Floats
    points: Floats
    elsewhere: Floats
    weights: Floats


class _Step(NamedTuple):
    """One column on the way to a node: the open interval so far, and the share of rows that go along."""

    above: float
    up_to: float
    missing_holds: bool
    share: float


def _find_paths(trees: TreeEnsemble) -> _Paths:
    leaves: list[tuple[float, dict[int, _Step]]] = []
    stack: list[tuple[int, dict[int, _Step]]] = [(int(root), {}) for root in trees.roots]
    while stack:
        node, path = stack.pop()
        left, right = int(trees.left[node]), int(trees.right[node])
        if left == LEAF:
            leaves.append((float(trees.value[node]), path))
            continue
        column, cut = int(trees.feature[node]), float(trees.threshold[node])
        step = path.get(column, _Step(-np.inf, np.inf, True, 1.0))
        to_left = bool(trees.missing_left[node])
        shares = [float(trees.cover[child] / trees.cover[node]) for child in (left, right)]
        below = _Step(step.above, min(step.up_to, cut), step.missing_holds and to_left, step.share * shares[0])
        beyond = _Step(max(step.above, cut), step.up_to, step.missing_holds and not to_left, step.share * shares[1])
        stack += [(left, {**path, column: below}), (right, {**path, column: beyond})]
    return _as_arrays(leaves, trees.width)


def _as_arrays(leaves: list[tuple[float, dict[int, _Step]]], width: int) -> _Paths:
    most = max(1, max(len(path) for _, path in leaves))
    padding = (width - 1, _Step(-np.inf, np.inf, True, 1.0))
    rows = [[*path.items(), *[padding] * (most - len(path))] for _, path in leaves]
    values = np.array([value for value, _ in leaves])
    share = np.array([[step.share for _, step in row] for row in rows])
    # A polynomial of degree most - 1 in t: so many points make the quadrature exact.
    nodes, weights = np.polynomial.legendre.leggauss((most + 1) // 2)
    points = (nodes + 1) / 2
    return _Paths(
        value=values,
        mean=float((values * share.prod(axis=1)).sum()),
        column=np.array([[column for column, _ in row] for row in rows], dtype=np.int32),
        above=np.array([[step.above for _, step in row] for row in rows]),
        up_to=np.array([[step.up_to for _, step in row] for row in rows]),
        missing_holds=np.array([[step.missing_holds for _, step in row] for row in rows]),
        share=share,
        points=points,
        elsewhere=share[..., None] * (1 - points),
        weights=weights / 2,
    )
