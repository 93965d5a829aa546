"""S2DNet at small size: what it sees, what learns from what, and the two stages of training.

Results that are equal to the bit are copies, or the same code's of the same bytes: what changes one at all is seen.
torch's own tolerance in fp32, 1.3e-6 relative and 1e-5 besides, is for sums of few numbers of size 1, each 6e-8.
"""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import autovid
from autovid.errors import ConfigError
from autovid.models.s2dnet import S2DNet, likely_classes, synopsis

NAMES = ["s2dnet", "s2dnet_mini_kinetics", "s2dnet_x3d"]


def clip(batch: int = 2, crop: int = 32, frames: int = 12) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, frames, crop, crop, generator=generator)
    return x.contiguous(memory_format=torch.channels_last_3d)


def small(name: str = "s2dnet", **options: Any) -> S2DNet:
    torch.manual_seed(0)
    net = autovid.build(name, classes=7, frames=12, crop=32, **options)
    assert isinstance(net, S2DNet)
    return net


def volume_gradient(net: S2DNet, scale: float = 1.0) -> tuple[Tensor, dict[str, Tensor]]:
    """The gradient that reaches the sampled volume, and those of the locator's weights, of a scaled training loss."""
    seen: list[Tensor] = []
    normalise = net._normalise
    net._normalise = lambda grad: seen.append(normalise(grad)) or seen[-1]  # type: ignore[method-assign, func-returns-value]
    loss, _ = net.training_loss(clip(), torch.tensor([1, 2]))
    (loss * scale).backward()
    return seen[0], {n: p.grad for n, p in net.locator.named_parameters() if p.grad is not None}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("fusion", ["add", "concat1x1"])
def test_every_weight_learns(name: str, fusion: str) -> None:
    net = small(name, fusion=fusion)
    loss, logits = net.training_loss(clip(), torch.tensor([1, 2]))
    loss.backward()
    assert logits.shape == (2, 7)
    for weight_name, weight in net.named_parameters():
        assert weight.grad is not None, weight_name
        assert weight.grad.isfinite().all(), weight_name


@pytest.mark.slow
def test_the_gradient_of_every_sampled_clip_reaches_from_minus_one_to_one_whatever_the_scale_of_the_loss() -> None:
    torch.manual_seed(1)
    grad, weights = volume_gradient(small(dropout=0.0))
    assert grad.abs().amax((1, 2, 3, 4)).tolist() == [1.0, 1.0]  # a number divided by itself
    assert weights["time.weight"].abs().max() > 0
    assert weights["space.weight"].abs().max() > 0
    torch.manual_seed(1)
    scaled, scaled_weights = volume_gradient(small(dropout=0.0), 1024.0)  # as a gradient scaler of fp16 does
    # 1024 is a power of two: no product and no sum of the same code rounds otherwise for it, but for what underflows.
    torch.testing.assert_close(scaled / 1024, grad)
    torch.testing.assert_close(scaled_weights["time.weight"] / 1024, weights["time.weight"])


def test_the_locator_learns_from_the_details_alone_and_leaves_the_synopsis_alone() -> None:
    net = small(dropout=0.0)
    with (
        torch.no_grad()
    ):  # cut the context: what is left of the synopsis in the details is the map that the locator sees
        net.context.weight.zero_()
        net.context.bias.fill_(-1)
    net(clip()).square().sum().backward()
    assert net.locator.time.weight.grad is not None
    assert net.locator.time.weight.grad.abs().max() > 0
    assert all(p.grad is None or not p.grad.any() for p in net.get_submodule("synopsis").parameters())


def test_the_context_carries_gradient_to_the_synopsis() -> None:
    net = small(dropout=0.0)
    net(clip()).square().sum().backward()
    grads = [p.grad for p in net.get_submodule("synopsis.stem").parameters()]
    assert all(g is not None and bool(g.any()) for g in grads)


