"""Activation maps: the formulas, where they are hot, and a map of every family of networks.

A peak of 1 is exact: it is a number divided by itself. So is a 0: nothing but zeros is added or interpolated there.
"""

import numpy as np
import pytest
import torch
from tolerance import rounding
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.models import NETWORKS, Network, NetworkSpec, build, build_network
from autovid.models.network import every_frame
from autovid.models.s2dnet import S2DNet
from autovid.report import METHODS, ActivationMap, activation_map
from autovid.report.cam import gradcam, gradcam_pp
from autovid.space import load_space

BOTH = pytest.mark.parametrize("method", METHODS)


class Colours(Network):
    """Class 0 is how red a clip is, class 1 how green; its map has a position for 4 x 4 pixels of 2 frames."""

    def __init__(self, first: int = 0) -> None:
        super().__init__()
        self.clip, self.classes, self.first = Clip(8, 16, mean=(0.2, 0.3, 0.4), std=(0.5, 0.25, 0.2)), 2, first
        self.pool = nn.AvgPool3d((2, 4, 4))

    def cam_layer(self) -> nn.Module:
        return self.pool

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return every_frame(x, 1, self.first)

    def forward(self, x: Tensor) -> Tensor:
        red, green, _ = self.pool(x[:, :, self.first :]).mean((2, 3, 4)).unbind(1)
        return torch.stack([100 * red, 100 * green - 50 * red], 1)


def lights() -> Tensor:
    """Red in the upper left corner of frame 2, more of green in the lower right corner of frame 7."""
    x = torch.zeros(1, 3, 8, 16, 16)
    x[:, 0, 2, :4, :4] = 0.5  # a pixel of 114.75, far from a half, which could round two ways
    x[:, 1, 7, 12:, 12:] = 1.0
    return x


def peak(activation: ActivationMap) -> tuple[int, int, int]:
    """Frame, row and column of the hottest pixel."""
    frame, row, column = np.unravel_index(activation.heat.argmax(), activation.heat.shape)
    return int(frame), int(row), int(column)


