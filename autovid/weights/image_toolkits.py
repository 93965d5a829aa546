"""Names in torchvision's image networks, in IBM's action-recognition-pytorch and in the repositories of TSM and TDN.

IBM's toolkit holds TSN, TAM, Conv, I3D and S3D over ResNets and InceptionV1: "Deep Analysis of CNN-based
Spatio-temporal Representations for Action Recognition", Chen et al., 2021, arXiv:2010.11757.
"""

from autovid.models import Network
from autovid.models.frame_networks import STAGES, TDN
from autovid.weights.name_table import Names, Table, conv_and_norm, over_time, stages, with_time, without_time

CLIPS = ((r"weight$", with_time),)
IMAGES = ((r"weight$", without_time),)
NORMS: Names = ((r"\.norm(\d)\.", r".bn\1."),)
BEHIND_MODULE: Names = ((r"\.conv2\.conv\.", ".conv2."),)  # the 3x3 convolution where a module stands before it
FACTORIZED: Names = ((r"\.conv(\d)\.spatial\.", r".conv\1."), (r"\.conv(\d)\.norm\.", r".bn\1."))
BEHIND_TIME = r"(conv3|branch[23]\.1)\.norm\."  # S3D's norms behind the convolutions over time, in InceptionV1


def resnet(prefix: str = "", layer: str = "layer{}", head: str = "fc", before: str = "") -> Names:
    """Name a ResNet except the insides of its blocks; `before`, a pattern, precedes our names."""
    return (
        *conv_and_norm(rf"^{before}stem", f"{prefix}conv1", f"{prefix}bn1"),
        *stages(before, f"{prefix}{layer}.", 1),
        (r"\.shortcut\.", ".downsample."),
        (rf"^{before}classifier\.", f"{head}."),
    )


def mobilenet_v2(before: str = "") -> Names:
    """Name MobileNet-V2: a row of `features`; in a block, a pair for each layer but the last, whose two are separate.

    `before`, a pattern, precedes our names.
    """
    names = [(rf"^{before}stem\.", "features.0."), (rf"^{before}head\.", "features.18.")]
    blocks = [(stage, index) for stage, (_, _, depth, _) in enumerate(STAGES) for index in range(depth)]
    for number, (stage, index) in enumerate(blocks, 1):
        target, source = rf"^{before}stages\.{stage}\.{index}\.", f"features.{number}.conv."
        paired = ["expand", "depthwise"] if STAGES[stage][0] > 1 else ["depthwise"]
        names += [(rf"{target}{layer}\.", f"{source}{place}.") for place, layer in enumerate(paired)]
        names += [(rf"{target}project\.{part}\.", f"{source}{len(paired) + part}.") for part in (0, 1)]
    return (*names, (rf"^{before}classifier\.", "classifier.1."))


INCEPTION: Names = (
    (r"^layers\.", ""),
    (r"\.conv\.spatial\.", ".conv."),
    (r"\.conv\.norm\.", ".bn."),
    (r"\.norm\.", ".bn."),
    (r"^classifier\.", "fc."),
)


def _start_differences(net: Network) -> None:
    """Start the short-term module of TDN from the image convolution, as in the authors' code."""
    assert isinstance(net, TDN)
    net.short_term.start_from_image()


TORCHVISION = (
    Table(
        r"(tsn|i3d|tam|tsm|nln|conv)_resnet\d+|resnet50_imagenet|tanet_resnet50|slowonly_.*",
        (*resnet(), *NORMS, *BEHIND_MODULE),
        IMAGES,
        fresh=r"\.(enter|after|adaptive)\.",
    ),
    Table(r"s3d_resnet18", (*resnet(), *FACTORIZED), IMAGES, fresh=r"\.temporal\.|\.norm\d\."),
    Table(r"s3d_resnet50", (*resnet(), *FACTORIZED, *NORMS), IMAGES, fresh=r"\.temporal\.|\.norm2\."),
    Table(
        r"tdn_resnet50",
        (
            (r"^short_term\.image_conv\.", "conv1."),
            (r"^short_term\.res2\.", "layer1."),
            *resnet(),
            *NORMS,
            *BEHIND_MODULE,
        ),
        IMAGES,
        fresh=r"(stem\.0|image_conv|conv\d(\.conv)?|shortcut\.0)\.bias$|\.(difference|shift)\.|^short_term\.stem\.",
        finish=_start_differences,
    ),
    Table(r"tsm_mobilenet_v2", mobilenet_v2(), IMAGES),
    Table(  # from two files: both backbones are for images, the rest is new
        r"s2dnet(_mini_kinetics)?",
        (*mobilenet_v2(r"synopsis\."), *resnet(before=r"detail\."), *NORMS),
        IMAGES,
        fresh=r"^(locator|context|fusions)\.",
    ),
    Table(r"(tsn|i3d|tam|tsm|nln|conv)_inception_v1", INCEPTION, IMAGES, fresh=r"^after\."),
    Table(r"s3d_inception_v1", INCEPTION, IMAGES, fresh=rf"\.temporal\.|{BEHIND_TIME}"),
)

