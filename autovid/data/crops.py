"""How the square that a network sees is cut out of a training clip's frames: one draw, the same for all frames.

jitter       the short side resized to a random length, a square anywhere (`augment.RandomCrop`; X3D, SlowFast)
multi_scale  sides of 1, 0.875, 0.75 or 0.66 of the short side, height and width a step apart at most, at one of
             thirteen places (Wang et al., "Temporal segment networks", 2016, and its code); multi_scale_5 the same at
             five places, the corners and the centre (mmaction's where `more_fix_crop` is false)
area         a random share of the picture's area at a random aspect ratio of 3/4 to 4/3 (Szegedy et al., "Going
             deeper with convolutions", 2015); after ten vain tries the largest such box in the middle, as torchvision
pad          the short side made the crop (CIFAR's images have it), 4 black pixels around it, a square anywhere (He et
             al., "Deep residual learning", 2016, section 4.2)
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from autovid.data.augment import RandomCrop, mirrored, resize, shrink

Crops = Literal["jitter", "multi_scale", "multi_scale_5", "area", "pad"]
SCALES = (1.0, 0.875, 0.75, 0.66)
PAIRS = tuple((i, j) for i in range(len(SCALES)) for j in range(len(SCALES)) if abs(i - j) <= 1)
PLACES = (  # quarters of the room, down and across: corners, centre, middles of the sides, and between these
    (0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3),
)  # fmt: skip
FIVE = 5  # of these, the first ones, are corners and centre
SNAP = 3  # pixels to the whole side within which a side is the whole
TRIES = 10
RATIO = 4 / 3
PAD = 4  # pixels on every side

Box = tuple[int, int, int, int]
"""Top, left, height, width."""


def jitter_range(crop: int) -> tuple[int, int]:
    """Table 3's range of the short side for a crop: 8/7 and 10/7 of it, to even numbers (160: 182 to 228)."""
    return 2 * round(crop * 4 / 7), 2 * round(crop * 5 / 7)


class MultiScaleCrop(NamedTuple):
    """`pair` of PAIRS says how high and how wide, `place` of PLACES where."""

    crop: int
    pair: int
    place: int
    mirror: bool

    def box(self, height: int, width: int) -> Box:
        """What is cut out of a frame of this size."""
        short = min(height, width)
        sides = [int(short * SCALES[index]) for index in PAIRS[self.pair]]
        high, wide = (self.crop if abs(side - self.crop) < SNAP else side for side in sides)
        down, across = PLACES[self.place]
        return (height - high) // 4 * down, (width - wide) // 4 * across, high, wide

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) -> (crop, crop, 3)."""
        return _cut(frame, self.box(*frame.shape[:2]), self.crop, self.mirror)


class AreaCrop(NamedTuple):
    """`tries` are shares of the area with aspect ratios (wide / high), of which the first that fits is taken."""

    crop: int
    tries: tuple[tuple[float, float], ...]
    down: float
    across: float
    mirror: bool

    def box(self, height: int, width: int) -> Box:
        """What is cut out of a frame of this size."""
        for share, ratio in self.tries:
            high, wide = (round((share * height * width * r) ** 0.5) for r in (1 / ratio, ratio))
            if 0 < high <= height and 0 < wide <= width:
                return int(self.down * (height - high + 1)), int(self.across * (width - wide + 1)), high, wide
        high, wide = min(height, round(width * RATIO)), min(width, round(height * RATIO))
        return (height - high) // 2, (width - wide) // 2, high, wide

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) -> (crop, crop, 3)."""
        return _cut(frame, self.box(*frame.shape[:2]), self.crop, self.mirror)


class PadCrop(NamedTuple):
    """A crop x crop square of the frame with its black border, at a place (0..1 down and across)."""

    crop: int
    down: float
    across: float
    mirror: bool

    def cut(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(H, W, 3) -> (crop, crop, 3)."""
        padded = np.pad(shrink(frame, self.crop), ((PAD, PAD), (PAD, PAD), (0, 0)))
        height, width = padded.shape[:2]
        top, left = int(self.down * (height - self.crop + 1)), int(self.across * (width - self.crop + 1))
        square = padded[top : top + self.crop, left : left + self.crop]
        return mirrored(square) if self.mirror else square


Cut = RandomCrop | MultiScaleCrop | AreaCrop | PadCrop


class Cutting(NamedTuple):
    """How clips are cut: `jitter` (pixels of the short side) is for jitter, `area` (shares) for area."""

    crops: Crops
    crop: int
    jitter: tuple[int, int]
    area: tuple[float, float]
    flip: bool

    def draw(self, rng: np.random.Generator) -> Cut:
        """One clip's cut."""
        if self.crops == "jitter":
            return RandomCrop.draw(self.crop, self.jitter, self.flip, rng)
        mirror = bool(self.flip and rng.random() < 0.5)
        if self.crops == "multi_scale_5":
            return MultiScaleCrop(self.crop, int(rng.integers(len(PAIRS))), int(rng.integers(FIVE)), mirror)
        if self.crops == "multi_scale":
            return MultiScaleCrop(self.crop, int(rng.integers(len(PAIRS))), int(rng.integers(len(PLACES))), mirror)
        if self.crops == "pad":
            return PadCrop(self.crop, rng.random(), rng.random(), mirror)
        shares, ratios = rng.uniform(*self.area, TRIES), np.exp(rng.uniform(-np.log(RATIO), np.log(RATIO), TRIES))
        tries = tuple(zip(shares.tolist(), ratios.tolist()))
        return AreaCrop(self.crop, tries, rng.random(), rng.random(), mirror)


def _cut(frame: NDArray[np.uint8], box: Box, crop: int, mirror: bool) -> NDArray[np.uint8]:
    top, left, high, wide = box
    square = resize(frame[top : top + high, left : left + wide], crop, crop)
    return mirrored(square) if mirror else square
