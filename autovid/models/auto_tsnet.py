"""Auto-TSNet by name: architectures of `two_stream` with the totals of the paper's.

Gong et al., "Searching for two-stream models in multivariate space for video recognition", ICCV 2021, arXiv 2108.12957,
Table 4 of the supplement.

The authors' architectures are not published. Ours come from the solver (`experiments/auto_tsnet.py`) and stand in the
YAML files beside this one. S and M are one network on other clips; L is deeper. The networks without attention are
architectures of their own: the attention blocks of the space cannot hold the 0.9 M parameters that are between the
paper's two, so that no network keeps both totals with its attention and without.
"""

from functools import partial
from pathlib import Path

from autovid.models.builder import build_space
from autovid.models.network import Network
from autovid.space import Architecture, load_architecture

FILES = {"s": "auto_tsnet_s", "m": "auto_tsnet_s", "l": "auto_tsnet_l"}
CROPS = {"s": 160, "m": 224, "l": 312}  # of single views in test; those of LeftCenterRight are 182, 256 and 356


def auto_tsnet(
    *, size: str, attention: bool, classes: int = 400, frames: int | None = None, crop: int | None = None
) -> Network:
    """Build Auto-TSNet-S, -M or -L (s, m, l), on 32 frames."""
    arch = architecture(size, attention).scaled(crop or CROPS[size], frames)
    return build_space(arch.as_space(), classes)


def architecture(size: str, attention: bool) -> Architecture:
    """Load the architecture of a size."""
    name = FILES[size] if attention else f"{FILES[size]}_noattention"
    return load_architecture(Path(__file__).with_name(f"{name}.yaml"))


auto_tsnet_s, auto_tsnet_m, auto_tsnet_l = (partial(auto_tsnet, size=size, attention=True) for size in FILES)
auto_tsnet_s_noattention, auto_tsnet_m_noattention, auto_tsnet_l_noattention = (
    partial(auto_tsnet, size=size, attention=False) for size in FILES
)
