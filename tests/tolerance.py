"""How far two right results may lie apart on any machine, from the format of their numbers and from what is summed."""

import torch

# Of two networks in float64, relative to the size of what comes out. Every layer enlarges what those before it have
# lost, so that no strict bound is of use. In fp32 outputs have been seen to err by 7e-4 (s3d_resnet50 at random) and
# gradients of few clips by 2e-2: 1e4 and 3e5 times what its format rounds by. Float64's 1e-16 becomes 4e-11 of that,
# and what is wrong differs by 1e-2 and more.
DEEP = 1e-9


def rounding(terms: int, size: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """The most by which two sums of the same `terms` products can differ, whose absolute values add up to `size`.

    Whatever the order of the additions, fused with the products or not, a sum lies within terms * eps / 2 * size of the
    exact one: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), equation 3.5.
    """
    return terms * torch.finfo(dtype).eps * size
