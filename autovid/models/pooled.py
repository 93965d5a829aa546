"""What the 3-D residual networks after PySlowFast share: one classifier over the averaged map, and zero-init norms."""

from torch import Tensor, nn

from autovid.clip import Clip
from autovid.layers.residual import BasicBlock, Bottleneck
from autovid.models.resnet import ResNet


class PooledResNet(ResNet):
    """A ResNet that averages its last map over time and space, and classifies once.

    With `zero_gamma` its blocks start as the identity.
    """

    def __init__(
        self,
        stem: nn.Module,
        stages: nn.ModuleList,
        width: int,
        classes: int,
        clip: Clip,
        dropout: float,
        zero_gamma: bool,
    ) -> None:
        super().__init__(stem, stages, [None] * (len(stages) - 1), width, classes, clip, dropout)
        if zero_gamma:
            zero_last_norms(self)

    def classify(self, x: Tensor) -> Tensor:
        """(B, C, T, H, W) -> (B, classes)."""
        logits: Tensor = self.classifier(self.dropout(x.mean((2, 3, 4))))
        return logits


def zero_last_norms(net: nn.Module) -> None:
    """Zero for the scale of the last norm of every residual block, so that a new block is the identity."""
    for module in net.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            nn.init.zeros_((module.norm3 if isinstance(module, Bottleneck) else module.norm2).weight)
