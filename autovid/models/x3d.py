"""X3D by name: architectures of `search_spaces/x3d.yaml`, so that there is one MBConv3d block and one builder.

Feichtenhofer, "X3D: Expanding architectures for efficient video recognition", 2020, arXiv 2004.04730, as PySlowFast has
it. XS, S and M are one network on other clips; L is deeper.
"""

from functools import partial
from typing import NamedTuple

from autovid.models.builder import build_space
from autovid.models.network import Network
from autovid.space import Architecture, load_space
from autovid.space.schema import Value

WIDTHS = {"stage1": 24, "stage2": 48, "stage3": 96, "stage4": 192}
BLOCK: dict[str, Value] = {"temporal_kernel": 3, "spatial_kernel": 3, "expansion": 2.25}


class X3DScale(NamedTuple):
    """A clip, and the depth factor of the network for it."""

    frames: int
    stride: int
    crop: int
    depth_factor: float


SCALES = {
    "xs": X3DScale(4, 12, 160, 2.2),
    "s": X3DScale(13, 6, 160, 2.2),
    "m": X3DScale(16, 5, 224, 2.2),
    "l": X3DScale(16, 5, 312, 5.0),
}


def x3d(*, scale: str, classes: int = 400, frames: int | None = None, crop: int | None = None) -> Network:
    """Build an X3D of one of the SCALES."""
    size = SCALES[scale]
    arch = architecture().scaled(crop or size.crop, frames or size.frames, size.depth_factor, size.stride)
    return build_space(arch.as_space(), classes)


def architecture() -> Architecture:
    """Return X3D-S in its search space."""
    space = load_space("x3d")
    choices: dict[str, Value] = {}
    for name in space.candidates:
        _, stage, *_, variable = name.split(".")
        choices[name] = WIDTHS[stage] if variable == "width" else BLOCK[variable]
    return space.fix(choices).architecture([0] * len(choices))


x3d_xs, x3d_s, x3d_m, x3d_l = (partial(x3d, scale=scale) for scale in SCALES)
