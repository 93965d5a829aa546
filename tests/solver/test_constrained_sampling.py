"""Draws inside a range: distributed as the prior is there, also where next to nothing lies in it.

Draws are integers, and those of a seed: a machine whose exp or log rounds otherwise moves a draw with a chance of some
1e-16, so how many standard deviations a statistic is off is the same on all. Limits are 4 or 5 of them.
"""

from collections import Counter

import numpy as np
import pytest
from graphs import all_choices, chain, logprobs, plain_draws, prior, random_table, tie, two_stream, uniform

from autovid.errors import CostRangeError
from autovid.solver import binned_dp, constrained_sampling, solve
from autovid.solver.constrained_sampling import sample_in_range
from autovid.solver.distribution import probability_in_range
from autovid.solver.solve import most_probable
from autovid.solver.table import CostTable, Factor

TWO_STREAM = two_stream()
GIGA = 10**9


@pytest.fixture(params=["proposals", "log", "listed", "searched"])
def way(request, monkeypatch):
    """Every way by which draws can come about."""
    if request.param == "log":
        monkeypatch.setattr(constrained_sampling, "_UNDERFLOW", 2.0)
    if request.param in ("listed", "searched"):
        monkeypatch.setattr(constrained_sampling.Sampler, "_accepted", lambda self, n, rng: iter(()))
    if request.param == "searched":
        monkeypatch.setattr(constrained_sampling, "_LISTED", 1)
    return request.param


def far_off(counts: np.ndarray, expected: np.ndarray) -> float:
    """How many standard deviations chi-square lies above its mean, cells below 5 pooled."""
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    counts, expected = counts[expected > 0], expected[expected > 0]
    cells = max(1, len(counts) - 1)
    return float((((counts - expected) ** 2 / expected).sum() - cells) / np.sqrt(2 * cells))


def small(seed: int, scale: float, width: int = 64):
    """A space, its prior, all choices in a range, and their probabilities given the range."""
    rng = np.random.default_rng(seed)
    table = chain(rng, stages=2, depth=1, top=10**9)
    logp, choices = prior(table, rng, scale), all_choices(table)
    costs = table.total(choices)
    low, high = (int(np.sort(costs)[i]) for i in (99, 99 + width - 1))
    choices = choices[(costs >= low) & (costs <= high)]
    p = np.exp(logprobs(logp, choices))
    return table, logp, low, high, choices, p / p.sum(), rng


@pytest.mark.parametrize("scale", [0.0, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_draws_follow_the_prior(seed, scale, way):
    table, logp, low, high, choices, p, rng = small(seed, scale)
    n = 300 if way == "searched" else 20_000
    drawn = sample_in_range(table, logp, low, high, n, rng)
    counts = Counter(map(tuple, drawn.tolist()))
    assert set(counts) <= set(map(tuple, choices.tolist()))
    assert far_off(np.array([counts[tuple(c)] for c in choices.tolist()]), n * p) < 5


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 2.0])
def test_distinct_draws_are_draws_without_replacement(scale, way, monkeypatch):
    table, logp, low, high, choices, p, rng = small(7, scale, width=9)
    monkeypatch.setattr(constrained_sampling, "_BATCH", 4)  # quicker, and repeats are met one by one
    n = 600
    pairs = Counter(
        tuple(map(tuple, sample_in_range(table, logp, low, high, 2, rng, distinct=True).tolist())) for _ in range(n)
    )
    expected = p[:, None] * p / (1 - p[:, None])
    np.fill_diagonal(expected, 0)
    counts = np.array([[pairs[tuple(a), tuple(b)] for b in choices.tolist()] for a in choices.tolist()])
    assert counts.sum() == n
    assert far_off(counts.ravel(), n * expected.ravel()) < 5


