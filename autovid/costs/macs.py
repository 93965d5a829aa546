"""MACs of every candidate in closed form: the tables of a space, one for each of its sites.

MACs are the multiply-accumulates of convolution, linear and matmul, for one clip at the given input; batch norm,
pooling and activations do not count.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from autovid.blocks.attention import ATTENTIONS
from autovid.blocks.elastic import Affine, Depthwise, Pointwise
from autovid.blocks.fusion import FUSIONS
from autovid.blocks.mbconv3d import MBConv3d
from autovid.blocks.site import AttentionSite, BlockSite, ClassifierSite, FusionSite, HeadSite, Site, Size, StemSite
from autovid.errors import ConfigError
from autovid.solver.table import CostTable, Factor
from autovid.space.architecture import Architecture, check_frames
from autovid.space.checks import changed_reference
from autovid.space.layout import sites, stream_size
from autovid.space.schema import Network, Reference
from autovid.space.space import SearchSpace

Choices = dict[str, Any]
LARGEST = 2**53  # MACs of one site: a network of 500 blocks stays within int64


class MacsTable(CostTable):
    """The MACs of every architecture of a space at one input, exact to the last MAC."""

    def __init__(self, space: SearchSpace, reference: Reference) -> None:
        self.space, self.reference = space, reference
        self.sites = site_factors(space, reference)
        constant = sum(int(factor.table) for _, factor in self.sites if not factor.scope)
        super().__init__([factor for _, factor in self.sites if factor.scope], constant, space.sizes)

    def macs(self, archs: Sequence[Architecture] | np.ndarray) -> np.ndarray:
        """MACs, int64 (N,), of architectures of this space, or of their candidate numbers (N, D)."""
        return self.total(archs if isinstance(archs, np.ndarray) else self.space.index(archs))

    @property
    def convention(self) -> str:
        """What the figures mean."""
        return convention(self.reference)


def macs_table(
    space: SearchSpace, crop: int | None = None, frames: int | None = None, classes: int | None = None
) -> MacsTable:
    """The MACs of a space at its reference input, or at another crop, number of frames or of classes.

    Raises ConfigError for an input that cannot be.
    """
    return MacsTable(space, changed_reference(space.reference, crop=crop, frames=frames, classes=classes))


def convention(reference: Reference) -> str:
    """What a FLOPs figure of ours means, in one line for every file that carries one."""
    return (
        "MACs (multiply-accumulates) of convolution, linear and matmul; batch norm, pooling and activations not "
        f"counted; one clip of {reference.frames} frames at {reference.crop}x{reference.crop}, "
        f"{reference.classes} classes; 1 GFLOPs = 1e9 MACs"
    )


def site_factors(space: SearchSpace, reference: Reference) -> list[tuple[Site, Factor]]:
    """Each site of a space with its table of MACs over the decisions in its scope."""
    check_frames(space.network, reference.frames)
    number = {decision.name: i for i, decision in enumerate(space.decisions)}
    candidates = space.candidates
    found = []
    for site in sites(space.network):
        price = _price(site, space.network, reference)
        values = [candidates[name] for name in site.scope]
        costs = [price(dict(zip(site.scope, combination))) for combination in itertools.product(*values)]
        if max(costs) > LARGEST:
            raise ConfigError(f"space {space.name}: {max(costs):.3g} MACs in {site.name} alone; make it smaller")
        table = np.array(costs, dtype=np.int64).reshape([len(v) for v in values])
        found.append((site, Factor(tuple(number[name] for name in site.scope), table)))
    return found


def _price(site: Site, network: Network, reference: Reference) -> Callable[[Choices], int]:
    def size(stream: str, downsampling: int) -> Size:
        return stream_size(network, stream, reference.frames, reference.crop, downsampling)

    def width(choices: Choices, name: str | int) -> int:
        return name if isinstance(name, int) else int(choices[name])

    match site:
        case StemSite():
            out = size(site.stream, 2)
            conv = 3 * site.width * site.spatial_kernel**2 * out.positions
            total = conv + Depthwise.macs(site.width, site.temporal_kernel, 1, out)
            return lambda choices: total
        case BlockSite():
            before = size(site.stream, site.downsampling)
            return lambda c: MBConv3d.macs(
                width(c, site.width_in),
                c[site.width],
                c[site.scope[-3]],
                c[site.scope[-2]],
                c[site.scope[-1]],
                site.stride,
                site.squeeze,
                before,
            )
        case FusionSite():
            here = size(site.target, site.downsampling)
            return lambda c: (
                0
                if c[site.name] == "skip"
                else FUSIONS[c[site.name]].macs(
                    width(c, site.width_source), width(c, site.width_target), site.ratio, site.kernel, here
                )
            )
        case AttentionSite():
            there = size(site.stream, site.downsampling)
            return lambda c: (
                0 if c[site.name] == "skip" else ATTENTIONS[c[site.name]].macs(c[site.width], site.keys, there)
            )
        case HeadSite():
            last = size(site.stream, site.downsampling)
            return lambda c: Pointwise.macs(c[site.width_in], site.width, last)
        case ClassifierSite():
            linear = Affine.macs(site.width_in, site.width) + Affine.macs(site.width, reference.classes)
            return lambda choices: linear
