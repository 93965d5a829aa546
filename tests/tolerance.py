"""How far two right results may lie apart on any machine, from the format of their numbers and from what is summed."""

import torch

# Of the outputs of two networks in float64, relative to their size. A sum errs by some 1e-15, and every layer enlarges
# what the layers before it have lost, up to a million times where batch norm divides by what few clips vary by: no
# strict bound is of use there. What is wrong differs by a hundredth and more.
DEEP = 1e-9


def rounding(terms: int, size: float = 1.0, dtype: torch.dtype = torch.float32) -> float:
    """The most by which two sums of the same `terms` products can differ, whose absolute values add up to `size`.

    Whatever the order of the additions, fused with the products or not, a sum lies within terms * eps / 2 * size of the
    exact one: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), equation 3.5.
    """
    return terms * torch.finfo(dtype).eps * size
