"""The hand-designed networks and the modules that combine with them, by name; nothing is loaded before it is used.

To add a network: one file of code with a maker of the network's name, one line here; the tests go over the registry. A
maker takes `classes`, `frames`, `crop` and its own options as keywords, and returns a network with `clip` set. A module
is a function `attach_NAME(net, **options)`, which changes a network in place and raises DoesNotFit where it cannot.
"""

from collections.abc import Callable
from typing import Any

from autovid.registry import Registry

STRATEGIES = {
    "tsn": "every frame by itself",
    "i3d": "3-D convolutions",
    "s3d": "convolutions over space, then over time",
    "tam": "three frames weighed per channel",
    "tsm": "channels shifted to the neighbouring frames",
    "nln": "every position attends to every other",
    "conv": "three frames mixed by dense matrices",
}
BACKBONES = {"resnet18": "ResNet-18", "resnet50": "ResNet-50", "inception_v1": "InceptionV1"}
GLANCE = "a glance at the clip says where to look for details"
TOTALS = "an architecture of two_stream, found by us for the paper's totals"

# The sentence about each network, by the file that has its maker.
FILES: dict[str, dict[str, str]] = {
    "deep_analysis": {
        **{
            f"{strategy}_{backbone}": f"{about}; {title}, 8 frames"
            for strategy, about in STRATEGIES.items()
            for backbone, title in BACKBONES.items()
        },
        "tsm_resnet50": f"{STRATEGIES['tsm']}; ResNet-50, 8 frames; or non-local blocks, too",
    },
    "frame_networks": {
        "tanet_resnet50": "temporal kernels that each clip makes for itself; 8 frames",
        "tdn_resnet50": "differences inside and between segments; 8 segments of 5 frames",
        "tsm_mobilenet_v2": "channels shifted to the neighbouring frames; 8 frames",
        "resnet50_imagenet": "ResNet-50 for images: clips of one frame",
        "resnet110_cifar": "ResNet-110 for images of 32 x 32: clips of one frame",
    },
    "s2dnet": {
        "s2dnet": f"{GLANCE}; 12 looks into 32 frames",
        "s2dnet_mini_kinetics": f"{GLANCE}; 16 looks into 64 frames",
        "s2dnet_x3d": f"{GLANCE}; 16 looks into 64 frames",
    },
    "slowfast": {
        "slowonly_r34_8x8": "SlowFast's slow path alone; 8 frames",
        "slowonly_r50_8x8": "SlowFast's slow path alone; 8 frames",
        "slowonly_r50_4x16": "SlowFast's slow path alone; 4 frames",
        "slowfast_r50_8x8": "few frames in detail, all in outline; 8 of 32",
        "slowfast_r50_4x16": "few frames in detail, all in outline; 4 of 32",
        "slowfast_r101_8x8": "few frames in detail, all in outline; 8 of 32",
        **{f"csn_r{depth}": "channel-separated convolutions; 32 frames" for depth in (50, 101, 152)},
    },
    "searched": {
        **{
            f"x3d_{scale}": f"an architecture of the space x3d; {frames} frames"
            for scale, frames in {"xs": 4, "s": 13, "m": 16, "l": 16}.items()
        },
        **{
            f"auto_tsnet_{size}{suffix}": TOTALS + about
            for suffix, about in {"": "", "_noattention": ", no attention"}.items()
            for size in "sml"
        },
    },
}
NETWORKS: Registry[Callable[..., Any]] = Registry(
    "network",
    "autovid.models",
    {
        name: (about, f"autovid.models.{file}:{name}")
        for file, networks in FILES.items()
        for name, about in networks.items()
    },
)
MODULES: Registry[Callable[..., None]] = Registry(
    "module",
    "autovid.modules",
    {
        name: (about, f"autovid.models.modules:attach_{name}")
        for name, about in {
            "dropout": "another rate of the dropout before the classifier",
            "rms": "random mean scaling of the last stages' residual branches",
            "random_drop": "stochastic depth: residual branches left out at random",
            "shake_drop": "residual branches left out, their gradient scaled at random",
            "dnr": "batch norm made dynamic, relayed through time and layers, in networks over frames",
            "cutmix": "clips with a box of another clip, labels blended",
        }.items()
    },
)
