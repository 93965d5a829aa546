"""Multi-scale crops and crops by area, by their definitions; the scale jitter is `augment`'s.

Sizes are integers, of draws that are the seed's on every machine: exp rounds a ratio by 1e-16, and next to no ratio is
so near to another size.
"""

import numpy as np
import pytest

from autovid.data.augment import RandomCrop
from autovid.data.crops import PAIRS, PLACES, SCALES, AreaCrop, Crops, Cutting, MultiScaleCrop


def cutting(crops: Crops, area: tuple[float, float] = (0.15, 0.75)) -> Cutting:
    return Cutting(crops, 32, (36, 45), area, True)


def draws(crops: Crops, count: int = 400) -> list[AreaCrop | MultiScaleCrop | RandomCrop]:
    rng = np.random.default_rng(0)
    return [cutting(crops).draw(rng) for _ in range(count)]


def test_area_crops_are_15_to_75_percent_of_the_picture() -> None:
    """seed-rms, B.2."""
    shares, ratios = [], []
    for cut in draws("area"):
        assert isinstance(cut, AreaCrop)
        top, left, height, width = cut.box(256, 340)
        assert 0 <= top <= 256 - height
        assert 0 <= left <= 340 - width
        shares.append(height * width / (256 * 340))
        ratios.append(width / height)
    assert 0.149 < min(shares) < 0.2
    assert 0.7 < max(shares) < 0.751
    assert 0.74 < min(ratios) < 0.8
    assert 1.25 < max(ratios) < 1.35
    assert np.mean(np.array(ratios) > 1) == pytest.approx(0.5, abs=0.1)  # of 400: 0.025 is one deviation


def test_an_area_that_never_fits_is_the_largest_in_the_middle() -> None:
    cut = AreaCrop(32, ((1.0, 4 / 3),) * 10, 0.9, 0.9, False)
    assert cut.box(100, 400) == (0, 133, 100, 133)
    assert cut.box(400, 100) == (133, 0, 133, 100)


def test_multi_scale_crops_are_those_of_temporal_segment_networks() -> None:
    """Sides of the short side, a step apart at most, at thirteen places: 10 pairs of sides."""
    assert (len(SCALES), len(PAIRS), len(set(PLACES))) == (4, 10, 13)
    boxes = set()
    for cut in draws("multi_scale"):
        assert isinstance(cut, MultiScaleCrop)
        boxes.add(cut.box(256, 340))
    sides = {(height, width) for _, _, height, width in boxes}
    assert sides == {(int(256 * SCALES[i]), int(256 * SCALES[j])) for i, j in PAIRS}
    assert {(top, left) for top, left, height, width in boxes if (height, width) == (256, 256)} <= {
        (0, 21 * step) for step in range(5)
    }


def test_a_side_within_three_pixels_of_the_crop_is_the_crop() -> None:
    assert MultiScaleCrop(224, PAIRS.index((1, 1)), 0, False).box(258, 344)[2:] == (224, 224)


@pytest.mark.parametrize("crops", ["jitter", "multi_scale", "area"])
def test_every_cut_is_the_square_and_half_are_mirrored(crops: Crops) -> None:
    frame = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    cuts = draws(crops, 60)
    assert {cut.cut(frame).shape for cut in cuts} == {(32, 32, 3)}
    assert 15 < sum(cut.mirror for cut in cuts) < 45
    plain = cuts[0]._replace(mirror=False)
    # Bytes: the same square, resized by the same code and then mirrored.
    assert np.array_equal(plain.cut(frame)[:, ::-1], plain._replace(mirror=True).cut(frame))


def test_without_flip_nothing_is_mirrored() -> None:
    rng = np.random.default_rng(0)
    assert not any(cutting("area")._replace(flip=False).draw(rng).mirror for _ in range(50))
