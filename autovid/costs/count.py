"""Parameters and MACs of a network that exists, counted by running it once without data."""

import copy
from collections.abc import Iterator
from typing import Any

import msgspec
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.residual import Residual

_KINDS = {
    "convolution": "conv",
    "_convolution": "conv",
    "addmm": "linear",
    "mm": "linear",
    "bmm": "matmul",
    "baddbmm": "matmul",
}


class Count(msgspec.Struct, frozen=True):
    """Parameters, and the MACs of one clip by kind: convolution, linear, matmul."""

    params: int
    macs: int
    macs_by_kind: dict[str, int]


class Stage(msgspec.Struct, frozen=True):
    """A piece of a network, by its module's name, and its share of the whole."""

    name: str
    macs: int
    params: int


def count(net: nn.Module, clip: Clip | None = None) -> Count:
    """Count a network at `net.clip`, or at another clip. A copy runs on the meta device: no time, no memory.

    Raises ConfigError for a clip too small for the network's poolings.
    """
    return _whole(net, _trace(net, clip))


def count_stages(net: nn.Module) -> tuple[Count, list[Stage]]:
    """Count as `count` does, and the pieces in the order of the code: stem, stages, classifier, ...

    What costs nothing is left out; what is computed in none of the pieces is the last one, "elsewhere".
    """
    traced = _trace(net, None)
    whole = _whole(net, traced)
    stages = [Stage(name, _macs(traced, name, module), _params(module)) for name, module in _pieces(net)]
    macs, params = whole.macs - sum(s.macs for s in stages), whole.params - sum(s.params for s in stages)
    return whole, [stage for stage in [*stages, Stage("elsewhere", macs, params)] if stage.macs or stage.params]


def _trace(net: nn.Module, clip: Clip | None) -> dict[str, dict[str, int]]:
    """Return the MACs of every module by kind, by the module's name; "" is the network itself."""
    seen: Any = clip or net.clip
    ghost = copy.deepcopy(net).to("meta").eval()  # what is done in training alone is no part of the cost
    x = torch.empty(1, 3, seen.frames, seen.crop, seen.crop, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            ghost(x)
        except RuntimeError as error:
            if "too small" not in str(error):  # of a pooling
                raise
            raise ConfigError(f"frames {seen.frames}, crop {seen.crop}: nothing is left of a clip so small") from error
    macs_by_module = {"": dict.fromkeys(("conv", "linear", "matmul"), 0)}
    for path, operators in counter.get_flop_counts().items():
        whole, _, name = path.partition(".")  # "ResNet.stem.0", and "Global" for everything
        if name or whole == "Global":
            macs = macs_by_module[name] = dict.fromkeys(("conv", "linear", "matmul"), 0)
            for operator, flops in operators.items():
                macs[_KINDS[str(operator).split(".")[-1]]] += flops // 2  # the counter has two operations for each MAC
    return macs_by_module


def _whole(net: nn.Module, traced: dict[str, dict[str, int]]) -> Count:
    by_kind = traced[""]
    return Count(_params(net), sum(by_kind.values()), by_kind)


def _macs(traced: dict[str, dict[str, int]], name: str, module: nn.Module) -> int:
    """Those of a module, or the sum over its children where it is never called itself."""
    if name in traced:
        return sum(traced[name].values())
    return sum(_macs(traced, f"{name}.{child}", its) for child, its in module.named_children())


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _pieces(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the children of a network, by name; lists, and what holds several stages of residual blocks, are opened."""
    for name, child in module.named_children():
        stages = {block.stage for block in child.modules() if isinstance(block, Residual)}
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or len(stages) > 1:
            yield from _pieces(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child
