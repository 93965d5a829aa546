"""The kernels that this process computes with on a CPU. `autovid.kernels.fastest` measures which are the fastest."""

from typing import Literal

import msgspec


class Kernels(msgspec.Struct, frozen=True):
    """The kernels of a CPU. They round differently, so a run that resumes bit for bit keeps its own.

    All but the last are of training's depthwise convolutions.
    """

    input_gradient: Literal["flip", "torch"] = "flip"
    weight_gradient: Literal["frames", "torch"] = "frames"
    wide_kernels: Literal["split", "whole"] = "split"  # weight gradient of kernels wider than 3: by columns, or at once
    autocast: Literal["fp32", "bf16"] = "fp32"  # the layer's precision in training under bf16 autocast
    pointwise: Literal["product", "images"] = "product"  # of maps below 5,000 pixels: MKL's product, or a convolution


_kernels = Kernels()


def current_kernels() -> Kernels:
    """Return the kernels in use in this process."""
    return _kernels


def use_kernels(kernels: Kernels) -> None:
    """Use these kernels from now on in this process: those of `choose_kernels`, or of a run's record."""
    global _kernels
    _kernels = kernels
