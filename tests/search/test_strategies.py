"""Strategies: each keeps the rules that `check_strategy` states, and the check finds who does not."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec
import numpy as np
import pytest

from autovid.errors import ConfigError
from autovid.search import parse_constraints, settings_for
from autovid.search.constraints import final_constraints
from autovid.search.problem import Choices, Problem, whole_problem
from autovid.search.strategies import STRATEGIES
from autovid.search.strategies.evolution import EvolutionSettings
from autovid.search.strategies.parsec import Parsec
from autovid.search.strategies.random import RandomSearch, RandomSettings
from autovid.search.strategy import Scores, make_strategy, score_of
from autovid.space import load_space
from autovid.testing import check_strategy, small_problem

SMALL = {
    "parsec": {"samples": 3},
    "random": {"architectures": 6, "batch": 2},
    "evolution": {"population": 4, "sample": 2, "batch": 2},
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_our_strategies_keep_the_rules(name: str) -> None:
    check_strategy(lambda problem: make_strategy(name, problem, SMALL[name]), small_problem())


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"in_range": True},
        {"samples": "auto"},
        {"beta": 0.1, "likelihood": "sum"},
        {"cost_gradient": "exact"},
        {"cost_gradient": "in-range", "open_prior": "evidence"},
        {"uniform_draws": 0.5, "in_range": True},
    ],
)
def test_parsec_keeps_the_rules_with_its_settings(options: dict[str, Any]) -> None:
    check_strategy(lambda problem: make_strategy("parsec", problem, {"samples": 3, **options}), small_problem())


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.25, 10), (1.0, 40)])
def test_a_part_of_the_draws_of_parsec_is_uniform(share: float, expected: int) -> None:
    problem = replace(small_problem(), warmup=2)
    settings = {"uniform_draws": share, "in_range": True}
    strategy = make_strategy("parsec", problem, settings)
    likely = problem.sample(1, np.random.default_rng(1))[0]
    for d, alpha in zip(problem.searched, strategy.prior.parameters()):  # type: ignore[attr-defined]
        alpha.data[likely[d]] = 30.0  # the prior draws this one alone
    rows = strategy.draw(5, 40, np.random.default_rng(0))
    assert problem.inside(rows).all()
    assert (rows != likely).any(1).sum() == expected  # no uniform draw of 10^14 is this one
    assert (strategy.draw(5, 40, np.random.default_rng(0)) == rows).all()
    assert (strategy.draw(1, 40, np.random.default_rng(0)) != likely).any(1).all()  # the warm-up is uniform


class Outside(RandomSearch):
    def candidates(self, n: int, constraints: Sequence[Any], rng: np.random.Generator) -> Choices:
        return np.zeros((1, len(self.problem.space.sizes)), np.int64)


class Forgetful(RandomSearch):
    def state(self) -> dict[str, Any]:
        return {**super().state(), "asked": 0}


class Unsteady(RandomSearch):
    def draw(self, step: int, n: int | None, rng: np.random.Generator) -> Choices:
        return super().draw(step, n, np.random.default_rng())


class Meddling(RandomSearch):
    def tell(self, choices: Choices, scores: Scores) -> dict[str, float]:
        choices[:] = 0
        return super().tell(choices, scores)


class NeverAsked(RandomSearch):
    class Settings(msgspec.Struct, frozen=True, kw_only=True):
        """No rounds."""

        architectures: int = 16


class ScoredByGuessing(RandomSearch):
    score = "guess"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (NeverAsked, "no `rounds`"),
        (ScoredByGuessing, "score is 'guess'"),
        (Outside, "outside the constraints"),
        (Forgetful, "saved and loaded"),
        (Unsteady, "equal seeds"),
        (Meddling, "tell changes"),
    ],
)
def test_the_check_finds_a_strategy_that_breaks_a_rule(kind: type[RandomSearch], message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_strategy(lambda problem: kind(problem, RandomSettings(architectures=6, batch=2)), small_problem())


@pytest.mark.parametrize(("name", "score"), [("parsec", "supernet"), ("evolution", "supernet"), ("random", "training")])
def test_a_strategy_says_how_its_architectures_are_scored(name: str, score: str) -> None:
    assert score_of(name) == score
    assert {"supernet": "the supernet scores", "training": "trained alone"}[score] in STRATEGIES.about()[name]
    assert [score_of(name, way) for way in ("supernet", "training", "table:bench")] == [
        *("supernet", "training", "table:bench"),
    ]


@pytest.mark.parametrize("score", ["guess", "table", "table:", ""])
def test_a_score_that_does_not_exist_is_one_line(score: str) -> None:
    with pytest.raises(ConfigError, match="give supernet, training or table:NAME"):
        score_of("parsec", score)


@pytest.fixture
def mine() -> Iterator[None]:
    """Strategies of one's own by name: one without a word on scores, a second one that learns a prior, a mute one."""

    class Mine:
        Settings, weighting, interleaved = EvolutionSettings, "equal", False

    STRATEGIES.register("mine", "as short as can be")(Mine)
    STRATEGIES.register("second", "another prior")(type("Second", (Parsec,), {}))
    STRATEGIES.register("never", "is never asked")(NeverAsked)
    yield
    STRATEGIES.forget("")


@pytest.mark.usefixtures("mine")
def test_the_supernet_scores_where_a_strategy_does_not_say() -> None:
    assert score_of("mine") == "supernet"


