"""What SlowFast, CSN and X3D do: which frames each path sees, channels by themselves, places for modules.

What is equal to the bit here is a copy, or what the same code made of the same bytes; so a frame that changes a result
at all is seen.
"""

import pytest
import torch
import torch.nn.functional as F
from tolerance import rounding
from torch import Tensor, nn

import autovid
from autovid.blocks.mbconv3d import MBConv3d
from autovid.errors import ConfigError
from autovid.layers.convolutions import Bottleneck, DepthwiseConv3d, PointwiseConv3d
from autovid.models import NetworkSpec, build_network
from autovid.models.slowfast import SlowFast


@pytest.fixture(scope="module")
def slowfast() -> SlowFast:
    torch.manual_seed(0)
    net = autovid.build("slowfast_r50_8x8", classes=5, frames=8, crop=32)
    assert isinstance(net, SlowFast)
    return net.eval()


@pytest.mark.parametrize("name", ["slowfast_r50_4x16", "slowonly_r50_4x16", "csn_r50"])
def test_without_zero_gamma_every_norm_starts_with_scale_1(name: str) -> None:
    net = autovid.build(name, 2, zero_gamma=False)
    assert all(module.weight.eq(1).all() for module in net.modules() if isinstance(module, nn.BatchNorm3d))


def clip(frames: int, batch: int = 1) -> Tensor:
    return torch.randn(batch, 3, frames, 32, 32).contiguous(memory_format=torch.channels_last_3d)


def test_the_slow_path_sees_every_fourth_frame(slowfast: SlowFast) -> None:
    seen: list[Tensor] = []
    hook = slowfast.slow.stem.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = clip(8)
    with torch.no_grad():
        slowfast(x)
    hook.remove()
    assert torch.equal(seen[0], x[:, :, [0, 4]])


def test_frames_that_only_the_fast_path_sees_change_the_logits(slowfast: SlowFast) -> None:
    x = clip(8)
    other = x.clone()
    other[:, :, 2] += 1
    with torch.no_grad():
        assert not torch.equal(slowfast(x), slowfast(other))


def test_the_fast_path_reaches_the_slow_one_before_every_stage(slowfast: SlowFast) -> None:
    """Without the laterals the slow path's own features do not depend on frames that it does not see."""
    x = clip(8)
    other = x.clone()
    other[:, :, 2] += 1
    features: list[Tensor] = []
    hook = slowfast.slow.stages[0].register_forward_pre_hook(lambda module, inputs: features.append(inputs[0]))
    with torch.no_grad():
        slowfast(x)
        slowfast(other)
    hook.remove()
    before, after = features
    assert torch.equal(before[:, :64], after[:, :64])
    assert not torch.equal(before[:, 64:], after[:, 64:])
    assert before.shape[1] == 64 + 16
    widths = [stage[0].conv1.in_channels for stage in slowfast.slow.stages]
    assert widths == [64 + 16, 256 + 64, 512 + 128, 1024 + 256]


def test_modules_go_into_the_slow_path_alone(slowfast: SlowFast) -> None:
    mine = {id(block) for block in slowfast.slow.modules() if isinstance(block, Bottleneck)}
    assert {id(block) for block in slowfast.blocks()} == mine
    assert [(b.stage, b.index) for b in slowfast.blocks()[:4]] == [(2, 0), (2, 1), (2, 2), (3, 0)]


def test_a_clip_that_the_paths_cannot_share_is_refused() -> None:
    with pytest.raises(ConfigError, match="give a multiple"):
        autovid.build("slowfast_r50_8x8", frames=30)


@pytest.mark.parametrize("name", ["slowonly_r34_8x8", "slowfast_r50_8x8", "csn_r50"])
def test_a_new_block_is_the_identity(name: str) -> None:
    for block in autovid.build(name, classes=5).blocks():
        last = block.norm3 if isinstance(block, Bottleneck) else block.norm2
        assert isinstance(last, nn.BatchNorm3d)
        assert not last.weight.any()


