"""Names in the checkpoints of MMAction2: a convolution and its norm are one module there, `conv` and `bn` in it."""

from collections.abc import Callable

from torch import Tensor

from autovid.models.mobilenet import STAGES
from autovid.weights.name_table import Names, Table, as_convolution, block_from_0, stages, with_time
from autovid.weights.repositories import NON_LOCAL_BLOCKS

CLIPS = ((r"weight$", with_time),)
BLOCK: Names = (
    (r"\.shortcut\.0\.", ".downsample.conv."),
    (r"\.shortcut\.1\.", ".downsample.bn."),
    (r"\.norm(\d)\.", r".conv\1.bn."),
    (r"\.conv(\d)\.weight$", r".conv\1.conv.weight"),
    (r"^classifier\.", "cls_head.fc_cls."),
)
RESNET: Names = (
    (r"^stem\.0\.", "backbone.conv1.conv."),
    (r"^stem\.1\.", "backbone.conv1.bn."),
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
SLOWFAST: Names = (
    (r"^(slow|fast)\.stem\.0\.", r"backbone.\1_path.conv1.conv."),
    (r"^(slow|fast)\.stem\.1\.", r"backbone.\1_path.conv1.bn."),
    *stages(r"(slow|fast)\.", r"backbone.\1_path.layer{}.", 1),
    (r"^laterals\.0\.", "backbone.slow_path.conv1_lateral."),
    (r"^laterals\.(\d)\.", r"backbone.slow_path.layer\1_lateral."),
    (r"_lateral\.0\.", "_lateral.conv."),
    (r"_lateral\.1\.", "_lateral.bn."),
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
X3D_LAYERS = {"expand": "conv1", "depthwise": "conv2", "project": "conv3"}
EPS = {"norm_eps": 1e-3}  # of every batch norm in its CSNs


def _mobilenet() -> Names:
    found = [(r"^stem\.", "backbone.conv1."), (r"^head\.", "backbone.conv2.")]
    for stage, (expansion, _, depth, _) in enumerate(STAGES):
        for index in range(depth):
            ours, theirs = rf"^stages\.{stage}\.{index}\.", f"backbone.layer{stage + 1}.{index}.conv."
            layers = ("expand", "depthwise", "project") if expansion > 1 else ("depthwise", "project")
            for place, layer in enumerate(layers):
                net = ".net" if layer == "expand" and index else ""  # the shifted ones
                found.append((rf"{ours}{layer}\.", f"{theirs}{place}{net}."))
    pairs = (r"^(backbone.*)\.0\.(\w+)$", r"\1.conv.\2"), (r"^(backbone.*)\.1\.(\w+)$", r"\1.bn.\2")
    return (*found, *pairs, (r"^classifier\.", "cls_head.fc_cls."))


MMACTION2 = (
    Table(r"tsn_resnet\d+", (*RESNET, *BLOCK)),
    Table(
        r"tsm_resnet50",
        (*RESNET, *BLOCK, *SHIFTED, *NON_LOCAL_BLOCKS, *NON_LOCAL),
        ((r"\.after\..*weight$", with_time),),
        options={"non_local": True},
        identity=r"\.after\.extend\.bias$",
    ),
    Table(r"tsm_resnet\d+", (*RESNET, *BLOCK, *SHIFTED)),
    Table(
        r"tanet_resnet50",
        (
            *RESNET,
            *BLOCK,
            (r"\.conv2\.adaptive\.kernel\.", ".tam.G."),
            (r"\.conv2\.adaptive\.gates\.", ".tam.L."),
            (r"(layer\d\.\d+)\.(?!tam)", r"\1.block."),
        ),
    ),
    Table(r"tsm_mobilenet_v2", _mobilenet()),
    Table(r"slowonly_r50_.*", (*RESNET, *BLOCK), CLIPS),
    Table(r"slowfast_.*", (*SLOWFAST, *BLOCK), CLIPS, order=SLOW_FIRST, options={"lateral_norm": True}),
    Table(r"slowfast_.*", (*SLOWFAST, *BLOCK), CLIPS, order=SLOW_FIRST, needs={"lateral_norm": False}),
    Table(r"csn_r\d+", (*PRESERVED, *RESNET, *BLOCK), CLIPS, options={"interaction": "preserved"}, needs=EPS),
    Table(r"csn_r\d+", (*SEPARATED, *RESNET, *BLOCK), CLIPS, needs=EPS),
    Table(
        r"x3d_.*",
        (
            *block_from_0(),
            (r"^sites\.main-stem\.weight", "backbone.conv1_s.conv.weight"),
            (r"^sites\.main-stem\.depthwise\.", "backbone.conv1_t.conv."),
            (r"^sites\.main-stem\.norm\.", "backbone.conv1_t.bn."),
            (r"^sites\.main-stage(\d)\.", r"backbone.layer\1."),
            (r"\.shortcut\.", ".downsample.conv."),
            (r"\.shortcut_norm\.", ".downsample.bn."),
            (r"\.squeeze\.squeeze\.", ".se_module.fc1."),
            (r"\.squeeze\.excite\.", ".se_module.fc2."),
            *((rf"(layer\d\.\d+)\.{ours}\.", rf"\1.{theirs}.conv.") for ours, theirs in X3D_LAYERS.items()),
            *((rf"\.{ours}_norm\.", f".{theirs}.bn.") for ours, theirs in X3D_LAYERS.items()),
            (r"^sites\.main-head\.conv\.", "backbone.conv5.conv."),
            (r"^sites\.main-head\.norm\.", "backbone.conv5.bn."),
            (r"^sites\.classifier\.hidden\.", "cls_head.fc1."),
            (r"^sites\.classifier\.output\.", "cls_head.fc2."),
        ),
        ((r"squeeze\.\w+\.weight$", as_convolution),),
    ),
)
