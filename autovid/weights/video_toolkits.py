"""Names in the checkpoints of PySlowFast, pytorchvideo and MMAction2.

In MMAction2 a convolution and its norm are one module, with `conv` and `bn` in it.
"""

from collections.abc import Callable

from torch import Tensor

from autovid.models.frame_networks import STAGES
from autovid.weights.image_toolkits import NON_LOCAL_BLOCKS
from autovid.weights.name_table import Names, Table, as_convolution, block_from_0, conv_and_norm, stages, with_time, x3d

CLIPS = ((r"weight$", with_time),)
LINEAR = ((r"squeeze\.\w+\.weight$|hidden\.weight$", as_convolution),)
PATHS: Names = ((r"^slow\.", "0."), (r"^fast\.", "1."))
LETTERS = {"1": "a", "2": "b", "3": "c"}  # of the convolutions of a bottleneck
X3D_LETTERS = {"expand": "a", "depthwise": "b", "project": "c"}

PYSLOWFAST_BLOCK: Names = (
    *conv_and_norm(r"\.shortcut", ".branch1", ".branch1_bn"),
    *((rf"\.conv{number}\.", f".branch2.{letter}.") for number, letter in LETTERS.items()),
    *((rf"\.norm{number}\.", f".branch2.{letter}_bn.") for number, letter in LETTERS.items()),
    (r"^classifier\.", "head.projection."),
)
PYSLOWFAST = (
    Table(
        r"slowonly_r50_.*",
        (
            *conv_and_norm(r"^stem", "s1.pathway0_stem.conv", "s1.pathway0_stem.bn"),
            *stages("", "s{}.pathway0_res", 2),
            *PYSLOWFAST_BLOCK,
        ),
        CLIPS,
    ),
    Table(
        r"slowfast_.*",
        (
            *PATHS,
            *conv_and_norm(r"^(\d)\.stem", r"s1.pathway\1_stem.conv", r"s1.pathway\1_stem.bn"),
            *stages(r"(\d)\.", r"s{}.pathway\1_res", 2),
            *((rf"^laterals\.{i}\.0\.", f"s{i + 1}_fuse.conv_f2s.") for i in range(4)),
            *((rf"^laterals\.{i}\.1\.", f"s{i + 1}_fuse.bn.") for i in range(4)),
            *PYSLOWFAST_BLOCK,
        ),
        CLIPS,
    ),
    Table(
        r"x3d_.*",
        (
            *block_from_0(),
            *x3d(
                "s1.pathway0_stem.conv_xy.weight s1.pathway0_stem.conv. s1.pathway0_stem.bn. "
                ".branch1. .branch1_bn. .branch2.se.fc1. .branch2.se.fc2. "
                "head.conv_5. head.conv_5_bn. head.lin_5. head.projection."
            ),
            *((rf"^sites\.main-stage{i}\.", f"s{i + 1}.pathway0_res") for i in range(1, 5)),
            *((rf"(res\d+)\.{target}\.", rf"\1.branch2.{letter}.") for target, letter in X3D_LETTERS.items()),
            *((rf"\.{target}_norm\.", f".branch2.{letter}_bn.") for target, letter in X3D_LETTERS.items()),
        ),
        LINEAR,
    ),
)

