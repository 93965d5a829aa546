"""Accuracies on Kinetics-400 as papers print them, for comparison: seed-auto-tsnet, Table 4.

10-LeftCenterRight testing, 30 views; the GFLOPs printed are those of all views.
"""

from typing import NamedTuple

VIEWS = 30


class Published(NamedTuple):
    """A network as it was published: M parameters, GFLOPs of 30 views, top-1 in percent."""

    name: str
    params: float
    gflops: float
    top1: float


TABLE = (
    Published("X3D-S", 3.8, 81, 73.3),
    Published("Auto-TSNet-S†", 7.7, 84, 74.6),
    Published("Auto-TSNet-S", 8.6, 102, 75.4),
    Published("X3D-M", 3.8, 186, 76.0),
    Published("Auto-TSNet-M†", 7.7, 156, 76.6),
    Published("Auto-TSNet-M", 8.6, 183, 77.3),
    Published("X3D-L", 6.1, 744, 77.5),
    Published("Auto-TSNet-L†", 12.2, 543, 78.3),
    Published("Auto-TSNet-L", 13.2, 597, 78.9),
)
