"""The agreement between a searched network and the blocks that stand in it.

A block is an object without state that knows everything about one kind of module: how it is built, what it costs, what
tells it from others and how it is labelled. The module that it builds is called with the maps that its site reads, and
with the choice: `module(x, choice=choice)`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Protocol, TypeVar, get_args

import msgspec

if TYPE_CHECKING:
    from torch import nn

S = TypeVar("S", contravariant=True)
Value = int | float | str
Choice = Mapping[str, Any]
"""One value for each variable of a site, by the block's names."""
Candidates = Mapping[str, tuple[Any, ...]]
"""All values that each variable of a site can have, by the block's names."""

SKIP = "skip"  # the operation that is none

# Types of choices. The upper ends are guards against numbers typed wrongly.
Width = Annotated[int, msgspec.Meta(ge=4, le=4096)]
Kernel = Annotated[int, msgspec.Meta(ge=1, le=15, extra={"odd": True})]  # a same-padded kernel needs a middle
Expansion = Annotated[float, msgspec.Meta(ge=0.25, le=32)]
FusionName = Annotated[str, msgspec.Meta(extra={"operations": "fusion"})]
AttentionName = Annotated[str, msgspec.Meta(extra={"operations": "attention"})]


class Block(Protocol[S]):
    """One kind of module, at any site that it can stand at (`S`).

    Costs are those of one clip. `choice` and `candidates` hold the block's own choices and `width_in` and `width`.
    """

    @property
    def choices(self) -> Mapping[str, Any]:
        """The names of its decisions, which are also the keys under `candidates.STREAM`, and the type of the values."""

    def build(self, site: S, candidates: Candidates) -> nn.Module:
        """Return the module, with weights for all candidates: `module(*maps, choice=choice)` uses those of one."""

    def macs(self, site: S, choice: Choice) -> int:
        """Multiply-accumulates of convolution, linear and matmul."""

    def params(self, site: S, choice: Choice) -> int:
        """Parameters of the module that is built for this choice alone."""

    def activation_bytes(self, site: S, choice: Choice) -> int:
        """Bytes that backward keeps of what the module computes, in fp32; of inputs, weights and statistics none."""

    def key(self, site: S, choice: Choice) -> str:
        """Text that names the work: equal texts, equal work. Empty where nothing stands."""

    def label(self, site: S, choice: Choice) -> tuple[str, ...]:
        """Up to three short texts that tell it from its like, for pictures and tables."""


def mark(kind: Any, name: str) -> Any:
    """Return the mark of this name that a type of choices carries, or None."""
    metas = [meta for meta in get_args(kind) if isinstance(meta, msgspec.Meta)]
    return next((meta.extra[name] for meta in metas if meta.extra and name in meta.extra), None)
