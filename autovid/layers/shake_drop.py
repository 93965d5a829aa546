"""ShakeDrop: dropped residual branches still learn, by a gradient that is scaled at random.

Yamada et al., "ShakeDrop regularization" (2018), as in seed-rms, equation 3, with alpha = 0 and beta ~ U(0, beta_max):
y = b x forward, dx = (b + beta - b beta) dy backward, E[b] x = p x in test. b is drawn per block and mini-batch; beta
too, or for every element of the map ("pixel").
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from autovid import distributed
from autovid.layers.random_drop import gate
from autovid.layers.sync_batch import empty_like


class ShakeDrop(nn.Module):
    """`survival` is p = P(b = 1)."""

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


class _Shake(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, b: Tensor, beta: Tensor) -> Tensor:
        ctx.save_for_backward(b, beta)
        return x * b

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        b, beta = ctx.saved_tensors
        return grad * (b + (1 - b) * beta), None, None
