"""Sites: the places of a network, each of which a block fills with one module.

A site says what its block reads, what it depends on and what the macro table settles, so that a block needs to know
nothing else. What it depends on has two names: the block's own (`expansion`) and that of the decision of the space
(`sparse.stage1.block2.expansion`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

from autovid.blocks.block import SKIP, Block, Candidates, Choice, Value
from autovid.blocks.registry import ATTENTIONS, BLOCKS, FRAME, FUSIONS
from autovid.registry import Registry

if TYPE_CHECKING:
    from torch import nn

Shape = Literal["box", "badge", "arrow", "foot"]
"""Shape of a site in pictures: a box of its stream, a badge on it, an arrow between streams, a line below all."""


class Size(NamedTuple):
    """Frames, height and width of a feature map."""

    frames: int
    height: int
    width: int

    def strided(self, stride: int) -> "Size":
        """After a same-padded convolution with this spatial stride."""
        return Size(self.frames, (self.height - 1) // stride + 1, (self.width - 1) // stride + 1)

    @property
    def positions(self) -> int:
        return self.frames * self.height * self.width

    def __str__(self) -> str:
        return f"{self.frames}x{self.height}x{self.width}"


class Input(NamedTuple):
    """A feature map that a site reads: the stream's, of so many channels (or a decision's name) and this size.

    Without a size it is a vector of features for each clip.
    """

    stream: str
    width: int | str
    size: Size | None


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place of a network: what stands there takes the `inputs` and gives the next map of `stream`.

    `variables` pairs the block's names for what it depends on with a decision's name or a number, `width_in` and
    `width` among them. `place` is stem, stage1, stage2, ..., head or classifier.
    """

    name: str
    kind: str  # of block, by its name in a registry
    place: str
    stream: str
    inputs: tuple[Input, ...]
    variables: tuple[tuple[str, int | str], ...]
    size: Size  # of the map that it gives
    stage: int = 0  # from 1; 0 outside of stages
    index: int = 0  # of a block in its stage
    stride: int = 1
    frame_stride: int = 1  # of a stem: it sees every so many-th frame of the clip

    shape: ClassVar[Shape] = "box"
    reads_clip: ClassVar[bool] = False

    @property
    def block(self) -> Block[Any]:
        """The object that knows all about what stands here."""
        return FRAME.load(self.kind)()

    def definition(self, choice: Choice) -> "tuple[Registry[Any], str] | None":
        """Return the registry and the name of what stands here, where that can be chosen and is not skipped."""
        return None

    @property
    def scope(self) -> tuple[str, ...]:
        """The decisions that it depends on."""
        return tuple({of: None for _, of in self.variables if isinstance(of, str)})

    @property
    def size_in(self) -> Size:
        """The size of the map that it reads first."""
        size = self.inputs[0].size
        assert size is not None, f"{self.name} reads a vector"
        return size

    @property
    def own(self) -> list[str]:
        """The decisions that are made here: its block's, and at the first block of a stage the stage's width."""
        first = self.stage and not self.index
        return [
            of
            for name, of in self.variables
            if isinstance(of, str) and (of.startswith(self.name) or (first and name == "width"))
        ]

    @property
    def keeps_width(self) -> bool:
        """True if as many channels go out as come in, whatever is chosen."""
        variables = dict(self.variables)
        return variables["width_in"] == variables["width"]

    def width_of(self, one: Input, choice: Choice) -> int:
        """Return the number of channels that an input has for a choice."""
        if isinstance(one.width, int):
            return one.width
        return next(int(choice[name]) for name, of in self.variables if of == one.width)

    def choice(self, choices: Mapping[str, Value]) -> Choice:
        """Return the values of its variables, by the block's names, in an architecture with these choices."""
        return {name: choices[of] if isinstance(of, str) else of for name, of in self.variables}

    def summary(self, choice: Choice) -> str:
        """Return a line about what stands here for a choice."""
        parts = [f"{choice['width']} ch"] if self.shape == "box" else []
        parts += self.block.label(self, choice)
        if self.stride > 1:
            parts.append(f"stride {self.stride}")
        if self.shape == "arrow" and choice["operation"] != SKIP:
            parts.append(f"{self.inputs[0].stream} → {self.stream}")
        return ", ".join(parts)

    def candidates(self, candidates: Mapping[str, tuple[Value, ...]]) -> Candidates:
        """All values of its variables, by the block's names, in a space with these candidates."""
        return {name: candidates[of] if isinstance(of, str) else (of,) for name, of in self.variables}


@dataclass(frozen=True, kw_only=True)
class StemSite(Site):
    """The first layers of a stream."""

    temporal_kernel: int
    spatial_kernel: int

    reads_clip: ClassVar[bool] = True


@dataclass(frozen=True, kw_only=True)
class BlockSite(Site):
    """One block of a stage; `squeeze` is the reduction of squeeze-excitation, 0 for none."""

    squeeze: int

    @property
    def block(self) -> Block[Any]:
        return BLOCKS.load(self.kind)()

    def definition(self, choice: Choice) -> tuple[Registry[Any], str]:
        return BLOCKS, self.kind


@dataclass(frozen=True, kw_only=True)
class FusionSite(Site):
    """A point where one stream's features are added to another's; `ratio` source frames for each frame of the target.

    Its inputs are the source's map and the target's; `width_in` is the source's, `width` the target's.
    """

    ratio: int
    kernel: int

    shape: ClassVar[Shape] = "arrow"

    def definition(self, choice: Choice) -> tuple[Registry[Any], str] | None:
        return None if choice["operation"] == SKIP else (FUSIONS, choice["operation"])


@dataclass(frozen=True, kw_only=True)
class AttentionSite(Site):
    """A point where an attention operation may stand, with at most `keys` x `keys` keys a frame."""

    keys: int

    shape: ClassVar[Shape] = "badge"

    def definition(self, choice: Choice) -> tuple[Registry[Any], str] | None:
        return None if choice["operation"] == SKIP else (ATTENTIONS, choice["operation"])


@dataclass(frozen=True, kw_only=True)
class HeadSite(Site):
    """The last 1x1x1 convolution of a stream and the mean of what it gives."""


@dataclass(frozen=True, kw_only=True)
class ClassifierSite(Site):
    """Features of all streams, concatenated, to hidden ones, to classes."""

    classes: int
    dropout: float

    shape: ClassVar[Shape] = "foot"


S = TypeVar("S", bound=Site)


class Operations(Generic[S]):
    """A block that is one of the operations of a registry, each a block too; `skip` is the absence of a module."""

    choices: ClassVar[dict[str, Any]]
    registry: ClassVar[Registry[type[Block[Any]]]]

    def operation(self, choice: Choice) -> Block[S]:
        return self.registry.load(choice["operation"])()

    def modules(self, site: S, candidates: Candidates) -> "dict[str, nn.Module]":
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
