"""Totals, extremes, means and restrictions of cost tables, against their definition."""

import math

import numpy as np
import pytest
import torch
from graphs import all_choices, brute_total, prior, random_table, two_stream
from tolerance import rounding

from autovid.errors import ConfigError
from autovid.solver.table import MAX_STATES, CostTable, Factor


@pytest.mark.parametrize("seed", range(20))
def test_total_is_the_sum_of_the_factors(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, 10**11)
    choices = all_choices(table)
    assert table.total(choices).dtype == np.int64
    np.testing.assert_array_equal(table.total(choices), brute_total(table, choices))


def test_total_of_a_big_space_in_any_integer_type_and_any_number():
    table, rng = two_stream(), np.random.default_rng(0)
    choices = np.stack([rng.integers(0, n, 5000) for n in table.sizes], axis=1)
    totals = table.total(choices)
    np.testing.assert_array_equal(totals[::500], brute_total(table, choices[::500]))
    np.testing.assert_array_equal(table.total(choices.astype(np.uint8)), totals)
    np.testing.assert_array_equal(table.total(choices[:1]), totals[:1])
    assert table.total(choices[:0]).shape == (0,)


def test_total_refuses_what_is_not_a_choice():
    table = CostTable([Factor((0,), np.array([1, 2]))], 0, [2, 3])
    for bad in ([[2, 0]], [[0, -1]], [[0.0, 1.0]], [[0]], [0, 1]):
        with pytest.raises(ValueError, match=r"choice|candidates"):
            table.total(np.array(bad))


def test_a_table_without_factors_costs_its_constant():
    for table in (CostTable([], 5, [3]), CostTable([], 5, []), CostTable([Factor((), np.array(2))], 3, [2])):
        assert table.total(all_choices(table)).tolist() == [5] * math.prod(table.sizes)
        assert table.smallest()[0] == table.largest()[0] == 5


@pytest.mark.parametrize("seed", range(40))
def test_extremes_mean_and_unit_equal_brute_force(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, 10**11 if seed % 2 else 5)
    choices = all_choices(table)
    costs = table.total(choices)
    for (cost, choice), best in ((table.smallest(), costs.min()), (table.largest(), costs.max())):
        assert cost == best == table.total(choice[None])[0]
    logp = prior(table, rng)
    p = np.exp(sum(x[choices[:, d]] for d, x in enumerate(logp)))
    # Costs of both signs may cancel. Probabilities add up to 1; of their exponents, sums of 5 below 20, exp makes a
    # relative error of 5 * 20 * 2**-53, as 50 more terms would.
    most = rounding(len(choices) + 50, float(np.abs(costs).max()), torch.float64)
    assert table.expected([np.exp(x) for x in logp]) == pytest.approx(float(p @ costs), rel=0, abs=most)
    assert not ((costs - costs.min()) % table.unit).any()


@pytest.mark.parametrize("seed", range(20))
def test_restricting_keeps_the_costs_of_what_is_left(seed):
    rng = np.random.default_rng(seed)
    table = random_table(rng, 10**9)
    allowed = {d: rng.permutation(n)[: rng.integers(1, n + 1)] for d, n in enumerate(table.sizes) if d % 2}
    part = table.restrict(allowed)
    assert part.sizes == tuple(len(allowed[d]) if d in allowed else n for d, n in enumerate(table.sizes))
    choices = all_choices(part)
    whole = np.stack([allowed.get(d, np.arange(n))[choices[:, d]] for d, n in enumerate(table.sizes)], axis=1)
    np.testing.assert_array_equal(part.total(choices), table.total(whole))
    assert part.smallest()[0] == table.total(whole).min()


def test_restricting_to_nothing_is_refused():
    with pytest.raises(ValueError, match="without candidates"):
        CostTable([], 0, [2]).restrict({0: []})


def test_elimination_order_does_not_depend_on_the_order_of_factors():
    table = two_stream()
    factors = [table.factors[i] for i in np.random.default_rng(0).permutation(len(table.factors))]
    shuffled = CostTable(factors, table.constant, table.sizes)
    assert max(step.states for step in table.steps) <= 27
    assert max(step.states for step in shuffled.steps) <= 27
    assert shuffled.smallest()[0] == table.smallest()[0]


def test_a_space_that_is_too_entangled_is_refused():
    n = 18
    pairs = [Factor((i, j), np.zeros((2, 2), np.int64)) for i in range(n) for j in range(i)]
    with pytest.raises(ConfigError, match=f"at most {MAX_STATES:,}"):
        CostTable(pairs, 0, [2] * n).smallest()


def test_malformed_factors_are_refused():
    for scope, table in (((0,), np.zeros(3, np.int64)), ((0,), np.zeros(2)), ((0, 0), np.zeros((2, 2), np.int64))):
        with pytest.raises(ValueError, match="factor over"):
            CostTable([Factor(scope, table)], 0, [2])
