"""Two costs at once, against lists of everything on small tables and against the bound on a large one.

Costs and choices are integers; logarithms of probabilities may differ by `tie`. Draws are the seed's on all machines.
"""

import numpy as np
import pytest
from graphs import all_choices, chain, logprobs, prior, tie, uniform

from autovid.costs.latency import MILLISECONDS
from autovid.errors import CostRangeError
from autovid.solver import (
    CostRange,
    CostTable,
    Factor,
    TableConstraint,
    most_probable_within,
    sample_within,
    several_constraints,
)
from autovid.solver.several_constraints import likely_within
from autovid.solver.table import aligned


def other(table: CostTable, seed: int, like: float = 0.5) -> CostTable:
    """A second cost over the same sites, in nanoseconds: partly the first one, partly chance."""
    rng = np.random.default_rng(seed)
    factors = []
    for f in table.factors:
        chance = rng.permutation(f.table.ravel()).reshape(f.table.shape)
        factors.append(Factor(f.scope, np.asarray(like * f.table + (1 - like) * chance, np.int64)))
    return CostTable(factors, table.constant // 2, table.sizes, MILLISECONDS)


def span(costs: np.ndarray, low: float, high: float) -> CostRange:
    return CostRange(int(np.quantile(costs, low)), int(np.quantile(costs, high)))


@pytest.mark.parametrize("seed", range(6))
def test_the_most_probable_inside_both_ranges_is_that_of_the_list(seed: int) -> None:
    rng = np.random.default_rng(seed)
    table = chain(rng, 2, 2, 1000)
    second, logp, choices = other(table, seed), prior(table, rng, 2.0), all_choices(table)
    costs, seconds, logs = table.total(choices), second.total(choices), logprobs(logp, choices)
    for ends in ((0.1, 0.2), (0.45, 0.5), (0.85, 0.95)):
        ranges = span(costs, 0.3, 0.6), span(seconds, *ends)
        inside = (costs >= ranges[0].low) & (costs <= ranges[0].high)
        inside &= (seconds >= ranges[1].low) & (seconds <= ranges[1].high)
        constraints = [TableConstraint(table, ranges[0]), TableConstraint(second, ranges[1])]
        if not inside.any():
            with pytest.raises(CostRangeError):
                most_probable_within(constraints, logp)
            continue
        solution = most_probable_within(constraints, logp)
        assert ranges[0].low <= solution.cost <= ranges[0].high
        assert ranges[1].low <= second.total(solution.choices[None])[0] <= ranges[1].high
        assert solution.gap == 0  # set so below 1e-9, and the bound is met: rounding is 1e-13
        # joint.py counts as equal what differs by 1e-9.
        assert solution.logprob == pytest.approx(logs[inside].max(), rel=0, abs=1e-9 + tie(logp))


@pytest.mark.parametrize("seed", range(4))
def test_with_three_ranges_the_answer_is_inside_all_and_the_gap_covers_the_list(seed: int) -> None:
    rng = np.random.default_rng(10 + seed)
    table = chain(rng, 2, 2, 1000)
    tables = [table, other(table, seed), other(table, seed + 50, like=0.1)]
    logp, choices = prior(table, rng, 2.0), all_choices(table)
    logs, costs = logprobs(logp, choices), [one.total(choices) for one in tables]
    ends = [(0.3, 0.7), (0.1, 0.5), [(0.2, 0.4), (0.75, 0.9)][seed % 2]]
    constraints = [TableConstraint(t, span(c, *e)) for t, c, e in zip(tables, costs, ends)]
    inside = np.all([constraint.inside(choices) for constraint in constraints], axis=0)
    assert inside.any()
    solution = most_probable_within(constraints, logp)
    assert all(constraint.inside(solution.choices[None]).all() for constraint in constraints)
    assert solution.logprob <= logs[inside].max() + tie(logp)
    assert logs[inside].max() <= solution.logprob + solution.gap + 1e-9 + tie(logp)  # equal are those closer than 1e-9
    rows = sample_within(constraints, logp, 8, np.random.default_rng(0))
    assert all(constraint.inside(rows).all() for constraint in constraints)


def test_draws_follow_the_prior_given_three_ranges() -> None:
    rng = np.random.default_rng(0)
    table = chain(rng, 2, 1, 1000)
    tables = [table, other(table, 1), other(table, 2, like=0.1)]
    logp, choices = prior(table, rng), all_choices(table)
    ends = [(0.2, 0.8), (0.0, 0.2), (0.5, 0.9)]
    constraints = [TableConstraint(t, span(t.total(choices), *e)) for t, e in zip(tables, ends)]
    inside = np.all([constraint.inside(choices) for constraint in constraints], axis=0)
    assert 5 < inside.sum() < 0.1 * len(choices)
    drawn = sample_within(constraints, logp, 4000, np.random.default_rng(1))
    exact = np.exp(logprobs(logp, choices)) * inside
    seen = np.bincount(np.ravel_multi_index(tuple(drawn.T), table.sizes), minlength=len(choices)) / 4000
    # as below: total variation of 4,000 draws of some dozens of architectures
    assert np.abs(seen - exact / exact.sum()).sum() / 2 < 0.06


def test_costs_over_other_scopes_are_added_up_alike() -> None:
    """A cost that not every piece of a network has, and one that is written piece by piece in another order."""
    rng = np.random.default_rng(3)
    table = chain(rng, 2, 2, 1000)
    second = other(table, 3)
    last = second.factors[-1]
    turned = Factor(last.scope[::-1], np.ascontiguousarray(last.table.transpose()))
    pieces = CostTable([turned, *second.factors[:-2]], 7, table.sizes, MILLISECONDS)
    rows = np.stack([rng.integers(0, n, 50) for n in table.sizes], axis=1)
    first, along = aligned([table, pieces])
    assert first is table
    assert [f.scope for f in along.factors] == [f.scope for f in table.factors]
    assert (along.total(rows) == pieces.total(rows)).all()
    fewer, whole = aligned([pieces, table])
    assert (fewer.total(rows) == pieces.total(rows)).all()
    assert (whole.total(rows) == table.total(rows)).all()
    assert [f.scope for f in fewer.factors] == [f.scope for f in whole.factors]


def test_draws_follow_the_prior_given_both_ranges() -> None:
    """Also where the price has to move proposals: the second range is far from what the first one's have."""
    rng = np.random.default_rng(0)
    table = chain(rng, 2, 1, 1000)
    second, logp, choices = other(table, 1), prior(table, rng), all_choices(table)
    costs, seconds = table.total(choices), second.total(choices)
    ranges = span(costs, 0.2, 0.8), span(seconds, 0.0, 0.1)
    inside = (costs >= ranges[0].low) & (costs <= ranges[0].high) & (seconds <= ranges[1].high)
    assert 5 < inside.sum() < 0.05 * len(choices)
    constraints = [TableConstraint(table, ranges[0]), TableConstraint(second, ranges[1])]
    drawn = sample_within(constraints, logp, 4000, np.random.default_rng(1))
    exact = np.exp(logprobs(logp, choices)) * inside
    exact /= exact.sum()
    numbers = np.ravel_multi_index(tuple(drawn.T), table.sizes)
    seen = np.bincount(numbers, minlength=len(choices)) / 4000
    assert seen[~inside].sum() == 0
    # Total variation of 4,000 draws of 16 architectures: 0.4 * sqrt(16 / 4000) = 0.025 in the mean, +- 0.005.
    assert np.abs(seen - exact).sum() / 2 < 0.05
    different = sample_within(constraints, logp, 5, np.random.default_rng(1), distinct=True)
    assert len(np.unique(different, axis=0)) == 5
    with pytest.raises(CostRangeError, match=f"only {inside.sum()} of {inside.sum() + 1}"):
        sample_within(constraints, logp, int(inside.sum()) + 1, np.random.default_rng(1), distinct=True)


def test_on_a_large_space_both_are_met_and_the_rest_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    table = chain(rng, 3, 4, 1_000_000)  # 1e13 architectures
    second = other(table, 3)
    middle = (table.smallest()[0] + table.largest()[0]) // 2
    first = CostRange(middle * 98 // 100, middle * 102 // 100)
    typical = second.total(sample_within([TableConstraint(table, first)], uniform(table), 64, rng))
    spread = int(typical.std())
    away = int(typical.mean()) - 4 * spread  # four standard deviations: a draw in 30,000 would have it
    constraints = [TableConstraint(table, first), TableConstraint(second, CostRange(away, away + spread // 2))]
    solution = most_probable_within(constraints, prior(table, rng))
    for row in [solution.choices, *sample_within(constraints, uniform(table), 4, rng)]:
        for constraint in constraints:
            assert constraint.range.low <= constraint.table.total(row[None])[0] <= constraint.range.high
    assert solution.gap < 0.5
    searches: list[object] = []
    search = several_constraints.best_in_range
    monkeypatch.setattr(several_constraints, "best_in_range", lambda *args: searches.append(args) or search(*args))
    least = second.smallest()[0]
    constraints = [TableConstraint(table, first), TableConstraint(second, CostRange(least, least + spread))]
    message = "no architecture has both .* GFLOPs and .* ms: with .* GFLOPs the latency reaches down to .* ms"
    for ask in (most_probable_within, lambda *args: sample_within(*args, 1, rng)):
        with pytest.raises(CostRangeError, match=message):
            ask(constraints, uniform(table))
    assert len(searches) == 1  # for the best there is; the end of the reach takes one dynamic programme


def test_where_many_are_equally_probable_one_is_found_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a search, or where no part of it has come to: nothing but the ranges tells architectures apart."""
    monkeypatch.setattr("autovid.solver.several_constraints._ENOUGH", 100)
    rng = np.random.default_rng(5)
    table = chain(rng, 2, 3, 1_000_000)
    second = other(table, 3)
    middle = (table.smallest()[0] + table.largest()[0]) // 2
    first = CostRange(middle * 98 // 100, middle * 102 // 100)
    typical = int(np.median(second.total(sample_within([TableConstraint(table, first)], uniform(table), 64, rng))))
    constraints = [
        TableConstraint(table, first),
        TableConstraint(second, CostRange(typical, typical + typical // 1000)),
    ]
    solution = most_probable_within(constraints, uniform(table))
    for constraint in constraints:
        assert constraint.range.low <= constraint.table.total(solution.choices[None])[0] <= constraint.range.high
    assert solution.cost == table.total(solution.choices[None])[0]
    assert solution.logprob == pytest.approx(-sum(np.log(size) for size in table.sizes), rel=0, abs=tie(uniform(table)))


def test_of_few_draws_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where draws are rare, what has come in bounded time counts."""
    monkeypatch.setattr("autovid.solver.several_constraints._PATIENCE", 8)
    monkeypatch.setattr("autovid.solver.several_constraints._BATCH", 4)
    monkeypatch.setattr("autovid.solver.several_constraints._SHARPNESS", (1.0,))
    rng = np.random.default_rng(3)
    table = chain(rng, 2, 1, 1000)
    second, logp, choices = other(table, 1), prior(table, rng), all_choices(table)
    costs, seconds = table.total(choices), second.total(choices)
    first = span(costs, 0.2, 0.8)
    inside = (costs >= first.low) & (costs <= first.high)
    fastest = np.sort(seconds[inside])
    ranges = first, CostRange(int(fastest[0]), int(fastest[5]))
    inside &= seconds <= ranges[1].high
    listed = {tuple(row) for row in choices[inside]}
    constraints = [TableConstraint(table, ranges[0]), TableConstraint(second, ranges[1])]
    with pytest.raises(CostRangeError, match="only . of 10000"):
        sample_within(constraints, logp, 10_000, np.random.default_rng(0))
    rows = likely_within(constraints, logp, 10_000)
    assert 1 < len(rows) <= len(listed)
    assert {tuple(row) for row in rows} <= listed
    impossible = [constraints[0], TableConstraint(second, CostRange(int(seconds.min()) - 5, int(seconds.min()) - 1))]
    assert len(likely_within(impossible, logp, 10)) == 0


def test_a_candidate_that_the_prior_rules_out_is_never_taken() -> None:
    rng = np.random.default_rng(2)
    table = chain(rng, 2, 1, 1000)
    second, logp = other(table, 2), prior(table, rng)
    logp[0][0] = logp[1][1] = -np.inf
    costs, seconds = table.total(all_choices(table)), second.total(all_choices(table))
    constraints = [TableConstraint(table, span(costs, 0.2, 0.8)), TableConstraint(second, span(seconds, 0.2, 0.4))]
    rows = [most_probable_within(constraints, logp).choices, *sample_within(constraints, logp, 20, rng)]
    assert all(row[0] != 0 and row[1] != 1 for row in rows)


def test_what_lies_just_beside_the_first_range_does_not_hide_that_none_is_inside_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Costs are in bins: an architecture beside the range reached the other one, and to prove nothing took minutes."""
    rng = np.random.default_rng(0)
    table = chain(rng, 2, 3, 10**7)
    second, logp, choices = other(table, 0, like=0.9), prior(table, rng), all_choices(table)
    costs, seconds = table.total(choices), second.total(choices)
    first = span(costs, 0.5, 0.5002)
    reach = seconds[first.holds(costs)]
    monkeypatch.setattr(several_constraints, "likely_within", lambda *rest: pytest.fail("draws are searched for it"))
    for ends in (
        CostRange(int(reach.min()) - 50, int(reach.min()) - 1),
        CostRange(int(reach.max()) + 1, int(reach.max()) + 50),
    ):
        constraints = [TableConstraint(table, first), TableConstraint(second, ends)]
        with pytest.raises(CostRangeError, match="reaches (down|up) to"):
            most_probable_within(constraints, logp)
