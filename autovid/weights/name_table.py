"""Tables of names: the names that other toolkits give to the tensors of networks that we have too.

A table goes from our names to theirs, since ours are known in full: a name in the file that it does not produce is left
over, a name that it produces and the file lacks is missing. Nothing is matched by shape.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from torch import Tensor

from autovid.models import Network, NetworkSpec

Shape = tuple[int, ...]
Names = tuple[tuple[str, str], ...]
"""(regular expression, replacement), tried in order on a name of ours, each on what the one before has left."""


class Table(NamedTuple):
    """One family of networks in one format.

    A name of theirs with a choice in braces, `{a,b,c}`, is one tensor for each: ours, cut along its frames.
    """

    networks: str  # regular expression: the names of the networks it is for
    names: Names
    shapes: tuple[tuple[str, Callable[[Shape], Shape]], ...] = ()  # (of which names of ours, our shape -> theirs)
    options: Mapping[str, Any] = {}  # it is for networks built with these
    needs: Mapping[str, Any] = {}  # options without which the numbers would be others; set where they are not given
    identity: str = ""  # names of ours that theirs lack: they are loaded so that they change nothing
    fresh: str = ""  # names of ours that start as in a new network, since images have no such thing
    order: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = ()  # of names of ours: their numbers in our order
    finish: Callable[[Network], None] | None = None  # what is left to do afterwards

    def source_names(self, name: str) -> list[str]:
        """Return their names of a tensor of ours, piece by piece."""
        for pattern, replacement in self.names:
            name = re.sub(pattern, replacement, name)
        parts = [part.split(",") for part in re.split(r"[{}]", name)]  # every other one is a choice
        return ["".join(choice) for choice in product(*parts)]

    def their_shape(self, name: str, shape: Shape) -> Shape:
        """Return their shape of a tensor of ours, or of a piece of it."""
        for pattern, change in self.shapes:
            if re.search(pattern, name):
                return change(shape)
        return shape

    def our_order(self, name: str, tensor: Tensor) -> Tensor:
        """Reorder the numbers of a tensor of ours, which come in their order."""
        for pattern, change in self.order:
            if re.search(pattern, name):
                return change(tensor)
        return tensor

    def is_identity(self, name: str) -> bool:
        """Tell names of ours that theirs lack."""
        return bool(self.identity and re.search(self.identity, name))

    def is_fresh(self, name: str) -> bool:
        """Tell names of ours that start as in a new network."""
        return bool(self.fresh and re.search(self.fresh, name))


class Format(NamedTuple):
    """The checkpoints of one toolkit. `sign` is found in `name:dimensions` of one of its tensors, and in no other's."""

    about: str
    sign: str
    tables: Sequence[Table]
    renames: Names = ()  # of names of theirs that are written in several ways
    extras: str = ""  # names of theirs that no network needs
    images: bool = False  # 2-D weights of an image network, to be inflated where ours span frames

    def tables_of(self, spec: NetworkSpec) -> list[Table]:
        """Return the tables for a network, whatever options these need."""
        return [
            table
            for table in self.tables
            if re.fullmatch(table.networks, spec.network)
            and all(spec.options.get(name) == value for name, value in table.options.items())
        ]


def conv_and_norm(target: str, conv: str, norm: str) -> Names:
    """Rename a convolution `target.0` and its norm `target.1`; `target` is a pattern."""
    return (rf"{target}\.0\.", f"{conv}."), (rf"{target}\.1\.", f"{norm}.")


def stages(before: str, after: str, first: int) -> Names:
    """Rename stages.0 ... stages.3 to `after` with a number from `first` on; `before` may precede ours."""
    return tuple((rf"^{before}stages\.{i}\.", after.format(i + first)) for i in range(4))


def block_from_0() -> Names:
    """Rename the blocks of X3D, which we count from 1, to `.0.` and so on."""
    return tuple((rf"-block{number}\.", f".{number - 1}.") for number in range(1, 33))


X3D = (
    r"^sites\.main-stem\.weight",
    r"^sites\.main-stem\.depthwise\.",
    r"^sites\.main-stem\.norm\.",
    r"\.shortcut\.",
    r"\.shortcut_norm\.",
    r"\.squeeze\.squeeze\.",
    r"\.squeeze\.excite\.",
    r"^sites\.main-head\.conv\.",
    r"^sites\.main-head\.norm\.",
    r"^sites\.classifier\.hidden\.",
    r"^sites\.classifier\.output\.",
)


def x3d(sources: str) -> Names:
    """Pair the names in X3D, but for stages and layers of blocks, with theirs in the same order."""
    return tuple(zip(X3D, sources.split(), strict=True))


def with_time(shape: Shape) -> Shape:
    """Shape of a convolution of frames, written as one of clips, one frame long: (D, C, k, k) -> (D, C, 1, k, k)."""
    return (*shape[:2], 1, *shape[2:]) if len(shape) == 4 else shape


def without_time(shape: Shape) -> Shape:
    """Shape of a convolution of clips that they have for images: (D, C, t, k, k) -> (D, C, k, k)."""
    return (*shape[:2], *shape[3:]) if len(shape) == 5 else shape


def as_convolution(shape: Shape) -> Shape:
    """Shape of a linear layer that they write as a convolution: (D, C) -> (D, C, 1, 1, 1)."""
    return (*shape, 1, 1, 1) if len(shape) == 2 else shape


def over_time(shape: Shape) -> Shape:
    """Shape of a convolution over time that they write in one dimension: (D, C, t, 1, 1) -> (D, C, t)."""
    return shape[:3]
