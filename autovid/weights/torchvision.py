"""Names in torchvision's ResNets, GoogLeNet and MobileNet-V2 for images, and in IBM's action-recognition-pytorch.

The latter, written like them, holds networks of seed-deep-analysis: TSN, TAM, Conv, I3D and S3D over ResNets and
InceptionV1.
"""

from autovid.models import Network
from autovid.models.mobilenet import STAGES
from autovid.models.tdn import TDN
from autovid.weights.name_table import Names, Table, stages, with_time, without_time

CLIPS = ((r"weight$", with_time),)
IMAGES = ((r"weight$", without_time),)
NORMS: Names = ((r"\.norm(\d)\.", r".bn\1."),)
BEHIND_MODULE: Names = ((r"\.conv2\.conv\.", ".conv2."),)  # the 3x3 convolution where a module stands before it
FACTORIZED: Names = ((r"\.conv(\d)\.spatial\.", r".conv\1."), (r"\.conv(\d)\.norm\.", r".bn\1."))
BEHIND_TIME = r"(conv3|branch[23]\.1)\.norm\."  # S3D's norms behind the convolutions over time, in InceptionV1


def resnet(prefix: str = "", layer: str = "layer{}", head: str = "fc", before: str = "") -> Names:
    """A ResNet but for what is inside of its blocks; `before`, a pattern, precedes our names."""
    return (
        (rf"^{before}stem\.0\.", f"{prefix}conv1."),
        (rf"^{before}stem\.1\.", f"{prefix}bn1."),
        *stages(before, f"{prefix}{layer}.", 1),
        (r"\.shortcut\.", ".downsample."),
        (rf"^{before}classifier\.", f"{head}."),
    )


def mobilenet_v2(before: str = "") -> Names:
    """MobileNet-V2: a row of `features`; in a block, a pair for each layer but the last, whose two stand by themselves.

    `before`, a pattern, precedes our names.
    """
    found = [(rf"^{before}stem\.", "features.0."), (rf"^{before}head\.", "features.18.")]
    blocks = [(stage, index) for stage, (_, _, depth, _) in enumerate(STAGES) for index in range(depth)]
    for number, (stage, index) in enumerate(blocks, 1):
        ours, theirs = rf"^{before}stages\.{stage}\.{index}\.", f"features.{number}.conv."
        paired = ["expand", "depthwise"] if STAGES[stage][0] > 1 else ["depthwise"]
        found += [(rf"{ours}{layer}\.", f"{theirs}{place}.") for place, layer in enumerate(paired)]
        found += [(rf"{ours}project\.{part}\.", f"{theirs}{len(paired) + part}.") for part in (0, 1)]
    return (*found, (rf"^{before}classifier\.", "classifier.1."))


INCEPTION: Names = (
    (r"^layers\.", ""),
    (r"\.conv\.spatial\.", ".conv."),
    (r"\.conv\.norm\.", ".bn."),
    (r"\.norm\.", ".bn."),
    (r"^classifier\.", "fc."),
)


def _start_differences(net: Network) -> None:
    """The short-term module of TDN starts from the image convolution, as in the authors' code."""
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
