"""Norms folded into convolutions: the same logits, to what float64 rounds, and only where nobody else reads the map."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from autovid.layers.convolutions import DepthwiseConv3d, FrameConv, PointwiseConv3d, TemporalConv
from autovid.models import Model, NetworkSpec, build, frame_networks
from autovid.models.folding import fold_norms, folded
from autovid.models.resnet import DEPTHS
from autovid.space import load_space
from tests.tolerance import DEEP, rounding


def named(name: str, frames: int = 4, **modules: dict[str, str]) -> Model:
    return NetworkSpec(network=name, classes=3, frames=frames, crop=32, modules=modules)


def searched(space: str, number: int) -> Model:
    arch = load_space(space).sample(number + 1, seed=0)[number]
    return arch.scaled(crop=32, frames=8, depth_factor=0.1)


# A network, and how many norms are left: those of vectors, and those that read a sum or a part of a map. S2DNet
# computes its looks in fp32; it is held to the tolerance of exports (tests/runtimes/test_programs.py).
NETWORKS: dict[str, tuple[Callable[[], Model], int]] = {
    "two_stream": (partial(searched, "two_stream", 1), 0),
    "x3d": (partial(searched, "x3d", 0), 0),
    "slowfast": (partial(named, "slowfast_r50_8x8", 8), 0),
    "csn": (partial(named, "csn_r50"), 0),
    "s3d": (partial(named, "s3d_resnet18"), 0),
    "nln": (partial(named, "nln_resnet18"), 0),
    "inception": (partial(named, "tsn_inception_v1", 2), 0),
    "mobilenet": (partial(named, "tsm_mobilenet_v2"), 0),
    "tanet": (partial(named, "tanet_resnet50"), 8),
    "tdn": (partial(named, "tdn_resnet50", 10), 9),
}
IN_SUITE = ("two_stream", "s3d", "tanet")


def settle(net: nn.Module) -> None:
    """Give every norm constants that are all in use."""
    torch.manual_seed(1)
    for module in net.modules():
        if hasattr(module, "running_var"):
            nn.init.uniform_(module.weight, 0.5, 1.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.bias, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_mean, -0.5, 0.5)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in IN_SUITE else [pytest.mark.thorough]) for name in NETWORKS]
)
def test_a_folded_network_computes_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64, in which two right results lie within DEEP of each other on any machine; a wrong one is 1e-2 off."""
    for depth in DEPTHS:
        monkeypatch.setitem(DEPTHS, depth, (1, 1, 1, 1))
    monkeypatch.setattr(frame_networks, "STAGES", ((1, 16, 1, 1), (6, 24, 2, 2)))
    make, left = NETWORKS[name]
    net = build(make()).double().eval()
    settle(net)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    quick = folded(net)
    assert sum(hasattr(module, "running_var") for module in quick.modules()) == left
    assert not any(parameter.requires_grad for parameter in quick.parameters())
    x = torch.randn(2, 3, net.clip.frames, net.clip.crop, net.clip.crop, dtype=torch.float64)
    with torch.no_grad():
        expected, actual = net(x), quick(x)
    assert (actual - expected).abs().max() <= DEEP * expected.abs().max()
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())  # it is a copy


CONVOLUTIONS: dict[str, Callable[[], nn.Module]] = {
    "frames": partial(FrameConv, 8, 8, 3, padding=1, bias=True),
    "time": partial(TemporalConv, 8, 8),
    "depthwise": partial(DepthwiseConv3d, 8, 3),
    "pointwise": partial(PointwiseConv3d, 8, 8),
    "torch": partial(nn.Conv3d, 8, 8, 3, padding=1),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("threads", [1, 2])
def test_a_folded_layer_is_right_to_the_rounding_of_fp32(name: str, threads: int) -> None:
    """Sums of N products and a bias, in fp32, beside the same in float64.

    Each lies within N + 1 roundings of its exact value (`rounding`); the folded weight and bias are rounded once more.
    """
    torch.manual_seed(0)
    net = nn.Sequential(CONVOLUTIONS[name](), nn.BatchNorm3d(8)).eval()
    settle(net)
    quick = fold_norms(net, torch.empty(1, 8, 4, 6, 6))
    assert type(quick[1]) is nn.Identity
    x = torch.randn(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    kept = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.no_grad():
            actual = quick(x)
            expected = net.double()(x.double())
            large = _absolute(net)(x.double().abs())
    finally:
        torch.set_num_threads(kept)
    terms = net[0].weight[0].numel() + 3  # type: ignore[union-attr, operator]
    assert actual.is_contiguous(memory_format=torch.channels_last_3d)
    assert bool(((actual - expected).abs() <= rounding(terms) * large).all())


def _absolute(net: nn.Sequential) -> nn.Module:
    """The sums of the absolute values of all that a folded layer adds up."""
    quick = fold_norms(net, torch.empty(1, 8, 4, 6, 6, dtype=torch.float64))
    for parameter in quick.parameters():
        parameter.abs_()
    return quick


class Block(nn.Module):
    """A convolution and a norm, with something between them or beside them."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.conv, self.norm = how, nn.Conv3d(4, 4, 1), nn.BatchNorm3d(4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        if self.how == "read twice":
            return self.norm(y) + y  # type: ignore[no-any-return]
        if self.how == "a view is read":
            return self.norm(y) + y[:, :, :1]  # type: ignore[no-any-return]
        if self.how == "convolved twice":
            return self.norm(y) + self.conv(2 * x)  # type: ignore[no-any-return]
        if self.how == "normalised twice":
            return self.norm(y) + self.norm(x)  # type: ignore[no-any-return]
        if self.how == "changed before":
            return self.norm(y.relu())  # type: ignore[no-any-return]
        if self.how == "a part is normalised":
            return self.norm(y[:, :, ::2])  # type: ignore[no-any-return]
        return self.norm(y).relu_()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "how",
    ["read twice", "a view is read", "convolved twice", "normalised twice", "changed before", "a part is normalised"],
)
def test_a_norm_stays_where_others_read_what_it_reads(how: str) -> None:
    block = Block(how).eval()
    settle(block)
    x = torch.randn(2, 4, 4, 3, 3)
    quick = fold_norms(block, x)
    assert type(quick.norm) is nn.BatchNorm3d
    with torch.no_grad():
        assert torch.equal(quick(x), block(x))  # to the bit: nothing was folded, so the same operations
    assert type(fold_norms(Block(""), x).norm) is nn.Identity


def test_a_class_of_somebody_elses_stays_as_it_is() -> None:
    class Standardised(nn.Conv3d):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv3d(x, self.weight - self.weight.mean())

    net = nn.Sequential(Standardised(4, 4, 1, bias=False), nn.BatchNorm3d(4))
    assert type(fold_norms(net, torch.empty(1, 4, 2, 2, 2))[1]) is nn.BatchNorm3d
