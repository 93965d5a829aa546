"""Sites: the places of a network that become one module each.

A site names the decisions it depends on (`scope`) and the size of what it sees, so that the builder can make it, a cost
can price it, and nobody else has to know the macro table.
"""

from typing import NamedTuple


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


class StemSite(NamedTuple):
    """The first layers of a stream."""

    name: str
    stream: str
    scope: tuple[str, ...]
    width: int
    temporal_kernel: int
    spatial_kernel: int


class BlockSite(NamedTuple):
    """One MBConv3d block. `width_in` is a decision's name, or a number for what the stem gives."""

    name: str
    stream: str
    scope: tuple[str, ...]
    width_in: str | int
    stride: int
    squeeze: int  # reduction of squeeze-excitation; 0 for none
    downsampling: int  # total spatial stride before this block

    @property
    def width(self) -> str:
        return f"{self.name.rsplit('.', 1)[0]}.width"


class FusionSite(NamedTuple):
    """A point where one stream's features are added to the other's."""

    name: str
    scope: tuple[str, ...]
    source: str
    target: str
    width_source: str | int
    width_target: str | int
    ratio: int  # frames of the source for each frame of the target
    kernel: int
    downsampling: int


class AttentionSite(NamedTuple):
    """A point where an attention block may stand."""

    name: str
    stream: str
    scope: tuple[str, ...]
    width: str
    keys: int
    downsampling: int


class HeadSite(NamedTuple):
    """The last 1x1x1 convolution of a stream."""

    name: str
    stream: str
    scope: tuple[str, ...]
    width_in: str
    width: int
    downsampling: int


class ClassifierSite(NamedTuple):
    """Pooled features of all streams, concatenated -> hidden -> classes."""

    name: str
    scope: tuple[str, ...]
    width_in: int
    width: int


Site = StemSite | BlockSite | FusionSite | AttentionSite | HeadSite | ClassifierSite
