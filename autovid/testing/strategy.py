"""A check of a search strategy that anybody can run on one of their own."""

import copy
import io
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from autovid.errors import CostRangeError
from autovid.search.constraints import final_constraints
from autovid.search.part_ranges import parse_constraints
from autovid.search.problem import Choices, Problem, whole_problem
from autovid.search.strategy import Scores, Strategy
from autovid.solver import CostRange
from autovid.space import load_space

STEPS, WARMUP, ROUNDS = 6, 2, 2


def check_strategy(make: Callable[[Problem], Strategy], problem: Problem) -> None:
    """Check that a strategy keeps the rules of `Strategy`. Raises AssertionError that says which it breaks.

    `make` makes a new strategy for a problem; it is called several times. `problem` is made by `small_problem`, or is
    one of your own with a few thousand architectures or more.
    """
    strategy = make(problem)
    assert strategy.weighting in ("equal", "likelihood"), f"weighting is {strategy.weighting!r}"
    first = _history(strategy, problem)
    second = _history(make(problem), problem)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True)), "equal seeds give other architectures"
    _check_resumed(make, problem)
    _check_candidates(strategy, problem)
    _check_distribution(strategy, problem)
    _check_out_of_reach(strategy, problem)


def _generator(step: int) -> np.random.Generator:
    return np.random.default_rng((7, step))


def _score(choices: Choices, problem: Problem) -> Scores:
    """Planted scores: the larger the candidate numbers, the better; some noise that depends on them alone."""
    quality = choices.sum(axis=1) / sum(problem.space.sizes)
    noise = np.sin(choices @ np.arange(1, choices.shape[1] + 1)) / 100
    k = len(choices)
    return Scores(quality + noise - 2.0, np.full(k, 0.01), np.full(k, 5, np.int64), 64, 2.5)


def _one_step(strategy: Strategy, problem: Problem, step: int) -> list[Choices]:
    drawn = strategy.draw(step, None, _generator(step))
    _check_choices(drawn, problem, "draw")
    assert len(drawn) >= 1, "draw gives no architecture"
    assert len(strategy.draw(step, 3, _generator(step))) == 3, "draw(step, 3, rng) does not give 3 architectures"
    return [drawn, *(_one_round(strategy, problem, step) if strategy.interleaved else [])]


def _one_round(strategy: Strategy, problem: Problem, step: int) -> list[Choices]:
    asked = strategy.ask(step, _generator(step))
    _check_choices(asked, problem, "ask")
    if strategy.interleaved and step < problem.warmup:
        assert not len(asked), "ask gives architectures during the warm-up"
    if not len(asked):
        return []
    kept, scores = asked.copy(), _score(asked, problem)
    metrics = strategy.tell(asked, scores)
    assert np.array_equal(kept, asked), "tell changes the choices"
    assert all(np.isfinite(value) for value in metrics.values()), f"tell gives figures that are not finite: {metrics}"
    return [kept]


def _history(strategy: Strategy, problem: Problem, first: int = 0, last: int = STEPS) -> list[Choices]:
    history = [rows for step in range(first, last) for rows in _one_step(strategy, problem, step)]
    if not strategy.interleaved:
        history += [rows for step in range(last, last + ROUNDS) for rows in _one_round(strategy, problem, step)]
    return history


def _check_choices(choices: Choices, problem: Problem, where: str) -> None:
    sizes = np.array(problem.space.sizes)
    assert choices.dtype == np.int64, f"{where} gives {choices.dtype}, not int64"
    assert choices.shape == (len(choices), len(sizes)), f"{where} gives shape {choices.shape}"
    assert ((choices >= 0) & (choices < sizes)).all(), f"{where} gives a candidate that a decision does not have"


def _check_resumed(make: Callable[[Problem], Strategy], problem: Problem) -> None:
    """Check that a strategy that was saved and loaded in the middle goes on as one that was not."""
    whole, begun = make(problem), make(problem)
    for strategy in (whole, begun):
        _history(strategy, problem, 0, STEPS // 2)
    file = io.BytesIO()
    torch.save(copy.deepcopy(begun.state()), file)
    file.seek(0)
    resumed = make(problem)
    resumed.load(torch.load(file, weights_only=True))
    a, b = (_history(strategy, problem, STEPS // 2) for strategy in (whole, resumed))
    same = len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b))
    assert same, "a strategy that was saved and loaded goes on otherwise"


def _check_candidates(strategy: Strategy, problem: Problem) -> None:
    rows = strategy.candidates(4, problem.constraints, _generator(0))
    _check_choices(rows, problem, "candidates")
    assert 1 <= len(rows) <= 4, f"candidates(4, …) gives {len(rows)} architectures"
    assert len(np.unique(rows, axis=0)) == len(rows), "candidates gives an architecture twice"
    assert problem.inside(rows).all(), "candidates gives an architecture outside the constraints, or not feasible"
    again = strategy.candidates(1, problem.constraints, _generator(0))
    assert np.array_equal(again, rows[:1]), "the best of one candidate is not the best of four"


def _check_distribution(strategy: Strategy, problem: Problem) -> None:
    log_probs: Any = strategy.distribution()
    if log_probs is None:
        return
    assert [len(logp) for logp in log_probs] == list(problem.space.sizes), "distribution has other sizes than the space"
    assert all(abs(np.exp(logp).sum() - 1) < 1e-9 for logp in log_probs), "a distribution does not sum to 1"


def _check_out_of_reach(strategy: Strategy, problem: Problem) -> None:
    """Check that constraints that nothing meets cost one clear error."""
    if not problem.constraints:
        return
    nothing = [replace(limit, range=CostRange(1, 1)) for limit in problem.constraints]
    try:
        strategy.candidates(1, nothing, _generator(0))
    except CostRangeError:
        return
    raise AssertionError("candidates gives architectures where the constraints hold none")


def small_problem() -> Problem:
    """Make a problem to try a strategy on: the whole space `tiny`, 7.1 to 7.9 MMACs."""
    space = load_space("tiny")
    constraints = final_constraints(parse_constraints(space, {"flops": "0.0071:0.0079"}), space)
    return replace(whole_problem(space, constraints, steps=STEPS), warmup=WARMUP)
