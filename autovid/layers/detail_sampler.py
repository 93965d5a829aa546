"""The detail sampler of S2DNet: a locator, and differentiable sampling of a clip at its location and scale.

Liang et al., "Delving into details: Synopsis-to-detail networks for video recognition", ECCV 2022; equations of its
supplement, open points after the authors' code. Clips are (B, C, T, H, W); t, h, w are the
frames, height and width of what is sampled. All of it computes in fp32.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.kernels.compute import full_precision


class Location(NamedTuple):
    """Raw location and scale: `time` (B, 2) is mu_t and delta_t; `space` (B, t, 4) is mu_x, mu_y, delta_x, delta_y."""

    time: Tensor
    space: Tensor


class Locator(nn.Module):
    """f_theta: from the synopsis' last map (B, C, T, H, W) and the likely classes s (B, A) to a Location of t frames.

    The spatial part also sees the temporal one. The map is reduced to `CHANNELS` channels: the authors' code as
    published has another number there, which its own linear layer does not take.
    """

    CHANNELS = 4

    def __init__(self, width: int, classes: int, size: tuple[int, int, int], frames: int) -> None:
        super().__init__()
        self.frames = frames
        self.reduce = nn.Conv3d(width + classes, self.CHANNELS, 1)
        self.norm = nn.BatchNorm3d(self.CHANNELS)
        positions = size[0] * size[1] * size[2]
        self.hidden = nn.Sequential(
            nn.Linear(self.CHANNELS * positions, 1024),
            nn.BatchNorm1d(1024),
            nn.ReLU(inplace=True),
            nn.Linear(1024, 512),
            nn.BatchNorm1d(512),
            nn.ReLU(inplace=True),
        )
        self.time = nn.Linear(512, 2, bias=False)
        self.space = nn.Linear(512 + 2, 4 * frames, bias=False)
        for head in (self.time, self.space):
            nn.init.kaiming_uniform_(head.weight, a=5)  # near zero: sampling begins in the middle

    def forward(self, synopsis: Tensor, likely: Tensor) -> Location:
        spread = likely.to(synopsis.dtype)[:, :, None, None, None].expand(-1, -1, *synopsis.shape[2:])
        reduced = self.norm(F.relu(self.reduce(torch.cat([synopsis, spread], 1))))
        hidden = self.hidden(reduced.flatten(1))
        time = self.time(hidden).float()
        space = self.space(torch.cat([hidden, time.to(hidden.dtype)], 1)).float()
        return Location(time, space.view(-1, self.frames, 4))


def sample(x: Tensor, where: Location, size: int, temporal_filter: str = "gaussian") -> Tensor:
    """Sample a clip at a location: (B, C, T, H, W) -> (B, C, t, size, size), by Gaussian filters in space.

    `temporal_filter` is "gaussian", or "linear" for the ablation. At zero the strides are T / (2 t) frames and 1 pixel.
    """
    frames, height, width = x.shape[2:]
    mu, delta = where.time.unbind(1)
    count = where.space.shape[1]
    mu_x, mu_y, delta_x, delta_y = where.space.unbind(2)
    with full_precision(x):
        times = grid(mu, delta, frames, count, frames / (2 * count))
        rows, columns = grid(mu_y, delta_y, height, size, 1.0), grid(mu_x, delta_x, width, size, 1.0)
        return apply_filters(x.float(), times, rows, columns, temporal_filter)


def sample_uniformly(x: Tensor, count: int, size: int, temporal_filter: str = "gaussian") -> Tensor:
    """Sample as before learning: the middles of `count` equal segments, cropped in the centre."""
    frames, height, width = x.shape[2:]
    with full_precision(x):
        zero_B = x.new_zeros(x.shape[0], dtype=torch.float32)
        zero_Bt = zero_B[:, None].expand(-1, count)
        times = grid(zero_B, zero_B, frames, count, frames / count)
        rows, columns = grid(zero_Bt, zero_Bt, height, size, 1.0), grid(zero_Bt, zero_Bt, width, size, 1.0)
        return apply_filters(x.float(), times, rows, columns, temporal_filter)


def grid(mu: Tensor, delta: Tensor, length: int, count: int, stride: float) -> Tensor:
    """Return the positions of `count` filters along an axis of `length`: (...) -> (..., count).

    Equations 1 and 2: the middle is tanh(mu), where -1 and 1 are the ends of the axis; neighbours are `stride` times
    exp(delta) apart.
    """
    steps = torch.arange(count, device=mu.device, dtype=mu.dtype) - (count - 1) / 2
    middle = (torch.tanh(mu) + 1) * (length - 1) / 2
    return middle[..., None] + steps * (stride * torch.exp(delta))[..., None]


def gaussian_filters(positions: Tensor, length: int) -> Tensor:
    """(..., n) positions -> (..., n, length) weights, each Gaussian (sigma 1), summing to one over the axis.

    Beyond the ends of the axis all weight is on the end, at whatever distance (ours: the authors' code gives black).
    """
    axis = torch.arange(length, device=positions.device, dtype=positions.dtype)
    return torch.softmax(-((axis - positions[..., None]) ** 2) / 2, -1)


def apply_filters(x: Tensor, times: Tensor, rows: Tensor, columns: Tensor, temporal_filter: str) -> Tensor:
    """Filter x (B, C, T, H, W) at times (B, t), then every frame at its rows (B, t, h) and columns (B, t, w)."""
    if temporal_filter == "linear":
        x = interpolate_time(x, times)
    else:
        x = filter_time(x, gaussian_filters(times, x.shape[2]))
    return _filter_space(x, gaussian_filters(rows, x.shape[3]), gaussian_filters(columns, x.shape[4]))


def interpolate_time(x: Tensor, times: Tensor) -> Tensor:
    """Interpolate linearly between the two frames around each of the times (B, t); as published, by `grid_sample`."""
    b, c, frames, height, width = x.shape
    along = times * (2 / max(1, frames - 1)) - 1
    where = torch.stack([torch.zeros_like(along), along], -1).unsqueeze(2)
    pixels = x.permute(0, 1, 3, 4, 2).reshape(b, -1, frames, 1)
    out = F.grid_sample(pixels, where, padding_mode="border", align_corners=True)
    frames_BCtHW = out.view(b, c, height, width, -1).permute(0, 1, 4, 2, 3)
    return frames_BCtHW.contiguous(memory_format=torch.channels_last_3d)


def filter_time(x: Tensor, filters: Tensor) -> Tensor:
    """Filter x (B, C, T, H, W) by (B, t, T) -> (B, C, t, H, W), in channels_last_3d one product a line of pixels.

    Lines fit the cache, which frames do not. Of one clip they are views.
    """
    b, c, _, height, width = x.shape
    filters_BHtT = filters.unsqueeze(1).expand(-1, height, -1, -1)  # in full, so that fvcore counts every line
    lines_BHtN = filters_BHtT @ x.permute(0, 3, 2, 4, 1).flatten(3)
    return lines_BHtN.view(b, height, -1, width, c).permute(0, 4, 2, 1, 3)


def _filter_space(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """F_y X F_x^T of every frame: x (B, C, t, H, W), rows (B, t, h, H), columns (B, t, w, W) -> (B, C, t, h, w)."""
    b, c, count, height, width = x.shape
    h, w = rows.shape[2], columns.shape[2]
    lines = rows.flatten(0, 1) @ x.permute(0, 2, 3, 4, 1).reshape(b * count, height, -1)  # (B t, h, W C)
    lines = lines.view(-1, h, width, c).transpose(1, 2).reshape(b * count, width, -1)  # (B t, W, h C)
    out = (columns.flatten(0, 1) @ lines).view(b, count, w, h, c)
    return out.permute(0, 4, 1, 3, 2).contiguous(memory_format=torch.channels_last_3d)
