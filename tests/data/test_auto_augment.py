"""AutoAugment: the published table, each operation by hand, and one draw for all frames of a clip.

Pixels are bytes. Operations on bits, on tables and on places are equal; those that blend round once or twice more than
the formula does: 2 of 255. Strengths are a product or two of Python's floats, far within the 1e-6 of approx. What is
drawn is the seed's on every machine.
"""

from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from counting import counting_frames, write
from numpy.typing import NDArray
from PIL import Image

from autovid.clip import Clip
from autovid.data import ClipLoader, Video, VideoSet, open_videos
from autovid.data.auto_augment import OPERATIONS, POLICY, Operation, PolicyStep, auto_augmented, draw, strength

Pixels = NDArray[np.uint8]
PUBLISHED = """posterize 0.4 8 rotate 0.6 9; solarize 0.6 5 autocontrast 0.6 -; equalize 0.8 - equalize 0.6 -;
posterize 0.6 7 posterize 0.6 6; equalize 0.4 - solarize 0.2 4; equalize 0.4 - rotate 0.8 8;
solarize 0.6 3 equalize 0.6 -; posterize 0.8 5 equalize 1.0 -; rotate 0.2 3 solarize 0.6 8;
equalize 0.6 - posterize 0.4 6; rotate 0.8 8 color 0.4 0; rotate 0.4 9 equalize 0.6 -; equalize 0.0 - equalize 0.8 -;
invert 0.6 - equalize 1.0 -; color 0.6 4 contrast 1.0 8; rotate 0.8 8 color 1.0 2; color 0.8 8 solarize 0.8 7;
sharpness 0.4 7 invert 0.6 -; shear_x 0.6 5 equalize 1.0 -; color 0.4 0 equalize 0.6 -;
equalize 0.4 - solarize 0.2 4; solarize 0.6 5 autocontrast 0.6 -; invert 0.6 - equalize 1.0 -;
color 0.6 4 contrast 1.0 8; equalize 0.8 - equalize 0.6 -"""  # fmt: skip
CLIP = Clip(frames=4, crop=16, stride=2)


def noise(*shape: int) -> Pixels:
    return np.random.default_rng(0).integers(20, 200, (*shape, 3), dtype=np.uint8)


def after(operation: Operation, pixels: Pixels, value: float = 0.0) -> Pixels:
    return np.asarray(OPERATIONS[operation](Image.fromarray(pixels), value))


def grey_of(pixels: Pixels) -> NDArray[np.float64]:
    """Luma by ITU-R 601, as whole numbers."""
    return np.floor(pixels @ np.array([0.299, 0.587, 0.114]) + 0.5)


def test_the_policy_is_the_published_table() -> None:
    words = [entry.split() for entry in PUBLISHED.split(";")]
    steps = [(entry[:3], entry[3:]) for entry in words]
    assert len(POLICY) == 25
    for pair, published in zip(POLICY, steps, strict=True):
        for step, (operation, probability, magnitude) in zip(pair, published, strict=True):
            assert step == (operation, float(probability), 0 if magnitude == "-" else int(magnitude))
    assert set(OPERATIONS) == set(get_args(Operation)) == {step.operation for pair in POLICY for step in pair}


@pytest.mark.parametrize(
    ("operation", "none", "most"),
    [("rotate", 0, 30), ("shear_x", 0, 0.3), ("color", 0, 0.9), ("contrast", 0, 0.9), ("sharpness", 0, 0.9)],
)
def test_magnitudes_to_two_sides_run_from_nothing_to_the_most(operation: Operation, none: float, most: float) -> None:
    steps = [PolicyStep(operation, 1.0, magnitude) for magnitude in range(10)]
    to_the_right = [strength(step, negative=False) for step in steps]
    assert to_the_right == pytest.approx(np.linspace(none, most, 10).tolist())
    assert [strength(step, negative=True) for step in steps] == [-value for value in to_the_right]


def test_magnitudes_of_solarize_and_posterize_fall_and_have_one_side() -> None:
    for negative in (True, False):
        levels = [strength(PolicyStep("solarize", 1.0, magnitude), negative=negative) for magnitude in range(10)]
        assert levels == pytest.approx(np.linspace(256, 0, 10).tolist())
        bits = [round(strength(PolicyStep("posterize", 1.0, magnitude), negative=negative)) for magnitude in range(10)]
        assert bits == [8, 8, 7, 7, 6, 6, 5, 5, 4, 4]


