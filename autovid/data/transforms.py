"""From a whole frame to the square that the network sees: crops of training clips and of tests, and colours.

Training crops, one draw for all frames of a clip:
jitter       the short side resized to a random length, a square anywhere (X3D, SlowFast)
multi_scale  sides of 1, 0.875, 0.75 or 0.66 of the short side, height and width a step apart at most, at one of
             thirteen places (Wang et al., "Temporal segment networks", 2016, arXiv 1608.00859, and its code);
             multi_scale_5 the same at five places, the corners and the centre (mmaction's where `more_fix_crop` is
             false)
area         a random fraction of the picture's area at a random aspect ratio of 3/4 to 4/3 (Szegedy et al., "Going
             deeper with convolutions", 2015, arXiv 1409.4842); after ten vain tries the largest such box in the middle,
             as torchvision
pad          the short side made the crop (CIFAR's images have it), 4 black pixels around it, a square anywhere (He et
             al., "Deep residual learning", 2016, arXiv 1512.03385, section 4.2)

Pixels are resized as bytes, by torch's antialiased bilinear kernel and only where they are needed: on a 340x256 video
3.7 times as fast as letting the decoder scale whole frames.

Colours (brightness, contrast, saturation, PCA lighting) change as in the authors' code of CutMix (Yun et al., ICCV
2019, arXiv 1905.04899), whose training on ImageNet is the one of fb.resnet.torch: each of the three mixes the picture
with black, with the mean of its grey, or with its grey, in random order; lighting (Krizhevsky et al., "ImageNet
classification with deep convolutional neural networks", 2012) then adds one colour to all pixels. Nothing is clipped
to 0 ... 255, so pixels become floats. Ours: all frames of a clip share the draw. The mean grey is each frame's own.
All of it is linear in a pixel's red, green and blue: it is done as one 3 x 3 matrix and a shift, a frame. Only products
and sums of single numbers are used, in a fixed order, so that no library's choice of a kernel changes a bit.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import interpolate

Crops = Literal["jitter", "multi_scale", "multi_scale_5", "area", "pad"]
SCALES = (1.0, 0.875, 0.75, 0.66)
PAIRS = tuple((i, j) for i in range(len(SCALES)) for j in range(len(SCALES)) if abs(i - j) <= 1)
PLACES = (  # quarters of the free space, down and across: corners, centre, middles of the sides, and between these
    (0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (2, 0), (2, 4), (4, 2), (0, 2), (1, 1), (1, 3), (3, 1), (3, 3),
)  # fmt: skip
FIVE = 5  # of these, the first ones, are corners and centre
SNAP = 3  # pixels to the whole side within which a side is the whole
TRIES = 10
RATIO = 4 / 3
PAD = 4  # pixels on every side

Box: TypeAlias = tuple[int, int, int, int]  # top, left, height, width
Operation = Literal["brightness", "contrast", "saturation"]
OPERATIONS: tuple[Operation, ...] = ("brightness", "contrast", "saturation")
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue in grey (ITU-R 601)
# Principal components of ImageNet's pixels in 0 ... 1, a column each, and their standard deviations.
COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])


@dataclass(frozen=True)
class Crop:
    """A crop x crop square of a frame, from the box that a subclass says, mirrored or not."""

    crop: int
    mirror: bool

    def box(self, height: int, width: int) -> Box:
        """Return the box to cut out of a frame of this size."""
        raise NotImplementedError

    def cut(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(..., H, W, 3) -> (..., crop, crop, 3), each frame by itself."""
        top, left, high, wide = self.box(*frames.shape[-3:-1])
        squares = resize(frames[..., top : top + high, left : left + wide, :], self.crop, self.crop)
        # A copy: numpy takes ten times as long to read pixels backwards.
        return torch.from_numpy(np.ascontiguousarray(squares)).flip(-2).numpy() if self.mirror else squares


