"""P(in range): exact on what can be enumerated, bounded and close elsewhere.

Costs are integers. Probabilities are sums of exp(x), x a sum of up to 14 logarithms, all in float64 and positive: they
cannot cancel. Where exp(x) matters, |x| < 50, so its relative error is below 14 * 50 * 2**-53 = 8e-14; numpy's pairwise
sums of n terms, of which a bin has hardly any twice, add (20 + log2 n) * 2**-53 = 5e-15. Both sides have this error,
1.7e-13 in all: rel=1e-12 holds on any machine, and abs=1e-13 is for what is less probable than that.
"""

import numpy as np
import pytest
from graphs import all_choices, chain, log_softmax, logprobs, plain_draws, prior, random_table, two_stream, uniform

from autovid.solver import distribution
from autovid.solver.distribution import probability_in_range, reachable_costs

TWO_STREAM = two_stream()
GIGA = 10**9


def some_range(costs: np.ndarray, rng: np.random.Generator) -> tuple[int, int]:
    low, high = sorted(int(c) for c in rng.choice(costs, 2))
    return low, high


@pytest.mark.parametrize("seed", range(30))
def test_small_spaces_are_exact(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, (5, 1000, 10**11)[seed % 3])
    choices = all_choices(table)
    costs, logp = table.total(choices), prior(table, rng, (0.0, 1.0, 30.0)[seed % 3])
    p = np.exp(logprobs(logp, choices))
    np.testing.assert_array_equal(reachable_costs(table), np.unique(costs))
    low, high = some_range(costs, rng)
    for a, b in ((low, high), (low, low), (low + 1, high - 1), (-(10**15), high), (low, 10**15), (0, -1)):
        probability = probability_in_range(table, logp, a, b)
        assert probability.value == pytest.approx(p[(costs >= a) & (costs <= b)].sum(), rel=1e-12, abs=1e-13)
        assert probability.lower == probability.value == probability.upper
        if a <= b:
            assert probability.below == pytest.approx(p[costs < a].sum(), rel=1e-12, abs=1e-13)
            assert probability.above == pytest.approx(p[costs > b].sum(), rel=1e-12, abs=1e-13)


def test_a_million_architectures_are_exact():
    rng = np.random.default_rng(0)
    table = chain(rng, stages=2, depth=3, top=10**9)
    choices = all_choices(table)
    costs, logp = table.total(choices), prior(table, rng)
    low, high = some_range(costs, rng)
    p = np.exp(logprobs(logp, choices[(costs >= low) & (costs <= high)])).sum()
    assert probability_in_range(table, logp, low, high).value == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("bins", [100, 3000])
def test_bins_bound_the_truth(seed, bins, monkeypatch):
    monkeypatch.setattr(distribution, "reachable_costs", lambda table: None)
    rng = np.random.default_rng(seed)
    table = chain(rng, stages=2, depth=2, top=10**9)
    choices = all_choices(table)
    costs, logp = table.total(choices), prior(table, rng, (0.0, 1.0, 10.0)[seed % 3])
    p = np.exp(logprobs(logp, choices))
    low, high = some_range(costs, rng)
    probability = probability_in_range(table, logp, low, high, bins)
    truth = p[(costs >= low) & (costs <= high)].sum()
    assert probability.lower - 1e-12 <= truth <= probability.upper + 1e-12
    assert probability.lower <= probability.value <= probability.upper
    assert probability.below + probability.value + probability.above == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_bins_that_tell_all_costs_apart_are_exact(seed, monkeypatch):
    monkeypatch.setattr(distribution, "reachable_costs", lambda table: None)
    rng = np.random.default_rng(seed)
    table = chain(rng, stages=2, depth=2, top=10**8, unit=10**5)  # at most 4,000 different costs
    choices = all_choices(table)
    costs, logp = table.total(choices), prior(table, rng)
    p = np.exp(logprobs(logp, choices))
    low, high = some_range(costs, rng)
    for a, b in ((low, high), (low, low), (low + 1, high - 1), (low - 1, high + 1)):
        probability = probability_in_range(table, logp, a, b)
        truth = p[(costs >= a) & (costs <= b)].sum()
        assert (probability.lower, probability.value, probability.upper) == pytest.approx(
            (truth, truth, truth), rel=1e-12, abs=1e-13
        )
        assert probability.below == pytest.approx(p[costs < a].sum(), rel=1e-12, abs=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scale", "low", "high", "draws"),
    [(0.0, 2.2, 2.3, 1_000_000), (1.0, 2.6, 2.8, 200_000), (30.0, 1.75, 1.8, 200_000)],
)
def test_a_big_space_against_many_draws(scale, low, high, draws):
    # Draws are the seed's: a machine whose exp rounds otherwise moves one with a chance of 1e-16. So it is the same
    # everywhere how many standard deviations a statistic is off.
    rng = np.random.default_rng(3)
    logp = prior(TWO_STREAM, rng, scale)
    low, high, hits = round(low * GIGA), round(high * GIGA), 0
    for _ in range(draws // 50_000):
        costs = TWO_STREAM.total(plain_draws(logp, 50_000, rng))
        hits += int(((costs >= low) & (costs <= high)).sum())
    fine = probability_in_range(TWO_STREAM, logp, low, high)
    quick = probability_in_range(TWO_STREAM, logp, low, high, bins=1024)
    sigma = np.sqrt(fine.value * (1 - fine.value) / draws)
    assert 0.001 < fine.value < 0.999
    assert abs(hits / draws - fine.value) < 4 * sigma
    assert abs(quick.value - fine.value) < 0.02 + 0.1 * fine.value  # of 1,024 bins; rounding is 1e-12 of it
    assert fine.lower <= fine.value <= fine.upper
    assert quick.lower <= fine.value <= quick.upper


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high", "size"), [(1.1, 1.15, 1e-7), (0.95, 0.98, 1e-13)])
def test_a_rare_range_against_importance_sampling(low, high, size):
    rng = np.random.default_rng(4)
    logp, low, high = uniform(TWO_STREAM), round(low * GIGA), round(high * GIGA)
    probability = probability_in_range(TWO_STREAM, logp, low, high)
    assert size / 10 < probability.value < size * 10
    # A cheaper prior: each candidate by what it costs on average.
    steer = [np.exp(x) for x in logp]
    means = [
        log_softmax(-np.array([TWO_STREAM.expected([*steer[:d], only, *steer[d + 1 :]]) for only in np.eye(n)]) / GIGA)
        for d, n in enumerate(TWO_STREAM.sizes)
    ]
    for strength in np.linspace(0, 60, 31):
        cheap = [log_softmax(strength * m) for m in means]
        if TWO_STREAM.expected([np.exp(x) for x in cheap]) < (low + high) / 2:
            break
    choices = plain_draws(cheap, 100_000, rng)
    costs = TWO_STREAM.total(choices)
    weight = np.exp(logprobs(logp, choices) - logprobs(cheap, choices)) * ((costs >= low) & (costs <= high))
    # The seed's draws, as above.
    assert abs(weight.mean() - probability.value) < 4 * weight.std() / np.sqrt(len(weight))
    assert weight.std() / np.sqrt(len(weight)) < 0.1 * probability.value
