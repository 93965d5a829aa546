"""MACs as a cost: the multiply-accumulates of convolution, linear and matmul, for one clip."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autovid.costs.cost import Cost
from autovid.space.schema import Reference
from autovid.space.site_table import GFLOPS, MacsTable, convention
from autovid.space.space import SearchSpace


@dataclass(frozen=True)
class Macs(Cost):
    """MACs of one clip; a part of a search may use the fraction of the range that its space says."""

    name, option, quantity, metric, digits, by_fraction = "macs", "flops", GFLOPS, "gflops", 6, True

    def table(self, space: SearchSpace, reference: Reference | None = None) -> MacsTable:
        return MacsTable(space, reference)

    def convention(self, reference: Reference) -> str:
        return convention(reference)

    def figures(self, cost: int) -> dict[str, int | float]:
        return {"macs": cost, **super().figures(cost)}

    @classmethod
    def recorded(cls, figures: Mapping[str, Any]) -> float | None:
        return int(figures["macs"]) / GFLOPS.atoms if "macs" in figures else None
