"""Parameters and MACs of the networks of "Deep Analysis", to the last integer (docs/papers.md#deep-analysis).

The rows of ResNet-18 and of 16 frames that the page does not have are from the authors' published table of results.
Counts are integers; where the paper has decimals, they are rounded as Python does on every machine.
"""

import pytest

from autovid.costs.count import Count, count
from autovid.models import NetworkSpec, build_network


def counted(name: str, classes: int = 87, frames: int = 8, crop: int = 224, **options: bool) -> Count:
    spec = NetworkSpec(network=name, classes=classes, frames=frames, crop=crop, options=options)
    return count(build_network(spec, device="meta"))


# MACs of convolutions at 8 x 224 x 224; parameters at 87 classes; MACs with temporal pooling, None where not published
SECTION_6 = {
    "tsn_resnet50": (32_697_090_048, 23_686_295, 14_135_984_128),
    "tsm_resnet50": (32_697_090_048, 23_686_295, 14_135_984_128),
    "tam_resnet50": (32_831_963_136, 23_725_655, 14_213_054_464),
    "conv_resnet50": (106_992_893_952, 71_474_327, None),
    "i3d_resnet50": (64_180_322_304, 46_339_607, 29_460_135_936),
    "s3d_resnet50": (39_517_814_784, 27_485_079, 19_672_203_264),
    "tsn_resnet18": (14_508_490_752, 11_221_143, 7_520_780_288),
    "tsm_resnet18": (14_508_490_752, 11_221_143, 7_520_780_288),
    "tam_resnet18": (14_530_768_896, 11_225_559, 7_535_155_712),
    "i3d_resnet18": (43_217_190_912, 33_210_903, 22_472_425_472),
    "s3d_resnet18": (21_329_215_488, 15_425_559, 12_125_732_864),
    "tsn_inception_v1": (11_978_817_536, 5_689_079, 6_521_725_952),
    "tsm_inception_v1": (11_978_817_536, 5_689_079, 6_521_725_952),
    "tam_inception_v1": (12_047_006_720, 5_706_503, 6_570_863_936),
    "conv_inception_v1": (32_177_266_688, 17_206_775, None),
    "i3d_inception_v1": (33_573_614_592, 12_376_439, 21_411_353_600),
    "s3d_inception_v1": (19_778_626_560, 7_992_503, 12_264_670_208),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.thorough] if "resnet50" in name else []) for name in SECTION_6]
)
def test_section_6(name: str) -> None:
    macs, params, pooled_macs = SECTION_6[name]
    plain, pooled = counted(name), counted(name, temporal_pooling=True)
    assert (plain.macs_by_kind["conv"], plain.params) == (macs, params)
    assert pooled.params == params
    if pooled_macs is not None:
        assert pooled.macs_by_kind["conv"] == pooled_macs


@pytest.mark.parametrize(
    "name",
    [
        "conv_resnet18",
        *(pytest.param(f"conv_{name}", marks=pytest.mark.thorough) for name in ("resnet50", "inception_v1")),
    ],
)
def test_dense_aggregation_costs_c_times_as_much_as_aggregation(name: str) -> None:
    """The dense networks with temporal pooling are in no table, so by hand: per weight of TAM, C of them."""
    backbone, conv, tam = name.partition("_")[2], {}, {}
    for pooling in (False, True):
        base = counted(f"tsn_{backbone}", temporal_pooling=pooling)
        conv[pooling] = counted(name, temporal_pooling=pooling).macs - base.macs
        tam[pooling] = counted(f"tam_{backbone}", temporal_pooling=pooling).macs - base.macs
    assert conv[False] > 64 * tam[False]
    assert tam[False] > tam[True] > tam[False] / 8
    assert conv[False] > conv[True] > conv[False] / 8


@pytest.mark.parametrize(("name", "macs"), [("i3d_inception_v1", 67_380_196_352), ("s3d_inception_v1", 39_712_547_840)])
def test_the_last_pool_of_16_frames_leaves_15(name: str, macs: int) -> None:
    assert counted(name, frames=16).macs_by_kind["conv"] == macs


# Table 1 of the paper: GFLOPs of convolutions at 32 x 256 x 256, 400 classes
TABLE_1 = [("tsn_resnet50", True, 73.9), ("tam_resnet50", False, 171.5), ("i3d_resnet50", False, 335.3)]


@pytest.mark.parametrize(("name", "temporal_pooling", "gflops"), TABLE_1)
def test_table_1(name: str, temporal_pooling: bool, gflops: float) -> None:
    figures = counted(name, 400, 32, 256, temporal_pooling=temporal_pooling)
    assert round(figures.macs_by_kind["conv"] / 1e9, 1) == gflops


def test_non_local_has_the_parameters_of_table_3_but_half_of_its_flops() -> None:
    """Table 3 says 31.0 M and 196 G. Nobody's code gives 196 G; five blocks that leave no key out give 96.97 G."""
    figures = counted("nln_resnet50")
    assert figures.params == 31_044_759
    assert figures.macs_by_kind == {"conv": 49_138_761_728, "linear": 8 * 87 * 2048, "matmul": 47_834_988_544}
    assert round((figures.macs_by_kind["conv"] + figures.macs_by_kind["matmul"]) / 1e9, 2) == 96.97
    assert figures.macs < 0.5 * 196e9


def test_tsm_resnet50_of_section_7() -> None:
    plain, large = counted("tsm_resnet50", 400), counted("tsm_resnet50", 400, crop=256)
    assert plain.params == 24_327_632
    assert (round(plain.macs / 1e9, 3), round(large.macs / 1e9, 3)) == (32.704, 42.713)
    non_local = counted("tsm_resnet50", 400, non_local=True)
    assert (non_local.params, round(non_local.macs / 1e9, 3)) == (31_686_096, 61.104)


def test_images() -> None:
    """ResNet-50 as torchvision counts it; ResNet-110 by hand: convolutions, norms, classifier."""
    assert counted("resnet50_imagenet", 1000, 1).params == 25_557_032
    stem, first = 3 * 16 * 9, 36 * 16 * 16 * 9
    second, third = 16 * 32 * 9 + 35 * 32 * 32 * 9, 32 * 64 * 9 + 35 * 64 * 64 * 9
    norms = 2 * (37 * 16 + 36 * 32 + 36 * 64)
    cifar = counted("resnet110_cifar", 100, 1, 32)
    assert cifar.params == stem + first + second + third + norms + 65 * 100
    assert cifar.macs == 32**2 * (stem + first) + 16**2 * second + 8**2 * third + 64 * 100
