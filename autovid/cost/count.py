"""Parameters and MACs of a network that exists, counted by running it once without data."""

import copy
from typing import Any

import msgspec
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from autovid.clip import Clip

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


def count(net: nn.Module, clip: Clip | None = None) -> Count:
    """Counts a network at `net.clip`, or at another clip. A copy runs on the meta device: no time, no memory."""
    seen: Any = clip or net.clip
    there = all(tensor.is_meta for tensor in net.state_dict().values())
    ghost = net if there else copy.deepcopy(net).to("meta")
    x = torch.empty(1, 3, seen.frames, seen.crop, seen.crop, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        ghost(x)
    by_kind = {"conv": 0, "linear": 0, "matmul": 0}
    for operator, flops in counter.get_flop_counts()["Global"].items():
        by_kind[_KINDS[str(operator).split(".")[-1]]] += flops // 2  # the counter has two operations for each MAC
    params = sum(parameter.numel() for parameter in net.parameters())
    return Count(params, sum(by_kind.values()), by_kind)
