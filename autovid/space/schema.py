"""The schema of a search-space file and of an architecture file: strict structs, read by `autovid.config`."""

from typing import Annotated, Any, Literal

import msgspec

from autovid.blocks.block import Kernel, Width
from autovid.blocks.block import Value as Value
from autovid.clip import Clip
from autovid.plugins import PluginRecord

FORMAT = 1
# The upper ends are guards against numbers typed wrongly.
Positive = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
SMALLEST_CROP = 16  # below, the last maps have no pixel of their own; at 1, oneDNN 3.12 corrupts memory in bf16
Crop = Annotated[int, msgspec.Meta(ge=SMALLEST_CROP, le=1024)]
Fraction = Annotated[float, msgspec.Meta(gt=0, le=1)]
Rate = Annotated[float, msgspec.Meta(gt=0, le=1_000_000)]


class Strict(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A struct in which an unknown key is an error."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle what is said and no more: a copy that says the defaults too would have another hash."""
        return msgspec.convert, (msgspec.to_builtins(self), type(self))


class StemConfig(Strict, frozen=True):
    """First layers of a stream: a 1 x k x k convolution with spatial stride 2, then a depthwise t x 1 x 1 one."""

    width: Width
    temporal_kernel: Kernel = 5
    spatial_kernel: Kernel = 3


class StageConfig(Strict, frozen=True):
    """`depth` blocks before the network's depth factor; the first one has the spatial stride.

    `block` is their kind, the stream's unless the stage says its own.
    """

    depth: Positive
    stride: Positive = 2
    block: str = ""


class StreamConfig(Strict, frozen=True):
    """One stream: it sees every `frame_stride`-th frame; `head` is the width of its last 1x1x1 convolution."""

    stem: StemConfig
    stages: Annotated[tuple[StageConfig, ...], msgspec.Meta(min_length=1, max_length=8)]
    head: Width
    frame_stride: Positive = 1
    block: str = "mbconv3d"


class FusionConfig(Strict, frozen=True):
    """The places where features flow between the streams: from `source` into `target`, after the named places."""

    source: str
    target: str
    after: tuple[str, ...]
    kernel: Kernel = 5


class AttentionConfig(Strict, frozen=True):
    """The places where attention blocks may stand: in `stream`, after the named stages."""

    stream: str
    after: tuple[str, ...]
    keys: Positive = 8


class NetworkConfig(Strict, frozen=True):
    """Everything about a network that is not searched (the macro table)."""

    streams: dict[str, StreamConfig]
    head_width: Width
    depth_factor: Annotated[float, msgspec.Meta(gt=0, le=100)] = 1.0
    squeeze: Positive = 16
    dropout: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.5
    fusion: FusionConfig | None = None
    attention: AttentionConfig | None = None


class Reference(Strict, frozen=True):
    """The input at which FLOPs count: one clip of `frames` x `crop` x `crop` and this many classes."""

    frames: Positive
    crop: Crop
    classes: Positive = 400
    stride: Positive = 2

    @classmethod
    def of(cls, clip: Clip, classes: int) -> "Reference":
        """Return the input of a network that sees such clips."""
        return cls(frames=clip.frames, crop=clip.crop, classes=classes, stride=clip.stride)


class Part(Strict, frozen=True):
    """One part of the search: the streams it needs, the decisions it opens, and how long it learns.

    `cost_fraction` is the part of the network's cost that may be used when it ends.
    """

    name: str
    streams: tuple[str, ...]
    search: tuple[str, ...]
    cost_fraction: Fraction
    epochs: Rate
    lr: Rate
    arch_lr: Rate
    warmup: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.25


class PartProxy(Strict, frozen=True):
    """The short version of one part: steps instead of epochs, and its learning rates."""

    steps: Positive
    lr: Rate
    arch_lr: Rate


WeightOptimizer = Literal["sgd", "adamw"]
JOINT = "joint"
"""The name of the phase behind the parts, in which all decisions are open together."""


class Proxy(Strict, frozen=True):
    """A search small enough for a laptop: the same parts on small clips and few steps.

    How the supernet learns here is ours: one architecture an update, which was drawn inside the ranges, instead of 13;
    a learning rate that rises and falls once over the whole search; a start at which every block counts. The papers'
    recipe has none of it, and no joint phase.

    Attributes:
        joint: a phase behind the last part that draws all decisions together.
        archs_per_update: architectures that an update of the weights learns from.
        alpha_every: updates of the weights for one of the prior.
        optimizer: of the weights. AdamW's momentum and weight decay are the recipe's, too.
        classifier_rate: the learning rate of the classifier, as a multiple of the other weights'; with few clips in a
            batch its own would kill the units of its hidden layer.
        norm_start: where the scale of norms starts that start at 0 in the papers' recipe.
        held_out_fraction: of the training videos, which the weights do not see.
    """

    frames: Positive
    crop: Crop
    stride: Positive
    batch: Positive
    jitter: tuple[Positive, Positive]
    parts: dict[str, PartProxy]
    joint: PartProxy | None = None
    archs_per_update: Positive = 1
    alpha_every: Positive = 8
    optimizer: WeightOptimizer = "sgd"
    classifier_rate: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.0
    norm_start: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.5
    held_out_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2


class SearchRecipe(Strict, frozen=True):
    """The recipe by which the supernet's weights and the prior learn.

    Gong et al., "Searching for two-stream models in multivariate space for video recognition", 2021, arXiv:2108.12957,
    supplement, section 3.1.
    """

    batch: Positive
    jitter: tuple[Positive, Positive]
    samples: Positive = 13
    momentum: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.9
    weight_decay: Annotated[float, msgspec.Meta(ge=0, le=1)] = 5e-5


class SpaceFile(Strict, frozen=True):
    """A file of `search_spaces/`."""

    format: int
    name: str
    network: NetworkConfig
    candidates: dict[str, dict[str, Any]]  # by stream; the keys are `width` and its blocks' choices
    reference: Reference
    recipe: SearchRecipe
    parts: tuple[Part, ...]
    proxy: Proxy
    fusion: tuple[str, ...] = ("skip",)
    attention: tuple[str, ...] = ("skip",)
    about: str = ""


class ArchitectureFile(Strict, frozen=True):
    """A frozen architecture; it builds without the file of its space."""

    format: int
    space: str
    network: NetworkConfig
    reference: Reference
    choices: dict[str, Value]
    hash: str = ""
    plugins: dict[str, PluginRecord] = {}
    cost: dict[str, Value] = {}
    provenance: dict[str, Value | bool] = {}