def test_all_distinct_architectures_come_out_and_one_more_is_refused(way):
    table, logp, low, high, choices, _, rng = small(1, 30.0)
    drawn = sample_in_range(table, logp, low, high, len(choices), rng, distinct=True)
    assert set(map(tuple, drawn.tolist())) == set(map(tuple, choices.tolist()))
    with pytest.raises(CostRangeError, match=f"only {len(choices)} architectures"):
        sample_in_range(table, logp, low, high, len(choices) + 1, rng, distinct=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_any_structure_and_any_range(seed, way, monkeypatch):
    monkeypatch.setattr(binned_dp, "MAX_BINS", 30)
    monkeypatch.setattr(binned_dp, "MIN_BINS", 10)
    rng = np.random.default_rng(seed)
    table = random_table(rng, (5, 10**10)[seed % 2])
    choices, logp = all_choices(table), prior(table, rng, 3.0)
    logp[0] = np.where(np.arange(table.sizes[0]) == 1, -np.inf, logp[0])
    costs = table.total(choices)
    low, high = sorted(int(c) for c in rng.choice(costs, 2))
    possible = choices[(costs >= low) & (costs <= high) & (choices[:, 0] != 1)]
    if len(possible):
        drawn = sample_in_range(table, logp, low, high, 20, rng)
        assert drawn.shape == (20, len(table.sizes))
        assert set(map(tuple, drawn.tolist())) <= set(map(tuple, possible.tolist()))
        drawn = sample_in_range(table, logp, low, high, min(9, len(possible)), rng, distinct=True)
        assert len(np.unique(drawn, axis=0)) == min(9, len(possible))
    else:
        with pytest.raises(CostRangeError, match="no architecture"):
            sample_in_range(table, logp, low, high, 1, rng)


def test_none_asked_for_none_given():
    table, logp, low, high, _, _, rng = small(0, 1.0)
    for distinct in (False, True):
        assert sample_in_range(table, logp, low, high, 0, rng, distinct).shape == (0, len(table.sizes))


def test_an_empty_range_is_refused(way):
    table = CostTable([Factor((0,), np.array([0, 10])), Factor((1,), np.array([0, 3, 5]))], 0, [2, 3])
    for distinct in (False, True):
        with pytest.raises(CostRangeError, match="nearest reachable are 5 and 10 atoms"):
            sample_in_range(table, uniform(table), 6, 9, 3, np.random.default_rng(0), distinct)


def test_equal_seeds_give_equal_draws(way):
    table, logp, low, high, _, _, _ = small(2, 1.0)
    for distinct in (False, True):
        a, b = (sample_in_range(table, logp, low, high, 5, np.random.default_rng(9), distinct) for _ in range(2))
        np.testing.assert_array_equal(a, b)  # integers, by the same code from the same seed


def test_a_big_space_against_rejection():
    """Every decision's marginal, and every pair of one block's decisions, within a wide range."""
    rng = np.random.default_rng(5)
    logp = prior(TWO_STREAM, rng)
    low, high = round(2.5 * GIGA), round(2.6 * GIGA)
    plain = plain_draws(logp, 200_000, rng)
    costs = TWO_STREAM.total(plain)
    plain = plain[(costs >= low) & (costs <= high)]
    drawn = sample_in_range(TWO_STREAM, logp, low, high, 10_000, rng)
    assert len(plain) > 5_000
    shifts = []
    for d, n in enumerate(TWO_STREAM.sizes):
        a, b = (np.bincount(x[:, d], minlength=n) / len(x) for x in (plain, drawn))
        spread = np.sqrt(np.maximum(a * (1 - a), 1e-6) * (1 / len(plain) + 1 / len(drawn)))
        shifts += list((a - b) / spread)
    assert np.abs(shifts).max() < 5
    assert np.std(shifts) == pytest.approx(1, abs=0.15)  # of 500 of them: 1 / sqrt(2 * 500) = 0.03 is one deviation
    a, b = (TWO_STREAM.total(x) for x in (plain, drawn))
    assert abs(a.mean() - b.mean()) < 5 * a.std() * np.sqrt(1 / len(a) + 1 / len(b))


@pytest.mark.slow
@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize(("low", "high", "most"), [(1.1, 1.15, 1e-6), (0.93, 0.96, 1e-12), (0.66, 0.665, 1e-30)])
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_a_range_that_holds_next_to_nothing(low, high, most, scale, distinct):
    rng = np.random.default_rng(6)
    logp, low, high = prior(TWO_STREAM, rng, scale), round(low * GIGA), round(high * GIGA)
    assert probability_in_range(TWO_STREAM, logp, low, high, bins=1024).upper < most
    drawn = sample_in_range(TWO_STREAM, logp, low, high, 16, rng, distinct)
    costs = TWO_STREAM.total(drawn)
    assert ((costs >= low) & (costs <= high)).all()
    assert not distinct or len(np.unique(drawn, axis=0)) == 16
    assert logprobs(logp, drawn).max() <= most_probable(TWO_STREAM, logp, low, high).logprob + tie(logp)


def test_a_single_cost_in_the_middle_of_a_big_space():
    rng = np.random.default_rng(8)
    cost = most_probable(TWO_STREAM, uniform(TWO_STREAM), 2 * GIGA, 2 * GIGA + 10**6).cost
    drawn = sample_in_range(TWO_STREAM, prior(TWO_STREAM, rng), cost, cost, 2, rng, distinct=True)
    assert TWO_STREAM.total(drawn).tolist() == [cost, cost]


def test_a_search_that_would_take_too_long_says_so(monkeypatch):
    monkeypatch.setattr(constrained_sampling, "_PATIENCE", 1)
    monkeypatch.setattr(solve, "MAX_VISITS", 300)
    monkeypatch.setattr(binned_dp, "MAX_BINS", 512)
    cost = TWO_STREAM.smallest()[0] + 1600 * 500_000
    for distinct in (False, True):
        with pytest.raises(CostRangeError, match="gave up after 300 "):
            sample_in_range(TWO_STREAM, uniform(TWO_STREAM), cost, cost, 1, np.random.default_rng(0), distinct)
