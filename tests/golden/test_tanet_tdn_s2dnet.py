"""Parameters and MACs of TANet, TDN, TSM-MobileNetV2 and S2DNet against the published figures (systems.md, 5 and 7)."""

import pytest

import autovid
from autovid.models import NetworkSpec, build_network

ROWS = [
    ("tanet_resnet50", 224, 25_590_320, "32.760"),
    ("tanet_resnet50", 256, 25_590_320, "42.783"),
    ("tdn_resnet50", 224, 24_883_120, "35.642"),
    ("tdn_resnet50", 256, 24_883_120, "46.553"),
    ("tsm_mobilenet_v2", 224, 2_736_272, "2.400"),
]


@pytest.mark.parametrize(("name", "crop", "params", "gflops"), ROWS)
def test_published_figures(name: str, crop: int, params: int, gflops: str) -> None:
    net = build_network(NetworkSpec(network=name, classes=400, crop=crop), device="meta")
    counted = autovid.count(net)
    assert counted.params == params
    assert f"{counted.macs / 1e9:.3f}" == gflops
