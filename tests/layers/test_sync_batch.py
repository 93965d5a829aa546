"""Two workers with half of a batch each against one with the whole: the same gradients and statistics, in float64."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from workers import together

from autovid import distributed
from autovid.blocks.elastic import ElasticBatchNorm
from autovid.layers.sync_batch import batch_norm, convert_sync_batch
from autovid.models import build
from autovid.models.network import Network

CLIPS = 4
Modules = dict[str, dict[str, Any]]


def make(name: str, modules: Modules) -> Network:
    torch.manual_seed(0)
    net = build(name, CLIPS, frames=4, crop=32, modules=modules).double().train()
    if name == "tanet_resnet50":  # whose local gates start at a constant
        for parameter in net.parameters():
            parameter.data += 0.01
    return net


def learn(name: str, modules: Modules) -> dict[str, Tensor]:
    """Gradients and statistics after one pass over four clips, however many workers there are."""
    net = make(name, modules)
    convert_sync_batch(net)
    x = torch.randn(CLIPS, 3, 4, 32, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = x.contiguous(memory_format=torch.channels_last_3d)
    size, rank = distributed.size(), distributed.rank()
    mine, labels = x.chunk(size)[rank], torch.arange(CLIPS).chunk(size)[rank]
    torch.manual_seed(2)
    loss, _ = net.training_loss(mine, labels)
    loss.backward()
    distributed.average_gradients(net.parameters())
    gradients = {f"d {n}": p.grad for n, p in net.named_parameters() if p.grad is not None}
    loss_value = torch.tensor(distributed.mean([loss.item()]))
    return {"loss": loss_value, **gradients, **dict(net.named_buffers())}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "modules"),
    [
        pytest.param("tsn_resnet50", {}, id="plain"),
        pytest.param("tsn_resnet50", {"rms": {}, "dropout": {"rate": 0.7}}, id="rms", marks=pytest.mark.thorough),
        pytest.param(
            "tsn_resnet50",
            {"shake_drop": {"level": "pixel"}, "cutmix": {}},
            id="shake_drop",
            marks=pytest.mark.thorough,
        ),
        pytest.param("tsn_resnet50", {"dnr": {}}, id="dnr", marks=pytest.mark.thorough),
        pytest.param("tanet_resnet50", {}, id="tanet"),
    ],
)
def test_two_halves_make_the_whole(name: str, modules: Modules) -> None:
    whole, halves = learn(name, modules), together(learn, name, modules)
    # to the bit: sums over workers have the same bits on both, and all else is computed from them
    assert all(torch.equal(halves[0][key], halves[1][key]) for key in whole)
    for key, value in whole.items():
        # float64, but the loss: so errors are those of its few dozen roundings of 2^-24, and relative
        room = 1e-6 * value.abs().max() + 1e-12
        assert (halves[0][key] - value).abs().max() <= room, key


def norm_of(x: Tensor, scoring: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A search block's norm on this worker's part of x: output, its gradients, running mean."""
    norm = ElasticBatchNorm(6)
    norm.weight.data.uniform_(0.5, 2.0, generator=torch.Generator().manual_seed(3))
    norm.scoring = scoring
    mine = x.chunk(distributed.size())[distributed.rank()].clone().requires_grad_()
    y = norm(mine)
    torch.autograd.backward((y * torch.linspace(-1, 1, y[0].numel()).view(y[0].shape)).square().sum())
    assert mine.grad is not None
    assert norm.weight.grad is not None
    return y.detach(), mine.grad, norm.weight.grad, norm.running_mean


@pytest.mark.parametrize("scoring", [False, True])
def test_norm_of_the_search_blocks_with_fewer_channels_than_it_has(scoring: bool) -> None:
    x = torch.randn(4, 5, 2, 3, 3, generator=torch.Generator().manual_seed(1)) * 3 + 7
    x = x.contiguous(memory_format=torch.channels_last_3d)
    whole, halves = norm_of(x, scoring), together(norm_of, x, scoring)
    for part in (0, 1):  # output and gradient of the input: each worker has its clips
        both = torch.cat([half[part] for half in halves])
        # moments and mean gradients of 72 numbers, whose mean is 2 deviations: 2 * 72 roundings of 2^-24
        assert torch.allclose(both, whole[part], rtol=1e-4, atol=1e-4)
    assert torch.allclose(halves[0][2] + halves[1][2], whole[2], rtol=1e-4, atol=1e-3)
    assert all(torch.allclose(half[3], whole[3], atol=1e-6) for half in halves)  # a tenth of a mean of 7
    assert (whole[3].abs().sum() == 0) == scoring  # while scoring the running ones stay


def own_norm(x: Tensor) -> tuple[Tensor, Tensor]:
    """Output and running mean of a search block's norm that does not look at other workers' clips."""
    norm = ElasticBatchNorm(6)
    convert_sync_batch(norm, norms=False)
    return norm(x.chunk(distributed.size())[distributed.rank()]).detach(), norm.running_mean


def test_norm_of_the_search_blocks_over_a_workers_own_clips() -> None:
    x = torch.randn(4, 5, 2, 3, 3, generator=torch.Generator().manual_seed(1))
    for half, output in zip(x.chunk(2), together(own_norm, x), strict=True):
        # to the bit: the same call
        assert all(map(torch.equal, output, own_norm(half)))


def test_one_worker_computes_as_torch_does() -> None:
    x, mean, var = torch.randn(2, 3, 2, 2, 2), torch.zeros(3), torch.ones(3)
    ours = batch_norm(x, mean, var, None, None, True, 0.1, 1e-5)
    # to the bit: the same call
    assert torch.equal(ours, F.batch_norm(x, torch.zeros(3), torch.ones(3), None, None, True, 0.1, 1e-5))
    net = make("tsn_resnet50", {})
    before = list(net.modules())
    convert_sync_batch(net)
    assert all(a is b for a, b in zip(before, net.modules(), strict=True))
