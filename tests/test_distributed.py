"""What two workers agree on: sums have the same bits on both, those of torch's own addition."""

import torch
from torch import Tensor, nn
from workers import together

from autovid import distributed


def mine(rank: int) -> list[Tensor]:
    """What a worker brings: tensors of two types and of several shapes."""
    generator = torch.Generator().manual_seed(rank)
    shapes = [((3, 4), torch.float32), ((5,), torch.float64), ((2, 1, 2), torch.float32)]
    return [torch.randn(shape, generator=generator, dtype=dtype) for shape, dtype in shapes]


def summed() -> list[Tensor]:
    tensors = mine(distributed.rank())
    distributed.add_(tensors)
    return tensors


def averaged() -> list[Tensor]:
    parameters = [nn.Parameter(torch.zeros_like(tensor)) for tensor in mine(0)]
    for parameter, gradient in zip(parameters, mine(distributed.rank()), strict=True):
        parameter.grad = gradient
    distributed.average_gradients(iter(parameters))
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def meant() -> list[float]:
    return distributed.mean([0.1 + distributed.rank(), 1 / 3 - distributed.rank()])


def taken() -> list[Tensor]:
    tensors = mine(distributed.rank())
    distributed.broadcast_(tensors)
    return tensors


def gathered() -> Tensor:
    return distributed.gather(mine(distributed.rank())[0])


def test_sums_means_and_copies_over_two_workers_are_exact() -> None:
    """To the bit on any machine: a sum of two numbers is rounded once, in either order, and half of it is exact."""
    pairs = list(zip(mine(0), mine(1), strict=True))
    for worker in together(summed):
        assert all(torch.equal(found, a + b) for found, (a, b) in zip(worker, pairs, strict=True))
    for worker in together(averaged):
        assert all(torch.equal(found, (a + b) / 2) for found, (a, b) in zip(worker, pairs, strict=True))
    assert together(meant) == [[(0.1 + 1.1) / 2, (1 / 3 + (1 / 3 - 1)) / 2]] * 2
    for worker in together(taken):
        assert all(torch.equal(found, a) for found, (a, _) in zip(worker, pairs, strict=True))
    for found in together(gathered):
        assert torch.equal(found, torch.stack(pairs[0]))
