"""What a search-space file and an architecture file may say: strict structs, read by `autovid.config`."""

from typing import Annotated, Any

import msgspec

from autovid.clip import Clip

FUSIONS = ("skip", "strided_conv", "strided_sampling", "time_to_channel")
ATTENTIONS = ("skip", "glore", "nonlocal")

# the upper ends are guards against numbers typed wrongly
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Width = Annotated[int, msgspec.Meta(ge=4, le=4096)]
SMALLEST_CROP = 16  # below, the last maps have no pixel of their own; at 1, oneDNN 3.12 corrupts memory in bf16
Crop = Annotated[int, msgspec.Meta(ge=SMALLEST_CROP, le=1024)]
Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]
Expansion = Annotated[float, msgspec.Meta(ge=0.25, le=32)]
Odd = Annotated[int, msgspec.Meta(ge=1, le=15)]  # that it is odd is checked where files are read
Value = int | float | str


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A struct in which an unknown key is an error."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles what is said and no more: a copy that says the defaults too would have another hash."""
        return msgspec.convert, (msgspec.to_builtins(self), type(self))


class Stem(Strict, frozen=True):
    """First layers of a stream: a 1 x k x k convolution with spatial stride 2, then a depthwise t x 1 x 1 one."""

    width: Width
    temporal_kernel: Odd = 5
    spatial_kernel: Odd = 3


class Stage(Strict, frozen=True):
    """`depth` blocks before the network's depth factor; the first one has the spatial stride."""

    depth: Positive
    stride: Positive = 2


class Stream(Strict, frozen=True):
    """One stream: it sees every `every`-th frame of the clip; `head` is the width of its last 1x1x1 convolution."""

    stem: Stem
    stages: Annotated[tuple[Stage, ...], msgspec.Meta(min_length=1, max_length=8)]
    head: Width
    every: Positive = 1


class Fusion(Strict, frozen=True):
    """Where features flow between the streams: from `source` into `target`, after the named places."""

    source: str
    target: str
    after: tuple[str, ...]
    kernel: Odd = 5


class Attention(Strict, frozen=True):
    """Where attention blocks may stand: in `stream`, after the named stages."""

    stream: str
    after: tuple[str, ...]
    keys: Positive = 8


class Network(Strict, frozen=True):
    """Everything about a network that is not searched (the macro table)."""

    streams: dict[str, Stream]
    head_width: Width
    depth_factor: Annotated[float, msgspec.Meta(gt=0, le=100)] = 1.0
    squeeze: Positive = 16
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    fusion: Fusion | None = None
    attention: Attention | None = None


class Reference(Strict, frozen=True):
    """The input at which FLOPs count: one clip of `frames` x `crop` x `crop` and this many classes."""

    frames: Positive
    crop: Crop
    classes: Positive = 400
    stride: Positive = 2

    @classmethod
    def of(cls, clip: Clip, classes: int) -> "Reference":
        """The input of a network that sees such clips."""
        return cls(frames=clip.frames, crop=clip.crop, classes=classes, stride=clip.stride)


class StreamCandidates(Strict, frozen=True):
    """Candidates of one stream: widths per stage, and for every block its kernels and expansion."""

    width: tuple[tuple[Width, ...], ...]
    temporal_kernel: tuple[Odd, ...]
    spatial_kernel: tuple[Odd, ...]
    expansion: tuple[Expansion, ...]


class Part(Strict, frozen=True):
    """One part of the search: the streams it needs, the decisions it opens, and how long it learns."""

    name: str
    streams: tuple[str, ...]
    search: tuple[str, ...]
    share: Fraction
    epochs: Rate
    lr: Rate
    arch_lr: Rate
    warmup: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.25


class PartProxy(Strict, frozen=True):
    """The short version of one part: steps instead of epochs, and its learning rates."""

    steps: Positive
    lr: Rate
    arch_lr: Rate


class Proxy(Strict, frozen=True):
    """A search small enough for a laptop: the same parts on small clips and few steps."""

    frames: Positive
    crop: Crop
    stride: Positive
    batch: Positive
    jitter: tuple[Positive, Positive]
    parts: dict[str, PartProxy]


class Recipe(Strict, frozen=True):
    """How the supernet's weights and the prior learn (seed-auto-tsnet, section 3.1)."""

    batch: Positive
    jitter: tuple[Positive, Positive]
    samples: Positive = 13
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, msgspec.Meta(ge=0, le=1)] = 5e-5


class SpaceFile(Strict, frozen=True):
    """A file of `search_spaces/`."""

    format: int
    name: str
    network: Network
    candidates: dict[str, StreamCandidates]
    reference: Reference
    recipe: Recipe
    parts: tuple[Part, ...]
    proxy: Proxy
    fusion: tuple[str, ...] = ("skip",)
    attention: tuple[str, ...] = ("skip",)
    about: str = ""


class ArchitectureFile(Strict, frozen=True):
    """A frozen architecture; it builds without the file of its space."""

    format: int
    space: str
    network: Network
    reference: Reference
    choices: dict[str, Value]
    hash: str = ""
    cost: dict[str, Value] = {}
    found: dict[str, Value | bool] = {}