PYTORCHVIDEO_BLOCK: Names = (
    *conv_and_norm(r"\.shortcut", ".branch1_conv", ".branch1_norm"),
    *((rf"\.conv{number}\.", f".branch2.conv_{letter}.") for number, letter in LETTERS.items()),
    *((rf"\.norm{number}\.", f".branch2.norm_{letter}.") for number, letter in LETTERS.items()),
)
PYTORCHVIDEO = (
    Table(
        r"slowonly_r50_.*|csn_r\d+",
        (
            *conv_and_norm(r"^stem", "blocks.0.conv", "blocks.0.norm"),
            *stages("", "blocks.{}.res_blocks.", 1),
            *PYTORCHVIDEO_BLOCK,
            (r"^classifier\.", "blocks.5.proj."),
        ),
        CLIPS,
    ),
    Table(
        r"slowfast_.*",
        (
            *PATHS,
            *conv_and_norm(
                r"^(\d)\.stem", r"blocks.0.multipathway_blocks.\1.conv", r"blocks.0.multipathway_blocks.\1.norm"
            ),
            *stages(r"(\d)\.", r"blocks.{}.multipathway_blocks.\1.res_blocks.", 1),
            *conv_and_norm(
                r"^laterals\.(\d)",
                r"blocks.\1.multipathway_fusion.conv_fast_to_slow",
                r"blocks.\1.multipathway_fusion.norm",
            ),
            *PYTORCHVIDEO_BLOCK,
            (r"^classifier\.", "blocks.6.proj."),
        ),
        CLIPS,
    ),
    Table(
        r"x3d_.*",
        (
            *block_from_0(),
            *x3d(
                "blocks.0.conv.conv_t.weight blocks.0.conv.conv_xy. blocks.0.norm. "
                ".branch1_conv. .branch1_norm. .branch2.norm_b.1.block.0. .branch2.norm_b.1.block.2. "
                "blocks.5.pool.pre_conv. blocks.5.pool.pre_norm. blocks.5.pool.post_conv. blocks.5.proj."
            ),
            (r"^sites\.main-stage(\d)\.", r"blocks.\1.res_blocks."),
            (r"\.depthwise_norm\.", ".branch2.norm_b.0."),
            *((rf"(blocks\.\d+)\.{target}\.", rf"\1.branch2.conv_{letter}.") for target, letter in X3D_LETTERS.items()),
            *((rf"\.{target}_norm\.", f".branch2.norm_{letter}.") for target, letter in X3D_LETTERS.items()),
        ),
        LINEAR,
        identity=r"^sites\.main-stage1-block1\.shortcut_norm\.",
    ),
)

MM_BLOCK: Names = (
    *conv_and_norm(r"\.shortcut", ".downsample.conv", ".downsample.bn"),
    (r"\.norm(\d)\.", r".conv\1.bn."),
    (r"\.conv(\d)\.weight$", r".conv\1.conv.weight"),
    (r"^classifier\.", "cls_head.fc_cls."),
)
MM_RESNET: Names = (
    *conv_and_norm(r"^stem", "backbone.conv1.conv", "backbone.conv1.bn"),
    *stages("", "backbone.layer{}.", 1),
)
SHIFTED: Names = ((r"(layer\d\.\d+\.conv1\.conv)\.", r"\1.net."),)
NON_LOCAL: Names = (
    (r"\.after\.query\.", ".non_local_block.theta.conv."),
    (r"\.after\.key\.", ".non_local_block.phi.0.conv."),
    (r"\.after\.value\.", ".non_local_block.g.0.conv."),
    (r"\.after\.extend\.", ".non_local_block.conv_out.conv."),
    (r"\.after\.norm\.", ".non_local_block.conv_out.bn."),
)
MM_SLOWFAST: Names = (
    *conv_and_norm(r"^(slow|fast)\.stem", r"backbone.\1_path.conv1.conv", r"backbone.\1_path.conv1.bn"),
    *stages(r"(slow|fast)\.", r"backbone.\1_path.layer{}.", 1),
    (r"^laterals\.0\.", "backbone.slow_path.conv1_lateral."),
    (r"^laterals\.(\d)\.", r"backbone.slow_path.layer\1_lateral."),
    *conv_and_norm(r"_lateral", "_lateral.conv", "_lateral.bn"),
)
FAST = 256  # features of the fast path, which come first in its classifier and last in ours
SLOW_FIRST: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    (r"^classifier\.weight$", lambda weight: weight.roll(-FAST, 1)),
)
SEPARATED: Names = ((r"\.conv2\.weight$", ".conv2.0.conv.weight"), (r"\.norm2\.", ".conv2.0.bn."))
PRESERVED: Names = (
    (r"\.conv2\.2\.", ".conv2.1.conv."),
    (r"\.norm2\.", ".conv2.1.bn."),
    (r"\.conv2\.0\.", ".conv2.0.conv."),
    (r"\.conv2\.1\.(?!conv|bn)", ".conv2.0.bn."),
)
MM_X3D = {"expand": "conv1", "depthwise": "conv2", "project": "conv3"}
EPS = {"norm_eps": 1e-3}  # of every batch norm in its CSNs


