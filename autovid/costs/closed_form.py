"""The costs that every block knows in closed form: MACs, parameters, and memory of activations."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autovid.blocks.block import Choice
from autovid.blocks.site import Site
from autovid.costs.cost import Cost
from autovid.solver import Quantity
from autovid.space.schema import Reference
from autovid.space.site_table import GFLOPS, MacsTable, SiteTable, convention
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


@dataclass(frozen=True)
class Params(Cost):
    """Parameters of the network with the reference number of classes."""

    name, option, metric = "params", "params", "mparams"
    quantity = Quantity("parameters", "M parameters", "parameters", 10**6, "2.1:2.4")

    def table(self, space: SearchSpace, reference: Reference | None = None) -> SiteTable:
        return SiteTable(space, _params, reference=reference, quantity=self.quantity)

    def convention(self, reference: Reference) -> str:
        return f"parameters of the network with {reference.classes} classes"

    def figures(self, cost: int) -> dict[str, int | float]:
        return {"params": cost}

    @classmethod
    def recorded(cls, figures: Mapping[str, Any]) -> float | None:
        return int(figures["params"]) / cls.quantity.atoms if "params" in figures else None


@dataclass(frozen=True)
class Memory(Cost):
    """Bytes that the backward pass keeps of one clip, in fp32: activations, neither weights nor gradients."""

    name, option, metric = "memory", "memory", "memory_mb"
    quantity = Quantity("memory", "MB", "bytes", 10**6, "40:60")

    def table(self, space: SearchSpace, reference: Reference | None = None) -> SiteTable:
        return SiteTable(space, _activation_bytes, reference=reference, quantity=self.quantity)

    def convention(self, reference: Reference) -> str:
        return (
            "memory of what backward keeps of one clip, in fp32, without weights and gradients; "
            f"{reference.frames} frames at {reference.crop}x{reference.crop}; 1 MB = 1e6 bytes"
        )


def _params(site: Site, choice: Choice) -> int:
    return site.block.params(site, choice)


def _activation_bytes(site: Site, choice: Choice) -> int:
    return site.block.activation_bytes(site, choice)