@pytest.mark.parametrize(("name", "options"), [("csn_r50", {"interaction": "preserved"}), ("csn_r50", {})])
def test_csn_mixes_channels_in_pointwise_convolutions_alone(name: str, options: dict[str, str]) -> None:
    net = build_network(NetworkSpec(network=name, options={**options}), device="meta")
    layers = [m for block in net.blocks() for m in block.modules() if isinstance(m, PointwiseConv3d | DepthwiseConv3d)]
    assert sum(isinstance(m, DepthwiseConv3d) for m in layers) == 16
    assert sum(isinstance(m, PointwiseConv3d) for m in layers) == 16 * (3 if options else 2) + 4
    assert not [m for block in net.blocks() for m in block.modules() if isinstance(m, nn.Conv3d | nn.Conv2d)]


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2)])
def test_separated_convolutions_are_torchs(stride: tuple[int, int, int]) -> None:
    """Each number within what its sum can lose, in fp32 and in any order, of the sum of absolute products."""
    torch.manual_seed(1)
    x = clip(4, 2).repeat(1, 4, 1, 1, 1).contiguous(memory_format=torch.channels_last_3d)
    depthwise, pointwise = DepthwiseConv3d(12, 3, stride), PointwiseConv3d(12, 20, stride)
    for layer, groups, padding in ((depthwise, 12, 1), (pointwise, 1, 0)):
        mine, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
        weight = layer.weight.detach().clone().requires_grad_()
        out, expected = layer(mine), F.conv3d(theirs, weight, stride=stride, padding=padding, groups=groups)
        upstream = torch.randn_like(out)
        grads = torch.autograd.grad(out, (mine, layer.weight), upstream)
        gradient = torch.autograd.grad(expected, (theirs, weight), upstream)
        sizes = [t.detach().abs().requires_grad_() for t in (theirs, weight)]
        size = F.conv3d(*sizes, stride=stride, padding=padding, groups=groups)
        sizes = [size, *torch.autograd.grad(size, sizes, upstream.abs())]
        terms = [weight[0].numel(), weight[:, 0].numel() // groups, out[:, 0].numel()]
        for actual, want, most, n in zip((out, *grads), (expected, *gradient), sizes, terms, strict=True):
            assert ((actual - want).abs() <= rounding(n) * most).all()


def test_csn_halves_time_three_times_and_takes_the_authors_epsilon() -> None:
    net = autovid.build("csn_r50", classes=5, frames=8, crop=32, norm_eps=1e-3).eval()
    assert {m.eps for m in net.modules() if isinstance(m, nn.BatchNorm3d)} == {1e-3}
    with torch.no_grad():
        assert net.features(clip(8)).shape == (1, 2048, 1, 1, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slowonly_r50_8x8", "slowfast_r50_4x16", "csn_r50", "x3d_s", "auto_tsnet_s"])
def test_they_learn(name: str) -> None:
    torch.manual_seed(0)
    net = autovid.build(name, classes=5, frames=8, crop=32).train()
    loss, logits = net.training_loss(clip(8, 2), torch.tensor([0, 1]))
    loss.backward()
    assert logits.shape == (2, 5)
    assert all(p.grad is not None and bool(torch.isfinite(p.grad).all()) for p in net.parameters())


class Zero(nn.Module):
    """Takes a block's branch away."""

    def forward(self, x: Tensor) -> Tensor:
        return x * 0


@pytest.mark.parametrize("name", ["x3d_xs", "auto_tsnet_s"])
def test_searched_networks_have_places_for_modules(name: str) -> None:
    torch.manual_seed(0)
    net = autovid.build(name, classes=5, frames=4, crop=32).eval()
    blocks = net.blocks()
    assert {block.stage for block in blocks} == {2, 3, 4, 5}
    assert all(isinstance(block, MBConv3d) for block in blocks)
    keys, x = list(net.state_dict()), clip(4)
    for block in blocks:
        assert isinstance(block, MBConv3d)
        nn.init.ones_(block.project_norm.weight)
    with torch.no_grad():
        whole = net(x)
        for block in blocks:
            block.leave = Zero()
        without = net(x)
        for block in blocks:
            assert isinstance(block, MBConv3d)
            block.leave = nn.Identity()
            nn.init.zeros_(block.project_norm.weight)
        assert torch.equal(net(x), without)  # a branch times 0, and one whose last norm has scale 0, are zeros
    assert not torch.equal(whole, without)
    assert list(net.state_dict()) == keys


def test_the_index_of_a_block_counts_in_its_stage() -> None:
    net = build_network(NetworkSpec(network="x3d_s"), device="meta")
    places = [(block.stage, block.index, block.width) for block in net.blocks()]
    widths = {2: 24, 3: 48, 4: 96, 5: 192}
    assert places == [(s, i, widths[s]) for s, depth in {2: 3, 3: 5, 4: 11, 5: 7}.items() for i in range(depth)]
