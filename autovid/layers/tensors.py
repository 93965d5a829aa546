"""Weights of convolutions: how they lie in memory, and how they begin."""

from torch import Tensor, nn


def channels_last(weight: Tensor) -> Tensor:
    """The weight of a 3-D convolution with the strides of channels_last_3d, also where sizes of 1 would hide them.

    torch gives the result the layout that the strides of the weight suggest, so one weight without them loses the
    layout of everything after it; and equal strides mean the same kernel, hence equal bits, for a slice and a whole.
    """
    o, i, t, h, w = weight.shape
    return weight.permute(0, 2, 3, 4, 1).reshape(-1).view(o, t, h, w, i).permute(0, 4, 1, 2, 3)


def he_normal(weight: Tensor) -> Tensor:
    """He initialisation by fan-out (seed-auto-tsnet, section 3.2), in place."""
    if weight.device.type == "meta":
        return weight
    fan_out = weight.shape[0] * weight[0, 0].numel() if weight.shape[1] > 1 else weight[0, 0].numel()
    return nn.init.normal_(weight, 0.0, (2.0 / fan_out) ** 0.5)
