"""Memory and time of one training step as they are measured, beside the closed form of `Memory`."""

import time

import torch
import torch.nn.functional as F
from torch import nn

from autovid.clip import Clip
from autovid.measure import MARGIN, peak_memory, spare_memory

ROOM = 3  # times the closed form that a step may take, to be on the safe side


def step_peak(net: nn.Module, clip: Clip, expected: int) -> int | None:
    """Bytes at the peak of a forward and a backward pass of one clip on the CPU, in fp32.

    Weights, their gradients and the clip count, too. None where the step might not fit into memory: `expected` are
    the bytes that it is taken to keep.
    """
    cpu = torch.device("cpu")
    weights = sum(4 * parameter.numel() for parameter in net.parameters())
    if ROOM * expected + 2 * weights > MARGIN * spare_memory(cpu):
        return None
    x = _clips(clip, 1)
    net.train()
    return peak_memory(lambda: _step(net, x), weights + 4 * x.numel(), cpu)


def clip_seconds(net: nn.Module, clip: Clip) -> float:
    """Return the seconds of a forward and a backward pass of a clip on the CPU: the second pass of two clips."""
    x = _clips(clip, 2)
    net.train()
    _step(net, x)
    start = time.perf_counter()
    _step(net, x)
    return (time.perf_counter() - start) / len(x)


def _clips(clip: Clip, number: int) -> torch.Tensor:
    x = torch.zeros(number, 3, clip.frames, clip.crop, clip.crop)
    return x.contiguous(memory_format=torch.channels_last_3d)


def _step(net: nn.Module, x: torch.Tensor) -> None:
    torch.autograd.backward(F.cross_entropy(net(x), torch.zeros(len(x), dtype=torch.int64)))
