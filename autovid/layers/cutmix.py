"""CutMix: a box of every clip comes from another clip of the batch, and the labels are blended by area.

Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features", 2019, arXiv
1905.04899; as in Kim et al., "Regularization on spatio-temporally smoothed feature for action recognition", CVPR 2020,
equation 4 of the supplement: the same box in every frame, of 1 - lambda of the picture, lambda ~ Beta(1, 1) = U(0, 1).
"""

import torch
from torch import Tensor

from autovid import distributed


class CutMix:
    """A blend of a batch, with probability `probability`; one box and one order of the clips a batch."""

    def __init__(self, probability: float = 1.0) -> None:
        self.probability = probability

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (B, C, T, H, W) and their distributions over classes (B, K)."""
        if torch.rand(()).item() >= self.probability:
            return x, targets
        return paste(x, targets, box(torch.rand(3).tolist(), *x.shape[3:]))


def paste(x: Tensor, targets: Tensor, edges: tuple[int, int, int, int]) -> tuple[Tensor, Tensor]:
    """Blend clips (B, C, T, H, W) and targets (B, K) with others, in random order: a box of these edges is theirs."""
    top, bottom, left, right = edges
    others = distributed.shard(torch.randperm, x.shape[0]).to(x.device)  # among the clips of all workers
    mixed = x.clone()
    mixed[..., top:bottom, left:right] = distributed.gather(x[..., top:bottom, left:right]).flatten(0, 1)[others]
    area = (bottom - top) * (right - left) / (x.shape[3] * x.shape[4])  # of the box as cut at the border
    return mixed, (1 - area) * targets + area * distributed.gather(targets).flatten(0, 1)[others]


def box(uniform: list[float], height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of a box from three numbers in [0, 1): lambda, the centre's row and column.

    Its sides are sqrt(1 - lambda) of the picture's; what juts out is cut off.
    """
    side = (1 - uniform[0]) ** 0.5
    edges = []
    for size, place in zip((height, width), uniform[1:]):
        centre, half = int(place * size), int(side * size) // 2
        edges += [max(0, centre - half), min(size, centre + half)]
    return edges[0], edges[1], edges[2], edges[3]
