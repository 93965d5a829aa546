"""TDN: a ResNet-50 over segments of five frames, with differences inside a segment and between segments.

Wang et al., "TDN: Temporal difference networks for efficient action recognition", 2021, arXiv 2012.10071, as in the
authors' code: the convolutions of the ResNet have biases. The short-term module runs the differences of a segment's
five frames beside the stem and res2; the long-term one and a learnable shift sit in front of the 3x3 convolution in
res3 to res5.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.convolutions import FrameConv, FrameMaxPool, fold, unfold
from autovid.layers.residual import Residual
from autovid.layers.temporal_difference import SNIPPET, LearnableShift, LongTermDifference, differences, middle_frames
from autovid.models.network import every_frame, he_init
from autovid.models.resnet import DEPTHS, IMAGENET_MEAN, IMAGENET_STD, ResNet, frame_bottleneck, frame_stem, make_stages


def tdn_resnet50(*, classes: int = 400, frames: int = 40, crop: int = 224, dropout: float = 0.5) -> "TDN":
    """Build TDN-R50 over `frames` / 5 segments of five consecutive frames. Raises ConfigError for a rest."""
    if frames % SNIPPET:
        raise ConfigError(f"tdn_resnet50 sees segments of {SNIPPET} frames: frames must be a multiple, not {frames}")
    clip = Clip(frames, crop, sampling="uniform", snippet=SNIPPET, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    return TDN(classes, clip, dropout)


class ShortTerm(nn.Module):
    """A branch of the differences of every segment, through a stem and a res2 of their own.

    (B, 3, 5 T, H, W) -> (B, 64, T, H / 8, W / 8) and (B, 256, T, H / 8, W / 8).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            FrameConv(3 * (SNIPPET - 1), 64, 7, stride=2, padding=3, bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(inplace=True),
            FrameMaxPool(3, stride=2, padding=1),
        )
        # The image convolution whose weights, averaged over colours, the stem starts from. It takes no part in the
        # forward pass; the authors' network holds it, and so do their checkpoints and the count of its parameters.
        self.image_conv = nn.Conv2d(3, 64, 7).requires_grad_(False)
        self.res2 = nn.Sequential(*(frame_bottleneck(64 if i == 0 else 256, 64, 1, bias=True) for i in range(3)))

    def start_from_image(self) -> None:
        """Give the stem the weights of the image convolution, as the authors do with ImageNet's."""
        with torch.no_grad():
            weight = self.stem.get_parameter("0.weight")
            weight.copy_(self.image_conv.weight.mean(1, keepdim=True).expand_as(weight))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        early = self.stem(differences(x))
        return early, self.res2(early)


class TDN(ResNet):
    """Clip (B, 3, 5 T, H, W) -> logits (B, classes): T segments of five frames."""

    def __init__(self, classes: int, clip: Clip, dropout: float) -> None:
        stages = make_stages(DEPTHS[50], _block)
        super().__init__(frame_stem(bias=True), stages, [None, None, None], 2048, classes, clip, dropout)
        self.short_term = ShortTerm()
        he_init(self.short_term)
        self.short_term.start_from_image()
        self.change_weight = 0.5 if clip.frames // SNIPPET == 8 else 0.25  # the images have the rest

    def blocks(self) -> list[Residual]:
        return [block for stage in self.stages for block in stage.children() if isinstance(block, Residual)]

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the middle frame of every segment."""
        return every_frame(x, SNIPPET, SNIPPET // 2)

    def features(self, x: Tensor) -> Tensor:
        early, late = self.short_term(x)
        x = self._fuse(self.stem(middle_frames(x)), early)
        x = self._fuse(self.stages[0](x), late)
        for stage in self.stages[1:]:
            x = stage(x)
        return x

    def _fuse(self, images: Tensor, changes: Tensor) -> Tensor:
        changes = unfold(F.interpolate(fold(changes), images.shape[3:]), images.shape[0])
        return (1 - self.change_weight) * images + self.change_weight * changes


def _block(stage: int, index: int, width_in: int, inner: int, stride: int) -> Residual:
    bottleneck = frame_bottleneck(width_in, inner, stride, bias=True)
    if stage > 2:
        parts = OrderedDict(difference=LongTermDifference(inner), shift=LearnableShift(inner), conv=bottleneck.conv2)
        bottleneck.conv2 = nn.Sequential(parts)
    return bottleneck