def test_hard_top_k_is_k_hot_without_gradient_and_soft_top_k_a_softmax_with_it() -> None:
    logits = torch.randn(3, 12, requires_grad=True)
    hard, soft = likely_classes(logits, "hard"), likely_classes(logits, "soft")
    assert hard.sum(1).tolist() == [5, 5, 5]
    assert not hard.requires_grad
    assert torch.equal(hard.bool(), soft > 0)
    torch.testing.assert_close(soft.sum(1), torch.ones(3))  # five numbers below 1
    best = logits[0].topk(5).values
    torch.testing.assert_close(soft[0].sort().values[-5:], best.softmax(0).sort().values)
    soft[:, 0].sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert likely_classes(torch.randn(2, 3), "hard").sum(1).tolist() == [3, 3]


def test_soft_top_k_teaches_the_classifier_of_the_synopsis_and_hard_does_not() -> None:
    taught = {}
    for top_k in ("hard", "soft"):
        net = small(top_k=top_k, dropout=0.0)
        net(clip()).square().sum().backward()
        grad = net.get_parameter("synopsis.classifier.weight").grad
        taught[top_k] = grad is not None and bool(grad.any())
    assert taught == {"hard": False, "soft": True}


def test_the_synopsis_spans_the_clip_and_takes_nearest_pixels() -> None:
    x = clip(crop=16, frames=15)
    seen = synopsis(x, 8, 8)
    assert torch.equal(seen, x[:, :, ::2, ::2, ::2])
    assert seen.is_contiguous(memory_format=torch.channels_last_3d)
    assert torch.equal(synopsis(x, 4, 16), x[:, :, [0, 4, 9, 14]])
    assert synopsis(x[:, :, :3], 8, 16).shape == (2, 3, 8, 16, 16)


def test_the_frozen_sampler_looks_at_the_centre_whatever_the_locator_says_and_rests() -> None:
    net = small().eval()
    net.freeze_sampler(True)
    before = net(clip())
    with torch.no_grad():
        net.locator.time.weight.fill_(1.0)
        net.locator.space.weight.fill_(0.5)
    assert torch.equal(net(clip()), before)
    net.train().training_loss(clip(), torch.tensor([1, 2]))[0].backward()
    assert all(p.grad is None for p in net.locator.parameters())
    net.eval().freeze_sampler(False)
    assert not torch.equal(net(clip()), before)
    assert all(p.requires_grad for p in net.locator.parameters())


def test_the_sampler_rests_for_the_first_third_of_training_or_as_long_as_asked() -> None:
    for stage_one, shares in ((None, {0.0: True, 0.33: True, 0.34: False, 0.99: False}), (0.0, {0.0: False})):
        net = small() if stage_one is None else small(stage_one=stage_one)
        for share, frozen in shares.items():
            net.begin_step(share)
            assert net.frozen is frozen


def test_the_loss_is_that_of_the_details_smoothed_and_a_tenth_of_the_synopsis() -> None:
    net, y = small(dropout=0.0).eval(), torch.tensor([1, 2])
    loss, logits = net.training_loss(clip(), y)
    first = net.outline(synopsis(clip(), net.frames, net.synopsis_crop))[1]
    expected = F.cross_entropy(logits, y, label_smoothing=0.1) + 0.1 * F.cross_entropy(first, y)
    torch.testing.assert_close(loss, expected)  # of the same logits: sums over seven classes
    net.mix = lambda x, targets: (x.flip(0), 0.5 * targets + 0.5 * targets.flip(0))
    mixed, _ = net.training_loss(clip(), y)
    assert mixed.isfinite()
    assert (mixed - loss).abs() > 1e-3  # of 2.1; rounding is 1e-6


