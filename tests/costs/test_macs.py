"""The closed-form tables against counters that run the network."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autovid.costs import Macs, Params
from autovid.costs.count import count
from autovid.errors import ConfigError
from autovid.models import build
from autovid.space import Architecture, list_spaces, load_space
from autovid.space.schema import Reference


@pytest.mark.parametrize("number", [6, pytest.param(200, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("name", sorted(list_spaces()))
def test_table_equals_the_traced_count_of_architectures(name: str, number: int) -> None:
    space = load_space(name)
    archs = space.sample(number, seed=11)
    predicted = space.cost_table().macs(archs)
    traced = TracedModules()
    for arch, macs in zip(archs, predicted.tolist()):
        assert traced.macs(arch) == macs, arch.hash


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(list_spaces()))
def test_a_network_has_the_macs_of_its_modules(name: str) -> None:
    traced = TracedModules()
    for arch in load_space(name).sample(3, seed=7):
        with torch.device("meta"):
            net = build(arch)
        assert traced.macs(arch) == count(net).macs, arch.hash


class TracedModules:
    """Counts networks module by module. Equal modules at equal inputs are run once, which makes many networks fast."""

    def __init__(self) -> None:
        self.seen: dict[Any, tuple[int, torch.Size]] = {}
        self.total = 0

    def macs(self, arch: Architecture) -> int:
        with torch.device("meta"):
            net = build(arch).eval()
        for module in net.sites.values():
            for one in module.values() if isinstance(module, nn.ModuleDict) else (module,):
                one.forward = partial(self._run, one, one.forward)
        self.total = 0
        with torch.no_grad():
            net(torch.empty(1, 3, net.clip.frames, net.clip.crop, net.clip.crop, device="meta"))
        return self.total

    def _run(self, module: nn.Module, forward: Callable[..., torch.Tensor], *x: torch.Tensor, choice: Any) -> Any:
        """The result of a module, without data; adds its MACs to the total."""
        parameters = tuple((name, tuple(one.shape)) for name, one in module.named_parameters())
        settings = tuple((k, v) for one in module.modules() for k, v in vars(one).items() if isinstance(v, int | tuple))
        key = (type(module), parameters, settings, tuple(one.shape for one in x), tuple(choice.items()))
        if key not in self.seen:
            with FlopCounterMode(display=False) as counter:
                shape = forward(*x, choice=choice).shape
            self.seen[key] = counter.get_total_flops() // 2, shape  # the counter has two operations for each MAC
        macs, shape = self.seen[key]
        self.total += macs
        return torch.empty(shape, device="meta")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.thorough] * (name in ("two_stream", "x3d"))) for name in list_spaces()],
)
def test_table_equals_fvcore_without_batch_norm_at_another_input(name: str) -> None:
    space = load_space(name)
    arch = space.sample(1, seed=5)[0]
    frames, crop, classes = 8, 68, 11
    net = build(arch, classes=classes).eval()
    analysis = FlopCountAnalysis(net, torch.zeros(1, 3, frames, crop, crop))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    by_operator = analysis.by_operator()
    del by_operator["batch_norm"]
    assert space.cost_table(crop=crop, frames=frames, classes=classes).macs([arch])[0] == sum(by_operator.values())


def test_frames_that_do_not_divide_among_the_streams_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple"):
        load_space("two_stream").cost_table(frames=30)


def test_one_is_not_written_as_several() -> None:
    one = Reference(frames=1, crop=32, stride=1, classes=1)
    assert "one clip of 1 frame at 32x32, 1 class; " in Macs().convention(one)
    assert Params().convention(one).endswith("with 1 class")
    several = Reference(frames=2, crop=32, stride=1, classes=3)
    assert "one clip of 2 frames at 32x32, 3 classes; " in Macs().convention(several)
