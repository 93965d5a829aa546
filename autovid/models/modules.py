"""The modules that combine with networks: regularisers, dnr, and the attachment of any module by its name.

A module is put into a built network: into the places of its residual blocks (`Network.blocks`), or at its input. The
regularisers are those of Kim et al., "Regularization on spatio-temporally smoothed feature for action recognition",
CVPR 2020, and its supplement: `rms` and its rivals `random_drop`, `shake_drop`, `cutmix`. Those of residual branches go
into the blocks' place `leave`, after the last batch norm of the branch and before the addition, behind those that are
in it already.

dnr, dynamic normalization and relay, in networks with 2-D convolutions over frames: Cai et al., "Dynamic Normalization
and Relay for Video Action Recognition", NeurIPS 2021, and its supplement. In a bottleneck, the norm after the first 1 x
1 convolution is relayed from layer to layer, the norm after the 3 x 3 from group to group of frames; the last norm of
the branch, the shortcut's and the stem's stay as they are. Before the first convolution, channels are interlaced: of
eight groups of channels, the first comes from the next frame, the second from the one before.

Ours, as nothing is published: in a basic block the norm after the first 3 x 3 is relayed through the layers, the one
after the second through time. Where a temporal module stands in front of the first convolution already, as in TSM,
whose shift is the interlacing itself, there is no second one; TANet and TDN have theirs in front of the 3 x 3.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from torch import Tensor, nn

from autovid.errors import ConfigError
from autovid.layers.convolutions import BasicBlock, Bottleneck, Residual
from autovid.layers.dnr import Direction, DynamicNorm, LayerRelay, TemporalRelay
from autovid.layers.regularisers import (
    AverageFilter,
    CutMix,
    GaussianFilter,
    Kernel,
    RandomDrop,
    RandomMeanScaling,
    ShakeDrop,
    survival_rates,
)
from autovid.layers.temporal_modules import TemporalShift
from autovid.models.network import DoesNotFit, Network
from autovid.models.registry import MODULES

LAST = 0.5  # survival of the last block; the supplement's section D, and the papers cited there


def attach(net: Network, modules: Mapping[str, Mapping[str, Any]], name: str) -> None:
    """Put `modules` (name -> options) into the network called `name`, in this order. Raises ConfigError."""
    for module, options in modules.items():
        if module not in MODULES:
            raise ConfigError(f"there is no module {module!r}; choose among {', '.join(MODULES)}")
        function = MODULES.load(module)
        check_options(f"module {module}", function, options, skip=1)
        try:
            function(net, **options)
        except DoesNotFit as error:
            raise DoesNotFit(f"{module} does not fit {name}: {error}") from None


def check_options(name: str, function: Callable[..., Any], options: Mapping[str, Any], skip: int = 0) -> None:
    """Raise ConfigError for an option that `function` does not take, or of the wrong type.

    `name` is the network's or the module's, for the message; the first `skip` parameters are not options.
    """
    target = getattr(function, "func", function)
    bound = set(getattr(function, "keywords", {}))
    known = [option for option in list(inspect.signature(target).parameters)[skip:] if option not in bound]
    hints = get_type_hints(target)
    for option, value in options.items():
        if option not in known:
            raise ConfigError(f"{name} has no option {option!r}; it has {', '.join(known) or 'none'}")
        if get_origin(hints[option]) is Literal and value not in (choices := get_args(hints[option])):
            raise ConfigError(f"{name}, option {option}: one of {', '.join(choices)}, but it is {value!r}")
        try:
            msgspec.convert(value, hints[option])
        except msgspec.ValidationError as error:
            raise ConfigError(f"{name}, option {option}: {str(error).lower()}, but it is {value!r}") from None


def attach_dropout(net: Network, rate: float = 0.5) -> None:
    """Set the rate of the dropout before the classifier."""
    layers = [module for module in net.modules() if isinstance(module, nn.Dropout)]
    if not layers:
        raise DoesNotFit("its classifier has no dropout")
    for layer in layers:
        layer.p = _checked("rate", rate, 0, 0.99)


def attach_rms(
    net: Network,
    filter: Literal["average", "gaussian"] = "average",
    kernel: int | list[int] | None = None,
    range: float = 1.0,
    stages: list[int] | None = None,
    sigma: float = 1.0,
    literal: bool = False,
) -> None:
    """Put random mean scaling into the blocks of `stages`, by default res4 and res5, as far as they exist.

    `kernel` is one size or [t, h, w], all odd; by default 3, and [1, 3, 3] in CSN. `sigma`, in positions, and
    `literal`, the weights of the supplement's equation 1, whose sum is not 1, are the Gaussian filter's.
    """
    sizes = _kernel(net.rms_kernel if kernel is None else kernel)
    if filter == "average" and (literal or sigma != 1.0):
        raise ConfigError("module rms, options sigma and literal: they are for filter: gaussian")
    _checked("range", range, 0, 1e3)
    _checked("sigma", sigma, 0.01, 1e3)
    for block in _blocks_of(net, stages):
        smooth = AverageFilter(sizes) if filter == "average" else GaussianFilter(sizes, sigma, literal)
        _leave(block, RandomMeanScaling(smooth, range))


def attach_random_drop(net: Network) -> None:
    """Put stochastic depth into every block, survival falling linearly with depth to 0.5."""
    for block, survival in _by_depth(net):
        _leave(block, RandomDrop(survival))


def attach_shake_drop(net: Network, beta_max: float = 1.0, level: Literal["batch", "pixel"] = "batch") -> None:
    """Put ShakeDrop into every block, survival falling linearly with depth to 0.5.

    The paper takes `beta_max` 0.5 on Mini-Kinetics, where 1 did not converge.
    """
    _checked("beta_max", beta_max, 0, 1)
    for block, survival in _by_depth(net):
        _leave(block, ShakeDrop(survival, beta_max, level))


def attach_cutmix(net: Network, probability: float = 1.0) -> None:
    """Blend training batches by CutMix with this probability."""
    net.mix = CutMix(_checked("probability", probability, 0, 1))


def _blocks(net: Network) -> list[Residual]:
    if blocks := net.blocks():
        return blocks
    raise DoesNotFit("it has no residual blocks")


def _by_depth(net: Network) -> list[tuple[Residual, float]]:
    """Return every block with its survival probability; two streams side by side are equally deep."""
    blocks = _blocks(net)
    places = sorted({(block.stage, block.index) for block in blocks})
    rates = dict(zip(places, survival_rates(len(places), LAST)))
    return [(block, rates[block.stage, block.index]) for block in blocks]


def _blocks_of(net: Network, stages: list[int] | None) -> list[Residual]:
    """Return the blocks of these stages, which must exist; by default of res4 and res5, as far as they exist."""
    blocks = _blocks(net)
    existing = {block.stage for block in blocks}
    chosen = {4, 5} & existing if stages is None else set(stages)
    if not chosen or chosen - existing:
        raise DoesNotFit(f"it has the stages {', '.join(map(str, sorted(existing)))}; name some of them as `stages`")
    return [block for block in blocks if block.stage in chosen]


def _leave(block: Residual, module: nn.Module) -> None:
    empty = isinstance(block.leave, nn.Identity)
    block.leave = module if empty else nn.Sequential(block.leave, module)


def _kernel(kernel: int | list[int] | Kernel) -> Kernel:
    sizes = [kernel] * 3 if isinstance(kernel, int) else list(kernel)
    if len(sizes) != 3 or any(size < 1 or size % 2 == 0 for size in sizes):
        raise ConfigError(f"module rms, option kernel: one odd size or three, as [1, 3, 3], but it is {kernel!r}")
    return sizes[0], sizes[1], sizes[2]


def _checked(option: str, value: float, low: float, high: float) -> float:
    if not low <= value <= high:
        raise ConfigError(f"option {option} must lie in {low:g} to {high:g}, but it is {value:g}")
    return value


Block = BasicBlock | Bottleneck


def attach_dnr(
    net: Network,
    relay: Literal["temporal", "layer", "both"] = "both",
    group: int = 4,
    reduction: int = 4,
    direction: Direction = "forward",
) -> None:
    """Relay norms: `group` is the paper's d_r, in frames, `reduction` its r; `direction` is the temporal relay's."""
    for option, value in (("group", group), ("reduction", reduction)):
        if value < 1:
            raise ConfigError(f"module dnr, option {option}: at least 1, but it is {value}")
    if relay == "layer" and direction != "forward":
        raise ConfigError("module dnr, option direction: a relay from layer to layer has only the forward one")
    blocks = _fitting(net)
    for block in blocks:
        if isinstance(block.enter, nn.Identity):
            block.enter = TemporalShift()
        if relay != "layer":
            width = block.norm2.num_features
            block.set_submodule("norm2", DynamicNorm(width, group, TemporalRelay(width, reduction, direction)))
    if relay != "temporal":
        for _, stage in groupby(blocks, lambda block: block.stage):
            _relay_layers(list(stage), reduction)


def _relay_layers(stage: list[Block], reduction: int) -> None:
    """Put one LSTM into the stage, a submodule of the first block's norm alone: its weights are saved once."""
    width = stage[0].norm1.num_features
    relay = LayerRelay(width, reduction)
    for block in stage:
        step = partial(relay, first=block is stage[0], last=block is stage[-1])
        block.set_submodule("norm1", DynamicNorm(width, None, step))
    stage[0].norm1.add_module("shared", relay)


def _fitting(net: Network) -> list[Block]:
    """Return the network's blocks, if each is a bottleneck or basic block without convolutions over time."""
    blocks = net.blocks()
    known = [block for block in blocks if isinstance(block, Block)]
    if not known or len(known) < len(blocks):
        raise DoesNotFit("it is not made of bottleneck or basic blocks")
    if any(_convolves_over_time(weight) for block in known for weight in block.parameters()):
        raise DoesNotFit("its blocks convolve over time, and dnr is for 2-D convolutions over frames, as in TSN or TSM")
    if net.clip.frames < 2:
        raise DoesNotFit("it sees a single frame")
    if any(type(norm) is not nn.BatchNorm3d for block in known for norm in (block.norm1, block.norm2)):
        raise DoesNotFit("its blocks have norms of another kind")
    return known


def _convolves_over_time(weight: Tensor) -> bool:
    """Return True for the weight of a 3-D convolution; one of single channels over time alone is a learned shift."""
    if weight.dim() != 5 or weight.shape[2] == 1:
        return False
    return not (weight.shape[1] == weight.shape[3] == weight.shape[4] == 1)
