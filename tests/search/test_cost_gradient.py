"""The cost term's exact gradients against enumeration, and what PARSEC makes of them.

Figures of float64 are sums of some hundred terms of size 1 at most, in either order: 1e-12 leaves a factor of ten.
"""

import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from autovid.errors import ConfigError
from autovid.search import settings_for
from autovid.search.constraints import PartConstraint
from autovid.search.objective import Beta, expectation_gradient, importance, in_range_gradient
from autovid.search.problem import Choices
from autovid.search.strategies.parsec import Parsec
from autovid.search.strategy import Scores, make_strategy
from autovid.solver import CostRange, CostTable, Factor
from autovid.space import load_space
from autovid.testing import small_problem

SIZES = (3, 2, 4)
EVERY = np.array(list(itertools.product(*map(range, SIZES))))


def table(seed: int) -> CostTable:
    """Costs of 300 to 900 or so, which 1,024 bins tell apart, of pairs of decisions that share one."""
    rng = np.random.default_rng(seed)
    factors = [Factor((0, 1), rng.integers(100, 400, (3, 2))), Factor((1, 2), rng.integers(100, 400, (2, 4)))]
    return CostTable(factors, 100, SIZES)


def logits(seed: int) -> list[Tensor]:
    rng = np.random.default_rng(seed)
    return [torch.tensor(rng.normal(size=n), requires_grad=True) for n in SIZES]


def probability(alpha: list[Tensor]) -> Tensor:
    """Of every architecture, (N,), with a gradient."""
    columns = zip(alpha, EVERY.T)
    return torch.stack([torch.log_softmax(a, 0)[torch.from_numpy(c)] for a, c in columns]).sum(0).exp()


def log_probs(alpha: list[Tensor]) -> list[np.ndarray]:
    return [torch.log_softmax(a, 0).detach().numpy() for a in alpha]


