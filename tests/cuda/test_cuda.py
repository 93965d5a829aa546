"""A CUDA device against the CPU. Without pytest, `make gpu` runs the same."""

import pytest
import torch
from checks import CHECKS
from comparing import exact_formats


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device here")
@pytest.mark.parametrize("name", CHECKS)
def test_a_cuda_device_computes_what_the_cpu_does(name: str) -> None:
    with exact_formats():
        wrong = [finding for finding in CHECKS[name](torch.device("cuda")) if not finding.passed]
    assert not wrong, wrong


@pytest.mark.thorough
@pytest.mark.parametrize("name", CHECKS)
def test_the_cpu_computes_what_the_cpu_does(name: str) -> None:
    """So that what a GPU is tested by runs where there is none."""
    wrong = [finding for finding in CHECKS[name](torch.device("cpu")) if not finding.passed]
    assert not wrong, wrong
