"""A cost: a quantity that an architecture uses up, given as a table over a space; and the registry of costs."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from autovid.errors import ConfigError
from autovid.registry import Registry
from autovid.solver import CostTable, Quantity
from autovid.space.schema import Reference
from autovid.space.space import GFLOPS, Architecture, MacsTable, SearchSpace, SiteTable, convention

COSTS: "Registry[type[Cost]]" = Registry(
    "cost",
    "autovid.costs",
    {
        "macs": ("multiply-accumulates of convolution, linear and matmul", "autovid.costs.cost:Macs"),
        "params": ("parameters with the reference number of classes", "autovid.costs.cost:Params"),
        "latency": ("time of a forward pass, by a table of measured blocks", "autovid.costs.latency:Latency"),
        "memory": ("activations that backward keeps of one clip, in fp32", "autovid.costs.cost:Memory"),
    },
)
"""Costs that a search can be constrained by: one file of code, one line here."""


class Cost(ABC):
    """One cost. Costs are whole atoms of `quantity`; two costs are equal if their tables are."""

    name: ClassVar[str]
    option: ClassVar[str]  # on the command line, and the key in YAML and in Python
    quantity: ClassVar[Quantity]
    metric: ClassVar[str]  # key of a figure in units: in metrics, and in an architecture's file
    digits: ClassVar[int] = 4  # that an architecture's file has after the point
    by_fraction: ClassVar[bool] = False  # whether a part's range is the space's cost_fraction of the whole range
    file: ClassVar[str] = ""  # name, in a run directory, of the file that the cost is read from
    file_origin: ClassVar[str] = ""  # who makes that file, for help and messages

    @classmethod
    def read(cls, path: Path) -> "Cost":
        """Return the cost, from its file; one without a file needs none. Raises ConfigError."""
        return cls()

    def content(self) -> bytes:
        """Return the content of the file, for a run directory."""
        return b""

    @abstractmethod
    def table(self, space: SearchSpace, reference: Reference | None = None) -> CostTable:
        """Return the cost of every architecture of a space, at its reference input or another. Raises ConfigError."""

    @abstractmethod
    def convention(self, reference: Reference) -> str:
        """Return the meaning of a figure, in a line."""

    def of(self, arch: Architecture, reference: Reference | None = None) -> int:
        """Return the cost of one architecture, in atoms. Raises ConfigError."""
        return self.table(arch.as_space(), reference).smallest()[0]

    def figures(self, cost: int) -> dict[str, int | float]:
        """Return the keys of an architecture's file for a cost in atoms."""
        return {self.metric: round(cost / self.quantity.atoms, self.digits)}

    @classmethod
    def recorded(cls, figures: Mapping[str, Any]) -> float | None:
        """Return the cost in units that an architecture's file has recorded, or None."""
        return figures.get(cls.metric)

    def record(self) -> dict[str, str]:
        """Entries of a configuration that tell this cost from another of the same name."""
        return {}


def make_cost(name: str, path: Path | None = None) -> Cost:
    """Return the registered cost `name`; `path` is the file of a cost that needs one. Raises ConfigError."""
    kind = COSTS.load(name)
    if kind.file and path is None:
        origin = kind.file_origin and f": {kind.file_origin}"
        raise ConfigError(f"--{kind.option} needs --{kind.option}-table FILE{origin}")
    return kind.read(path or Path())


def cost_names() -> dict[str, str]:
    """Return the names of all costs by their options."""
    return {COSTS.load(name).option: name for name in COSTS}


def kept_files(run: Path) -> dict[str, Path]:
    """Return the files of costs that a run directory has kept, by the costs' options."""
    kept = {kind.option: run / kind.file for kind in map(COSTS.load, COSTS) if kind.file}
    return {option: file for option, file in kept.items() if file.is_file()}


def recorded_costs(figures: Mapping[str, Any]) -> dict[type[Cost], float]:
    """Return the costs in units that an architecture's file has recorded."""
    known = {kind: kind.recorded(figures) for kind in map(COSTS.load, COSTS)}
    return {kind: value for kind, value in known.items() if value is not None}


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
        return SiteTable(space, lambda site, choice: site.block.params(site, choice), reference, self.quantity)

    def convention(self, reference: Reference) -> str:
        return f"parameters of the network with {reference.classes} class{'es' * (reference.classes != 1)}"

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
        return SiteTable(
            space, lambda site, choice: site.block.activation_bytes(site, choice), reference, self.quantity
        )

    def convention(self, reference: Reference) -> str:
        return (
            "memory of what backward keeps of one clip, in fp32, without weights and gradients; "
            f"{reference.frames} frames at {reference.crop}x{reference.crop}; 1 MB = 1e6 bytes"
        )
