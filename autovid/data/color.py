"""Colours of a training clip changed at random: brightness, contrast and saturation, and PCA lighting.

As in the authors' code of CutMix (Yun et al., ICCV 2019, arXiv 1905.04899), whose training on ImageNet is the one of
fb.resnet.torch: each of the three mixes the picture with black, with the mean of its grey, or with its grey, in random
order; lighting (Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012) then adds
one colour to all pixels. Nothing is clipped to 0 ... 255, so pixels become floats.
Ours: all frames of a clip share the draw. The mean grey is each frame's own.

All of it is linear in a pixel's red, green and blue: it is done as one 3 x 3 matrix and a shift, a frame. Only products
and sums of single numbers are used, in a fixed order, so that no library's choice of a kernel changes a bit.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

Operation = Literal["brightness", "contrast", "saturation"]
OPERATIONS: tuple[Operation, ...] = ("brightness", "contrast", "saturation")
LUMA = np.array([0.299, 0.587, 0.114])  # of red, green and blue in grey (ITU-R 601)
# Principal components of ImageNet's pixels in 0 ... 1, a column each, and their standard deviations.
COMPONENTS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
DEVIATIONS = np.array([0.2175, 0.0188, 0.0045])


class Color(NamedTuple):
    """One clip's change: what is mixed in, in order, with the share of the picture that stays; and a shift, of 1."""

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
        """A matrix (3, 3) and each frame's offset (T, 3); `means_T3` are those of the frames' colours."""
        matrix, offset = np.eye(3), np.zeros_like(means_T3)
        for operation, kept in self.steps:
            other, shift = np.zeros(3), np.zeros(len(means_T3))  # what is mixed in: its share of colours, a constant
            if operation != "brightness":
                other, shift = (LUMA[:, None] * matrix).sum(0), (LUMA * offset).sum(1)
            if operation == "contrast":
                other, shift = np.zeros(3), (means_T3 * other).sum(1) + shift
            matrix = kept * matrix + (1 - kept) * other
            offset = kept * offset + (1 - kept) * shift[:, None]
        return matrix, offset + 255 * np.array(self.shift)


class ColorJitter(NamedTuple):
    """How colours change: each operation by up to `jitter`, lighting by `lighting` deviations, normally distributed."""

    jitter: float
    lighting: float

    def draw(self, rng: np.random.Generator) -> Color:
        """One clip's change; it takes the same random numbers whatever the strengths are."""
        order, mixed = rng.permutation(len(OPERATIONS)), rng.uniform(-1, 1, len(OPERATIONS)) * self.jitter
        red, green, blue = (COMPONENTS * (rng.standard_normal(3) * self.lighting * DEVIATIONS)).sum(1)
        return Color(
            tuple((OPERATIONS[i], 1 - float(mixed[i])) for i in order), (float(red), float(green), float(blue))
        )
