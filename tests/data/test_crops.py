"""Multi-scale crops and crops by area, by their definitions.

Sizes are integers, of draws that are the seed's on every machine: exp rounds a ratio by 1e-16, and next to no ratio is
so near to another size.
"""

from dataclasses import replace

import numpy as np
import pytest

from autovid.data.transforms import (
    PAIRS,
    PLACES,
    SCALES,
    AreaCrop,
    Crop,
    Crops,
    Cutting,
    MultiScaleCrop,
    PadCrop,
    shrink,
)


def cutting(crops: Crops, area: tuple[float, float] = (0.15, 0.75)) -> Cutting:
    return Cutting(crops, 32, (36, 45), area, True)


def draws(crops: Crops, count: int = 400) -> list[Crop]:
    rng = np.random.default_rng(0)
    return [cutting(crops).draw(rng) for _ in range(count)]


def test_area_crops_are_15_to_75_percent_of_the_picture() -> None:
    """Kim et al. (CVPR 2020), supplement, B.2."""
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
    cut = AreaCrop(32, False, 0.9, 0.9, ((1.0, 4 / 3),) * 10)
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


def test_five_places_are_the_corners_and_the_centre() -> None:
    """As in DNR's configuration, where `more_fix_crop` is false."""
    boxes = {cut.box(240, 360) for cut in draws("multi_scale_5") if isinstance(cut, MultiScaleCrop)}
    whole = {box[:2] for box in boxes if box[2:] == (180, 180)}
    assert whole == {(0, 0), (0, 180), (60, 0), (60, 180), (30, 90)}
    assert {box[2:] for box in boxes} == {(int(240 * SCALES[i]), int(240 * SCALES[j])) for i, j in PAIRS}


def test_a_side_within_three_pixels_of_the_crop_is_the_crop() -> None:
    assert MultiScaleCrop(224, False, PAIRS.index((1, 1)), 0).box(258, 344)[2:] == (224, 224)


def test_a_padded_image_is_cut_at_any_of_81_places() -> None:
    """He et al., section 4.2: 4 pixels on each side, a 32 x 32 crop; equal as bytes, since nothing is resized."""
    frame = np.arange(1, 1 + 32 * 32 * 3, dtype=np.uint32).reshape(32, 32, 3).astype(np.uint8) | 1  # nowhere black
    padded = np.zeros((40, 40, 3), dtype=np.uint8)
    padded[4:36, 4:36] = frame
    places = {padded[t : t + 32, a : a + 32].tobytes(): (t, a) for t in range(9) for a in range(9)}
    met = set()
    for cut in draws("pad", 1500):
        assert isinstance(cut, PadCrop)
        square = cut.cut(frame)
        met.add(places[(square[:, ::-1] if cut.mirror else square).tobytes()])
    assert len(met) == len(places) == 81


def test_a_larger_image_is_made_small_before_it_is_padded() -> None:
    frame = np.full((64, 96, 3), 200, dtype=np.uint8)
    cut = PadCrop(32, False, 0.0, 0.999).cut(frame)
    assert (cut[:4] == 0).all()
    assert (cut[:, -4:] == 0).all()
    # torch resizes bytes with weights in fixed point, whose sum may be off by a little: one step at most
    assert np.abs(cut[4:, :-4].astype(int) - 200).max() <= 1


@pytest.mark.parametrize("crops", ["jitter", "multi_scale", "multi_scale_5", "area", "pad"])
def test_every_cut_is_the_square_and_half_are_mirrored(crops: Crops) -> None:
    frame = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    cuts = draws(crops, 60)
    assert {cut.cut(frame).shape for cut in cuts} == {(32, 32, 3)}
    assert 15 < sum(cut.mirror for cut in cuts) < 45
    plain = replace(cuts[0], mirror=False)
    # Bytes: the same square, resized by the same code and then mirrored.
    assert np.array_equal(plain.cut(frame)[:, ::-1], replace(plain, mirror=True).cut(frame))


@pytest.mark.parametrize("crops", ["jitter", "multi_scale", "multi_scale_5", "area", "pad"])
@pytest.mark.parametrize("size", [(48, 64), (32, 45), (72, 71), (160, 120)])
def test_frames_cut_together_are_those_cut_one_by_one(crops: Crops, size: tuple[int, int]) -> None:
    """To the bit: the kernel works on bytes, one picture after the other."""
    frames = np.random.default_rng(2).integers(0, 256, (5, *size, 3), dtype=np.uint8)
    for cut in draws(crops, 20):
        assert np.array_equal(cut.cut(frames), np.stack([cut.cut(frame) for frame in frames]))
    assert np.array_equal(shrink(frames, 40), np.stack([shrink(frame, 40) for frame in frames]))


def test_without_flip_nothing_is_mirrored() -> None:
    rng = np.random.default_rng(0)
    assert not any(cutting("area")._replace(flip=False).draw(rng).mirror for _ in range(50))
