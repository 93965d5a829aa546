"""The checks for blocks and operations: ours pass, and each mistake that they are for is found."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autovid.blocks.attention import GloReAttention, NonLocalAttention
from autovid.blocks.block import Candidates, Choice
from autovid.blocks.fusion import StridedConvFusion, TimeToChannelFusion
from autovid.blocks.mbconv3d import MBConv3d, MBConv3dBlock
from autovid.blocks.registry import ATTENTIONS, FUSIONS
from autovid.blocks.site import AttentionSite, BlockSite, FusionSite
from autovid.testing import check_block, check_operation

CANDIDATES: Mapping[str, Any] = {"temporal_kernel": (1, 3), "spatial_kernel": (3,), "expansion": (1.5, 3)}


def test_ours_pass() -> None:
    check_block(MBConv3dBlock(), CANDIDATES)
    for name in FUSIONS:
        check_operation(FUSIONS.load(name)(), "fusion")
    for name in ATTENTIONS:
        check_operation(ATTENTIONS.load(name)(), "attention")


class FewerMacs(MBConv3dBlock):
    def macs(self, site: BlockSite, choice: Choice) -> int:
        return super().macs(site, choice) - 1


class MoreParams(MBConv3dBlock):
    def params(self, site: BlockSite, choice: Choice) -> int:
        return super().params(site, choice) + 1


class ForgetsActivations(MBConv3dBlock):
    def activation_bytes(self, site: BlockSite, choice: Choice) -> int:
        return super().activation_bytes(site, choice) - 4


class Fractional(MBConv3dBlock):
    def macs(self, site: BlockSite, choice: Choice) -> int:
        return super().macs(site, choice) / 2  # type: ignore[return-value]


class CoarseKey(MBConv3dBlock):
    def key(self, site: BlockSite, choice: Choice) -> str:
        return super().key(site, {**choice, "temporal_kernel": 1})


class NoKey(MBConv3dBlock):
    def key(self, site: BlockSite, choice: Choice) -> str:
        return ""


class LongLabel(MBConv3dBlock):
    def label(self, site: BlockSite, choice: Choice) -> tuple[str, ...]:
        return ("an inverted residual block",)


class FullKernel(MBConv3d):
    """Convolves with the largest kernel, whatever is chosen."""

    def forward(self, x: Tensor, choice: Choice) -> Tensor:
        kernel = self.depthwise.weight.shape[2]
        return super().forward(x, {**choice, "temporal_kernel": kernel})


class DoesNotRoute(MBConv3dBlock):
    def build(self, site: BlockSite, candidates: Candidates) -> MBConv3d:
        module = super().build(site, candidates)
        module.__class__ = FullKernel
        return module


class UnusedWeight(MBConv3dBlock):
    def build(self, site: BlockSite, candidates: Candidates) -> MBConv3d:
        module = super().build(site, candidates)
        module.register_parameter("spare", nn.Parameter(torch.zeros(3)))
        return module


class WrongStride(MBConv3dBlock):
    def build(self, site: BlockSite, candidates: Candidates) -> MBConv3d:
        module = super().build(site, candidates)
        module.after = nn.AvgPool3d((1, 2, 2))
        return module


@pytest.mark.parametrize(
    ("block", "says"),
    [
        (FewerMacs(), "macs\\(\\) says .*, a trace"),
        (MoreParams(), "params\\(\\) says"),
        (ForgetsActivations(), "activation_bytes\\(\\) says .*, and backward keeps"),
        (Fractional(), "macs\\(\\) gives .*; give a whole number"),
        (CoarseKey(), "is also the key of other work"),
        (NoKey(), "its key is empty"),
        (LongLabel(), "give up to three texts"),
        (DoesNotRoute(), "the supernet's result in evaluation is not the frozen module's"),
        (UnusedWeight(), "spare take no part"),
        (WrongStride(), r"gives \(1, 12, 8, 2, 2\), not 8x5x5"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_mistake_of_a_block_is_found(block: MBConv3dBlock, says: str) -> None:
    with pytest.raises(AssertionError, match=f"{type(block).__name__} with|{type(block).__name__}.macs") as caught:
        check_block(block, CANDIDATES)
    caught.match(says)


def test_candidates_for_every_choice_are_asked_for() -> None:
    with pytest.raises(AssertionError, match="give candidates for each"):
        check_block(MBConv3dBlock(), {"expansion": (1.5,)})


class WrongRatio(TimeToChannelFusion):
    def gathered(self, site: FusionSite) -> int:
        return 2


class KernelForgotten(StridedConvFusion):
    def params(self, site: FusionSite, choice: Choice) -> int:
        return super().params(site, choice) - choice["width_in"] ** 2


class KeysForgotten(NonLocalAttention):
    def key(self, site: AttentionSite, choice: Choice) -> str:
        return f"nonlocal {choice['width']} on {site.size}"


class SumForgotten(GloReAttention):
    def activation_bytes(self, site: AttentionSite, choice: Choice) -> int:
        return super().activation_bytes(site, choice) - 4 * choice["width"] * site.size.positions


@pytest.mark.parametrize(
    ("operation", "kind", "says"),
    [
        (WrongRatio(), "fusion", "macs"),
        (KernelForgotten(), "fusion", "params"),
        (KeysForgotten(), "attention", "key of other work"),
        (SumForgotten(), "attention", "activation_bytes"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_mistake_of_an_operation_is_found(operation: Any, kind: Any, says: str) -> None:
    with pytest.raises(AssertionError, match=says):
        check_operation(operation, kind)
