"""What the weight of the FLOPs term does to a real, if small, search."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from autovid.costs import GFLOPS
from autovid.data import open_videos


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