def test_invert() -> None:
    pixels = noise(5, 7)
    assert np.array_equal(after("invert", pixels), 255 - pixels)


def test_posterize_keeps_the_highest_bits() -> None:
    pixels = noise(5, 7)
    assert np.array_equal(after("posterize", pixels, 4.0), pixels & 0b11110000)
    assert np.array_equal(after("posterize", pixels, 7.111), pixels & 0b11111110)


@pytest.mark.parametrize("threshold", [256 * 4 / 9, 100.0, 0.0, 256.0])
def test_solarize_inverts_from_the_threshold_up(threshold: float) -> None:
    pixels = noise(9, 9)
    pixels[0, :3, 0] = (99, 100, 101)
    expected = np.where(pixels < threshold, pixels, 255 - pixels)
    assert np.array_equal(after("solarize", pixels, threshold), expected)


def test_autocontrast_stretches_each_channel_to_0_and_255() -> None:
    pixels = noise(8, 8)
    pixels[..., 2] = 77  # nothing to stretch
    changed = after("autocontrast", pixels)
    low, high = pixels[..., :2].min((0, 1)).astype(float), pixels[..., :2].max((0, 1))
    assert np.abs(changed[..., :2] - (pixels[..., :2] - low) * 255 / (high - low)).max() < 1  # rounded down
    assert changed[..., :2].min((0, 1)).tolist() == [0, 0]
    assert changed[..., :2].max((0, 1)).tolist() == [255, 255]
    assert (changed[..., 2] == 77).all()


