"""AutoAugment on every frame of a clip, by the policy learned on ImageNet.

Cubuk et al., "AutoAugment: Learning augmentation strategies from data", CVPR 2019, arXiv 1805.09501.

The paper's: 25 sub-policies of two operations, each with the probability that it is done and one of ten magnitudes
(its appendix's table for ImageNet; where an operation takes no magnitude, it is left out here); the ranges of the
magnitudes: shear 0.3, rotation 30 degrees, solarize 256 to 0, posterize 8 to 4 bits, colour, contrast and sharpness by
0.1 to 1.9; operations as Pillow has them.
It leaves open how magnitudes fill the ranges; here as in ClassyVision, with which Auto-TSNet was trained: ten even
steps from nothing to the most, to either side by a coin toss where there are two, uncovered pixels grey (128), shear
bicubic, rotation by the nearest pixel. Other than there, rotation goes to either side too (the paper: -30 to 30
degrees), and the last sub-policy, a repetition of the third, is not left out.
Ours: all frames of a clip share sub-policy, coin tosses and magnitudes. The histogram and the mean
grey are each frame's own.

Cost on one core: 11 ms a clip of 32 frames of 160x160 in the mean over the policy, 54 ms at most (shear); decoding,
cropping and resizing the same clip (stride 2) of a synthetic 340x256 H.264 video takes 27 ms.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageOps

Augment = Literal["auto", "none"]
Operation = Literal[
    "autocontrast", "color", "contrast", "equalize", "invert", "posterize", "rotate", "sharpness", "shear_x", "solarize"
]
SIGNED: tuple[Operation, ...] = ("color", "contrast", "rotate", "sharpness", "shear_x")
LEVELS = 10
GREY = (128, 128, 128)


class PolicyStep(NamedTuple):
    """An operation of a sub-policy, its probability, and its magnitude (0 to 9) if it takes one."""

    operation: Operation
    probability: float
    magnitude: int = 0


POLICY: tuple[tuple[PolicyStep, PolicyStep], ...] = (
    (PolicyStep("posterize", 0.4, 8), PolicyStep("rotate", 0.6, 9)),
    (PolicyStep("solarize", 0.6, 5), PolicyStep("autocontrast", 0.6)),
    (PolicyStep("equalize", 0.8), PolicyStep("equalize", 0.6)),
    (PolicyStep("posterize", 0.6, 7), PolicyStep("posterize", 0.6, 6)),
    (PolicyStep("equalize", 0.4), PolicyStep("solarize", 0.2, 4)),
    (PolicyStep("equalize", 0.4), PolicyStep("rotate", 0.8, 8)),
    (PolicyStep("solarize", 0.6, 3), PolicyStep("equalize", 0.6)),
    (PolicyStep("posterize", 0.8, 5), PolicyStep("equalize", 1.0)),
    (PolicyStep("rotate", 0.2, 3), PolicyStep("solarize", 0.6, 8)),
    (PolicyStep("equalize", 0.6), PolicyStep("posterize", 0.4, 6)),
    (PolicyStep("rotate", 0.8, 8), PolicyStep("color", 0.4, 0)),
    (PolicyStep("rotate", 0.4, 9), PolicyStep("equalize", 0.6)),
    (PolicyStep("equalize", 0.0), PolicyStep("equalize", 0.8)),
    (PolicyStep("invert", 0.6), PolicyStep("equalize", 1.0)),
    (PolicyStep("color", 0.6, 4), PolicyStep("contrast", 1.0, 8)),
    (PolicyStep("rotate", 0.8, 8), PolicyStep("color", 1.0, 2)),
    (PolicyStep("color", 0.8, 8), PolicyStep("solarize", 0.8, 7)),
    (PolicyStep("sharpness", 0.4, 7), PolicyStep("invert", 0.6)),
    (PolicyStep("shear_x", 0.6, 5), PolicyStep("equalize", 1.0)),
    (PolicyStep("color", 0.4, 0), PolicyStep("equalize", 0.6)),
    (PolicyStep("equalize", 0.4), PolicyStep("solarize", 0.2, 4)),
    (PolicyStep("solarize", 0.6, 5), PolicyStep("autocontrast", 0.6)),
    (PolicyStep("invert", 0.6), PolicyStep("equalize", 1.0)),
    (PolicyStep("color", 0.6, 4), PolicyStep("contrast", 1.0, 8)),
    (PolicyStep("equalize", 0.8), PolicyStep("equalize", 0.6)),
)


def auto_augmented(frames: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """(T, H, W, 3) -> the same shape: one sub-policy, drawn from `rng`, done to every frame alike."""
    operations = draw(rng)
    return np.stack([_augmented(frame, operations) for frame in frames]) if operations else frames


def draw(rng: np.random.Generator) -> list[tuple[Operation, float]]:
    """Draw the operations of one clip, in order, each with its strength. Takes five random numbers in any case."""
    steps = POLICY[rng.integers(len(POLICY))]
    tosses = rng.random((len(steps), 2))
    return [
        (step.operation, strength(step, negative=side < 0.5))
        for step, (chance, side) in zip(steps, tosses)
        if chance < step.probability
    ]


def strength(step: PolicyStep, *, negative: bool) -> float:
    """Return the strength of a magnitude: from where the operation changes nothing to the end of its range."""
    unchanged, most = RANGES.get(step.operation, (0.0, 0.0))
    value = unchanged + (most - unchanged) * step.magnitude / (LEVELS - 1)
    return -value if negative and step.operation in SIGNED else value


def _augmented(frame: NDArray[np.uint8], operations: list[tuple[Operation, float]]) -> NDArray[np.uint8]:
    image = Image.fromarray(frame)
    for operation, value in operations:
        image = OPERATIONS[operation](image, value)
    return np.asarray(image)


def _rotate(image: Image.Image, degrees: float) -> Image.Image:
    """Rotate counter-clockwise about the centre."""
    return image.rotate(degrees, fillcolor=GREY)


def _shear_x(image: Image.Image, slope: float) -> Image.Image:
    """Move every row to the left by `slope` times its place from the top, in pixels."""
    matrix = (1, slope, 0, 0, 1, 0)  # from a pixel of the result to where it is read
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=GREY)


RANGES: dict[Operation, tuple[float, float]] = {
    "color": (0.0, 0.9),
    "contrast": (0.0, 0.9),
    "posterize": (8.0, 4.0),
    "rotate": (0.0, 30.0),
    "sharpness": (0.0, 0.9),
    "shear_x": (0.0, 0.3),
    "solarize": (256.0, 0.0),
}
OPERATIONS: dict[Operation, Callable[[Image.Image, float], Image.Image]] = {
    "autocontrast": lambda image, _: ImageOps.autocontrast(image),
    "color": lambda image, value: ImageEnhance.Color(image).enhance(1 + value),
    "contrast": lambda image, value: ImageEnhance.Contrast(image).enhance(1 + value),
    "equalize": lambda image, _: ImageOps.equalize(image),
    "invert": lambda image, _: ImageOps.invert(image),
    "posterize": lambda image, bits: ImageOps.posterize(image, round(bits)),
    "rotate": _rotate,
    "sharpness": lambda image, value: ImageEnhance.Sharpness(image).enhance(1 + value),
    "shear_x": _shear_x,
    "solarize": lambda image, threshold: ImageOps.solarize(image, math.ceil(threshold)),
}
