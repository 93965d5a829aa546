"""Checkpoints as other toolkits write them, made from our own networks, and facts about the real ones."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from autovid.models import Network, NetworkSpec, build_network
from autovid.models.factory import Option
from autovid.weights.importing import FORMATS
from autovid.weights.name_table import Table

FAST = 256


class Fact(NamedTuple):
    """What a checkpoint really holds: how many tensors without the counters of batch norms, and some of them."""

    format: str
    network: str
    count: int
    shapes: dict[str, tuple[int, ...]]
    options: Mapping[str, Option] = {}

    @property
    def spec(self) -> NetworkSpec:
        return NetworkSpec(network=self.network, classes=400, options=dict(self.options))


FACTS = [
    Fact(
        "torchvision",
        "tsn_resnet50",
        267,
        {
            "conv1.weight": (64, 3, 7, 7),
            "bn1.running_var": (64,),
            "layer1.0.downsample.0.weight": (256, 64, 1, 1),
            "layer3.5.conv2.weight": (256, 256, 3, 3),
            "layer4.2.bn3.bias": (2048,),
            "fc.weight": (400, 2048),
        },
    ),
    Fact(
        "torchvision",
        "tsn_inception_v1",
        287,
        {
            "conv1.conv.weight": (64, 3, 7, 7),
            "conv3.bn.running_mean": (192,),
            "inception3a.branch2.1.conv.weight": (128, 96, 3, 3),
            "inception5b.branch4.1.bn.weight": (128,),
            "fc.bias": (400,),
        },
    ),
    Fact(
        "torchvision",
        "tsm_mobilenet_v2",
        262,
        {
            "features.0.0.weight": (32, 3, 3, 3),
            "features.1.conv.0.0.weight": (32, 1, 3, 3),
            "features.1.conv.1.weight": (16, 32, 1, 1),
            "features.1.conv.2.running_var": (16,),
            "features.2.conv.0.0.weight": (96, 16, 1, 1),
            "features.17.conv.1.1.bias": (960,),
            "features.17.conv.2.weight": (320, 960, 1, 1),
            "features.17.conv.3.running_mean": (320,),
            "features.18.1.weight": (1280,),
            "classifier.1.weight": (400, 1280),
        },
    ),
    Fact(
        "pyslowfast",
        "slowonly_r50_8x8",
        267,
        {
            "s1.pathway0_stem.conv.weight": (64, 3, 1, 7, 7),
            "s1.pathway0_stem.bn.bias": (64,),
            "s2.pathway0_res0.branch1_bn.weight": (256,),
            "s4.pathway0_res5.branch2.a.weight": (256, 1024, 3, 1, 1),
            "s5.pathway0_res2.branch2.b.weight": (512, 512, 1, 3, 3),
            "head.projection.weight": (400, 2048),
        },
    ),
    Fact(
        "pyslowfast",
        "slowfast_r50_8x8",
        552,
        {
            "s1.pathway1_stem.conv.weight": (8, 3, 5, 7, 7),
            "s1_fuse.conv_f2s.weight": (16, 8, 7, 1, 1),
            "s4_fuse.bn.running_var": (256,),
            "s2.pathway0_res0.branch1.weight": (256, 80, 1, 1, 1),
            "s5.pathway1_res2.branch2.c_bn.weight": (256,),
            "head.projection.weight": (400, 2304),
        },
    ),
    Fact(
        "pyslowfast",
        "x3d_m",
        484,
        {
            "s1.pathway0_stem.conv_xy.weight": (24, 3, 1, 3, 3),
            "s1.pathway0_stem.conv.weight": (24, 1, 5, 1, 1),
            "s2.pathway0_res0.branch1_bn.weight": (24,),
            "s2.pathway0_res0.branch2.se.fc1.weight": (8, 54, 1, 1, 1),
            "s5.pathway0_res6.branch2.b.weight": (432, 1, 3, 3, 3),
            "head.conv_5.weight": (432, 192, 1, 1, 1),
            "head.lin_5.weight": (2048, 432, 1, 1, 1),
            "head.projection.bias": (400,),
        },
    ),
    Fact(
        "pytorchvideo",
        "slowonly_r50_8x8",
        267,
        {
            "blocks.0.conv.weight": (64, 3, 1, 7, 7),
            "blocks.1.res_blocks.0.branch1_norm.weight": (256,),
            "blocks.4.res_blocks.2.branch2.norm_c.running_mean": (2048,),
            "blocks.5.proj.weight": (400, 2048),
        },
    ),
    Fact(
        "pytorchvideo",
        "slowfast_r50_8x8",
        552,
        {
            "blocks.0.multipathway_blocks.1.conv.weight": (8, 3, 5, 7, 7),
            "blocks.0.multipathway_fusion.conv_fast_to_slow.weight": (16, 8, 7, 1, 1),
            "blocks.1.multipathway_blocks.0.res_blocks.0.branch2.conv_a.weight": (64, 80, 1, 1, 1),
            "blocks.3.multipathway_fusion.norm.weight": (256,),
            "blocks.6.proj.weight": (400, 2304),
        },
    ),
    Fact(
        "pytorchvideo",
        "x3d_m",
        480,
        {
            "blocks.0.conv.conv_t.weight": (24, 3, 1, 3, 3),
            "blocks.0.conv.conv_xy.weight": (24, 1, 5, 1, 1),
            "blocks.1.res_blocks.0.branch2.norm_b.0.weight": (54,),
            "blocks.1.res_blocks.0.branch2.norm_b.1.block.2.bias": (54,),
            "blocks.2.res_blocks.0.branch1_norm.weight": (48,),
            "blocks.5.pool.post_conv.weight": (2048, 432, 1, 1, 1),
            "blocks.5.proj.weight": (400, 2048),
        },
    ),
    Fact(
        "pytorchvideo",
        "csn_r101",
        522,
        {"blocks.0.conv.weight": (64, 3, 3, 7, 7), "blocks.3.res_blocks.22.branch2.conv_b.weight": (256, 1, 3, 3, 3)},
    ),
    Fact(
        "mmaction2",
        "tsn_resnet50",
        267,
        {"backbone.layer1.0.downsample.conv.weight": (256, 64, 1, 1), "cls_head.fc_cls.weight": (400, 2048)},
    ),
    Fact(
        "mmaction2",
        "tsm_resnet50",
        322,
        {
            "backbone.layer1.0.conv1.conv.net.weight": (64, 64, 1, 1),
            "backbone.layer2.0.block.conv1.conv.net.weight": (128, 256, 1, 1),
            "backbone.layer2.1.conv1.bn.weight": (128,),
            "backbone.layer2.0.non_local_block.g.0.conv.weight": (256, 512, 1, 1, 1),
            "backbone.layer3.4.non_local_block.conv_out.bn.weight": (1024,),
        },
        {"non_local": True},
    ),
    Fact(
        "mmaction2",
        "tanet_resnet50",
        459,
        {
            "backbone.layer1.0.tam.G.0.weight": (16, 8),
            "backbone.layer4.2.tam.L.3.weight": (512, 128, 1),
            "backbone.layer1.0.block.conv2.conv.weight": (64, 64, 3, 3),
            "backbone.layer2.0.block.downsample.bn.bias": (512,),
        },
    ),
    Fact(
        "mmaction2",
        "tsm_mobilenet_v2",
        262,
        {
            "backbone.conv1.bn.weight": (32,),
            "backbone.layer1.0.conv.0.conv.weight": (32, 1, 3, 3),
            "backbone.layer2.1.conv.0.net.conv.weight": (144, 24, 1, 1),
            "backbone.layer7.0.conv.2.bn.weight": (320,),
            "backbone.conv2.conv.weight": (1280, 320, 1, 1),
        },
    ),
    Fact(
        "mmaction2",
        "slowfast_r50_8x8",
        536,
        {
            "backbone.slow_path.conv1_lateral.conv.weight": (16, 8, 7, 1, 1),
            "backbone.slow_path.layer3_lateral.conv.weight": (256, 128, 7, 1, 1),
            "backbone.fast_path.layer4.2.conv3.bn.weight": (256,),
        },
    ),
    Fact(
        "mmaction2",
        "csn_r50",
        347,
        {
            "backbone.layer1.0.conv2.0.conv.weight": (64, 64, 1, 1, 1),
            "backbone.layer1.0.conv2.0.bn.weight": (64,),
            "backbone.layer1.0.conv2.1.conv.weight": (64, 1, 3, 3, 3),
            "backbone.layer4.2.conv2.1.bn.running_var": (512,),
        },
        {"interaction": "preserved"},
    ),
    Fact("mmaction2", "csn_r50", 267, {"backbone.layer1.0.conv2.0.conv.weight": (64, 1, 3, 3, 3)}),
    Fact(
        "mmaction2",
        "x3d_m",
        484,
        {
            "backbone.conv1_s.conv.weight": (24, 3, 1, 3, 3),
            "backbone.layer1.0.downsample.bn.weight": (24,),
            "backbone.layer1.0.se_module.fc1.weight": (8, 54, 1, 1, 1),
            "cls_head.fc1.weight": (2048, 432),
            "cls_head.fc2.weight": (400, 2048),
        },
    ),
    Fact(
        "tsm",
        "tsm_resnet50",
        327,
        {
            "base_model.layer1.0.conv1.net.weight": (64, 64, 1, 1),
            "base_model.layer2.2.block.conv1.net.weight": (128, 512, 1, 1),
            "base_model.layer2.0.nl.g.0.weight": (256, 512, 1, 1, 1),
            "base_model.layer3.4.nl.W.0.bias": (1024,),
            "base_model.layer3.4.nl.theta.weight": (512, 1024, 1, 1, 1),
            "new_fc.weight": (400, 2048),
        },
        {"non_local": True},
    ),
    Fact(
        "tsm",
        "tsm_mobilenet_v2",
        262,
        {
            "base_model.features.0.1.weight": (32,),
            "base_model.features.1.conv.0.weight": (32, 1, 3, 3),
            "base_model.features.2.conv.0.weight": (96, 16, 1, 1),
            "base_model.features.3.conv.0.net.weight": (144, 24, 1, 1),
            "base_model.features.17.conv.7.running_mean": (320,),
            "base_model.features.18.0.weight": (1280, 320, 1, 1),
        },
    ),
    Fact(
        "tdn",
        "tdn_resnet50",
        673,
        {
            "base_model.conv1_temp.bias": (64,),
            "base_model.conv1_5.0.weight": (64, 12, 7, 7),
            "base_model.resnext_layer1.0.downsample.0.bias": (256,),
            "base_model.layer2_bak.0.mse.conv2.weight": (8, 1, 3, 3),
            "base_model.layer2_bak.0.shift.conv.weight": (128, 1, 3),
            "base_model.layer4_bak.2.mse.bn3_smallscale4.weight": (32,),
        },
    ),
    Fact(
        "ibm",
        "tam_resnet18",
        126,
        {"layer1.0.tam.prev_se.fc1.weight": (64, 1, 1, 1), "layer4.1.tam.next_se.fc1.weight": (512, 1, 1, 1)},
    ),
    Fact("ibm", "conv_resnet18", 126, {"layer1.0.tam.curr_se.fc1.weight": (64, 64, 1, 1)}),
    Fact(
        "ibm",
        "i3d_resnet18",
        102,
        {"conv1.weight": (64, 3, 3, 7, 7), "layer2.0.downsample.0.weight": (128, 64, 1, 1, 1)},
    ),
    Fact(
        "ibm",
        "s3d_resnet18",
        182,
        {"layer1.0.conv1_t.weight": (64, 64, 3, 1, 1), "layer4.1.bn2_t.bias": (512,)},
    ),
    Fact("ibm", "s3d_resnet50", 347, {"layer1.0.conv2_t.weight": (64, 64, 3, 1, 1), "layer1.0.bn3.bias": (256,)}),
    Fact(
        "ibm",
        "tam_inception_v1",
        323,
        {"tam1.prev_se.fc1.weight": (64, 1, 1, 1), "tam5b.curr_se.fc1.weight": (1024, 1, 1, 1)},
    ),
    Fact(
        "ibm",
        "s3d_inception_v1",
        401,
        {"conv3.conv_t.bias": (192,), "inception3a.branch2.1.bn_t.weight": (128,), "fc.weight": (400, 1024)},
    ),
    Fact("ibm", "i3d_inception_v1", 287, {"conv1.conv.weight": (64, 3, 7, 7, 7)}),
]


def table_of(fact: Fact) -> Table:
    return FORMATS[fact.format].tables_of(fact.spec)[0]


def random_network(fact: Fact, device: str = "cpu") -> Network:
    """The network with the options that such weights need, every tensor of it random."""
    net = build_network(fact.spec.changed(options=table_of(fact).needs), device)
    generator = torch.Generator().manual_seed(0)
    for tensor in net.state_dict().values():
        if tensor.is_floating_point() and device == "cpu":
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.1 + 0.05)
    return net


def written_elsewhere(net: Network, fact: Fact) -> dict[str, Tensor]:
    """The weights of `net` as that toolkit would have written them."""
    table, state = table_of(fact), {}
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked") or table.is_identity(name):
            continue
        if table.order and name == "classifier.weight":
            tensor = tensor.roll(FAST, 1)  # the fast path's features come first there
        names = table.source_names(name)
        for theirs, piece in zip(names, tensor.chunk(len(names), 2) if len(names) > 1 else [tensor], strict=True):
            state[theirs] = piece.reshape(table.their_shape(name, tuple(piece.shape)))
    return state
