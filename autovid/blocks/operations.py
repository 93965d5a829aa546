"""A site with one decision: which operation stands there, or none."""

from typing import Any, ClassVar, Generic, TypeVar

from torch import nn

from autovid.blocks.block import SKIP, Block, Candidates, Choice
from autovid.blocks.site import Site
from autovid.registry import Registry

S = TypeVar("S", bound=Site)


class Operations(Generic[S]):
    """A block that is one of the operations of a registry, each a block too; `skip` is the absence of a module."""

    choices: ClassVar[dict[str, Any]]
    registry: ClassVar[Registry[type[Block[Any]]]]

    def operation(self, choice: Choice) -> Block[S]:
        return self.registry.load(choice["operation"])()

    def modules(self, site: S, candidates: Candidates) -> dict[str, nn.Module]:
        """Return the module of every operation that may stand at a site."""
        names = [name for name in candidates["operation"] if name != SKIP]
        return {name: self.registry.load(name)().build(site, candidates) for name in names}

    def macs(self, site: S, choice: Choice) -> int:
        return 0 if choice["operation"] == SKIP else self.operation(choice).macs(site, choice)

    def params(self, site: S, choice: Choice) -> int:
        return 0 if choice["operation"] == SKIP else self.operation(choice).params(site, choice)

    def activation_bytes(self, site: S, choice: Choice) -> int:
        return 0 if choice["operation"] == SKIP else self.operation(choice).activation_bytes(site, choice)

    def key(self, site: S, choice: Choice) -> str:
        return "" if choice["operation"] == SKIP else self.operation(choice).key(site, choice)

    def label(self, site: S, choice: Choice) -> tuple[str, ...]:
        return (SKIP,) if choice["operation"] == SKIP else self.operation(choice).label(site, choice)
