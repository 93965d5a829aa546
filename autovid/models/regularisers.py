"""Putting the regularisers of seed-rms into networks: `rms` and its rivals `random_drop`, `shake_drop`, `cutmix`.

Those of residual branches go into the blocks' place `leave`, after the last batch norm of the branch and before the
addition; those that are there already come first.
"""

from typing import Literal

from torch import nn

from autovid.errors import ConfigError
from autovid.layers.cutmix import CutMix
from autovid.layers.drop import RandomDrop, ShakeDrop, survival_rates
from autovid.layers.residual import Residual
from autovid.layers.rms import AverageFilter, GaussianFilter, Kernel, RandomMeanScaling
from autovid.models.network import DoesNotFit, Network

LAST = 0.5  # survival of the last block [seed-rms, D, and the papers cited there]


def attach_dropout(net: Network, rate: float = 0.5) -> None:
    """Sets the rate of the dropout before the classifier."""
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
    """Random mean scaling in the blocks of `stages`, res4 and res5 by default (in a network of three stages, the last).

    `kernel` is one size or [t, h, w], all odd; by default 3, and [1, 3, 3] in CSN. `sigma`, in positions, and
    `literal`, the weights of the seed's equation 1 without their being made to sum to 1, are the Gaussian filter's.
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
    """Stochastic depth in every block, survival falling linearly with depth to 0.5."""
    for block, survival in _by_depth(net):
        _leave(block, RandomDrop(survival))


def attach_shake_drop(net: Network, beta_max: float = 1.0, level: Literal["batch", "pixel"] = "batch") -> None:
    """ShakeDrop in every block, survival falling linearly with depth to 0.5.

    seed-rms takes `beta_max` 0.5 on Mini-Kinetics, where 1 did not converge.
    """
    _checked("beta_max", beta_max, 0, 1)
    for block, survival in _by_depth(net):
        _leave(block, ShakeDrop(survival, beta_max, level))


def attach_cutmix(net: Network, probability: float = 1.0) -> None:
    """CutMix of a training batch with this probability."""
    net.mix = CutMix(_checked("probability", probability, 0, 1))


def _blocks(net: Network) -> list[Residual]:
    if blocks := net.blocks():
        return blocks
    raise DoesNotFit("it has no residual blocks")


def _by_depth(net: Network) -> list[tuple[Residual, float]]:
    """Every block with the probability that it survives; two streams side by side are equally deep."""
    blocks = _blocks(net)
    places = sorted({(block.stage, block.index) for block in blocks})
    rates = dict(zip(places, survival_rates(len(places), LAST)))
    return [(block, rates[block.stage, block.index]) for block in blocks]


def _blocks_of(net: Network, stages: list[int] | None) -> list[Residual]:
    """The blocks of these stages, each of which must exist; by default of res4 and res5, as far as they exist."""
    blocks = _blocks(net)
    there = {block.stage for block in blocks}
    wanted = {4, 5} & there if stages is None else set(stages)
    if not wanted or wanted - there:
        raise DoesNotFit(f"it has the stages {', '.join(map(str, sorted(there)))}; name some of them as `stages`")
    return [block for block in blocks if block.stage in wanted]


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
