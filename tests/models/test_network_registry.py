"""Every network of the registry, alone and with every module that fits it: a model added is a model tested.

Alone, each runs forward and backward at a small size, is saved, loaded and described. With all modules that fit it,
each is built and passed through on the meta device; of every kind of network the smallest one learns with each module.
Those that differ from another one in depth, frames or backbone alone are left to the thorough tests.
"""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import autovid
from autovid.models import MODULES, NETWORKS, Network, NetworkSpec, build_network
from autovid.models.modules import attach
from autovid.models.network import DoesNotFit

CLASSES = 3
FRAMES = {"tdn": 10, "slowfast": 16, "csn": 8, "s2dnet": 16, "auto_tsnet": 8}  # by the beginning of the name
USUAL_FRAMES, CROP = 4, 32


def spec(name: str, *modules: str) -> NetworkSpec:
    frames = next((frames for family, frames in FRAMES.items() if name.startswith(family)), USUAL_FRAMES)
    if name in IMAGES:
        frames = 1
    asked: dict[str, dict[str, bool | int | float | str | list[int]]] = {module: {} for module in modules}
    return NetworkSpec(network=name, classes=CLASSES, frames=frames, crop=CROP, modules=asked)


DEEPER = {  # the parts of others here: more blocks, another stride of frames, or another backbone
    "auto_tsnet_l", "auto_tsnet_l_noattention", "auto_tsnet_m", "auto_tsnet_m_noattention", "csn_r101", "csn_r152",
    "slowfast_r101_8x8", "slowfast_r50_4x16", "slowonly_r34_8x8", "slowonly_r50_4x16", "slowonly_r50_8x8",
    "x3d_l", "x3d_m", "x3d_s",
    *(f"{strategy}_resnet50" for strategy in ("conv", "i3d", "nln", "s3d", "tam", "tsm")),
    *(f"{strategy}_inception_v1" for strategy in ("conv", "nln", "tam", "tsm")),
    "auto_tsnet_s_noattention", "resnet50_imagenet", "s2dnet_mini_kinetics", "s2dnet_x3d", "tsn_resnet50",
}  # fmt: skip
EACH = [pytest.param(name, marks=[pytest.mark.thorough] if name in DEEPER else []) for name in NETWORKS]
IMAGES = [name for name in NETWORKS if name.endswith(("_imagenet", "_cifar"))]


@cache
def ghost(name: str) -> Network:
    """The small network on the meta device."""
    return build_network(spec(name), device="meta")


def with_modules(name: str, *modules: str) -> Network:
    """A copy of the small network on the meta device, with modules."""
    net = copy.deepcopy(ghost(name))
    with torch.device("meta"):
        attach(net, {module: {} for module in modules}, name)
    return net


@cache
def refusals(name: str) -> dict[str, str]:
    """The modules that do not fit, and what they say."""
    messages = {}
    for module in MODULES:
        try:
            with_modules(name, module)
        except DoesNotFit as error:
            messages[module] = str(error)
    return messages


def fitting(name: str) -> list[str]:
    return [module for module in MODULES if module not in refusals(name)]


def batch(net: Network) -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.randn(2, 3, net.clip.frames, net.clip.crop, net.clip.crop, generator=torch.Generator().manual_seed(0))
    return x.contiguous(memory_format=torch.channels_last_3d), torch.tensor([0, 2])


def parameters(net: Network) -> int:
    return sum(p.numel() for p in net.parameters())


def learn(net: Network) -> None:
    """One forward and backward pass in training; every parameter that learns must get a finite gradient."""
    loss, logits = net.train().training_loss(*batch(net))
    loss.backward()  # type: ignore[no-untyped-call]
    assert logits.shape == (2, CLASSES)
    learning = {name: p.grad for name, p in net.named_parameters() if p.requires_grad}
    without = [name for name, grad in learning.items() if grad is None or not grad.isfinite().all()]
    assert learning
    assert not without, without


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_alone(name: str, tmp_path: Path) -> None:
    net = build_network(spec(name))
    assert (net.classes, net.clip.crop) == (CLASSES, CROP)
    learn(net)
    tensors = {key: tensor.contiguous() for key, tensor in net.state_dict().items()}
    save_file(tensors, tmp_path / "model.safetensors")
    again = build_network(spec(name))
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    x, _ = batch(net)
    with torch.inference_mode():
        logits = net.eval()(x)
        assert logits.isfinite().all()
        assert torch.equal(again.eval()(x), logits)  # the same code on the same bytes, built to lie in memory alike
    counted = autovid.count(ghost(name))
    assert counted.params == parameters(net)
    assert counted.macs == sum(counted.macs_by_kind.values()) > 0
    assert NETWORKS.about()[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_with_all_modules_that_fit(name: str) -> None:
    for module, reason in refusals(name).items():
        assert reason.startswith(f"{module} does not fit {name}: ")
        assert "\n" not in reason
    assert fitting(name)
    net = with_modules(name, *fitting(name))
    x, y = (tensor.to("meta") for tensor in batch(net))
    loss, logits = net.train().training_loss(x, y)
    assert (loss.shape, logits.shape) == ((), (2, CLASSES))
    assert net.eval()(x).shape == (2, CLASSES)


@cache
def kinds() -> dict[tuple[str, ...], str]:
    """The smallest network of each kind: its class, its blocks', what enters them."""
    names_by_kind: dict[tuple[str, ...], list[str]] = {}
    for name in NETWORKS:
        net = ghost(name)
        parts = {type(module).__name__ for block in net.blocks() for module in (block, block.enter)}
        names_by_kind.setdefault((type(net).__name__, *sorted(parts)), []).append(name)
    return {kind: min(names, key=lambda name: parameters(ghost(name))) for kind, names in names_by_kind.items()}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module", [pytest.param(name, marks=[] if name == "dnr" else [pytest.mark.thorough]) for name in MODULES]
)
def test_each_kind_learns_with_each_module(module: str) -> None:
    names = [name for name in kinds().values() if module in fitting(name)]
    assert names
    for name in names:
        torch.manual_seed(0)
        learn(build_network(spec(name, module)))
