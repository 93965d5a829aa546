"""What two workers agree on: sums have the same bits on both, those of torch's own addition."""

import os

import pytest
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


def averaged_in_backward(most: int) -> list[Tensor]:
    """Gradients of a backward pass that reaches the second parameter never, in messages of at most `most` bytes."""
    weights = [nn.Parameter(torch.zeros_like(tensor)) for tensor in mine(0)]
    first, _, third = mine(distributed.rank())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distributed, "GRADIENTS", most)
        with distributed.averaged_gradients(weights):
            ((weights[0] * first).sum() + (weights[2] * third).sum()).backward()  # type: ignore[no-untyped-call]
    assert weights[1].grad is None
    ((weights[0] * first).sum()).backward()  # outside nothing is sent: the own gradient comes on top
    return [weights[0].grad - first, weights[2].grad]


@pytest.mark.parametrize("most", [1, 2**20])
def test_gradients_are_averaged_while_backward_runs(most: int) -> None:
    """To the bit: half of a sum of two numbers, in either order; 1e-6 is for the gradient that is added and taken."""
    (a, _, c), (b, _, d) = mine(0), mine(1)
    for first, third in together(averaged_in_backward, most):
        assert torch.allclose(first, (a + b) / 2, atol=1e-6)
        assert torch.equal(third, (c + d) / 2)


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
        assert all(torch.equal(tensor, a + b) for tensor, (a, b) in zip(worker, pairs, strict=True))
    for worker in together(averaged):
        assert all(torch.equal(tensor, (a + b) / 2) for tensor, (a, b) in zip(worker, pairs, strict=True))
    assert together(meant) == [[(0.1 + 1.1) / 2, (1 / 3 + (1 / 3 - 1)) / 2]] * 2
    for worker in together(taken):
        assert all(torch.equal(tensor, a) for tensor, (a, _) in zip(worker, pairs, strict=True))
    for tensor in together(gathered):
        assert torch.equal(tensor, torch.stack(pairs[0]))


def laid_out(rank: int) -> list[Tensor]:
    """Tensors as networks have them: channels_last, a matrix that lies transposed, one with gaps, and a plain one."""
    generator = torch.Generator().manual_seed(rank)
    channels_last = torch.randn(2, 3, 2, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last_3d)
    single = torch.randn(4, 1, 1, 3, 3, generator=generator).contiguous(memory_format=torch.channels_last_3d)
    transposed, gaps = (torch.randn(3, 4, generator=generator) for _ in range(2))
    return [channels_last, single, transposed.T, gaps[:, :3], torch.randn(5, generator=generator)]


def summed_as_laid_out() -> list[Tensor]:
    tensors = laid_out(distributed.rank())
    distributed.add_(tensors)
    return tensors


def test_tensors_are_summed_however_they_lie_in_memory() -> None:
    for worker in together(summed_as_laid_out):
        for tensor, a, b in zip(worker, laid_out(0), laid_out(1), strict=True):
            assert torch.equal(tensor, a + b)
            assert tensor.stride() == a.stride()


# -- work of one's own


def test_work_is_dealt_by_its_size() -> None:
    sizes = [1, 5, 4, 3, 3]
    dealt = together(distributed.deal, sizes)
    assert dealt == [[1, 4], [0, 2, 3]]  # 5, then 4, 3 to the second, 3 to the first, and the 1 to the second
    assert distributed.deal(sizes) == [0, 1, 2, 3, 4]


def alone_and_not() -> tuple[list[int], float, list[int]]:
    with distributed.alone():
        inside = [distributed.size(), distributed.rank()]
        own = distributed.mean([float(torch.ones(1) * os.getpid())])[0]
    return inside, own - os.getpid(), [distributed.size(), distributed.rank()]


def test_a_worker_can_compute_alone() -> None:
    assert together(alone_and_not) == [([1, 0], 0.0, [2, 0]), ([1, 0], 0.0, [2, 1])]


def own_gradients() -> list[Tensor | None]:
    """Gradients of the first parameter on one worker, of the second on both, and of the third nowhere."""
    parameters = [nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[1].grad = torch.full((2,), 1.0 + distributed.rank())
    if distributed.rank():
        parameters[0].grad = torch.full((2,), 5.0)
    distributed.add_gradients(iter(parameters))
    return [parameter.grad for parameter in parameters]


def test_gradients_that_one_worker_alone_has_are_all_workers_in_the_end() -> None:
    for first, second, third in together(own_gradients):
        assert first.tolist() == [5.0, 5.0]
        assert second.tolist() == [3.0, 3.0]
        assert third is None


def clips_of_both() -> tuple[Tensor, Tensor]:
    x = torch.arange(2 * 3 * 4 * 5 * 6).view(2, 4, 5, 6, 3).permute(0, 4, 1, 2, 3) + 1000 * distributed.rank()
    return distributed.gather_batch(x), distributed.gather_batch(torch.tensor([1, 2]) + 10 * distributed.rank())


def test_a_whole_batch_has_the_clips_of_all_in_their_layout() -> None:
    alone, _ = clips_of_both()
    for x, y in together(clips_of_both):
        assert torch.equal(x, torch.cat([alone, alone + 1000]))  # copies, and one sum of the same two numbers
        assert x.is_contiguous(memory_format=torch.channels_last_3d)
        assert y.tolist() == [1, 2, 11, 12]
