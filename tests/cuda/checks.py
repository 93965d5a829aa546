"""What must hold on a CUDA device, as plain functions: tests/cuda/test_cuda.py and bench/gpu run them.

Each takes a device and yields findings. On the CPU all of them compare it with itself, which tries them out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from comparing import (
    BF16,
    DEEP,
    Finding,
    clips,
    compare_function,
    compare_module,
    distance,
    furthest,
    randomised,
    room,
    without_chance,
)
from torch import Tensor, nn

import autovid
from autovid.blocks.registry import ATTENTIONS, BLOCKS, FUSIONS
from autovid.blocks.site import AttentionSite, BlockSite, FusionSite, Site
from autovid.blocks.trace import example
from autovid.kernels.batch_norm import batch_norm
from autovid.kernels.depthwise import depthwise_conv3d
from autovid.kernels.maps import every_pixel, mean_of_pixels, pointwise_conv3d
from autovid.layers import convolutions, regularisers, temporal_modules
from autovid.layers.detail_sampler import Location, Locator, sample
from autovid.layers.dnr import DynamicNorm, TemporalRelay
from autovid.layers.regularisers import RandomDrop, ShakeDrop
from autovid.layers.temporal_modules import (
    DenseAggregation,
    NonLocalBlock,
    TemporalAdaptive,
    TemporalAggregation,
    TemporalShift,
    weigh_frames,
)
from autovid.models import NetworkSpec, build, build_network, inherit
from autovid.models.registry import FILES
from autovid.space.layout import sites

Findings = Iterator[Finding]
FRAMES = {"tdn": 10, "slowfast": 16, "csn": 8, "s2dnet": 16, "auto_tsnet": 8, "images": 1}  # by the beginning of a file
CROP = 32


def kernels(device: torch.device) -> Findings:
    """Every function of autovid/kernels, and the one that stands for a depthwise convolution over time on GPUs."""
    for kernel, stride in itertools.product([(3, 3, 3), (1, 5, 5), (5, 1, 1), (3, 5, 5)], [(1, 1, 1), (1, 2, 2)]):
        x, weight = clips(2, 24, 6, 14, 14), clips(24, 1, *kernel)
        convolve = partial(depthwise_conv3d, stride=stride)
        yield compare_function(f"depthwise {kernel} / {stride}", convolve, [x, weight], 2 * 6 * 14 * 14, device)
    for stride in ((1, 1, 1), (1, 2, 2)):
        x, weight = clips(2, 24, 6, 14, 14), clips(32, 24, 1, 1, 1)
        convolve = partial(pointwise_conv3d, stride=stride)
        yield compare_function(f"pointwise / {stride}", convolve, [x, weight], 2 * 6 * 14 * 14, device)
    x = clips(2, 24, 6, 14, 14)
    yield compare_function("every_pixel", partial(every_pixel, stride=(2, 2, 2)), [x], 1, device)
    yield compare_function("mean_of_pixels", mean_of_pixels, [x], 6 * 14 * 14, device)
    yield compare_function("weigh_frames", weigh_frames, [x, clips(24, 1, 3, 1, 1)], 2 * 6 * 14 * 14, device)
    scale, shift = torch.linspace(0.5, 1.5, 24), torch.linspace(-1, 1, 24)

    def norm(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        mean, var = (x.new_zeros(24), x.new_ones(24))
        return batch_norm(x, mean, var, weight, bias, True, 0.1, 1e-5)

    # Its gradient takes differences of sums, which are of the size of what is left: twice the room.
    yield compare_function("batch_norm", norm, [x, scale, shift], 4 * 2 * 6 * 14 * 14, device)


def blocks(device: torch.device) -> Findings:
    """Every block and operation of the registries, and what stands around them, at sites of `tiny`."""
    for what, site, choice in cases():
        maps = [torch.cat([example(one, site, choice) for _ in range(2)]) for one in site.inputs]
        maps = [x.contiguous(memory_format=torch.channels_last_3d) if x.dim() == 5 else x for x in maps]

        def make(site: Site = site, choice: Any = choice) -> nn.Module:
            return Chosen(site.block.build(site, {name: (value,) for name, value in choice.items()}), choice)

        yield from compare_module(what, make, maps, device)


class Chosen(nn.Module):
    """A module at a site with its choice made."""

    def __init__(self, module: nn.Module, choice: Any) -> None:
        super().__init__()
        self.module, self.choice = randomised(module), choice

    def forward(self, *maps: Tensor) -> Tensor:
        out: Tensor = self.module(*maps, choice=self.choice)
        return out


def cases() -> list[tuple[str, Site, Any]]:
    """A site of each kind, with the largest candidates; of blocks those with a stride, too; and each operation."""
    space = autovid.load_space("tiny")
    result: dict[str, tuple[str, Site, Any]] = {}
    for site in sites(space.network, space.reference):
        values = site.candidates(space.candidates)
        largest = {name: those[-1] for name, those in values.items()}
        if isinstance(site, (FusionSite, AttentionSite)):
            for operation in FUSIONS if isinstance(site, FusionSite) else ATTENTIONS:
                result.setdefault(operation, (operation, site, {**largest, "operation": operation}))
        else:
            name = f"{site.kind}, stride {site.stride}" if isinstance(site, BlockSite) else site.kind
            result.setdefault(name, (name, site, largest))
    missing = [name for name in (*BLOCKS, *FUSIONS, *ATTENTIONS) if not any(name in key for key in result)]
    assert not missing, f"no case of {missing}"
    return list(result.values())


def layers(device: torch.device) -> Findings:
    """Every layer of autovid/layers that does not draw; and of those that do, that they run."""
    for what, make, inputs in layer_cases():
        yield from compare_module(what, lambda make=make: randomised(make()), inputs, device)
    for drawing in (
        regularisers.RandomMeanScaling(regularisers.AverageFilter((3, 3, 3))),
        RandomDrop(0.5),
        ShakeDrop(0.5, level="pixel"),
    ):
        x = clips(2, 8, 4, 6, 6).to(device).requires_grad_()
        (grad,) = torch.autograd.grad(drawing.to(device).train()(x).sum(), x)
        yield Finding(f"{type(drawing).__name__} runs", float(not bool(grad.isfinite().all())), 0.0)


class Sampled(nn.Module):
    """S2DNet's locator, and what it samples."""

    def __init__(self) -> None:
        super().__init__()
        self.locator = Locator(16, 5, (4, 3, 3), 4)

    def forward(self, x: Tensor, synopsis: Tensor, likely: Tensor) -> Tensor:
        where = self.locator(synopsis, likely)
        return sample(x, Location(where.time, where.space), 8)


