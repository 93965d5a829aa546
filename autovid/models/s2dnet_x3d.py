"""S2DNet made of two X3Ds, for Kinetics-400.

The paper says no more than that on Kinetics-400 S2DNet is "instantiated using X3D", from random weights. Which X3D,
which sizes and where the two meet are ours: X3D-S both times, fused after its second and third stage, where a ResNet
has res3 and res4.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.elastic import ElasticLinear
from autovid.blocks.head import Classifier
from autovid.clip import Clip
from autovid.models.builder import SearchNetwork, build_space, module_name
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
    """Return the network for Kinetics-400; the options of `s2dnet`."""
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
        head.output = ElasticLinear(head.width + CONTEXT * places.classifier + classes, classes)
        nn.init.normal_(head.output.weight, 0.0, 0.01)
        for net in (self.synopsis, self.detail):
            _classifier(net).dropout.p = dropout
        self.fuse_in_classifier = places.classifier
        stages = [f"stage{number - 1}" for number in places.after]  # X3D's stages count from 1, a ResNet's from res2
        self.fusions = nn.ModuleDict({stage: FUSIONS[fusion](WIDTHS[stage]) for stage in stages})

    def outline(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self._last_map(self.synopsis, x, None)
        logits: Tensor = _classifier(self.synopsis).classify(last.mean((2, 3, 4)))
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
            module: Any = net.sites[module_name(site)]
            if site.place == "head":
                return cast(Tensor, module.features(x))
            if context is not None and site.place != stage and stage in self.fusions:
                x = self.fusions[stage](x, context)
            x, stage = module(x, choice=site.choice(choices)), site.place
        raise AssertionError("a space without a head")


def _classifier(net: SearchNetwork) -> Classifier:
    classifier = net.sites["classifier"]
    assert isinstance(classifier, Classifier)
    return classifier
