"""A prior that waits for evidence: when it opens, what it does until then, and what a part without evidence leaves.

Priors and draws are equal to the bit: the same code on the same state, which a file keeps. Architectures are integers.
"""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autovid.data import open_videos
from autovid.kernels.compute import Compute
from autovid.search import parse_constraints, settings_for
from autovid.search.objective import FEWEST, Opening, agreement
from autovid.search.problem import Choices
from autovid.search.run import supernet_search
from autovid.search.strategies.parsec import Parsec
from autovid.search.strategy import Scores, make_strategy
from autovid.search.task import SearchTask
from autovid.space import SearchSpace, load_space
from autovid.space.layout import is_searched_in
from autovid.testing import small_problem

CHANCE, K = 2.5, 13


def judged(loss: np.ndarray) -> Scores:
    k = len(loss)
    return Scores(-loss, np.full(k, 0.1), np.zeros(k, np.int64), 64, CHANCE)


def opened_at(
    seed: int, *, mean: float, worth: float, noise: float, common: float = 0.0, pairs: int = 50
) -> int | None:
    """The pair after which a prior opens. `worth` and `noise`: s.d. of architectures and of what is a batch's and
    theirs; `common`: of one thing that moves a batch's losses, each by as much as the architecture is its."""
    rng, opening = np.random.default_rng(seed), Opening(200)
    for pair in range(pairs):
        choices = rng.integers(0, 3, (K, 10))
        own, sure = worth * rng.normal(size=K), rng.normal(size=K)
        for _ in range(2):
            batch = 0.02 * rng.normal() + common * sure * rng.normal()
            opening.add(choices, judged(mean + batch + own + noise * rng.normal(size=K)))
        if opening.is_open:
            return pair + 1
    return None


# Draws are the seed's, numpy's on every machine, and rounding is far from any threshold: these counts are exact.
def test_a_prior_opens_where_architectures_differ_by_more_than_the_noise() -> None:
    assert [opened_at(seed, mean=2.0, worth=0.05, noise=0.05) for seed in range(20)].count(None) == 0
    first = [opened_at(seed, mean=2.0, worth=0.05, noise=0.01) for seed in range(20)]
    assert set(first) == {FEWEST}


@pytest.mark.slow
def test_a_prior_stays_closed_where_they_do_not() -> None:
    """Chance opens one in 740 looks of a normal mean, and fifty looks at one running mean are some ten of these; of six
    pairs that a common thing turns this way or that, all turn the same way once in 64 times."""
    alike = [opened_at(seed, mean=2.0, worth=0.0, noise=0.05) for seed in range(60)]
    assert sum(one is not None for one in alike) <= 2
    common = [opened_at(seed, mean=2.0, worth=0.0, noise=0.01, common=0.1) for seed in range(60)]
    assert sum(one is not None for one in common) <= 3  # of sixty: this is the worst case


def test_a_prior_stays_closed_while_the_supernet_is_at_chance() -> None:
    """Differences that last, of a supernet that has learned nothing, are no evidence."""
    assert opened_at(0, mean=CHANCE, worth=0.05, noise=0.01) is None
    opening = Opening(200)
    opening.add(np.zeros((2, 1), np.int64), judged(np.array([2.49, 2.51])))
    assert str(opening) == "architectures were scored 1 times, and 12 are needed"


def test_an_architecture_drawn_twice_counts_once() -> None:
    choices = np.array([[0], [1], [0], [1], [2]])
    first, second = np.array([1.0, 2.0, 1.0, 2.0, 4.0]), np.array([3.0, 1.0, 3.0, 1.0, 5.0])
    correlation, n = agreement(choices, first, second)
    assert n == 3
    # Float64: some thirty operations on numbers up to 25, 30 * 25 * 1.1e-16 = 8e-14 in all, on any machine.
    assert correlation == pytest.approx(np.corrcoef([1.0, 2.0, 4.0], [3.0, 1.0, 5.0])[0, 1], abs=1e-12)
    assert agreement(choices, np.full(5, 2.0), second)[0] == 0.0


def planted(choices: Choices, step: int, noise: float = 0.01) -> Scores:
    """Worth of the candidates' numbers, below chance, with noise of a step."""
    rng = np.random.default_rng(step)
    return judged(2.0 - 0.02 * choices.sum(axis=1) + noise * rng.normal(size=len(choices)) + 0.01 * rng.normal())


def parsec() -> Parsec:
    strategy = make_strategy("parsec", small_problem(), {"samples": K, "open_prior": "evidence", "in_range": False})
    assert isinstance(strategy, Parsec)
    return strategy


