"""The module dnr: dynamic normalization and relay in networks with 2-D convolutions over frames.

Cai et al., "Dynamic Normalization and Relay for Video Action Recognition", NeurIPS 2021, and its supplement.

In a bottleneck, the norm after the first 1 x 1 convolution is relayed from layer to layer, the norm after the 3 x 3
from group to group of frames; the last norm of the branch, the shortcut's and the stem's stay as they are. Before the
first convolution, channels are interlaced: of eight groups of channels, the first comes from the next frame, the
second from the one before.

Ours, as nothing is published: in a basic block the norm after the first 3 x 3 is relayed through the layers, the one
after the second through time. Where a temporal module stands in front of the first convolution already, as in TSM,
whose shift is the interlacing itself, there is no second one; TANet and TDN have theirs in front of the 3 x 3.
"""

from functools import partial
from itertools import groupby
from typing import Literal

from torch import Tensor, nn

from autovid.errors import ConfigError
from autovid.layers.dnr import Direction, DynamicNorm, LayerRelay, TemporalRelay
from autovid.layers.residual import BasicBlock, Bottleneck
from autovid.layers.temporal_shift import TemporalShift
from autovid.models.network import DoesNotFit, Network

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
