"""Parameters and MACs of SlowFast, SlowOnly, CSN and X3D against the published figures (docs/papers.md#named-networks).

At the crop of LeftCenterRight views the reference code classifies every position at which its pool, as large as the map
of a single view, fits the last map: 4 of them, 9 for X3D-L. Ours averages the whole map and classifies once. The
published figure has the difference, which each row says. Counts are integers, and Python writes their decimals alike
on every machine.
"""

from typing import Any

import pytest

import autovid
from autovid.models import NetworkSpec, build_network

SLOWONLY, SLOWFAST, X3D = 2048 * 400, 2304 * 400, 432 * 2048 + 2048 * 400  # MACs of a classifier at one position
PRESERVED = {"interaction": "preserved"}
ROWS: list[tuple[str, dict[str, Any], int, int, str, int]] = [
    # name, options, crop, parameters, published GFLOPs, MACs of classifiers at further positions
    ("slowonly_r34_8x8", {}, 224, 61_008_080, "60.751", 0),
    ("slowonly_r50_8x8", {}, 224, 32_454_096, "41.741", 0),
    ("slowonly_r50_8x8", {}, 256, 32_454_096, "54.521", 3 * SLOWONLY),
    ("slowfast_r50_8x8", {}, 224, 34_566_488, "50.309", 0),
    ("slowfast_r50_8x8", {}, 256, 34_566_488, "65.712", 3 * SLOWFAST),
    ("slowfast_r50_4x16", {}, 224, 34_480_216, "27.639", 0),
    ("slowfast_r101_8x8", {}, 256, 62_826_968, "125.908", 3 * SLOWFAST),
    ("csn_r50", {}, 224, 13_131_152, "42.309", 0),
    ("csn_r101", {}, 224, 22_213_776, "56.468", 0),
    ("csn_r101", {}, 256, 22_213_776, "73.757", 3 * SLOWONLY),
    ("csn_r152", {}, 224, 29_703_568, "74.046", 0),
    ("csn_r152", PRESERVED, 224, 33_016_592, "83.295", 0),
    ("x3d_xs", {}, 160, 3_794_322, "0.605", 0),
    ("x3d_xs", {}, 182, 3_794_322, "0.844", 3 * X3D),
    ("x3d_s", {}, 160, 3_794_322, "1.963", 0),
    ("x3d_s", {}, 182, 3_794_322, "2.727", 3 * X3D),
    ("x3d_m", {}, 224, 3_794_322, "4.732", 0),
    ("x3d_m", {}, 256, 3_794_322, "6.186", 3 * X3D),
    ("x3d_l", {}, 312, 6_153_432, "18.368", 0),
    ("x3d_l", {}, 356, 6_153_432, "24.778", 8 * X3D),
]


# At a second crop the same network counts again, with classifiers at more positions: of the smallest ones alone.
SMALLEST = ("slowonly_r50_8x8", "x3d_xs")


@pytest.mark.parametrize(
    ("name", "options", "crop", "params", "gflops", "classifiers"),
    [pytest.param(*row, marks=[pytest.mark.thorough] if row[-1] and row[0] not in SMALLEST else []) for row in ROWS],
)
def test_published_figures(
    name: str, options: dict[str, Any], crop: int, params: int, gflops: str, classifiers: int
) -> None:
    net = build_network(NetworkSpec(network=name, classes=400, crop=crop, options=options), device="meta")
    counted = autovid.count(net)
    assert counted.params == params
    assert f"{(counted.macs + classifiers) / 1e9:.3f}" == gflops


def test_the_slow_path_by_itself_has_its_parameters_whatever_the_frames() -> None:
    net = build_network(NetworkSpec(network="slowonly_r50_4x16"), device="meta")
    assert autovid.count(net).params == 32_454_096
    assert (net.clip.frames, net.clip.stride) == (4, 16)


CLIPS = [
    ("slowonly_r50_8x8", 8, 8, 224),
    ("slowfast_r50_8x8", 32, 2, 224),
    ("slowfast_r50_4x16", 32, 2, 224),
    ("csn_r101", 32, 2, 224),
    ("x3d_xs", 4, 12, 160),
    ("x3d_s", 13, 6, 160),
    ("x3d_m", 16, 5, 224),
    ("x3d_l", 16, 5, 312),
]


@pytest.mark.parametrize(("name", "frames", "stride", "crop"), CLIPS)
def test_clips(name: str, frames: int, stride: int, crop: int) -> None:
    clip = build_network(NetworkSpec(network=name), device="meta").clip
    assert (clip.frames, clip.stride, clip.crop) == (frames, stride, crop)
    assert (clip.mean, clip.std) == ((0.45,) * 3, (0.225,) * 3)