def test_equalize_maps_each_value_to_the_share_of_pixels_below_it() -> None:
    """Of n pixels, m of them the brightest: step = (n - m) // 255, value -> (step // 2 + below) // step."""
    pixels = noise(64, 64)
    changed = after("equalize", pixels)
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].ravel(), minlength=256)
        step = (64 * 64 - counts[counts.nonzero()[0][-1]]) // 255
        table = np.minimum(255, (step // 2 + np.cumsum(counts) - counts) // step)
        assert np.array_equal(changed[..., channel], table[pixels[..., channel]])
    assert changed.std() > 1.2 * pixels.std()


@pytest.mark.parametrize("value", [-0.8, 0.0, 0.8])
def test_color_goes_to_and_from_grey(value: float) -> None:
    pixels = noise(6, 6)
    grey = grey_of(pixels)[..., None]
    expected = (grey + (1 + value) * (pixels - grey)).clip(0, 255)
    assert np.abs(after("color", pixels, value) - expected).max() <= 2


@pytest.mark.parametrize("value", [-0.8, 0.0, 0.8])
def test_contrast_goes_to_and_from_the_mean_grey(value: float) -> None:
    pixels = noise(6, 6)
    mean = round(grey_of(pixels).mean())
    expected = (mean + (1 + value) * (pixels - float(mean))).clip(0, 255)
    assert np.abs(after("contrast", pixels, value) - expected).max() <= 2


@pytest.mark.parametrize("value", [-0.9, 0.0, 0.9])
def test_sharpness_goes_to_and_from_a_smoothed_image(value: float) -> None:
    """The smoothing: 3x3 with weights 1 and in the middle 5, over 13; the edge stays."""
    pixels = noise(7, 7)
    around = sum(pixels[i : i + 5, j : j + 5].astype(float) for i in range(3) for j in range(3))
    middle = pixels[1:-1, 1:-1].astype(float)
    smooth = (around + 4 * middle) / 13
    changed = after("sharpness", pixels, value)
    assert np.abs(changed[1:-1, 1:-1] - (smooth + (1 + value) * (middle - smooth)).clip(0, 255)).max() <= 2
    assert np.array_equal(changed[0], pixels[0])


@pytest.mark.parametrize("degrees", [-30.0, 30.0])
def test_rotate_turns_counter_clockwise_about_the_centre_and_fills_with_grey(degrees: float) -> None:
    pixels = noise(33, 33)
    assert np.array_equal(after("rotate", pixels, 90.0), np.rot90(pixels))
    hand = np.zeros((33, 33, 3), dtype=np.uint8)
    hand[16, 17:] = 255  # points to three o'clock
    turned = after("rotate", hand, degrees)
    rows, columns = (turned == 255).all(-1).nonzero()
    slope = np.polyfit(columns - 16, 16 - rows, 1)[0]
    assert slope == pytest.approx(np.tan(np.radians(degrees)), abs=0.05)  # a pixel at the end of 16 is 0.06
    assert turned[0, 0].tolist() == [128, 128, 128]


def test_shear_moves_rows_to_the_left_the_lower_the_further() -> None:
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:, 20] = 255
    sheared = after("shear_x", pixels, 0.3)
    for row in (1, 18, 38):
        weights = sheared[row, :25, 0].astype(float)  # left of what is uncovered
        place = (weights * np.arange(25)).sum() / weights.sum()
        assert place == pytest.approx(20 - 0.3 * (row + 0.5), abs=0.2)  # of a pixel
    assert sheared[-1, -1].tolist() == [128, 128, 128]
    assert np.array_equal(after("shear_x", pixels, 0.0), pixels)
    assert after("shear_x", pixels, -0.3)[-1, 0].tolist() == [128, 128, 128]


def test_draws_have_the_published_probabilities() -> None:
    draws = [draw(np.random.default_rng(seed)) for seed in range(5000)]
    counts = Counter(operation for done in draws for operation, _ in done)
    for operation in OPERATIONS:
        share = sum(step.probability for pair in POLICY for step in pair if step.operation == operation) / 25
        assert counts[operation] / 5000 == pytest.approx(share, abs=0.03)  # 0.01 is one deviation at most
    turned = [value for done in draws for operation, value in done if operation == "rotate"]
    assert 0.4 < np.mean(np.array(turned) > 0) < 0.6


def test_every_draw_takes_the_same_of_the_generator() -> None:
    for seed in range(50):
        rng, by_hand = np.random.default_rng(seed), np.random.default_rng(seed)
        draw(rng)
        by_hand.integers(25)
        by_hand.random(4)
        assert rng.random() == by_hand.random()


def test_a_still_clip_stays_still_and_frames_keep_their_shape() -> None:
    still = np.repeat(noise(1, 24, 24), 5, axis=0)
    changed = 0
    for seed in range(60):
        augmented = auto_augmented(still, np.random.default_rng(seed))
        assert augmented.shape == still.shape
        assert augmented.dtype == np.uint8
        assert (augmented == augmented[:1]).all()
        changed += not np.array_equal(augmented, still)
    assert 45 < changed <= 60


def test_the_clip_given_is_not_written_to() -> None:
    clip = noise(3, 24, 24)
    before = clip.copy()
    for seed in range(30):
        auto_augmented(clip, np.random.default_rng(seed))
    assert np.array_equal(clip, before)


@pytest.fixture(scope="module")
def videos(tiny_videos: Path) -> VideoSet:
    return open_videos(tiny_videos)


def loader(videos: VideoSet, **changes: Any) -> ClipLoader:
    keywords = {"batch": 5, "train": True, "seed": 3, "auto_augment": True, **changes}
    return ClipLoader(videos.train, videos.root, CLIP, **keywords)


@pytest.mark.slow
def test_workers_and_the_first_step_change_nothing(videos: VideoSet) -> None:
    whole = [batch.x for batch in loader(videos).batches(0, 6)]
    with closing(loader(videos, workers=2)) as workers:
        assert all(torch.equal(x, batch.x) for x, batch in zip(whole, workers.batches(0, 6), strict=True))
    assert all(torch.equal(x, batch.x) for x, batch in zip(whole[4:], loader(videos).batches(4, 6), strict=True))


def test_it_comes_after_the_crop_and_the_flip(videos: VideoSet) -> None:
    """The same crop as without it: a clip whose draw is nothing is the clip without, pixel for pixel."""
    batches = (next(loader(videos, auto_augment=on, batch=24).batches(0, 1)).x for on in (True, False))
    same = [torch.equal(a, b) for a, b in zip(*batches)]
    assert 0 < sum(same) < 12


def test_evaluation_does_nothing(videos: VideoSet) -> None:
    views = [
        torch.cat([batch.x for batch in loader(videos, train=False, auto_augment=on).views_batches()])
        for on in (True, False)
    ]
    assert torch.equal(*views)


def test_a_still_video_gives_still_clips(tmp_path: Path) -> None:
    write(tmp_path / "still.mkv", [*counting_frames(1)] * 8, codec="ffv1", pixels="bgr0")
    clips = ClipLoader([Video("still.mkv", 0)], tmp_path, CLIP, batch=40, train=True, auto_augment=True)
    x = next(clips.batches(0, 1)).x
    assert torch.equal(x, x[:, :, :1].expand_as(x))
