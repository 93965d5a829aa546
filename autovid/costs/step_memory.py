"""The memory of one training step as the allocator sees it, beside the closed form of `Memory`."""

import torch
import torch.nn.functional as F
from torch import nn

from autovid.clip import Clip
from autovid.measure.machine import spare_memory
from autovid.measure.memory import MARGIN, peak_memory

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
    x = torch.zeros(1, 3, clip.frames, clip.crop, clip.crop).contiguous(memory_format=torch.channels_last_3d)

    def step() -> None:
        loss = F.cross_entropy(net(x), torch.zeros(1, dtype=torch.int64))
        torch.autograd.backward(loss)

    net.train()
    return peak_memory(step, weights + 4 * x.numel(), cpu)
