"""S2DNet made of two X3Ds, for Kinetics-400.

The paper says no more than that on Kinetics-400 S2DNet is "instantiated using X3D", from random weights. Which X3D,
which sizes and where the two meet are ours: X3D-S both times, fused after its second and third stage, where a ResNet
has res3 and res4.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.elastic import Affine
from autovid.blocks.site import BlockSite, HeadSite, StemSite
from autovid.clip import Clip
from autovid.models.builder import Classifier, SearchNetwork, build_space, module_name
from autovid.models.s2dnet import CONTEXT, FUSIONS, Fusion, Places, S2DNet, Sizes, TemporalFilter, TopK
from autovid.models.x3d import WIDTHS, architecture

KINETICS = Sizes(8, 144, 16, 160, crop=224)
MAP_WIDTH = 432  # of X3D's last map


def s2dnet_x3d(
    *,
    classes: int = 400,
    frames: int = 64,
    crop: int = 224,
    top_k: TopK = "hard",
    temporal_filter: TemporalFilter = "gaussian",
    fusion: Fusion = "add",
    fuse_after: Sequence[int] = (3, 4),
    fuse_in_classifier: bool = True,
    stage_one: float = 1 / 3,
    dropout: float = 0.5,
) -> "X3DS2DNet":
    """The network for Kinetics-400; the options of `s2dnet`."""
    clip = Clip(frames, crop, sampling="uniform")
    places = Places(fuse_after, fuse_in_classifier)
    net = X3DS2DNet(KINETICS, classes, clip, top_k, temporal_filter, fusion, places, dropout)
    net.stage_one = stage_one
    return net


class X3DS2DNet(S2DNet):
    """S2DNet whose synopsis and detail networks are X3Ds."""

    def __init__(
        self,
        sizes: Sizes,
        classes: int,
        clip: Clip,
        top_k: TopK,
        temporal_filter: TemporalFilter,
        fusion: Fusion,
        places: Places,
        dropout: float,
    ) -> None:
        super().__init__(sizes, classes, clip, top_k, temporal_filter, MAP_WIDTH, dropout)
        space = architecture().as_space()
        self.synopsis = build_space(space, classes)
        self.detail: SearchNetwork = build_space(space, classes)
        head = _classifier(self.detail)
        head.output = Affine(head.width + CONTEXT * places.classifier + classes, classes)
        nn.init.normal_(head.output.weight, 0.0, 0.01)
        for net in (self.synopsis, self.detail):
            _classifier(net).dropout.p = dropout
        self.fuse_in_classifier = places.classifier
        stages = [f"stage{number - 1}" for number in places.after]  # X3D's stages count from 1, a ResNet's from res2
        self.fusions = nn.ModuleDict({stage: FUSIONS[fusion](WIDTHS[stage]) for stage in stages})

    def outline(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self._last_map(self.synopsis, x, None)
        logits: Tensor = _classifier(self.synopsis)(last.mean((2, 3, 4)))
        return last, logits

    def details(self, x: Tensor, context: Tensor, likely: Tensor) -> Tensor:
        last, head = self._last_map(self.detail, x, context), _classifier(self.detail)
        features = head.dropout(F.relu(head.hidden(last.mean((2, 3, 4)), head.width)))
        cues = [context, likely] if self.fuse_in_classifier else [likely]
        logits: Tensor = head.output(torch.cat([features, *(c.to(context.dtype) for c in cues)], 1), self.classes)
        return logits

    def _last_map(self, net: SearchNetwork, x: Tensor, context: Tensor | None) -> Tensor:
        """(B, 3, T, H, W) -> (B, MAP_WIDTH, T, H / 32, W / 32); with the context fused in if it is given."""
        choices, stage = net.only or {}, ""
        for site in net.plan:
            if isinstance(site, BlockSite):
                before, stage = stage, site.name.split(".")[1]
                if context is not None and before != stage and before in self.fusions:
                    x = self.fusions[before](x, context)
                x = net.sites[module_name(site)](x, choices[site.width], *(choices[name] for name in site.scope[-3:]))
            elif isinstance(site, StemSite):
                x = net.sites[module_name(site)](x)
            elif isinstance(site, HeadSite):
                head: Any = net.sites[module_name(site)]
                x = head.relu(head.norm(head.conv(x, head.width)))
        return x


def _classifier(net: SearchNetwork) -> Classifier:
    found = net.sites["classifier"]
    assert isinstance(found, Classifier)
    return found
