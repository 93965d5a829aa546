"""Names in the checkpoints of PySlowFast and of pytorchvideo: SlowOnly, SlowFast, X3D, CSN."""

from autovid.weights.name_table import Names, Table, as_convolution, block_from_0, stages, with_time

CLIPS = ((r"weight$", with_time),)
LINEAR = ((r"squeeze\.\w+\.weight$|hidden\.weight$", as_convolution),)
PATHS: Names = ((r"^slow\.", "0."), (r"^fast\.", "1."))
LETTERS = {"1": "a", "2": "b", "3": "c"}  # of the convolutions of a bottleneck
X3D_LETTERS = {"expand": "a", "depthwise": "b", "project": "c"}

PYSLOWFAST_BLOCK: Names = (
    (r"\.shortcut\.0\.", ".branch1."),
    (r"\.shortcut\.1\.", ".branch1_bn."),
    *((rf"\.conv{number}\.", f".branch2.{letter}.") for number, letter in LETTERS.items()),
    *((rf"\.norm{number}\.", f".branch2.{letter}_bn.") for number, letter in LETTERS.items()),
    (r"^classifier\.", "head.projection."),
)
PYSLOWFAST = (
    Table(
        r"slowonly_r50_.*",
        (
            (r"^stem\.0\.", "s1.pathway0_stem.conv."),
            (r"^stem\.1\.", "s1.pathway0_stem.bn."),
            *stages("", "s{}.pathway0_res", 2),
            *PYSLOWFAST_BLOCK,
        ),
        CLIPS,
    ),
    Table(
        r"slowfast_.*",
        (
            *PATHS,
            (r"^(\d)\.stem\.0\.", r"s1.pathway\1_stem.conv."),
            (r"^(\d)\.stem\.1\.", r"s1.pathway\1_stem.bn."),
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
            (r"^sites\.main-stem\.weight", "s1.pathway0_stem.conv_xy.weight"),
            (r"^sites\.main-stem\.depthwise\.", "s1.pathway0_stem.conv."),
            (r"^sites\.main-stem\.norm\.", "s1.pathway0_stem.bn."),
            *((rf"^sites\.main-stage{i}\.", f"s{i + 1}.pathway0_res") for i in range(1, 5)),
            (r"\.shortcut\.", ".branch1."),
            (r"\.shortcut_norm\.", ".branch1_bn."),
            (r"\.squeeze\.squeeze\.", ".branch2.se.fc1."),
            (r"\.squeeze\.excite\.", ".branch2.se.fc2."),
            *((rf"(res\d+)\.{ours}\.", rf"\1.branch2.{letter}.") for ours, letter in X3D_LETTERS.items()),
            *((rf"\.{ours}_norm\.", f".branch2.{letter}_bn.") for ours, letter in X3D_LETTERS.items()),
            (r"^sites\.main-head\.conv\.", "head.conv_5."),
            (r"^sites\.main-head\.norm\.", "head.conv_5_bn."),
            (r"^sites\.classifier\.hidden\.", "head.lin_5."),
            (r"^sites\.classifier\.output\.", "head.projection."),
        ),
        LINEAR,
    ),
)

PYTORCHVIDEO_BLOCK: Names = (
    (r"\.shortcut\.0\.", ".branch1_conv."),
    (r"\.shortcut\.1\.", ".branch1_norm."),
    *((rf"\.conv{number}\.", f".branch2.conv_{letter}.") for number, letter in LETTERS.items()),
    *((rf"\.norm{number}\.", f".branch2.norm_{letter}.") for number, letter in LETTERS.items()),
)
PYTORCHVIDEO = (
    Table(
        r"slowonly_r50_.*|csn_r\d+",
        (
            (r"^stem\.0\.", "blocks.0.conv."),
            (r"^stem\.1\.", "blocks.0.norm."),
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
            (r"^(\d)\.stem\.0\.", r"blocks.0.multipathway_blocks.\1.conv."),
            (r"^(\d)\.stem\.1\.", r"blocks.0.multipathway_blocks.\1.norm."),
            *stages(r"(\d)\.", r"blocks.{}.multipathway_blocks.\1.res_blocks.", 1),
            (r"^laterals\.(\d)\.0\.", r"blocks.\1.multipathway_fusion.conv_fast_to_slow."),
            (r"^laterals\.(\d)\.1\.", r"blocks.\1.multipathway_fusion.norm."),
            *PYTORCHVIDEO_BLOCK,
            (r"^classifier\.", "blocks.6.proj."),
        ),
        CLIPS,
    ),
    Table(
        r"x3d_.*",
        (
            *block_from_0(),
            (r"^sites\.main-stem\.weight", "blocks.0.conv.conv_t.weight"),  # over space, in spite of its name
            (r"^sites\.main-stem\.depthwise\.", "blocks.0.conv.conv_xy."),
            (r"^sites\.main-stem\.norm\.", "blocks.0.norm."),
            (r"^sites\.main-stage(\d)\.", r"blocks.\1.res_blocks."),
            (r"\.shortcut\.", ".branch1_conv."),
            (r"\.shortcut_norm\.", ".branch1_norm."),
            (r"\.squeeze\.squeeze\.", ".branch2.norm_b.1.block.0."),
            (r"\.squeeze\.excite\.", ".branch2.norm_b.1.block.2."),
            (r"\.depthwise_norm\.", ".branch2.norm_b.0."),
            *((rf"(blocks\.\d+)\.{ours}\.", rf"\1.branch2.conv_{letter}.") for ours, letter in X3D_LETTERS.items()),
            *((rf"\.{ours}_norm\.", f".branch2.norm_{letter}.") for ours, letter in X3D_LETTERS.items()),
            (r"^sites\.main-head\.conv\.", "blocks.5.pool.pre_conv."),
            (r"^sites\.main-head\.norm\.", "blocks.5.pool.pre_norm."),
            (r"^sites\.classifier\.hidden\.", "blocks.5.pool.post_conv."),
            (r"^sites\.classifier\.output\.", "blocks.5.proj."),
        ),
        LINEAR,
        identity=r"^sites\.main-stage1-block1\.shortcut_norm\.",
    ),
)
