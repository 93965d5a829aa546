"""The cost of every architecture of a space, whatever it counts: one integer table a site, priced by its block."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from autovid.blocks.block import Choice, Value
from autovid.blocks.site import Site
from autovid.errors import ConfigError
from autovid.solver.cost_range import Quantity
from autovid.solver.table import CostTable, Factor
from autovid.space.checks import check_frames
from autovid.space.layout import sites
from autovid.space.schema import Reference

if TYPE_CHECKING:
    from autovid.space.space import Architecture, SearchSpace

GFLOPS = Quantity("FLOPs", "GFLOPs", "MACs", 10**9, "1.37:1.43")
LARGEST = 2**53  # atoms of one site: a network of 500 blocks stays within int64
Price = Callable[[Site, Choice], int]
"""The cost of a site for one value of each of its variables, in atoms."""


class SiteTable(CostTable):
    """The costs of all architectures of a space at one input, exact to the last atom."""

    def __init__(
        self,
        space: "SearchSpace",
        price: Price,
        *,
        reference: Reference | None = None,
        quantity: Quantity,
        constant: int = 0,
    ) -> None:
        """Price every site at the space's reference input or another one; `constant` is added to every architecture.

        Raises ConfigError for frames that do not divide among the streams, and for a site beyond counting.
        """
        from autovid.blocks.trace import check_costs  # it runs blocks; spaces can be listed without torch

        self.space, self.reference = space, reference or space.reference
        check_frames(space.network, self.reference.frames)
        number = {decision.name: i for i, decision in enumerate(space.decisions)}
        candidates = space.candidates
        self.sites: list[tuple[Site, Factor]] = []
        for site in sites(space.network, self.reference):
            check_costs(site, candidates)
            costs = [price(site, site.choice(choices)) for choices in site_choices(site, candidates)]
            if max(costs) > LARGEST:
                much = f"{max(costs):.3g} {quantity.atom} in {site.name} alone"
                raise ConfigError(f"space {space.name}: {much}; make it smaller")
            table = np.array(costs, np.int64).reshape([len(candidates[name]) for name in site.scope])
            self.sites.append((site, Factor(tuple(number[name] for name in site.scope), table)))
        constant += sum(int(factor.table) for _, factor in self.sites if not factor.scope)
        super().__init__([factor for _, factor in self.sites if factor.scope], constant, space.sizes, quantity)

    def of(self, archs: "Sequence[Architecture] | np.ndarray") -> np.ndarray:
        """Costs, int64 (N,), of architectures of this space, or of their candidate numbers (N, D)."""
        return self.total(archs if isinstance(archs, np.ndarray) else self.space.index(archs))


class MacsTable(SiteTable):
    """The MACs of every architecture of a space: of convolution, linear and matmul, for one clip."""

    def __init__(self, space: "SearchSpace", reference: Reference | None = None) -> None:
        super().__init__(space, _macs, reference=reference, quantity=GFLOPS)

    def macs(self, archs: "Sequence[Architecture] | np.ndarray") -> np.ndarray:
        """MACs, int64 (N,), of architectures of this space, or of their candidate numbers (N, D)."""
        return self.of(archs)

    @property
    def convention(self) -> str:
        """The meaning of the figures, in a line."""
        return convention(self.reference)


def _macs(site: Site, choice: Choice) -> int:
    return site.block.macs(site, choice)


def site_choices(site: Site, candidates: Mapping[str, tuple[Value, ...]]) -> Iterator[dict[str, Value]]:
    """All combinations of candidates that a site can have, the last decision's running fastest."""
    for values in itertools.product(*(candidates[name] for name in site.scope)):
        yield dict(zip(site.scope, values))


def gflops(macs: int, digits: int = 12) -> str:
    """`macs` in GFLOPs as plain decimal text without trailing zeros, to `digits` significant digits."""
    return GFLOPS.text(macs, digits=digits)


def convention(reference: Reference) -> str:
    """Return the meaning of a FLOPs figure, in one line for every file that carries one."""
    return (
        "MACs (multiply-accumulates) of convolution, linear and matmul; batch norm, pooling and activations not "
        f"counted; one clip of {reference.frames} frames at {reference.crop}x{reference.crop}, "
        f"{reference.classes} classes; 1 GFLOPs = 1e9 MACs"
    )