@dataclass(frozen=True)
class PlacedCrop(Crop):
    """A crop at a place (0..1 down and across) of the free space."""

    down: float
    across: float

    def _placed(self, height: int, width: int, high: int, wide: int) -> Box:
        return int(self.down * (height - high + 1)), int(self.across * (width - wide + 1)), high, wide


@dataclass(frozen=True)
class JitterCrop(PlacedCrop):
    """A square of the frame resized to `short_side`."""

    short_side: int

    def box(self, height: int, width: int) -> Box:
        side = max(1, round(self.crop / self.short_side * min(height, width)))
        return self._placed(height, width, side, side)


@dataclass(frozen=True)
class MultiScaleCrop(Crop):
    """A box whose height and width are `pair` of PAIRS, at `place` of PLACES."""

    pair: int
    place: int

    def box(self, height: int, width: int) -> Box:
        short = min(height, width)
        sides = [int(short * SCALES[index]) for index in PAIRS[self.pair]]
        high, wide = (self.crop if abs(side - self.crop) < SNAP else side for side in sides)
        down, across = PLACES[self.place]
        return (height - high) // 4 * down, (width - wide) // 4 * across, high, wide


@dataclass(frozen=True)
class AreaCrop(PlacedCrop):
    """The first box that fits of `tries`, each a fraction of the area with an aspect ratio (wide / high)."""

    tries: tuple[tuple[float, float], ...]

    def box(self, height: int, width: int) -> Box:
        for fraction, ratio in self.tries:
            high, wide = (round((fraction * height * width * r) ** 0.5) for r in (1 / ratio, ratio))
            if 0 < high <= height and 0 < wide <= width:
                return self._placed(height, width, high, wide)
        high, wide = min(height, round(width * RATIO)), min(width, round(height * RATIO))
        return (height - high) // 2, (width - wide) // 2, high, wide