@pytest.mark.usefixtures("mine")
@pytest.mark.parametrize("proxy", [True, False])
def test_a_second_strategy_with_a_prior_gets_the_recipe_as_parsec_does(proxy: bool) -> None:
    changes: dict[str, Any] = {"proxy": proxy, "videos": 100, "cost_gradient": "exact", "arch_lr": 0.02}
    parsec, second = (settings_for(load_space("tiny"), strategy=name, **changes) for name in ("parsec", "second"))
    assert second.options == parsec.options
    assert second.options["samples"] == 13
    assert second.parts == parsec.parts


@pytest.mark.usefixtures("mine")
def test_a_strategy_that_would_never_be_asked_is_refused() -> None:
    with pytest.raises(ConfigError, match="never is not interleaved: its Settings need `rounds`"):
        settings_for(load_space("tiny"), proxy=True, videos=100, strategy="never")


@pytest.mark.parametrize(("key", "value"), [("samples", 3), ("arch_lr", 0.1)])
def test_an_option_that_a_strategy_lacks_is_refused(key: str, value: float) -> None:
    message = f"--{key.replace('_', '-')}: the strategy evolution has no such setting"
    with pytest.raises(ConfigError, match=message):
        settings_for(load_space("tiny"), proxy=True, videos=100, strategy="evolution", **{key: value})


def test_a_prior_that_prefers_nothing_offers_draws_that_differ() -> None:
    problem = whole_problem(load_space("two_stream"), small_problem().constraints[:0])
    first, second = (
        make_strategy("parsec", problem, {}).candidates(16, (), np.random.default_rng(seed)) for seed in (0, 1)
    )
    assert np.array_equal(first[0], second[0])
    assert not np.array_equal(first[1:], second[1:])
    open_decisions = np.array(problem.space.sizes) > 1
    distances = [(a != b)[open_decisions].mean() for a in first[1:] for b in first[1:] if a is not b]
    assert np.mean(distances) > 0.5  # draws of decisions with 2 to 4 candidates differ in half of them, and more


def test_a_prior_that_has_learned_offers_its_most_probable_ones_and_draws() -> None:
    problem = small_problem()
    strategy = make_strategy("parsec", problem, {})
    for alpha in strategy.prior.alpha:
        alpha.data[0] = 3.0
    likely = list(islice(problem.best_first(strategy.prior.log_probs(), problem.constraints), 8))
    rows = strategy.candidates(16, problem.constraints, np.random.default_rng(0))
    assert np.array_equal(rows[:8], likely)
    assert len(np.unique(rows, axis=0)) == 16


def test_a_range_with_few_architectures_offers_all_of_them() -> None:
    space = load_space("bench")
    rows = np.stack(np.unravel_index(np.arange(space.size), space.sizes), axis=1)
    costs = np.sort(space.cost_table().total(rows))
    narrow = final_constraints(parse_constraints(space, {"flops": f"{costs[100] / 1e9}:{costs[110] / 1e9}"}), space)
    inside = int(narrow[0].inside(rows).sum())
    strategy = make_strategy("parsec", whole_problem(space, narrow), {})
    found = strategy.candidates(inside + 5, narrow, np.random.default_rng(0))
    assert len(found) == inside >= 11


def test_random_search_takes_the_best_that_it_has_scored() -> None:
    problem = small_problem()
    strategy = make_strategy("random", problem, {"architectures": 8, "batch": 8})
    rows = strategy.ask(0, np.random.default_rng(0))
    quality = np.arange(8.0)
    strategy.tell(rows, Scores(quality, quality, np.zeros(8, np.int64), 10, 2.0))
    best = strategy.candidates(3, problem.constraints, np.random.default_rng(0))
    assert np.array_equal(best, rows[[7, 6, 5]])


def test_evolution_finds_better_architectures_than_random_search_on_planted_scores() -> None:
    """Scores that are a sum over decisions; both score 200 architectures. Ten seeds of each."""
    problem = small_problem()

    def best(name: str, options: dict[str, Any], seed: int) -> float:
        strategy = make_strategy(name, replace(problem, seed=seed), options)
        rng, scored = np.random.default_rng(seed), []
        for step in range(STRATEGIES.load(name).Settings(**options).rounds):  # type: ignore[attr-defined]
            rows = strategy.ask(step, rng)
            quality = _planted(rows, problem)
            scored.append(quality.max())
            k = len(rows)
            strategy.tell(rows, Scores(quality, np.zeros(k), np.zeros(k, np.int64), 10, 2.0))
        return float(max(scored))

    evolution = [best("evolution", {"population": 24, "sample": 8, "rounds": 25, "batch": 8}, s) for s in range(10)]
    random = [best("random", {"architectures": 200, "batch": 8}, s) for s in range(10)]
    assert np.mean(evolution) > np.mean(random) + np.std(random)


def _planted(rows: Choices, problem: Problem) -> np.ndarray:
    worth = np.random.default_rng(5).normal(size=(len(problem.space.sizes), max(problem.space.sizes)))
    return np.asarray(worth[np.arange(rows.shape[1]), rows].sum(axis=1))


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("parsek", {}, "did you mean parsec"),
        ("evolution", {"populaton": 3}, "strategy.populaton: the strategy evolution has"),
        ("evolution", {"population": "many"}, "population"),
    ],
)
def test_a_wrong_name_or_setting_is_one_line(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_strategy(name, small_problem(), options)