def _mobilenet() -> Names:
    names = [(r"^stem\.", "backbone.conv1."), (r"^head\.", "backbone.conv2.")]
    for stage, (expansion, _, depth, _) in enumerate(STAGES):
        for index in range(depth):
            target, source = rf"^stages\.{stage}\.{index}\.", f"backbone.layer{stage + 1}.{index}.conv."
            layers = ("expand", "depthwise", "project") if expansion > 1 else ("depthwise", "project")
            for place, layer in enumerate(layers):
                net = ".net" if layer == "expand" and index else ""  # the shifted ones
                names.append((rf"{target}{layer}\.", f"{source}{place}{net}."))
    pairs = (r"^(backbone.*)\.0\.(\w+)$", r"\1.conv.\2"), (r"^(backbone.*)\.1\.(\w+)$", r"\1.bn.\2")
    return (*names, *pairs, (r"^classifier\.", "cls_head.fc_cls."))


MMACTION2 = (
    Table(r"tsn_resnet\d+", (*MM_RESNET, *MM_BLOCK)),
    Table(
        r"tsm_resnet50",
        (*MM_RESNET, *MM_BLOCK, *SHIFTED, *NON_LOCAL_BLOCKS, *NON_LOCAL),
        ((r"\.after\..*weight$", with_time),),
        options={"non_local": True},
        identity=r"\.after\.extend\.bias$",
    ),
    Table(r"tsm_resnet\d+", (*MM_RESNET, *MM_BLOCK, *SHIFTED)),
    Table(
        r"tanet_resnet50",
        (
            *MM_RESNET,
            *MM_BLOCK,
            (r"\.conv2\.adaptive\.kernel\.", ".tam.G."),
            (r"\.conv2\.adaptive\.gates\.", ".tam.L."),
            (r"(layer\d\.\d+)\.(?!tam)", r"\1.block."),
        ),
    ),
    Table(r"tsm_mobilenet_v2", _mobilenet()),
    Table(r"slowonly_r50_.*", (*MM_RESNET, *MM_BLOCK), CLIPS),
    Table(r"slowfast_.*", (*MM_SLOWFAST, *MM_BLOCK), CLIPS, order=SLOW_FIRST, options={"lateral_norm": True}),
    Table(r"slowfast_.*", (*MM_SLOWFAST, *MM_BLOCK), CLIPS, order=SLOW_FIRST, needs={"lateral_norm": False}),
    Table(
        r"csn_r\d+",
        (*PRESERVED, *MM_RESNET, *MM_BLOCK),
        CLIPS,
        options={"interaction": "preserved"},
        needs=EPS,
    ),
    Table(r"csn_r\d+", (*SEPARATED, *MM_RESNET, *MM_BLOCK), CLIPS, needs=EPS),
    Table(
        r"x3d_.*",
        (
            *block_from_0(),
            *x3d(
                "backbone.conv1_s.conv.weight backbone.conv1_t.conv. backbone.conv1_t.bn. "
                ".downsample.conv. .downsample.bn. .se_module.fc1. .se_module.fc2. "
                "backbone.conv5.conv. backbone.conv5.bn. cls_head.fc1. cls_head.fc2."
            ),
            (r"^sites\.main-stage(\d)\.", r"backbone.layer\1."),
            *((rf"(layer\d\.\d+)\.{target}\.", rf"\1.{source}.conv.") for target, source in MM_X3D.items()),
            *((rf"\.{target}_norm\.", f".{source}.bn.") for target, source in MM_X3D.items()),
        ),
        ((r"squeeze\.\w+\.weight$", as_convolution),),
    ),
)
