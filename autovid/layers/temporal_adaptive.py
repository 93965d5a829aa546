"""Temporal adaptive module: every clip makes its own temporal convolution, one kernel a channel, over gated frames.

Liu et al., "TAM: Temporal adaptive module for video recognition", 2021, arXiv 2005.06803; sizes as in MMAction2's
TANet. Clips (B, C, T, H, W); theta, the input of both branches, is the spatial mean (B, C, T).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels.tracing import is_traced

KERNEL = 3


class TemporalAdaptive(nn.Module):
    """(B, C, T, H, W) -> the same shape, for clips of exactly `frames` frames.

    `kernel` (the global branch) makes KERNEL weights for each clip and channel that sum to one; `gates` (the local one)
    a gate in 0..1 for each clip, channel and frame.
    """

    def __init__(self, width: int, frames: int) -> None:
        super().__init__()
        inner = width // 4
        self.kernel = nn.Sequential(
            nn.Linear(frames, 2 * frames, bias=False),
            nn.BatchNorm1d(2 * frames),
            nn.ReLU(inplace=True),
            nn.Linear(2 * frames, KERNEL, bias=False),
        )
        self.gates = nn.Sequential(
            nn.Conv1d(width, inner, KERNEL, padding=KERNEL // 2, bias=False),
            nn.BatchNorm1d(inner),
            nn.ReLU(inplace=True),
            nn.Conv1d(inner, width, 1, bias=False),
        )
        for name in ("0.weight", "3.weight"):
            nn.init.normal_(self.kernel.get_parameter(name), 0.0, 0.001)

    def forward(self, x: Tensor) -> Tensor:
        theta = x.mean((3, 4))
        return aggregate(x, self.weights(theta), torch.sigmoid(self.gates(theta)))

    def weights(self, theta: Tensor) -> Tensor:
        """Map theta (B, C, T) to the temporal kernels (B, C, KERNEL)."""
        kernels = self.kernel(theta.flatten(0, 1))
        return torch.softmax(kernels, -1).view(*theta.shape[:2], KERNEL)


def aggregate(x: Tensor, kernels: Tensor, gates: Tensor) -> Tensor:
    """Convolve x (B, C, T, H, W), times its gates (B, C, T), over time with kernels (B, C, KERNEL); zeros around.

    As sums of shifted frames, which keeps the layout of the clip. Where a tool counts or exports it is the grouped
    convolution that it stands for.
    """
    if x.is_meta or is_traced():
        return _convolve(x * gates[..., None, None], kernels)
    before, here, after = (kernels.unsqueeze(-1) * gates.unsqueeze(2)).to(x.dtype)[..., None, None].unbind(2)
    y = x * here
    y[:, :, 1:].addcmul_(x[:, :, :-1], before[:, :, :-1])
    y[:, :, :-1].addcmul_(x[:, :, 1:], after[:, :, 1:])
    return y


def _convolve(x: Tensor, kernels: Tensor) -> Tensor:
    b, c = x.shape[:2]
    weight = kernels.reshape(b * c, 1, KERNEL, 1, 1)
    return F.conv3d(x.reshape(1, b * c, *x.shape[2:]), weight, padding=(1, 0, 0), groups=b * c).view(x.shape)