WEIGHTS_OF_FRAMES = "{prev,curr,next}_se.fc1.weight"
IBM = (
    Table(
        r"(tsn|tam|conv)_resnet\d+",
        ((r"\.enter\.(conv\.)?weight$", f".tam.{WEIGHTS_OF_FRAMES}"), *resnet(), *NORMS),
        ((r"\.enter\.", without_time),),
    ),
    Table(r"i3d_resnet\d+", (*resnet(), *NORMS), CLIPS),
    Table(
        r"s3d_resnet18",
        (*resnet(), (r"\.norm(\d)\.", r".bn\1_t."), (r"\.temporal\.", "_t."), *FACTORIZED),
        CLIPS,
    ),
    Table(
        r"s3d_resnet50",
        (*resnet(), (r"\.norm2\.", ".bn2_t."), (r"\.temporal\.", "_t."), *FACTORIZED, *NORMS),
        CLIPS,
    ),
    Table(
        r"(tsn|tam|conv)_inception_v1",
        ((r"^after\.(conv|inception)(\d\w?)\.(conv\.)?weight$", rf"tam\2.{WEIGHTS_OF_FRAMES}"), *INCEPTION),
        ((r"^after\.", without_time),),
    ),
    Table(r"i3d_inception_v1", INCEPTION, CLIPS, needs={"last_pool": "code"}),
    Table(
        r"s3d_inception_v1",
        ((BEHIND_TIME, r"\1.bn_t."), (r"\.conv\.temporal\.", ".conv_t."), *INCEPTION),
        CLIPS,
    ),
)

IN_BASE = resnet("base_model.", head="new_fc")
SHIFTED: Names = ((r"(layer\d\.\d+)\.conv1\.", r"\1.conv1.net."),)
NON_LOCAL_BLOCKS: Names = ((r"(layer2\.[02]|layer3\.[024])\.(?!after)", r"\1.block."),)  # those with a block behind
NON_LOCAL: Names = (
    (r"\.after\.query\.", ".nl.theta."),
    (r"\.after\.key\.", ".nl.phi.0."),
    (r"\.after\.value\.", ".nl.g.0."),
    (r"\.after\.extend\.", ".nl.W.0."),
    (r"\.after\.norm\.", ".nl.W.1."),
)


def _tsm_mobilenet_v2() -> Names:
    """Name one row of `features`, and in a block one row of layers, of which some have no weights."""
    names = [(r"^stem\.", "base_model.features.0."), (r"^head\.", "base_model.features.18.")]
    number = 0
    for stage, (expansion, _, depth, _) in enumerate(STAGES):
        for index in range(depth):
            number += 1
            target, source = rf"^stages\.{stage}\.{index}\.", f"base_model.features.{number}.conv."
            places = {"expand": 0, "depthwise": 3, "project": 6} if expansion > 1 else {"depthwise": 0, "project": 3}
            for layer, place in places.items():
                net = ".net" if layer == "expand" and index else ""  # the shifted ones
                names += [(rf"{target}{layer}\.0\.", f"{source}{place}{net}.")]
                names += [(rf"{target}{layer}\.1\.", f"{source}{place + 1}.")]
    return (*names, (r"^classifier\.", "new_fc."))


TSM_CODE = (
    Table(
        r"tsm_resnet50",
        (*IN_BASE, *NORMS, *SHIFTED, *NON_LOCAL_BLOCKS, *NON_LOCAL),
        ((r"\.after\..*weight$", with_time),),
        options={"non_local": True},
    ),
    Table(r"tsm_resnet\d+", (*IN_BASE, *NORMS, *SHIFTED)),
    Table(r"tsn_resnet\d+", (*IN_BASE, *NORMS)),
    Table(r"tsm_mobilenet_v2", _tsm_mobilenet_v2()),
)

DIFFERENCE = {
    "squeeze.0": "conv1",
    "squeeze.1": "bn1",
    "smooth": "conv2",
    "coarse.0": "conv3_smallscale2",
    "coarse.1": "bn3_smallscale2",
    "fine.0": "conv3_smallscale4",
    "fine.1": "bn3_smallscale4",
    "excite.0": "conv3",
    "excite.1": "bn3",
}
TDN_CODE = (
    Table(
        r"tdn_resnet50",
        (
            (r"^short_term\.image_conv\.", "base_model.conv1_temp."),
            (r"^short_term\.stem\.", "base_model.conv1_5."),
            (r"^short_term\.res2\.", "base_model.resnext_layer1."),
            *resnet("base_model.", "layer{}_bak", "new_fc"),
            *NORMS,
            *BEHIND_MODULE,
            *((rf"\.conv2\.difference\.{target}\.", f".mse.{source}.") for target, source in DIFFERENCE.items()),
            (r"\.conv2\.shift\.", ".shift.conv."),
        ),
        ((r"\.shift\.weight$", over_time),),
    ),
)
