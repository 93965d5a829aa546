"""Networks by name that are architectures of search spaces: X3D and Auto-TSNet. One MBConv3d block, one builder.

X3D: Feichtenhofer, "X3D: Expanding architectures for efficient video recognition", 2020, arXiv 2004.04730, as
PySlowFast has it, in `search_spaces/x3d.yaml`. XS, S and M are one network on other clips; L is deeper.

Auto-TSNet: Gong et al., "Searching for two-stream models in multivariate space for video recognition", ICCV 2021, arXiv
2108.12957, Table 4 of the supplement: architectures of `two_stream` with the totals of the paper's. The authors'
architectures are not published. Ours come from the solver (`experiments/auto_tsnet.py`) and stand in the YAML files
beside this one. S and M are one network on other clips; L is deeper. The networks without attention are architectures
of their own: the attention blocks of the space cannot hold the 0.9 M parameters that are between the paper's two, so
that no network keeps both totals with its attention and without.
"""

from functools import partial
from pathlib import Path
from typing import NamedTuple

from autovid.models.builder import build_space
from autovid.models.network import Network
from autovid.space import Architecture, load_architecture, load_space
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
    arch = x3d_architecture().scaled(crop or size.crop, frames or size.frames, size.depth_factor, size.stride)
    return build_space(arch.as_space(), classes)


def x3d_architecture() -> Architecture:
    """Return X3D-S in its search space."""
    space = load_space("x3d")
    choices: dict[str, Value] = {}
    for name in space.candidates:
        _, stage, *_, variable = name.split(".")
        choices[name] = WIDTHS[stage] if variable == "width" else BLOCK[variable]
    return space.fix(choices).architecture([0] * len(choices))


x3d_xs, x3d_s, x3d_m, x3d_l = (partial(x3d, scale=scale) for scale in SCALES)


FILES = {"s": "auto_tsnet_s", "m": "auto_tsnet_s", "l": "auto_tsnet_l"}
CROPS = {"s": 160, "m": 224, "l": 312}  # of single views in test; those of LeftCenterRight are 182, 256 and 356


def auto_tsnet(
    *, size: str, attention: bool, classes: int = 400, frames: int | None = None, crop: int | None = None
) -> Network:
    """Build Auto-TSNet-S, -M or -L (s, m, l), on 32 frames."""
    arch = auto_tsnet_architecture(size, attention).scaled(crop or CROPS[size], frames)
    return build_space(arch.as_space(), classes)


def auto_tsnet_architecture(size: str, attention: bool) -> Architecture:
    """Load the architecture of a size."""
    name = FILES[size] if attention else f"{FILES[size]}_noattention"
    return load_architecture(Path(__file__).with_name(f"{name}.yaml"))


auto_tsnet_s, auto_tsnet_m, auto_tsnet_l = (partial(auto_tsnet, size=size, attention=True) for size in FILES)
auto_tsnet_s_noattention, auto_tsnet_m_noattention, auto_tsnet_l_noattention = (
    partial(auto_tsnet, size=size, attention=False) for size in FILES
)
