"""What the weight of the FLOPs term does to a prior, and to a real, if small, search."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from autovid.costs import GFLOPS
from autovid.data import open_videos
from autovid.search.strategy import Scores, make_strategy
from autovid.solver import CostRange
from autovid.testing import small_problem


def expected_after(beta: float | str, steps: int = 40) -> tuple[float, CostRange]:
    """The FLOPs that PARSEC's prior on `tiny` expects after steps in which all architectures score alike; its range."""
    problem = small_problem()
    (limit,) = problem.constraints
    strategy = make_strategy("parsec", problem, {"samples": 13, "beta": beta, "arch_lr": 0.1})
    for step in range(problem.warmup, problem.warmup + steps):
        rows = strategy.ask(step, np.random.default_rng(step))
        k = len(rows)
        strategy.tell(rows, Scores(np.full(k, -2.0), np.zeros(k), np.zeros(k, np.int64), 8, 2.0))
    assert hasattr(strategy, "prior")
    return limit.table.expected([np.exp(logp) for logp in strategy.prior.log_probs()]), limit.range


@pytest.mark.slow
def test_the_flops_of_a_prior_fall_as_beta_rises_and_auto_ends_inside_the_range() -> None:
    """Seen: 11.1, 9.9, 8.1 and, by auto, 7.64 MFLOPs, of 7.1 to 7.9. Float64 draws the same architectures anywhere."""
    none, some, more = (expected_after(beta)[0] for beta in (0.0, 0.1, 0.2))
    assert none > 1.05 * some > 1.1 * more
    auto, wanted = expected_after("auto")
    assert wanted.low <= auto <= wanted.high


@pytest.fixture(scope="module")
def study() -> ModuleType:
    """experiments/tiny_study.py, which is a script and no package."""
    file = Path(__file__).resolve().parents[2] / "experiments" / "tiny_study.py"
    spec = importlib.util.spec_from_file_location("tiny_study", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# Costs of the architectures drawn move the prior hundreds of times as much as their losses do in so few steps (two
# supernets at chance differ by the rounding of losses alone), and the ends lie 0.1 MFLOPs apart: no machine turns them.
@pytest.mark.thorough
def test_flops_fall_as_beta_rises_and_auto_ends_inside_the_range(study: ModuleType) -> None:
    """The shape of Table 1 of the supplement of Gong et al. (docs/papers.md), in the sparse part of `tiny`."""
    videos, target = open_videos("synthetic"), GFLOPS.parse(study.RANGE)
    betas: tuple[float | str, ...] = (0.0, 0.05, 0.1, 0.2, "auto")
    ends = {beta: study.search_sparse(videos, beta, steps=40)["expected_gflops"] for beta in betas}
    fixed = [ends[beta] for beta in betas if beta != "auto"]
    assert fixed == sorted(fixed, reverse=True), ends
    assert len(set(fixed)) == len(fixed)
    assert target.low <= ends["auto"] * 1e9 <= target.high, ends
