"""Names in the checkpoints of the repositories of TSM and of TDN, by their authors."""

from autovid.models.mobilenet import STAGES
from autovid.weights.name_table import Names, Table, over_time, with_time
from autovid.weights.torchvision import BEHIND_MODULE, NORMS, resnet

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


def _mobilenet() -> Names:
    """One row of `features`, and in a block one row of layers, of which some have no weights."""
    found = [(r"^stem\.", "base_model.features.0."), (r"^head\.", "base_model.features.18.")]
    number = 0
    for stage, (expansion, _, depth, _) in enumerate(STAGES):
        for index in range(depth):
            number += 1
            ours, theirs = rf"^stages\.{stage}\.{index}\.", f"base_model.features.{number}.conv."
            places = {"expand": 0, "depthwise": 3, "project": 6} if expansion > 1 else {"depthwise": 0, "project": 3}
            for layer, place in places.items():
                net = ".net" if layer == "expand" and index else ""  # the shifted ones
                found += [(rf"{ours}{layer}\.0\.", f"{theirs}{place}{net}.")]
                found += [(rf"{ours}{layer}\.1\.", f"{theirs}{place + 1}.")]
    return (*found, (r"^classifier\.", "new_fc."))


TSM = (
    Table(
        r"tsm_resnet50",
        (*IN_BASE, *NORMS, *SHIFTED, *NON_LOCAL_BLOCKS, *NON_LOCAL),
        ((r"\.after\..*weight$", with_time),),
        options={"non_local": True},
    ),
    Table(r"tsm_resnet\d+", (*IN_BASE, *NORMS, *SHIFTED)),
    Table(r"tsn_resnet\d+", (*IN_BASE, *NORMS)),
    Table(r"tsm_mobilenet_v2", _mobilenet()),
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
TDN = (
    Table(
        r"tdn_resnet50",
        (
            (r"^short_term\.image_conv\.", "base_model.conv1_temp."),
            (r"^short_term\.stem\.", "base_model.conv1_5."),
            (r"^short_term\.res2\.", "base_model.resnext_layer1."),
            *resnet("base_model.", "layer{}_bak", "new_fc"),
            *NORMS,
            *BEHIND_MODULE,
            *((rf"\.conv2\.difference\.{ours}\.", f".mse.{theirs}.") for ours, theirs in DIFFERENCE.items()),
            (r"\.conv2\.shift\.", ".shift.conv."),
        ),
        ((r"\.shift\.weight$", over_time),),
    ),
)