def steps(strategy: Parsec, first: int, last: int, noise: float = 0.01) -> list[Choices]:
    asked = []
    for step in range(first, last):
        strategy.draw(step, None, np.random.default_rng((1, step)))
        rows = strategy.ask(step, np.random.default_rng((1, step)))
        asked.append(rows)
        if len(rows):
            strategy.tell(rows, planted(rows, step, noise))
    return asked


def test_a_closed_prior_asks_in_pairs_and_learns_nothing() -> None:
    strategy = parsec()
    warm = strategy.problem.warmup
    asked = steps(strategy, 0, 13)
    assert [len(rows) for rows in asked[warm:]] == [K * (step % 4 in (0, 1) and step > 1) for step in range(warm, 13)]
    assert np.array_equal(asked[4], asked[5])
    assert not np.array_equal(asked[4], asked[8])
    assert all(np.array_equal(a, b) for a, b in zip(strategy.prior.log_probs(), strategy.problem.uniform()))
    assert strategy.opening is not None
    assert not strategy.opening.is_open
    steps(strategy, 13, 60)
    assert strategy.opening.is_open
    assert str(strategy.opening).startswith("held-out loss 1.")
    assert "architectures differ by more than the noise (losses on one batch and another correlate by" in str(
        strategy.opening
    )
    assert strategy.prior.entropy() < strategy.prior.uniform_entropy()
    assert all(len(rows) == K for rows in steps(strategy, 60, 64))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [5, 9, 30, 40])
def test_a_prior_is_resumed_to_the_bit_closed_between_the_rounds_of_a_pair_and_open(stop: int) -> None:
    whole, begun, resumed = parsec(), parsec(), parsec()
    in_one_go = steps(whole, 0, 44)
    before, file = steps(begun, 0, stop), io.BytesIO()
    torch.save(begun.state(), file)
    file.seek(0)
    resumed.load(torch.load(file, weights_only=True))
    in_two_halves = [*before, *steps(resumed, stop, 44)]
    assert all(np.array_equal(a, b) for a, b in zip(in_one_go, in_two_halves, strict=True))
    assert all(np.array_equal(a, b) for a, b in zip(whole.prior.log_probs(), resumed.prior.log_probs()))


SMALL: dict[str, Any] = {"samples": 3, "batch": 4, "crop": 16, "jitter": (16, 20), "open_prior": "evidence"}


def search_of(space: SearchSpace, videos: Path, number: int) -> SearchTask:
    """A search of `number` steps a part."""
    settings = settings_for(space, proxy=True, videos=12, steps=number, alpha_every=2, **SMALL)
    constraints = parse_constraints(space, {"flops": "0.0075:0.008"})
    return supernet_search(space, open_videos(videos), settings, Compute("cpu", "fp32"), constraints)


def test_a_part_without_evidence_leaves_its_decisions_open_for_the_next(tiny_videos: Path) -> None:
    task = search_of(load_space("tiny"), tiny_videos, 2)
    said: list[str] = []
    searched: list[set[str]] = []
    for step in range(task.steps):
        metrics = task.step(step)
        assert metrics["warmup"] == 1.0
        said += task.notices()
        if step % 2:
            searched.append({task.problem.space.decisions[d].name for d in task.problem.searched})
            assert (task.chosen, task.learned) == ({}, {})
    for number in range(3):
        names = {
            d.name
            for d in task.space.decisions
            if any(is_searched_in(part, d.name) for part in task.space.parts[: number + 1])
        }
        assert searched[number] == names
    closed = [line for line in said if "the prior stays closed" in line]
    assert closed[0] == (
        "part sparse: the prior stays closed: architectures were scored 2 times, and 12 are needed; its decisions stay "
        "open"
    )
    assert closed[-1].startswith("part joint: the prior stays closed: ")
    assert closed[-1].endswith("; what earlier parts have learned stands")
    assert len(closed) == 4
    assert "2 steps (the prior opens on evidence)" in said[0]


def test_a_part_with_evidence_decides_and_says_when_it_opened(tiny_videos: Path) -> None:
    class Planted:
        step = 0

        def score(self, space: SearchSpace, choices: Choices, split: str, clips: int | None = None) -> Scores:
            self.step += 1
            return planted(choices, self.step, noise=0.002)

    task = search_of(load_space("tiny"), tiny_videos, 26)
    task.evaluator = Planted()
    said: list[str] = []
    for step in range(27):
        task.step(step)
        said += task.notices()
    assert {name.split(".")[0] for name in task.chosen} == {"sparse"}
    assert task.learned.keys() == task.chosen.keys()
    (line,) = [one for one in said if "the prior opens after" in one]
    assert line.startswith("part sparse: the prior opens after 22 of its 26 steps: held-out loss ")
    assert not any("stays closed" in one for one in said)
