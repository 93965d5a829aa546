"""Against the definitions, and known values.

Figures are ratios of whole or half numbers below 2**53, which are exact, and of a square root: a few times 1e-16 off.
"""

import itertools

import numpy as np
import pytest

from autovid.studies.correlation import interval, kendall, ranks, spearman, tied_pairs


def tau_b(x: list[float], y: list[float]) -> float:
    """Concordant and discordant pairs, counted."""
    agree = against = tied_x = tied_y = 0
    for (a, b), (c, d) in itertools.combinations(zip(x, y), 2):
        product = (a - c) * (b - d)
        agree, against = agree + (product > 0), against + (product < 0)
        tied_x, tied_y = tied_x + (a == c), tied_y + (b == d)
    pairs = len(x) * (len(x) - 1) / 2
    return (agree - against) / ((pairs - tied_x) * (pairs - tied_y)) ** 0.5


@pytest.mark.parametrize("levels", [3, 1000])
def test_kendall_counts_pairs_and_spearman_correlates_ranks(levels: int) -> None:
    """With many ties and with none."""
    rng = np.random.default_rng(levels)
    x = rng.integers(0, levels, 30).astype(float)
    y = x + rng.integers(0, levels, 30)
    assert kendall(x, y) == pytest.approx(tau_b(list(x), list(y)), abs=1e-14)
    assert spearman(x, y) == pytest.approx(np.corrcoef(ranks(x), ranks(y))[0, 1], abs=1e-14)


def test_known_values() -> None:
    """Of scipy's documentation: tau -0.4714, and Spearman's of five pairs 0.8208."""
    assert kendall([12, 2, 1, 12, 2], [1, 4, 7, 1, 0]) == pytest.approx(-0.47140452, abs=5e-9)  # as printed
    assert spearman([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) == pytest.approx(0.82078268, abs=5e-9)
    assert ranks([10, 30, 10, 20]).tolist() == [1.5, 4.0, 1.5, 3.0]
    assert np.isnan(kendall([1, 1], [1, 2]))


@pytest.mark.slow
def test_the_interval_covers_as_it_says() -> None:
    """Nine in ten of the 90 % intervals hold the true rho of normal pairs (0.6: Spearman's is 0.5826).

    Of 100 of them 90, give or take 3; the pairs are the seed's on every machine, and rounding moves an end by 1e-16.
    """
    rng = np.random.default_rng(0)
    inside = 0
    for seed in range(100):
        x = rng.normal(size=40)
        y = 0.6 * x + 0.8 * rng.normal(size=40)
        low, high = interval(spearman, x, y, draws=200, level=0.9, seed=seed)
        inside += low <= 0.5826 <= high
    assert 82 <= inside <= 97
    assert np.isnan(interval(kendall, [1, 2], [1, 2])).all()


def test_no_interval_where_all_draws_would_agree() -> None:
    """A perfect order of whatever length, and a few values with ties, give the same value at every draw."""
    assert np.isnan(interval(kendall, range(9), range(9))).all()
    assert np.isnan(interval(kendall, [1, 1, 2, 2, 2], [1, 1, 2, 2, 3])).all()
    assert kendall([1, 1, 2], [1, 1, 2]) == 1
    assert tied_pairs([1, 1, 2, 3], [1, 2, 2, 4]) == 2
