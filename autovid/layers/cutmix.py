"""CutMix: a box of every clip comes from another clip of the batch, and the labels are blended by area.

Yun et al., "CutMix: Regularization strategy to train strong classifiers with localizable features" (2019); seed-rms,
equation 4: the same box in every frame, its share of the picture 1 - lambda, lambda ~ Beta(1, 1) = U(0, 1).
"""

import torch
from torch import Tensor

from autovid import distributed


class CutMix:
    """Blends a batch with probability `probability`; one box and one order of the clips a batch."""

    def __init__(self, probability: float = 1.0) -> None:
        self.probability = probability

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Clips (B, C, T, H, W) and the distributions over classes (B, K) that they stand for, both blended."""
        if torch.rand(()).item() >= self.probability:
            return x, targets
        height, width = x.shape[3:]
        top, bottom, left, right = box(torch.rand(3).tolist(), height, width)
        others = distributed.shard(torch.randperm, x.shape[0]).to(x.device)  # among the clips of all workers
        mixed = x.clone()
        mixed[..., top:bottom, left:right] = _of_all(x[..., top:bottom, left:right])[others]
        share = (bottom - top) * (right - left) / (height * width)  # of the box as cut at the border
        return mixed, (1 - share) * targets + share * _of_all(targets)[others]


def _of_all(share: Tensor) -> Tensor:
    return distributed.gather(share).flatten(0, 1)


def box(uniform: list[float], height: int, width: int) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a box from three numbers in [0, 1): lambda, and the centre's row and column.

    Its sides are sqrt(1 - lambda) of the picture's; what juts out is cut off.
    """
    side = (1 - uniform[0]) ** 0.5
    edges = []
    for size, place in zip((height, width), uniform[1:]):
        centre, half = int(place * size), int(side * size) // 2
        edges += [max(0, centre - half), min(size, centre + half)]
    return edges[0], edges[1], edges[2], edges[3]