@pytest.mark.parametrize("ends", [CostRange(0, 400), CostRange(800, 900), CostRange(1, 10**6), CostRange(900, 2**62)])
@pytest.mark.parametrize("seed", range(3))
def test_the_excess_of_the_expectation_moves_as_the_enumerated_one(seed: int, ends: CostRange) -> None:
    costs, alpha = table(seed), logits(seed)
    expected = (probability(alpha) * torch.from_numpy(costs.total(EVERY))).sum()
    excess = torch.relu(expected / ends.high - 1) + (torch.relu(1 - expected / ends.low) if ends.low else 0.0)
    exact = torch.autograd.grad(excess, alpha)
    gradient = expectation_gradient(costs, log_probs(alpha), ends)
    assert all(np.abs(one.numpy() - other).max() < 1e-12 for one, other in zip(exact, gradient, strict=True))
    assert any(one.any() for one in gradient) == bool(excess > 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_probability_of_the_range_moves_as_the_enumerated_one(seed: int) -> None:
    costs, alpha = table(seed), logits(seed)
    ends = CostRange(*sorted(np.random.default_rng(seed).choice(costs.total(EVERY), 2).tolist()))
    inside = torch.from_numpy(ends.holds(costs.total(EVERY)))
    exact = torch.autograd.grad(-torch.log(probability(alpha)[inside].sum()), alpha)
    gradient = in_range_gradient(costs, log_probs(alpha), ends)
    assert all(np.abs(one.numpy() - other).max() < 1e-12 for one, other in zip(exact, gradient, strict=True))


@pytest.mark.parametrize("width", [10, 100, 1000])
def test_a_narrow_range_among_large_costs_moves_as_the_enumerated_one(width: int) -> None:
    """Costs of millions in bins: the direction is right to a percent where the range has some bins."""
    rng = np.random.default_rng(width)
    sizes = [3] * 8
    costs = CostTable([Factor((d,), rng.integers(1, 400_000, 3)) for d in range(8)], 0, sizes)
    every = np.stack(np.unravel_index(np.arange(3**8), sizes), axis=1)
    alpha = [torch.tensor(rng.normal(0, 1, 3), requires_grad=True) for _ in sizes]
    middle = int(np.median(costs.total(every)))
    ends = CostRange(middle - width * 100, middle + width * 100)
    columns = zip(alpha, every.T)
    p = torch.stack([torch.log_softmax(a, 0)[torch.from_numpy(c)] for a, c in columns]).sum(0).exp()
    inside = torch.from_numpy(ends.holds(costs.total(every)))
    exact = torch.cat(list(torch.autograd.grad(-torch.log(p[inside].sum()), alpha))).numpy()
    gradient = np.concatenate(in_range_gradient(costs, log_probs(alpha), ends))
    cosine = exact @ gradient / np.sqrt((exact @ exact) * (gradient @ gradient))
    assert cosine > 0.99


def test_a_range_too_improbable_for_a_float_is_approached_by_the_expectation() -> None:
    costs = CostTable([Factor((d,), np.array([1, 100], np.int64)) for d in range(20)], 0, [2] * 20)
    sure = [np.array([-40.0, -np.exp(-40.0)])] * 20  # 20 times exp(-40) is below 1e-308
    gradient = in_range_gradient(costs, sure, CostRange(20, 20))
    assert [one.tolist() for one in gradient] == [
        one.tolist() for one in expectation_gradient(costs, sure, CostRange(20, 20))
    ]
    assert all(one[0] < 0 for one in gradient)


def told(problem: Any, choices: Choices, loglik: np.ndarray, **options: Any) -> tuple[Parsec, np.ndarray]:
    """PARSEC after it was told once, and the gradient that it saw."""
    strategy = make_strategy("parsec", problem, {"samples": len(choices), **options})
    assert isinstance(strategy, Parsec)
    k = len(choices)
    strategy.tell(choices, Scores(loglik, np.zeros(k), np.zeros(k, np.int64), 8, 2.5))
    return strategy, np.concatenate([alpha.grad.numpy() for alpha in strategy.prior.alpha if alpha.grad is not None])


@pytest.mark.parametrize("in_range", [False, True])
@pytest.mark.parametrize("kind", ["exact", "in-range"])
def test_parsec_adds_the_terms_to_the_likelihood_with_its_baseline(kind: str, in_range: bool) -> None:
    problem = small_problem()
    (limit,) = problem.constraints
    narrow = PartConstraint(limit.table, CostRange(7_000_000, 7_500_000), limit.cost)
    problem = replace(problem, constraints=(limit, narrow))
    rng = np.random.default_rng(0)
    choices, loglik = problem.sample(5, rng, constraints=()), rng.normal(size=5)
    _, actual = told(problem, choices, loglik, beta=0.3, cost_gradient=kind, in_range=in_range)
    weights = -importance(torch.from_numpy(loglik)).numpy() + 1 / 5
    uniform, gradient = problem.uniform(), expectation_gradient if kind == "exact" else in_range_gradient
    terms = [gradient(one.table, uniform, one.range) for one in problem.constraints]
    expected = [
        sum(w * (np.arange(size) == c) for w, c in zip(weights, choices[:, d])) + 0.3 * (terms[0][d] + terms[1][d])
        for d, size in enumerate(problem.space.sizes)
        if size > 1
    ]
    assert actual == pytest.approx(np.concatenate(expected), abs=1e-6)  # alpha and its gradient are in float32


@pytest.mark.parametrize("beta", [0.0, 0.3, "auto"])
def test_what_is_alike_and_inside_moves_nothing(beta: float | str) -> None:
    """Where the sampled term would make a full step of Adam of noise."""
    problem = small_problem()
    (limit,) = problem.constraints
    expected = limit.table.expected([np.exp(logp) for logp in problem.uniform()])
    around = replace(limit, range=CostRange(int(0.8 * expected), int(1.2 * expected)))
    problem = replace(problem, constraints=(around,))
    choices = problem.sample(13, np.random.default_rng(0), constraints=())
    strategy, gradient = told(problem, choices, np.full(13, -2.5), beta=beta, cost_gradient="exact")
    assert np.abs(gradient).max() < 1e-15  # thirteen weights of 1/13 - 1/13
    # Adam divides by what is at least 1e-8: steps of 1e-7 at most
    assert all(alpha.abs().max() < 1e-6 for alpha in strategy.prior.alpha)


def test_the_movement_of_the_prior_is_split_between_accuracy_and_cost() -> None:
    problem = small_problem()
    rows = problem.sample(6, np.random.default_rng(0), constraints=())
    alike, different = np.zeros(6), np.arange(6.0)
    options = {"cost_gradient": "in-range", "beta": 0.5}
    assert told(replace(problem, constraints=()), rows, different, beta="auto")[0].moved_by_cost == 0.0
    assert told(problem, rows, alike, **options)[0].moved_by_cost == pytest.approx(1.0, abs=1e-6)  # of float32 sums
    both, _ = told(problem, rows, different, **options)
    assert both.moved_by_cost is not None
    assert 0.01 < both.moved_by_cost < 0.99
    again = make_strategy("parsec", problem, {"samples": 6, **options})
    assert isinstance(again, Parsec)
    assert again.moved_by_cost is None
    again.load(both.state())
    assert again.moved_by_cost == both.moved_by_cost


def test_auto_aims_at_the_middle_of_the_range() -> None:
    problem = small_problem()
    (limit,) = problem.constraints
    expected = limit.table.expected([np.exp(logp) for logp in problem.uniform()])
    edge = CostRange(int(0.5 * expected), int(1.01 * expected))  # inside, but above the middle half
    choices = problem.sample(3, np.random.default_rng(0), constraints=())
    problem = replace(problem, constraints=(replace(limit, range=edge),))
    assert Beta("auto").aim(edge) != edge
    _, still = told(problem, choices, np.zeros(3), beta=0.1, cost_gradient="exact")
    _, moved = told(problem, choices, np.zeros(3), beta="auto", cost_gradient="exact")
    assert np.abs(still).max() < 1e-15 < 1e-6 < np.abs(moved).max()  # of a term of 0.1 that is some percent


@pytest.mark.parametrize(("proxy", "ways"), [(True, ("exact", "evidence")), (False, ("sampled", "quarter"))])
def test_the_recipe_decides_what_nobody_has_said(proxy: bool, ways: tuple[str, str]) -> None:
    space = load_space("tiny")
    settings = settings_for(space, proxy=proxy, videos=100)
    assert (settings.options["cost_gradient"], settings.options["open_prior"]) == ways
    assert any(part.warmup for part in settings.parts) == (ways[1] == "quarter")
    chosen = settings_for(space, proxy=proxy, videos=100, cost_gradient="in-range", options={"open_prior": "quarter"})
    assert (chosen.options["cost_gradient"], chosen.options["open_prior"]) == ("in-range", "quarter")
    assert chosen.parts[0].warmup > 0
    with pytest.raises(ConfigError, match="--cost-gradient: the strategy random has no such setting"):
        settings_for(space, proxy=proxy, videos=100, strategy="random", cost_gradient="exact")