@BOTH
def test_hot_is_what_the_logit_depends_on(method: str) -> None:
    net = Colours()
    red, green = (activation_map(net, lights(), net.clip, target, method) for target in (0, 1))
    frame, row, column = peak(red)
    assert (frame // 2, row // 4, column // 4) == (1, 0, 0)
    frame, row, column = peak(green)
    assert (frame // 2, row // 4, column // 4) == (3, 3, 3)
    for activation, (lit, dark) in ((red, (2, 7)), (green, (7, 2))):
        assert activation.heat.max() == 1
        assert activation.heat[lit].max() > 0.6
        assert activation.heat[dark].max() == 0


@BOTH
def test_a_map_is_of_the_frames_that_the_network_looks_at(method: str) -> None:
    net = Colours(first=2)
    heat = activation_map(net, lights(), net.clip, 0, method)
    assert heat.places.tolist() == [2, 3, 4, 5, 6, 7]
    assert peak(heat)[0] == 0
    assert heat.pixels.shape == (6, 16, 16, 3)
    red = lights()[0, 0, 2:] * 0.5 + 0.2  # back from the clip's normalisation
    assert heat.pixels[..., 0].tolist() == (255 * red).round().int().tolist()


def test_the_likeliest_class_is_explained_and_the_network_left_as_it_was() -> None:
    net = Colours().train()
    heat = activation_map(net, lights(), net.clip)
    assert heat.target == int(net(lights()).argmax()) == 1
    # The same logits, by the same code; exp rounds by 1e-7.
    assert heat.probabilities == pytest.approx(torch.softmax(net(lights())[0], 0).numpy())
    assert net.training
    assert not net.pool._forward_hooks
    assert torch.is_grad_enabled()


def test_where_nothing_speaks_for_a_class_nothing_is_hot() -> None:
    net = Colours()
    heat = activation_map(net, torch.zeros(1, 3, 8, 16, 16), net.clip, 0)
    assert not heat.heat.any()


def test_gradcam_weighs_channels_by_the_mean_gradient() -> None:
    gradient = torch.tensor([[[[1.0, -3.0], [4.0, 2.0]]], [[[-1.0, 0.0], [0.0, -1.0]]]])
    assert gradcam(torch.ones(2, 1, 2, 2), gradient).tolist() == [1.0, -0.5]


def test_gradcam_pp_is_the_papers_equation_for_an_exponential() -> None:
    """Y = exp(S), S linear in the map: weights by autograd's first, second and third derivatives (equations 12, 19)."""
    generator = torch.Generator().manual_seed(0)
    features = torch.rand(3, 2, 2, 2, generator=generator, dtype=torch.float64)
    slopes = torch.randn(3, 2, 2, 2, generator=generator, dtype=torch.float64)
    slopes[0, 0, 0, 0] = 0.0
    literal = torch.zeros(3, dtype=torch.float64)
    for at in np.ndindex(3, 2, 2, 2):
        place = features[at].clone().requires_grad_()
        y = torch.exp((features * slopes).sum() + (place - features[at]) * slopes[at])
        (first,) = torch.autograd.grad(y, place, create_graph=True)
        (second,) = torch.autograd.grad(first, place, create_graph=True)
        (third,) = torch.autograd.grad(second, place)
        if slopes[at] != 0:
            alpha = second / (2 * second + features[at[0]].sum() * third)
            literal[at[0]] += (alpha * torch.relu(first)).detach()
    y = torch.exp((features * slopes).sum())
    # In float64, sums of eight numbers: 1e-14 of the largest.
    assert (gradcam_pp(features, slopes) * y).tolist() == pytest.approx(literal.tolist(), rel=1e-9)


FAMILIES = {  # frames to see, places of the frames that the map is of
    "tsn_resnet18": (3, [0, 1, 2]),
    "i3d_resnet18": (4, [0, 1, 2, 3]),
    "tam_inception_v1": (2, [0, 1]),
    "i3d_inception_v1": (3, [0, 1, 2]),
    "tanet_resnet50": (2, [0, 1]),
    "tdn_resnet50": (10, [2, 7]),
    "tsm_mobilenet_v2": (2, [0, 1]),
    "slowonly_r50_4x16": (2, [0, 1]),
    "slowfast_r50_8x8": (8, [0, 4]),
    "csn_r50": (8, [0, 1, 2, 3, 4, 5, 6, 7]),
    "x3d_xs": (2, [0, 1]),
    "resnet110_cifar": (1, [0]),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_has_maps(name: str) -> None:
    frames, places = FAMILIES[name]
    torch.manual_seed(0)
    net = build(name, classes=5, frames=frames, crop=32, **({"temporal_pooling": True} if "i3d_resnet" in name else {}))
    x = torch.randn(1, 3, frames, 32, 32)
    seen: list[Tensor] = []
    handle = net.cam_layer().register_forward_hook(lambda module, args, output: seen.append(output))
    heat = activation_map(net, x, net.clip, 2)
    handle.remove()
    assert heat.places.tolist() == places
    assert heat.heat.shape == (len(places), 32, 32)
    assert heat.pixels.shape == (len(places), 32, 32, 3)
    assert heat.heat.max() == 1
    assert len(seen) == 1
    assert seen[0].min() >= 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_two_stream_network_shows_its_sparse_stream() -> None:
    net = build(load_space("tiny").sample(1, seed=0)[0])
    heat = activation_map(net, torch.randn(1, 3, 16, 32, 32), net.clip)
    assert heat.places.tolist() == [0, 4, 8, 12]


@pytest.mark.parametrize("frozen", [True, False])
def test_s2dnet_shows_what_its_detail_network_is_shown(frozen: bool) -> None:
    torch.manual_seed(0)
    net = build("s2dnet", classes=5, frames=24, crop=64)
    assert isinstance(net, S2DNet)
    net.freeze_sampler(frozen)
    shown: list[Tensor] = []
    handle = net.get_submodule("detail.stem").register_forward_pre_hook(lambda module, args: shown.append(args[0]))
    heat = activation_map(net, torch.randn(1, 3, 24, 64, 64), net.clip)
    handle.remove()
    mean, std = (torch.tensor(values) for values in (net.clip.mean, net.clip.std))
    pixels = (255 * (shown[0][0].permute(1, 2, 3, 0) * std + mean)).clamp(0, 255).round()
    assert np.abs(heat.pixels.astype(float) - pixels.numpy()).max() <= 1  # a half may round two ways
    assert heat.heat.shape == heat.pixels.shape[:3] == (12, 58, 58)
    most = rounding(4, 24)  # places up to 24 in fp32, of four operations each
    assert np.diff(heat.places) == pytest.approx(heat.places[1] - heat.places[0], rel=0, abs=2 * most)
    if frozen:
        assert heat.places.tolist() == pytest.approx([2 * i + 0.5 for i in range(12)], rel=0, abs=most)


@pytest.mark.slow
def test_every_network_says_which_map_is_its_last() -> None:
    for name in NETWORKS:
        net = build_network(NetworkSpec(network=name), device="meta")
        assert net.cam_layer() in list(net.modules()), name


def test_mistakes() -> None:
    net = Colours()
    with pytest.raises(ConfigError, match="'cam': choose one of gradcam, gradcam"):
        activation_map(net, lights(), net.clip, method="cam")
    with pytest.raises(ConfigError, match="no class 2: the network has 2"):
        activation_map(net, lights(), net.clip, 2)
    with pytest.raises(ConfigError, match="Network has no feature map"):
        activation_map(Network(), lights(), net.clip)
