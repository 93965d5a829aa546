"""What the weight of the FLOPs term does to a real, if small, search."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from autovid.data import open_videos
from autovid.search.target import parse_gflops


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


def test_flops_fall_as_beta_rises_and_auto_ends_inside_the_range(study: ModuleType) -> None:
    """The shape of seed-auto-tsnet's Table 1, in the expected FLOPs of the sparse part of `tiny`."""
    videos, wanted = open_videos("synthetic"), parse_gflops(study.RANGE)
    ends = {beta: study.search_sparse(videos, beta, steps=40)["expected_gflops"] for beta in study.BETAS}
    fixed = [ends[beta] for beta in study.BETAS if beta != "auto"]
    assert fixed == sorted(fixed, reverse=True), ends
    assert len(set(fixed)) == len(fixed)
    assert wanted.low <= ends["auto"] * 1e9 <= wanted.high, ends
