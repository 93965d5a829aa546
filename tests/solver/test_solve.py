"""The most probable architecture in a range, and the order of all of them, against brute force.

Costs and choices are integers; logarithms of probabilities may differ by `tie`.
"""

import itertools

import numpy as np
import pytest
from graphs import all_choices, chain, logprobs, prior, random_table, tie, two_stream, uniform

from autovid.errors import CostRangeError
from autovid.solver import binned_dp, solve
from autovid.solver.solve import in_order_of_probability, most_probable
from autovid.solver.table import CostTable, Factor

TWO_STREAM = two_stream()


@pytest.fixture(params=["fine", "coarse"])
def bins(request, monkeypatch):
    """Coarse: bins so wide that most of the window lies outside the range."""
    if request.param == "coarse":
        monkeypatch.setattr(binned_dp, "MAX_BINS", 24)
        monkeypatch.setattr(binned_dp, "MIN_BINS", 8)


def ranges(costs: np.ndarray, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Ranges with reachable ends (inclusive), single values, everything, and some that may be empty."""
    a, b = sorted(int(c) for c in rng.choice(costs, 2))
    gap = int(rng.integers(costs.min(), costs.max() + 1))
    return [(a, b), (a, a), (int(costs.min()), int(costs.max())), (-(10**15), a), (b, 10**15), (gap, gap), (a, a + 3)]


def solutions(table, logp, low, high):
    try:
        return list(in_order_of_probability(table, logp, low, high))
    except CostRangeError:
        return []


@pytest.mark.slow
@pytest.mark.usefixtures("bins")
@pytest.mark.parametrize("seed", [*range(9), *(pytest.param(n, marks=pytest.mark.thorough) for n in range(9, 18))])
def test_order_is_complete_and_falling(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, (5, 1000, 10**10)[seed % 3])
    choices = all_choices(table)
    costs = table.total(choices)
    for logp in (prior(table, rng), prior(table, rng, 100.0), uniform(table)):
        p = logprobs(logp, choices)
        for low, high in ranges(costs, rng):
            inside = (costs >= low) & (costs <= high)
            ordered = solutions(table, logp, low, high)
            assert {tuple(s.choices) for s in ordered} == {tuple(c) for c in choices[inside]}
            assert len(ordered) == inside.sum()
            assert [s.cost for s in ordered] == [int(table.total(s.choices[None])[0]) for s in ordered]
            np.testing.assert_allclose([s.logprob for s in ordered], np.sort(p[inside])[::-1], rtol=0, atol=tie(logp))


@pytest.mark.usefixtures("bins")
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("scale", [0.0, 1.0, 1000.0])
def test_most_probable_of_420_000_architectures(seed, scale):
    rng = np.random.default_rng(seed)
    table = chain(rng, stages=2, depth=3, top=10**8)
    choices = all_choices(table)
    costs, logp = table.total(choices), prior(table, rng, scale)
    p = logprobs(logp, choices)
    middle = int(rng.choice(costs))
    for width in (0.1, 0.01, 1e-4, 0):
        low, high = middle, int(middle * (1 + width))
        best = most_probable(table, logp, low, high)
        inside = (costs >= low) & (costs <= high)
        assert best.logprob == pytest.approx(p[inside].max(), rel=0, abs=tie(logp))
        assert low <= best.cost <= high
        assert best.cost == table.total(best.choices[None])[0]


@pytest.mark.usefixtures("bins")
@pytest.mark.parametrize("scale", [0.0, 1.0])
def test_blocks_that_repeat_are_found_in_every_order(scale):
    table = CostTable([Factor((d,), np.array([0, 301, 1009])) for d in range(7)], 0, [3] * 7)
    logp, choices = [scale * np.array([0.3, 0.0, 0.7])] * 7, all_choices(table)
    costs = table.total(choices)
    for cost in np.unique(costs).tolist():
        ordered = solutions(table, logp, cost, cost)
        assert {tuple(s.choices) for s in ordered} == {tuple(c) for c in choices[costs == cost]}
        assert len(ordered) == (costs == cost).sum()


def test_candidates_without_probability_are_never_chosen():
    rng = np.random.default_rng(0)
    table = chain(rng, stages=2, depth=2, top=1000)
    logp = prior(table, rng)
    logp[0][1] = logp[2][2] = -np.inf
    choices = all_choices(table)
    choices = choices[(choices[:, 0] != 1) & (choices[:, 2] != 2)]
    ordered = list(in_order_of_probability(table, logp, 0, 10**9))
    assert {tuple(s.choices) for s in ordered} == {tuple(c) for c in choices}
    shifted = [x + 5 for x in logp]  # logits do
    again = most_probable(table, shifted, 0, 10**9)
    assert ordered[0].logprob == pytest.approx(again.logprob, rel=0, abs=tie(shifted))


def test_malformed_priors_are_refused():
    table = CostTable([Factor((0,), np.array([1, 2]))], 0, [2])
    for bad in ([], [np.zeros(3)], [np.array([np.nan, 0])], [np.full(2, -np.inf)], [np.array([np.inf, 0])]):
        with pytest.raises(ValueError, match="log-probabilities"):
            most_probable(table, bad, 0, 5)


def test_a_range_out_of_reach_names_the_reachable_one():
    logp = uniform(TWO_STREAM)
    smallest, largest = TWO_STREAM.smallest()[0], TWO_STREAM.largest()[0]
    for low, high in ((0, smallest - 1), (largest + 1, 10**12), (2 * 10**9, 10**9)):
        with pytest.raises(CostRangeError, match=r"reachable is 0\.59278–7\.2611 GFLOPs"):
            most_probable(TWO_STREAM, logp, low, high)
    assert most_probable(TWO_STREAM, logp, 0, smallest).cost == smallest
    assert most_probable(TWO_STREAM, logp, largest, 10**12).cost == largest


@pytest.mark.parametrize("seed", range(10))
def test_a_hole_in_the_span_names_the_nearest_costs(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, 10**10)
    costs = np.unique(table.total(all_choices(table)))
    if len(costs) < 2:
        return
    i = int(rng.integers(1, len(costs)))
    with pytest.raises(CostRangeError) as error:
        most_probable(table, uniform(table), int(costs[i - 1]) + 1, int(costs[i]) - 1)
    for cost in costs[i - 1 : i + 1]:
        assert str(int(cost)) in str(error.value)


def test_a_hole_in_a_big_space_names_costs_nearby():
    cost = most_probable(TWO_STREAM, uniform(TWO_STREAM), 2 * 10**9, 2 * 10**9 + 10**6).cost
    with pytest.raises(CostRangeError, match=r"near are (2\.\d+) and (2\.\d+) GFLOPs") as error:
        most_probable(TWO_STREAM, uniform(TWO_STREAM), cost + 1, cost + 2)  # costs differ by 1,600 at least
    named = [word for word in str(error.value).split() if word.startswith("2.") and "–" not in word]
    below, above = (round(float(word) * 1e9) for word in named)
    assert cost - 10**6 < below <= cost
    assert cost < above < cost + 10**6


def test_a_search_that_would_take_too_long_says_so(monkeypatch):
    monkeypatch.setattr(solve, "MAX_VISITS", 300)
    monkeypatch.setattr(binned_dp, "MAX_BINS", 512)
    cost = TWO_STREAM.smallest()[0] + 1600 * 500_000
    with pytest.raises(CostRangeError, match="gave up after 300 "):
        most_probable(TWO_STREAM, prior(TWO_STREAM, np.random.default_rng(0)), cost, cost)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize(("low", "high"), [(1.37, 1.43), (2.4, 2.4001), (7.0, 7.5)])
def test_nothing_near_the_answer_is_better_on_a_big_space(scale, low, high):
    rng = np.random.default_rng(1)
    logp = prior(TWO_STREAM, rng, scale)
    low, high = round(low * 1e9), round(high * 1e9)
    first = most_probable(TWO_STREAM, logp, low, high)
    order = list(itertools.islice(in_order_of_probability(TWO_STREAM, logp, low, high), 20))
    np.testing.assert_array_equal(order[0].choices, first.choices)  # integers, by the same code twice
    assert len({s.choices.tobytes() for s in order}) == 20
    assert all(low <= s.cost <= high for s in order)
    assert all(a.logprob >= b.logprob - tie(logp) for a, b in itertools.pairwise(order))
    swaps = [(d, c) for d, n in enumerate(TWO_STREAM.sizes) for c in range(n)]
    near = np.repeat(first.choices[None].astype(np.int8), 40_000, axis=0)
    for _ in range(3):  # up to three decisions changed
        d, c = np.array(swaps)[rng.integers(0, len(swaps), len(near))].T
        near[np.arange(len(near)), d] = c
    costs = TWO_STREAM.total(near)
    inside = (costs >= low) & (costs <= high)
    assert inside.sum() > 50
    assert logprobs(logp, near[inside]).max() <= first.logprob + tie(logp)
