"""Gradients of the expected cost and of log P(in range), against enumeration and against differences.

Both are sums of products of float64 numbers. Those of P(in range) are positive, so that they cannot cancel: some
thousand terms lose 1e-13 of the sum at most (see test_distribution.py), and rel=1e-11 leaves a factor of a hundred.
"""

import numpy as np
import pytest
from graphs import all_choices, chain, log_softmax, logprobs, prior, random_table, two_stream, uniform

from autovid.solver import CostRange, posterior_in_range, probability_in_range
from autovid.solver.table import CostTable

TWO_STREAM = two_stream()


def some_range(table: CostTable, rng: np.random.Generator) -> CostRange:
    """Between two costs of the table's architectures."""
    return CostRange(*sorted(int(cost) for cost in rng.choice(table.total(all_choices(table)), 2)))


@pytest.mark.parametrize("seed", range(10))
def test_the_expected_cost_is_linear_in_each_decision(seed: int) -> None:
    """A derivative is a difference: that of certainty of one candidate and of no candidate at all."""
    rng = np.random.default_rng(seed)
    table = random_table(rng, 1000)
    probabilities = [np.exp(logp) for logp in prior(table, rng)]
    for d, derivative in enumerate(table.expected_gradient(probabilities)):
        none = table.expected([*probabilities[:d], np.zeros(table.sizes[d]), *probabilities[d + 1 :]])
        for c, certain in enumerate(np.eye(table.sizes[d])):
            certain_cost = table.expected([*probabilities[:d], certain, *probabilities[d + 1 :]])
            # sums of some hundred costs up to 1,000, signs mixed: 1e5 * 1e-16 of rounding
            assert derivative[c] == pytest.approx(certain_cost - none, abs=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_the_expected_cost_moves_as_the_enumerated_one(seed: int) -> None:
    """p_dc (g_dc - p_d . g_d), softmax's gradient, is the covariance of the cost and of taking the candidate."""
    rng = np.random.default_rng(seed)
    table = chain(rng, stages=2, depth=1, top=1000)
    logp, choices = prior(table, rng), all_choices(table)
    p_N, cost_N = np.exp(logprobs(logp, choices)), table.total(choices)
    for d, (x, g) in enumerate(zip(logp, table.expected_gradient([np.exp(x) for x in logp]))):
        p = np.exp(x)
        expected = [(p_N * cost_N * ((choices[:, d] == c) - p[c])).sum() for c in range(len(p))]
        assert p * (g - p @ g) == pytest.approx(expected, abs=1e-9)  # costs up to 4,000, some 200 terms: 1e-10


@pytest.mark.parametrize("seed", range(10))
def test_the_posterior_is_the_enumerated_one_where_bins_tell_costs_apart(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = chain(rng, stages=2, depth=2, top=10**8, unit=10**5)  # at most 4,000 different costs
    logp, choices = prior(table, rng, (0.0, 1.0, 5.0)[seed % 3]), all_choices(table)
    low, high = some_range(table, rng)
    inside = (table.total(choices) >= low) & (table.total(choices) <= high)
    p_N = np.exp(logprobs(logp, choices)) * inside
    posterior = posterior_in_range(table, logp, low, high)
    assert posterior.log_probability == pytest.approx(np.log(p_N.sum()), rel=1e-11, abs=1e-11)
    for d, marginal in enumerate(posterior.marginals):
        expected = np.bincount(choices[:, d], p_N, table.sizes[d]) / p_N.sum()
        assert marginal == pytest.approx(expected, rel=1e-11, abs=1e-13)  # abs: what is less probable than that


@pytest.mark.parametrize("seed", range(5))
def test_a_candidate_that_cannot_be_has_no_share(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = chain(rng, stages=2, depth=1, top=100)
    logp, choices = prior(table, rng), all_choices(table)
    logp[0] = log_softmax(np.array([0.0, -np.inf, 1.0]))
    costs = table.total(choices)
    with np.errstate(divide="ignore"):
        p_N = np.exp(logprobs(logp, choices)) * (costs <= np.median(costs))
    posterior = posterior_in_range(table, logp, 0, int(np.median(costs)))
    assert posterior.marginals[0][1] == 0.0
    for d, marginal in enumerate(posterior.marginals):
        assert marginal == pytest.approx(np.bincount(choices[:, d], p_N, table.sizes[d]) / p_N.sum(), rel=1e-11)


def test_a_big_space_against_differences_of_the_log_probability() -> None:
    """Coarse bins stand for costs with a mean error that depends on the prior, which the gradient leaves aside."""
    rng = np.random.default_rng(0)
    logp = prior(TWO_STREAM, rng)
    low, high, step = 2_200_000_000, 2_300_000_000, 0.01
    posterior = posterior_in_range(TWO_STREAM, logp, low, high, bins=1024)
    assert posterior.log_probability == pytest.approx(
        np.log(probability_in_range(TWO_STREAM, logp, low, high, bins=1024).value), rel=1e-11
    )
    assert all(marginal.sum() == pytest.approx(1, rel=1e-11) for marginal in posterior.marginals)
    gradient = [marginal - np.exp(x) for marginal, x in zip(posterior.marginals, logp)]
    for d in rng.permutation(len(logp))[:8]:
        ends = []
        for sign in (1, -1):
            logits = [x.copy() for x in logp]
            logits[d][0] += sign * step
            ends.append(np.log(probability_in_range(TWO_STREAM, logits, low, high, bins=1024).value))
        # Central differences are off by step**2 / 6 = 2e-5 of a third derivative of size 1; moved bins by 1 % of 0.3.
        assert gradient[d][0] == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=5e-3)


def test_a_range_that_nothing_reaches_leaves_the_prior() -> None:
    table, rng = TWO_STREAM, np.random.default_rng(0)
    for logp, ends in ((prior(table, rng), (1, 2)), (uniform(table), (10**12, 10**13))):
        posterior = posterior_in_range(table, logp, *ends)
        assert posterior.log_probability == -np.inf
        for marginal, x in zip(posterior.marginals, logp):
            assert marginal == pytest.approx(np.exp(x), rel=1e-12)  # normalised once more: a few roundings
