"""What a search says of a part that went wrong, and that it says nothing of one that did not."""

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from autovid.costs import Macs
from autovid.data import open_videos
from autovid.kernels.compute import Compute
from autovid.search import PartConstraint, settings_for
from autovid.search.run import supernet_search
from autovid.search.strategies.parsec import Parsec, Prior
from autovid.search.task import SearchTask
from autovid.solver import CostRange
from autovid.space import SearchSpace, load_space
from autovid.space.layout import is_searched_in

DENSE, ATTENTION = 1, 2


@pytest.fixture(scope="module")
def space() -> SearchSpace:
    return load_space("tiny")


@pytest.fixture(scope="module")
def task(space: SearchSpace, tiny_videos: Path) -> SearchTask:
    settings = settings_for(
        space,
        proxy=True,
        videos=12,
        steps=4,
        samples=2,
        alpha_every=1,
        open_prior="quarter",
        batch=4,
        crop=16,
        jitter=(16, 20),
    )
    return supernet_search(space, open_videos(tiny_videos), settings, Compute("cpu", "fp32"))


def enter(task: SearchTask, number: int) -> None:
    """Begins a part; the ones before it have chosen the first candidates."""
    done = task.space.parts[:number]
    task.chosen = {
        d.name: d.candidates[0] for d in task.space.decisions if any(is_searched_in(part, d.name) for part in done)
    }
    task._enter(number)


def prior(task: SearchTask) -> Prior:
    """The prior of the strategy, which is PARSEC."""
    assert isinstance(task.strategy, Parsec)
    return task.strategy.prior


def expected(task: SearchTask) -> float:
    """The mean GFLOPs under the prior."""
    return task.tables[Macs()].expected([np.exp(logp) for logp in prior(task).log_probs()]) / 1e9


def verdicts(task: SearchTask, number: int, probability: dict[str, tuple[str, float]]) -> list[str]:
    """What is said at the end of part `number` where decisions of a kind have a candidate of such a probability, and
    the others the first of theirs of 99 %."""
    enter(task, number)
    alpha = {}
    for d in task.problem.searched:
        decision = task.problem.space.decisions[d]
        kind = decision.name.split(".")[0]
        value, p = probability.get(kind, (str(decision.candidates[0]), 0.99))
        values = [str(candidate) for candidate in decision.candidates]
        logits = torch.full((len(values),), (1 - p) / (len(values) - 1))
        logits[values.index(value)] = p
        alpha[decision.name] = logits.log()
    prior(task).take(alpha)
    task.monitor.on_step_end(task, 3, {"expected_gflops": expected(task)})
    return task.notices()


def test_a_healthy_part_says_nothing(task: SearchTask) -> None:
    assert verdicts(task, ATTENTION, {"attention": ("glore", 0.6)}) == []
    assert verdicts(task, DENSE, {"fusion": ("strided_conv", 0.9)}) == []


def test_a_part_that_has_hardly_moved_says_so(task: SearchTask) -> None:
    (line,) = verdicts(task, ATTENTION, {"attention": ("glore", 0.334)})
    assert line.startswith("part attention has hardly moved: the prior's entropy is 2.2 of 2.2 nats")
    assert "--arch-lr" in line
    assert verdicts(task, ATTENTION, {"attention": ("glore", 0.5)}) == []


def test_a_part_that_collapses_onto_skips_says_so(task: SearchTask) -> None:
    (line,) = verdicts(task, ATTENTION, {"attention": ("skip", 0.97)})
    assert line.startswith("part attention collapsed onto skips: the prior puts 97 % or more on skip in each of the 2")
    (line,) = verdicts(task, DENSE, {"fusion": ("skip", 0.8)})
    assert line.startswith("part dense collapsed onto skips: the prior puts 80 % or more on skip in each of the 3")


def test_skips_that_lead_by_a_hair_are_no_collapse(task: SearchTask) -> None:
    """Nor are ties, though skip stands first among the candidates, nor skips in some of the decisions alone."""
    assert verdicts(task, DENSE, {"fusion": ("skip", 0.28)}) == []
    assert verdicts(task, DENSE, {"fusion": ("skip", 0.25)}) == []
    assert verdicts(task, ATTENTION, {"attention": ("skip", 0.55)}) == []
    enter(task, ATTENTION)
    first, second = task.problem.searched
    names = [task.problem.space.decisions[d].name for d in (first, second)]
    prior(task).take({names[0]: torch.tensor([9.0, 0.0, 0.0]), names[1]: torch.tensor([0.0, 9.0, 0.0])})
    task.monitor.on_step_end(task, 3, {"expected_gflops": expected(task)})
    assert task.notices() == []


def test_a_part_without_skips_never_collapses_onto_them(task: SearchTask) -> None:
    assert not any("skips" in line for line in verdicts(task, 0, {}))


def test_a_part_that_ends_outside_its_range_says_so(task: SearchTask) -> None:
    enter(task, ATTENTION)
    names = [task.problem.space.decisions[d].name for d in task.problem.searched]
    prior(task).take({name: torch.tensor([0.0, 3.0, 0.0]) for name in names})
    ends = CostRange(7_500_000, 8_000_000)
    limit = PartConstraint(task.problem.space.cost_table(), ends, Macs())
    task.problem = replace(task.problem, constraints=(limit,))
    usual = task.settings
    task.settings = msgspec.structs.replace(usual, options={**usual.options, "in_range": False})
    for gflops, says in [(0.0074, ["0.0074"]), (0.0076, []), (0.008, []), (0.01, ["0.01"])]:
        task.monitor.on_step_end(task, 3, {"expected_gflops": gflops})
        start = "part attention ends outside its range: "
        have, asked = "the prior's architectures have ", " GFLOPs on average, 0.0075–0.008 GFLOPs asked for"
        assert [line.split(";")[0] for line in task.notices()] == [f"{start}{have}{figure}{asked}" for figure in says]
    task.monitor.last = {"expected_gflops": 0.01, "p_in_range": 0.1}
    assert task.monitor.status(task) == ("part attention · expected 0.01 of 0.0075–0.008 GFLOPs, P(in range) 0.1")
    task.settings = usual
    assert task.monitor.status(task) == "part attention · inside 0.0075–0.008 GFLOPs"
    task.monitor.on_step_end(task, 3, {"expected_gflops": 0.01})
    assert task.notices() == []  # all that was drawn lay inside


def test_notices_come_at_the_ends_of_a_part_alone_and_once(task: SearchTask) -> None:
    enter(task, ATTENTION)
    for local, says in enumerate(["2 decisions, ", "", "", "hardly moved"]):
        task.monitor.on_step_end(task, local, {"expected_gflops": expected(task)})
        lines = task.notices()
        assert len(lines) == bool(says)
        assert all(says in line for line in lines)
        assert task.notices() == []
