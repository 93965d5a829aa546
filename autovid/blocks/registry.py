"""The blocks and operations of searched networks: one file of code, one line here.

Packages bring theirs by entry points of the groups `autovid.blocks`, `autovid.fusions` and `autovid.attentions`.
"""

from typing import TYPE_CHECKING, Any

from autovid.registry import Registry

if TYPE_CHECKING:
    from autovid.blocks.block import Block

BLOCKS: "Registry[type[Block[Any]]]" = Registry(
    "block",
    "autovid.blocks",
    {
        "mbconv3d": (
            "MBConv3d of X3D: pointwise, depthwise t x k x k, squeeze-excitation, pointwise",
            "autovid.blocks.mbconv3d:MBConv3dBlock",
        ),
    },
)
"""Blocks that stages are made of."""

FUSIONS: "Registry[type[Block[Any]]]" = Registry(
    "fusion operation",
    "autovid.fusions",
    {
        "strided_conv": (
            "convolution over time, as long a step as one stream has more frames than the other",
            "autovid.blocks.fusion:StridedConvFusion",
        ),
        "strided_sampling": (
            "the frames that the other stream sees, the rest left out",
            "autovid.blocks.fusion:StridedSamplingFusion",
        ),
        "time_to_channel": (
            "neighbouring frames laid side by side as channels",
            "autovid.blocks.fusion:TimeToChannelFusion",
        ),
    },
)
"""Operations that make one stream's features an addend for another's."""

ATTENTIONS: "Registry[type[Block[Any]]]" = Registry(
    "attention operation",
    "autovid.attentions",
    {
        "glore": ("GloRe: reasoning between the nodes of a small graph", "autovid.blocks.attention:GloReAttention"),
        "nonlocal": (
            "non-local: every position attends to a map averaged to few positions",
            "autovid.blocks.attention:NonLocalAttention",
        ),
    },
)
"""Operations that relate all positions of a map."""

FRAME: "Registry[type[Block[Any]]]" = Registry(
    "piece",
    "",
    {
        "stem": ("", "autovid.blocks.ends:StemBlock"),
        "fusion": ("", "autovid.blocks.fusion:FusionBlock"),
        "attention": ("", "autovid.blocks.attention:AttentionBlock"),
        "head": ("", "autovid.blocks.ends:HeadBlock"),
        "classifier": ("", "autovid.blocks.ends:ClassifierBlock"),
    },
)
"""Blocks that every network has around its stages; not for choosing."""
