"""RandomDrop (stochastic depth) and ShakeDrop: in training, residual branches are left out at random.

RandomDrop: Huang et al., "Deep networks with stochastic depth", 2016, arXiv 1603.09382. One gate b per block and
mini-batch, P(b = 1) = p falling linearly with depth; y = b x in training, E[b] x = p x in test.

ShakeDrop: Yamada et al., "ShakeDrop regularization", 2018, arXiv 1802.02375, with alpha = 0 and beta ~ U(0, beta_max):
dropped branches still learn, by a gradient that is scaled at random. y = b x forward, dx = (b + beta - b beta) dy
backward, p x in test. b is drawn per block and mini-batch; beta too, or for every element of the map ("pixel").

Both as in Kim et al., "Regularization on spatio-temporally smoothed feature for action recognition", CVPR 2020,
equations 2 and 3 of the supplement.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from autovid import distributed
from autovid.layers.sync_batch import empty_like


class RandomDrop(nn.Module):
    """RandomDrop; `survival` is p. The branch is computed, then multiplied, so that no device waits for the gate."""

    def __init__(self, survival: float) -> None:
        super().__init__()
        self.survival = survival

    def forward(self, x: Tensor) -> Tensor:
        return x * (gate(self.survival, x) if self.training else self.survival)


class ShakeDrop(nn.Module):
    """ShakeDrop; `survival` is p = P(b = 1)."""

    def __init__(self, survival: float, beta_max: float = 1.0, level: Literal["batch", "pixel"] = "batch") -> None:
        super().__init__()
        self.survival, self.beta_max, self.level = survival, beta_max, level

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x * self.survival
        if self.level == "pixel":
            beta = distributed.shard(lambda batch: empty_like(x, batch).uniform_(), x.shape[0])
        else:
            beta = torch.rand((), device=x.device, dtype=x.dtype)
        out: Tensor = _Shake.apply(x, gate(self.survival, x), self.beta_max * beta)  # type: ignore[no-untyped-call]
        return out


def gate(survival: float, like: Tensor) -> Tensor:
    """Draw one random gate (): 1 with probability `survival`, else 0; on the device and in the precision of `like`."""
    return (torch.rand((), device=like.device) < survival).to(like.dtype)


def survival_rates(blocks: int, last: float) -> list[float]:
    """Return p of blocks 1 ... L of a network: from the input's 1 down to `last`, linear in depth."""
    return [1 - (1 - last) * number / blocks for number in range(1, blocks + 1)]


class _Shake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, b: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(b, beta)
        return x * b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        b, beta = ctx.saved_tensors
        return grad * (b + (1 - b) * beta), None, None
