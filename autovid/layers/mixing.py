"""Mixup or CutMix of a batch: clips are blended with other clips of it, and labels in the same proportion.

Zhang et al., "mixup: Beyond empirical risk minimization", 2018, arXiv 1710.09412: lambda ~ Beta(alpha, alpha).
CutMix: `autovid.layers.cutmix`, with lambda from a Beta as well, as in section 3.1 of its paper.
Where both are asked for, each batch takes one of them, with even chances, as timm's `Mixup` does.
"""

import torch
from torch import Tensor
from torch.distributions import Beta

from autovid import distributed
from autovid.layers.cutmix import box, paste


class Mixing:
    """A blend of every batch, with the alpha of mixup and that of CutMix; 0 leaves one out.

    All random numbers are of torch's global generator, which is the same on all workers; they blend the whole batch.
    """

    def __init__(self, mixup: float, cutmix: float) -> None:
        self.mixup, self.cutmix = mixup, cutmix

    def __call__(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Blend clips (B, C, T, H, W) and their targets (B, K)."""
        cut = self.cutmix > 0 and (self.mixup == 0 or torch.rand(()).item() < 0.5)
        alpha = torch.tensor(self.cutmix if cut else self.mixup, dtype=torch.float64)
        kept = Beta(alpha, alpha).sample().item()
        if cut:
            return paste(x, targets, box([kept, *torch.rand(2).tolist()], *x.shape[3:]))
        others = distributed.shard(torch.randperm, x.shape[0]).to(x.device)
        theirs, labels = (distributed.gather(one).flatten(0, 1)[others] for one in (x, targets))
        return torch.lerp(x, theirs, 1 - kept), torch.lerp(targets, labels, 1 - kept)  # x first: its layout stays
