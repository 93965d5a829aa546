"""Rank correlation of two lists: Kendall's tau-b, Spearman's rho, and bootstrap intervals of such statistics."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

FEWEST = 5  # different pairs: draws from fewer are nearly all alike, however little is known
Statistic = Callable[[np.ndarray, np.ndarray], float]


def kendall(x: ArrayLike, y: ArrayLike) -> float:
    """Return Kendall's tau-b of two lists (N,), which allows for ties; nan where one of them is all ties."""
    a, b = (np.sign(np.subtract.outer(v, v)) for v in (np.asarray(x, np.float64), np.asarray(y, np.float64)))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else float("nan")


def spearman(x: ArrayLike, y: ArrayLike) -> float:
    """Return Spearman's rho of two lists (N,), the correlation of their ranks; nan where all are ties."""
    a, b = (ranks(v) - (len(np.asarray(v)) + 1) / 2 for v in (x, y))
    norm = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / norm if norm else float("nan")


def ranks(x: ArrayLike) -> np.ndarray:
    """Rank values from 1 on, in rising order; equal values share the mean of their ranks."""
    values = np.asarray(x, np.float64)
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[group.ravel()])


def interval(
    statistic: Statistic, x: ArrayLike, y: ArrayLike, *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Return the percentile bootstrap of a statistic over pairs (Efron, 1979), without draws that are all ties.

    (nan, nan) where it can say nothing: of fewer than five different pairs, or where all draws give one value, as for a
    perfect order.
    """
    a, b = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if len(np.unique(np.stack([a, b]), axis=1).T) < FEWEST:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    values = np.array([statistic(a[rows], b[rows]) for rows in rng.integers(0, len(a), (draws, len(a)))])
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [50 * (1 - level), 50 * (1 + level)])
    return (float(low), float(high)) if low < high else (float("nan"), float("nan"))


def tied_pairs(x: ArrayLike, y: ArrayLike) -> int:
    """Count the pairs of entries that are equal in one list or in both, which have no order to agree on."""
    differs = np.subtract.outer(np.asarray(x), np.asarray(x)) * np.subtract.outer(np.asarray(y), np.asarray(y)) != 0
    return int((~differs[np.triu_indices(len(differs), 1)]).sum())


def spoken(name: str, value: float, ends: tuple[float | None, float | None]) -> str:
    """Write a statistic with its interval, if it has one."""
    low, high = ends
    if low is None or high is None or not np.isfinite([low, high]).all():
        return f"{name} {value:.2f} (no interval from so few)"
    return f"{name} {value:.2f} ({low:.2f} to {high:.2f})"