def test_cutmix_blends_the_labels_of_both_losses() -> None:
    net, y = small(dropout=0.0, modules=["cutmix"]).eval(), torch.tensor([1, 2])
    assert net.mix is not None
    torch.manual_seed(4)
    x, targets = net.mix(clip(), F.one_hot(y, 7).float())
    assert targets.max() < 0.95
    logits, first = net._recognise(x)
    expected = F.cross_entropy(logits, targets, label_smoothing=0.1) + 0.1 * F.cross_entropy(first, targets)
    torch.manual_seed(4)
    torch.testing.assert_close(net.training_loss(clip(), y)[0], expected)  # the same draw, the same logits


def test_the_two_temporal_filters_see_nearly_the_same() -> None:
    smooth = F.avg_pool3d(clip(frames=48), (9, 1, 1), 1, (4, 0, 0))
    nets = [small(temporal_filter=kind).eval() for kind in ("gaussian", "linear")]
    for net in nets:
        net.freeze_sampler(True)
    logits = [net(smooth) for net in nets]
    assert not torch.equal(*logits)
    assert (logits[0] - logits[1]).norm() < 0.3 * logits[0].norm()  # how near filters are: fp32 loses 1e-3 at most


PLACES: dict[str, dict[str, Any]] = {  # the paper's Table 2
    "d0": {},
    "d1": {"fuse_in_classifier": False},
    "d2": {"fuse_after": []},
    "d3": {"fuse_after": [4]},
    "d4": {"fuse_after": [2, 3, 4]},
}


@pytest.mark.slow
@pytest.mark.parametrize("row", PLACES)
def test_the_context_goes_to_the_places_asked_for_and_to_no_other(row: str) -> None:
    net, options = small(dropout=0.0, **PLACES[row]).eval(), PLACES[row]
    stages = options.get("fuse_after", [3, 4])
    assert list(net.get_submodule("fusions")._modules) == [f"res{stage}" for stage in stages]
    seen: dict[str, Tensor] = {}
    for name in ("detail.stages.0", "detail.stages.1", "detail.stages.2", "detail.stages.3"):
        net.get_submodule(name).register_forward_hook(lambda _, inputs, __, name=name: seen.update({name: inputs[0]}))
    net.get_submodule("detail.classifier").register_forward_hook(lambda _, inputs, __: seen.update(last=inputs[0]))
    with torch.no_grad():
        net(clip())
        first = dict(seen)
        net.context.bias.add_(100.0)
        net(clip())
    changed = [name for name in first if not torch.equal(first[name], seen[name])]
    assert changed[0] == (f"detail.stages.{stages[0] - 1}" if stages else "last")
    features = 2048 + (0 if row == "d1" else 256) + 7
    assert first["last"].shape == (2, features)
    assert first["last"][:, -7:].sum(1).tolist() == [5, 5]  # the likely classes, always


@pytest.mark.slow
@pytest.mark.parametrize("name", [NAMES[0], *(pytest.param(name, marks=pytest.mark.thorough) for name in NAMES[1:])])
@pytest.mark.parametrize("row", PLACES)
def test_a_step_goes_through_every_row(name: str, row: str) -> None:
    net = small(name, **PLACES[row])
    net.training_loss(clip(), torch.tensor([1, 2]))[0].backward()
    assert all(weight.grad is not None for weight in net.parameters())


def test_other_places_are_refused() -> None:
    for wrong in ([5], [1], [3, 3]):
        with pytest.raises(ConfigError, match="fuse_after .*: give stages among 2, 3, 4, each once"):
            small(fuse_after=wrong)
    with pytest.raises(ConfigError, match="the context has to go somewhere"):
        small(fuse_after=[], fuse_in_classifier=False)
    with pytest.raises(ConfigError, match="fuse_after"):
        small(fuse_after="res3")


def test_other_sizes_and_unknown_options() -> None:
    net = small().eval()
    assert net(clip(crop=40, frames=20)).shape == (2, 7)  # larger views in test: the look keeps its size
    for option in ({"top_k": "medium"}, {"temporal_filter": "cubic"}, {"fusion": "product"}):
        with pytest.raises(ConfigError):
            small(**option)
