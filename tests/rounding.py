"""How far two float32 sums of the same numbers may lie apart, whatever the order in which a machine adds them."""

from torch import Tensor

UNIT = 2.0**-24  # a float32 operation rounds by at most this, relative to its result
BF16 = 2.0**-8  # and rounding to bfloat16 by this


def distance(a: Tensor, b: Tensor) -> float:
    """Largest difference relative to the largest value."""
    assert a.shape == b.shape
    return ((a - b).abs().max() / b.abs().max().clamp_min(1e-30)).item()


def room(summands: int) -> float:
    """The `distance` allowed between two sums of so many random numbers of either sign.

    Partial sums of n such numbers of size s grow as s sqrt(k), so the k-th rounding is of UNIT s sqrt(k) / sqrt(3) and
    all of them together of 0.41 UNIT s n: a share 0.41 UNIT sqrt(n) of a sum. Six deviations of the difference between
    two orders are 3.5 UNIT sqrt(n). Never below 8 UNIT, for the operations around a short sum.
    """
    return UNIT * max(8.0, 4.0 * summands**0.5)