def layer_cases() -> list[tuple[str, Callable[[], nn.Module], list[Tensor]]]:
    """Layers with what they are given."""
    x, wide = clips(2, 16, 6, 10, 10), clips(2, 32, 6, 8, 8)
    layers: dict[str, Callable[[], nn.Module]] = {
        "FrameConv": lambda: convolutions.FrameConv(16, 24, 3, padding=1, stride=2),
        "FrameConv of every other frame": lambda: convolutions.FrameConv(16, 24, 3, padding=1, frame_stride=2),
        "FrameMaxPool": lambda: convolutions.FrameMaxPool(3, 2, 1),
        "TemporalConv": lambda: convolutions.TemporalConv(16, 24, 3, 2),
        "FactorizedConv": lambda: convolutions.FactorizedConv(16, 24, 2),
        "DepthwiseConv3d": lambda: convolutions.DepthwiseConv3d(16, 3, (1, 2, 2)),
        "PointwiseConv3d": lambda: convolutions.PointwiseConv3d(16, 24, (1, 2, 2)),
        "TemporalAggregation": lambda: TemporalAggregation(16),
        "DenseAggregation": lambda: DenseAggregation(16),
        "TemporalShift": TemporalShift,
        "TemporalAdaptive": lambda: TemporalAdaptive(16, 6),
        "NonLocalBlock": lambda: NonLocalBlock(16, True),
        "DynamicNorm": lambda: DynamicNorm(16, 4, TemporalRelay(16)),
        "AverageFilter": lambda: regularisers.AverageFilter((3, 3, 3)),
        "GaussianFilter": lambda: regularisers.GaussianFilter((3, 3, 3)),
    }
    tdn = {
        "LongTermDifference": lambda: temporal_modules.LongTermDifference(32),
        "LearnableShift": lambda: temporal_modules.LearnableShift(32),
    }
    likely = torch.linspace(0, 1, 10).view(2, 5)
    sampler = ("detail sampler", Sampled, [clips(2, 3, 8, 20, 20), clips(2, 16, 4, 3, 3), likely])
    return [*((name, make, [x]) for name, make in layers.items()), *((n, m, [wide]) for n, m in tdn.items()), sampler]


def small(file: str) -> NetworkSpec:
    """A network of a family at a small clip: the one that is named first, but for the families of several kinds."""
    frames = next((frames for family, frames in FRAMES.items() if file.startswith(family)), 4)
    name = {"slowfast": "slowfast_r50_8x8", "deep_analysis": "i3d_resnet18"}.get(file, next(iter(FILES[file])))
    return NetworkSpec(network=name, classes=5, frames=frames, crop=CROP)


