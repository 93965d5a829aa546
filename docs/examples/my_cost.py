"""A cost of one's own: the size of the weights in half precision, limited by --weights MIN:MAX in MB.

Named on the command line with --plugin docs/examples/my_cost.py.
"""

from dataclasses import dataclass

from autovid.blocks.block import Choice
from autovid.blocks.site import Site
from autovid.costs import COSTS, Cost
from autovid.solver import Quantity
from autovid.space.schema import Reference
from autovid.space.space import SearchSpace, SiteTable


@COSTS.register("weights", "size of the weights in half precision")
@dataclass(frozen=True)
class Weights(Cost):
    """Two bytes for each parameter."""

    name, option, metric = "weights", "weights", "weights_mb"
    quantity = Quantity("size of the weights", "MB", "bytes", 10**6, "0.1:0.2")  # one MB is 10**6 bytes

    def table(self, space: SearchSpace, reference: Reference | None = None) -> SiteTable:
        def price(site: Site, choice: Choice) -> int:
            return 2 * site.block.params(site, choice)

        return SiteTable(space, price, reference, self.quantity)

    def convention(self, reference: Reference) -> str:
        return f"weights of the network with {reference.classes} classes, 2 bytes each; 1 MB = 1e6 bytes"
