"""The hand-designed networks by name: one file of code, one line here; the tests go over the registry.

A maker takes `classes`, `frames`, `crop` and its own options as keywords, and returns a network with `clip` set.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from autovid.models import (
    auto_tsnet,
    csn,
    deep_analysis,
    images,
    mobilenet,
    s2dnet,
    s2dnet_x3d,
    slowfast,
    tanet,
    tdn,
    x3d,
)
from autovid.models.network import Network


class Entry(NamedTuple):
    """How to make a network, and a line about it."""

    make: Callable[..., Network]
    about: str


NETWORKS: dict[str, Entry] = {
    **{
        f"{strategy}_{backbone}": Entry(partial(make, strategy=strategy), f"{about}; {title}, 8 frames")
        for strategy, about in deep_analysis.STRATEGIES.items()
        for backbone, (make, title) in deep_analysis.BACKBONES.items()
    },
    "tsm_resnet50": Entry(
        deep_analysis.tsm_resnet50, f"{deep_analysis.STRATEGIES['tsm']}; ResNet-50, 8 frames; or non-local blocks, too"
    ),
    "tanet_resnet50": Entry(tanet.tanet_resnet50, "temporal kernels that each clip makes for itself; 8 frames"),
    "tdn_resnet50": Entry(tdn.tdn_resnet50, "differences inside and between segments; 8 segments of 5 frames"),
    "tsm_mobilenet_v2": Entry(mobilenet.tsm_mobilenet_v2, "channels shifted to the neighbouring frames; 8 frames"),
    "s2dnet": Entry(s2dnet.s2dnet, "a glance at the clip says where to look for details; 12 looks into 32 frames"),
    "s2dnet_mini_kinetics": Entry(
        s2dnet.s2dnet_mini_kinetics, "a glance at the clip says where to look for details; 16 looks into 64 frames"
    ),
    "s2dnet_x3d": Entry(
        s2dnet_x3d.s2dnet_x3d, "a glance at the clip says where to look for details; 16 looks into 64 frames"
    ),
    "slowonly_r34_8x8": Entry(partial(slowfast.slowonly, depth=34, stride=8), "SlowFast's slow path alone; 8 frames"),
    "slowonly_r50_8x8": Entry(partial(slowfast.slowonly, depth=50, stride=8), "SlowFast's slow path alone; 8 frames"),
    "slowonly_r50_4x16": Entry(partial(slowfast.slowonly, depth=50, stride=16), "SlowFast's slow path alone; 4 frames"),
    "slowfast_r50_8x8": Entry(
        partial(slowfast.slowfast, depth=50, alpha=4, lateral=7), "few frames in detail, all in outline; 8 of 32"
    ),
    "slowfast_r50_4x16": Entry(
        partial(slowfast.slowfast, depth=50, alpha=8, lateral=5), "few frames in detail, all in outline; 4 of 32"
    ),
    "slowfast_r101_8x8": Entry(
        partial(slowfast.slowfast, depth=101, alpha=4, lateral=5), "few frames in detail, all in outline; 8 of 32"
    ),
    **{
        f"csn_r{depth}": Entry(partial(csn.csn, depth=depth), "channel-separated convolutions; 32 frames")
        for depth in (50, 101, 152)
    },
    **{
        f"x3d_{scale}": Entry(partial(x3d.x3d, scale=scale), f"an architecture of the space x3d; {clip.frames} frames")
        for scale, clip in x3d.SCALES.items()
    },
    **{
        f"auto_tsnet_{size}{'' if attention else '_noattention'}": Entry(
            partial(auto_tsnet.auto_tsnet, size=size, attention=attention),
            f"an architecture of two_stream, found by us for the paper's totals{'' if attention else ', no attention'}",
        )
        for attention in (True, False)
        for size in auto_tsnet.FILES
    },
    "resnet50_imagenet": Entry(images.resnet50_imagenet, "ResNet-50 for images: clips of one frame"),
    "resnet110_cifar": Entry(images.resnet110_cifar, "ResNet-110 for images of 32 x 32: clips of one frame"),
}