@dataclass(frozen=True)
class PadCrop(PlacedCrop):
    """A square of the frame with a black border."""

    def box(self, height: int, width: int) -> Box:
        return self._placed(height, width, self.crop, self.crop)

    def cut(self, frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(..., H, W, 3) -> (..., crop, crop, 3), each frame by itself."""
        border = [(0, 0)] * (frames.ndim - 3) + [(PAD, PAD), (PAD, PAD), (0, 0)]
        return super().cut(np.pad(shrink(frames, self.crop), border))


class Cutting(NamedTuple):
    """The way training clips are cut: `jitter` (pixels of the short side) is for jitter, `area` (0..1) for area."""

    crops: Crops
    crop: int
    jitter: tuple[int, int]
    area: tuple[float, float]
    flip: bool

    def draw(self, rng: np.random.Generator) -> Crop:
        """Draw one clip's crop, mirrored with probability 1/2 where `flip` allows it."""
        if self.crops == "jitter":
            short_side = int(rng.integers(self.jitter[0], self.jitter[1] + 1))
            down, across = rng.random(), rng.random()
            return JitterCrop(self.crop, bool(self.flip and rng.random() < 0.5), down, across, short_side)
        mirror = bool(self.flip and rng.random() < 0.5)
        if self.crops in ("multi_scale", "multi_scale_5"):
            pair, places = int(rng.integers(len(PAIRS))), len(PLACES) if self.crops == "multi_scale" else FIVE
            return MultiScaleCrop(self.crop, mirror, pair, int(rng.integers(places)))
        if self.crops == "pad":
            return PadCrop(self.crop, mirror, rng.random(), rng.random())
        fractions, ratios = rng.uniform(*self.area, TRIES), np.exp(rng.uniform(-np.log(RATIO), np.log(RATIO), TRIES))
        tries = tuple(zip(fractions.tolist(), ratios.tolist()))
        return AreaCrop(self.crop, mirror, rng.random(), rng.random(), tries)


class Color(NamedTuple):
    """One clip's change: operations in order, each with the fraction of the picture that stays; and a shift, of 1."""

    steps: tuple[tuple[Operation, float], ...]
    shift: tuple[float, float, float]

    def apply(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(T, H, W, 3) of 0 ... 255 -> the same shape, in the same unit, beyond these ends too."""
        matrix, offset = self._linear(frames.sum((1, 2), dtype=np.int64) / (frames.shape[1] * frames.shape[2]))
        pixels, changed = frames.astype(np.float32), np.empty(frames.shape, dtype=np.float32)
        for channel, (red, green, blue) in enumerate(matrix.astype(np.float32)):
            mixed = red * pixels[..., 0] + green * pixels[..., 1] + blue * pixels[..., 2]
            changed[..., channel] = mixed + offset[:, None, None, channel].astype(np.float32)
        return changed

    def _linear(self, means_T3: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return a matrix (3, 3) and each frame's offset (T, 3); `means_T3` are those of the frames' colours."""
        matrix, offset = np.eye(3), np.zeros_like(means_T3)
        for operation, kept in self.steps:
            other, shift = np.zeros(3), np.zeros(len(means_T3))  # mixed in: its weights of the colours, a constant
            if operation != "brightness":
                other, shift = (LUMA[:, None] * matrix).sum(0), (LUMA * offset).sum(1)
            if operation == "contrast":
                other, shift = np.zeros(3), (means_T3 * other).sum(1) + shift
            matrix = kept * matrix + (1 - kept) * other
            offset = kept * offset + (1 - kept) * shift[:, None]
        return matrix, offset + 255 * np.array(self.shift)


class ColorJitter(NamedTuple):
    """Strengths: each operation by up to `jitter`, lighting by `lighting` deviations, normally distributed."""

    jitter: float
    lighting: float

    def draw(self, rng: np.random.Generator) -> Color:
        """Draw one clip's change; it takes the same random numbers whatever the strengths are."""
        order, mixed = rng.permutation(len(OPERATIONS)), rng.uniform(-1, 1, len(OPERATIONS)) * self.jitter
        red, green, blue = (COMPONENTS * (rng.standard_normal(3) * self.lighting * DEVIATIONS)).sum(1)
        return Color(
            tuple((OPERATIONS[i], 1 - float(mixed[i])) for i in order), (float(red), float(green), float(blue))
        )


def jitter_range(crop: int) -> tuple[int, int]:
    """Return the range of the short side for a crop, pixels: 8/7 and 10/7 of it, to even numbers (160: 182 to 228).

    Auto-TSNet's (Gong et al., 2021, arXiv 2108.12957), Table 3.
    """
    return 2 * round(crop * 4 / 7), 2 * round(crop * 5 / 7)


def shrink(frames: NDArray[np.uint8], short_side: int) -> NDArray[np.uint8]:
    """(..., H, W, 3) resized so that min(H, W) = short_side."""
    height, width = frames.shape[-3:-1]
    scale = short_side / min(height, width)
    return resize(frames, max(short_side, round(height * scale)), max(short_side, round(width * scale)))


def crop_at(frames: NDArray[np.uint8], crop: int, place: float) -> NDArray[np.uint8]:
    """(..., H, W, 3) -> (..., crop, crop, 3): the square at this place (0..1) of the longer side, amid the shorter."""
    height, width = frames.shape[-3:-1]
    down, across = (place, 0.5) if height > width else (0.5, place)
    top, left = int((height - crop) * down), int((width - crop) * across)
    return frames[..., top : top + crop, left : left + crop, :]


def resize(frames: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """(..., H, W, 3) -> (..., height, width, 3), each frame by itself, as if it were the only one."""
    if frames.shape[-3:-1] == (height, width):
        return frames
    x_NHW3 = torch.from_numpy(np.ascontiguousarray(frames)).view(-1, *frames.shape[-3:])
    y = interpolate(x_NHW3.permute(0, 3, 1, 2), size=(height, width), mode="bilinear", antialias=True)
    resized: NDArray[np.uint8] = y.permute(0, 2, 3, 1).numpy()
    return resized.reshape(*frames.shape[:-3], height, width, 3)
