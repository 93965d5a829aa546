"""TANet, TDN and TSM-MobileNetV2 at small size: what they see, what they learn, what they refuse."""

import pytest
import torch
from tolerance import DEEP
from torch import Tensor

import autovid
from autovid.errors import ConfigError
from autovid.models import Network


def clip(frames: int, crop: int = 64) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, 3, frames, crop, crop, generator=generator).contiguous(memory_format=torch.channels_last_3d)


def small(name: str, frames: int) -> Network:
    torch.manual_seed(0)
    return autovid.build(name, classes=5, frames=frames, crop=64)


@pytest.mark.parametrize(("name", "frames"), [("tanet_resnet50", 3), ("tdn_resnet50", 10), ("tsm_mobilenet_v2", 3)])
def test_every_weight_learns_but_for_what_is_frozen(name: str, frames: int) -> None:
    net = small(name, frames)
    loss, logits = net.training_loss(clip(frames), torch.tensor([1, 2]))
    loss.backward()
    assert logits.shape == (2, 5)
    for weight_name, weight in net.named_parameters():
        assert not weight.requires_grad or weight.grad is not None, weight_name
    assert [n for n, p in net.named_parameters() if not p.requires_grad] == (
        ["short_term.image_conv.weight", "short_term.image_conv.bias"] if name == "tdn_resnet50" else []
    )


def test_tdn_sees_the_middle_frames_and_what_changes_around_them() -> None:
    net = small("tdn_resnet50", 10).eval()
    with torch.no_grad():
        for norm in (net.get_submodule("short_term.stem.1"), net.get_submodule("stem.1")):
            norm.bias.fill_(0.5)  # type: ignore[union-attr, operator]
        moving = clip(10)
        still = moving[:, :, 2::5].repeat_interleave(5, dim=2)
        brighter = still + torch.tensor([0.0, 0.7]).repeat_interleave(5).view(1, 1, 10, 1, 1)
        blind = net(still)
        much = 1e-2 * blind.abs().max()  # fp32 loses 1e-3 of it at most
        assert (net(moving) - blind).abs().max() > much  # the same middle frames, but something moves
        assert (net(brighter) - blind).abs().max() > much
        early, late = net.get_submodule("short_term")(still)
        same_early, same_late = net.get_submodule("short_term")(brighter)
        # A still segment says nothing but that, whatever it shows: frames that are equal differ by 0, not by rounding,
        # and the same code goes on from zeros.
        assert torch.equal(early, same_early)
        assert torch.equal(late, same_late)


def test_tdn_gives_modules_the_blocks_of_its_images() -> None:
    blocks = small("tdn_resnet50", 10).blocks()
    assert [block.stage for block in blocks] == [2] * 3 + [3] * 4 + [4] * 6 + [5] * 3


def test_tdn_refuses_frames_that_make_no_segments() -> None:
    with pytest.raises(ConfigError, match="multiple"):
        autovid.build("tdn_resnet50", frames=8)


@pytest.mark.parametrize("name", ["tanet_resnet50", "tsm_mobilenet_v2"])
def test_frames_see_their_neighbours(name: str) -> None:
    """In float64, where two orders of the same sum differ by less than DEEP."""
    net = small(name, 3).double().eval()
    x = clip(3).double()
    with torch.no_grad():
        forwards, backwards = net(x), net(x.flip(2))
    assert (forwards - backwards).norm() > 1e6 * DEEP * forwards.norm()


@pytest.mark.parametrize(("name", "frames"), [("tanet_resnet50", 3), ("tdn_resnet50", 10), ("tsm_mobilenet_v2", 3)])
def test_bf16_autocast_runs_and_agrees_roughly(name: str, frames: int) -> None:
    net = small(name, frames).eval()
    with torch.no_grad():
        exact = net(clip(frames))
        with torch.autocast("cpu", torch.bfloat16):
            rough = net(clip(frames)).float()
    # bf16 rounds by 2**-9. Independent errors of some 53 layers' inputs and outputs add up to sqrt(106) * 2**-9 = 0.02;
    # seen with four sets of kernels: 0.006 to 0.016. 0.1 is five times that; logits without anything in common: 1.4.
    assert (rough - exact).norm() < 0.1 * exact.norm()
