"""How far two right results may lie apart on any machine, from the format of their numbers and from what is summed."""

import torch

# Of two networks in float64, relative to the size of what comes out. Every layer enlarges what those before it have
# lost, so that a strict bound is of no use. How much is a matter of the network, not of the format or the machine: in
# fp32, which rounds by 2**-24 = 6e-8, outputs err by up to 7e-4 (s3d_resnet50 at random), gradients of few clips by
# 2e-2: enlarged by 1e4 and by 3e5. Float64 rounds by 2**-53 = 1.1e-16, and comes to 4e-11. DEEP is 25 times that, and
# a ten-millionth of what is wrong, which differs by 1e-2 and more.
DEEP = 1e-9


def rounding(terms: int, size: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """The most by which two sums of the same `terms` products can differ, whose absolute values add up to `size`.

    Whatever the order of the additions, fused with the products or not, a sum lies within terms * eps / 2 * size of the
    exact one: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), equation 3.5.
    """
    return terms * torch.finfo(dtype).eps * size
