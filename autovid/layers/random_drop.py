"""RandomDrop (stochastic depth): in training, whole residual branches are left out at random.

Huang et al., "Deep networks with stochastic depth" (2016), as in seed-rms, equation 2: one gate b per block and
mini-batch, P(b = 1) = p falling linearly with depth; y = b x in training, E[b] x = p x in test.
"""

import torch
from torch import Tensor, nn


class RandomDrop(nn.Module):
    """`survival` is p. The branch is computed and then multiplied, so that no device has to wait for the gate."""

    def __init__(self, survival: float) -> None:
        super().__init__()
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        return x * (gate(self.survival, x) if self.training else self.survival)


def gate(survival: float, like: Tensor) -> Tensor:
    """One random gate (): 1 with probability `survival`, else 0; on the device and in the precision of `like`."""
    return (torch.rand((), device=like.device) < survival).to(like.dtype)


def survival_rates(blocks: int, last: float) -> list[float]:
    """p of blocks 1 ... L of a network: from the input's 1 down to `last`, linear in depth."""
    return [1 - (1 - last) * number / blocks for number in range(1, blocks + 1)]