def networks(device: torch.device) -> Findings:
    """The first network of every family in float64, logits and all gradients; S2DNet, which samples in fp32, in that.

    Logits in fp32 have been seen to err by 7e-4 (tests/tolerance.py); ten times that is not yet a mistake.
    """
    for file in FILES:
        torch.manual_seed(0)
        net = randomised(without_chance(build_network(small(file))))
        samples = file.startswith("s2dnet")
        dtype = torch.float32 if samples else torch.float64
        x = clips(2, 3, net.clip.frames, net.clip.crop, net.clip.crop)
        results = []
        for where in ("cpu", device):
            net.zero_grad(set_to_none=True)
            net.to(where, dtype).eval()  # statistics of few pixels would make noise of rounding
            logits = net(x.to(where, dtype))
            logits.square().mean().backward()
            grads = [p.grad.clone() for p in net.parameters() if p.grad is not None]
            results.append([logits] if samples else [logits, *grads])
        what = f"{small(file).network}, {'fp32, logits' if samples else 'float64'}"
        yield Finding(what, furthest(results[1], results[0]), 2.0**-7 if samples else DEEP)


def routed(device: torch.device) -> Findings:
    """A supernet routed to an architecture and the network built for it: the same calls, so the same bits."""
    torch.manual_seed(0)
    space = autovid.load_space("tiny")
    supernet = randomised(build(space, 5)).to(device)
    x = clips(4, 3, 16, 32, 32).to(device)
    for number, arch in enumerate(space.sample(3, seed=1)):
        frozen = build(arch, 5).to(device)
        inherit(frozen, supernet)
        for training in (False, True):
            with torch.no_grad():
                ours, theirs = supernet.train(training)(x, arch), frozen.train(training)(x)
            what = f"architecture {number} {'training' if training else 'evaluated'}, supernet and frozen"
            yield Finding(f"{what} (0: bit for bit)", distance(ours, theirs), room(x[0].numel()))


def half(device: torch.device) -> Findings:
    """bf16 under autocast: near fp32, finite, and the layout is kept."""
    for what, net in itertools.islice(halves(), None if device.type == "cuda" else 1):
        net = randomised(without_chance(net)).to(device)
        x = clips(4, 3, net.clip.frames, net.clip.crop, net.clip.crop).to(device)
        y = torch.arange(4, device=device) % 5
        with torch.no_grad():
            whole = net.eval()(x)
            with torch.autocast(device.type, torch.bfloat16):
                rounded, lost = watched(net, x)
        # Some 60 layers err by BF16 / 2 and more, independently; what is wrong is off by the logits' own size.
        yield Finding(f"{what}, logits in bf16", distance(rounded.float(), whole), 64 * BF16)
        # torch's CPU convolutions in bf16 lose it.
        yield Finding(f"{what}, maps that lost channels_last", float(len(lost)), 0.0 if device.type == "cuda" else None)
        with torch.autocast(device.type, torch.bfloat16):
            loss = F.cross_entropy(net.train()(x).float(), y)
        loss.backward()
        grads = [p.grad for p in net.parameters() if p.grad is not None]
        yield Finding(f"{what}, gradients not finite", float(sum(not bool(g.isfinite().all()) for g in grads)), 0.0)


def halves() -> Iterator[tuple[str, Any]]:
    """One network of every kind of layer."""
    for name, frames, modules in (
        ("x3d_xs", 4, ()),
        ("tsm_resnet18", 4, ()),
        ("tsn_resnet18", 4, ("dnr",)),
        ("tam_resnet18", 4, ()),
        ("tdn_resnet50", 10, ()),
        ("tanet_resnet50", 4, ()),
        ("s2dnet_x3d", 16, ()),
    ):
        torch.manual_seed(0)
        spec = NetworkSpec(network=name, classes=5, frames=frames, crop=64, modules={module: {} for module in modules})
        yield " with ".join((name, *modules)), build_network(spec)


def watched(net: nn.Module, x: Tensor) -> tuple[Tensor, list[str]]:
    """The result, and the names of the modules whose map is not in channels_last."""
    lost: list[str] = []

    def look(name: str, _: nn.Module, __: object, out: Any) -> None:
        is_map = isinstance(out, Tensor) and out.dim() == 5 and min(out.shape[1:]) > 1
        if is_map and not out.is_contiguous(memory_format=torch.channels_last_3d):
            lost.append(name)

    hooks = [module.register_forward_hook(partial(look, name)) for name, module in net.named_modules() if name]
    try:
        return net(x), lost
    finally:
        for hook in hooks:
            hook.remove()


def learning(device: torch.device) -> Findings:
    """A search step and a resumed training: what they load beyond networks is loaded here, and may be missing."""
    from learning import learning as steps

    yield from steps(device)


CHECKS: dict[str, Callable[[torch.device], Findings]] = {
    "kernels": kernels,
    "blocks": blocks,
    "layers": layers,
    "routed": routed,
    "half": half,
    "learning": learning,
    "networks": networks,
}
