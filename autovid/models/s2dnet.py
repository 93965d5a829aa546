"""S2DNet: a small network over the whole clip in outline, and a larger one over details that the first locates.

Liang et al., "Delving into details: Synopsis-to-detail networks for video recognition", ECCV 2022, its supplement, and
the authors' code for open points. Ours: how many frames the clip has (the authors sample from
every other frame of the video) and its size, the default fusion `add`, and that sizes follow the crop.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.blocks.elastic import ElasticLinear
from autovid.blocks.ends import Classifier
from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.kernels.maps import pointwise_conv3d
from autovid.layers.convolutions import Residual, channels_last
from autovid.layers.detail_sampler import Locator, grid, sample, sample_uniformly
from autovid.models.builder import SearchNetwork, build_space, module_name
from autovid.models.deep_analysis import tsm_resnet50
from autovid.models.frame_networks import WIDTH, tsm_mobilenet_v2
from autovid.models.network import Network, make_classifier
from autovid.models.resnet import IMAGENET_MEAN, IMAGENET_STD, ResNet
from autovid.models.searched import WIDTHS, x3d_architecture

CONTEXT = 256  # features of the context m
MAP_WIDTH = 432  # channels of X3D's last map
LIKELY = 5
STAGES = (2, 3, 4)  # behind which m can be fused in: res2 to res4
SYNOPSIS_WEIGHT, SMOOTHING = 0.1, 0.1  # of the loss

TopK = Literal["hard", "soft"]
TemporalFilter = Literal["gaussian", "linear"]
Fusion = Literal["add", "concat1x1"]


class Sizes(NamedTuple):
    """Frames and pixels of the synopsis and of the details, for clips of `frames` and `crop`, and the classes."""

    synopsis_frames: int
    synopsis_crop: int
    detail_frames: int
    detail_crop: int
    crop: int
    frames: int = 64
    classes: int = 400


class Places:
    """Places of the fusion of the context m into the detail network (supplement, Table 2). Raises ConfigError."""

    def __init__(self, after: Sequence[int], classifier: bool) -> None:
        if not set(after) <= set(STAGES) or len(set(after)) < len(after):
            raise ConfigError(f"fuse_after {list(after)}: give stages among {', '.join(map(str, STAGES))}, each once")
        if not after and not classifier:
            raise ConfigError("fuse_after []: the context has to go somewhere; give stages, or fuse_in_classifier")
        self.after, self.classifier = sorted(after), classifier


class S2DNet(Network):
    """Clip (B, 3, T, H, W) -> logits (B, classes), those of the detail network.

    A subclass defines the two networks: `outline` for the synopsis, `details` for the other.
    """

    detail: Network
    has_sampler = True
    top_k: TopK = "hard"
    temporal_filter: TemporalFilter = "gaussian"
    normalisation: ClassVar[dict[str, Any]] = {}  # of the clip's pixels

    def __init__(self, sizes: Sizes, classes: int, clip: Clip, width: int, dropout: float) -> None:
        super().__init__()
        self.classes, self.clip = classes, clip
        self.frames, self.detail_frames = sizes.synopsis_frames, sizes.detail_frames
        self.synopsis_crop, self.detail_crop = (
            max(32, round(side * clip.crop / sizes.crop)) for side in (sizes.synopsis_crop, sizes.detail_crop)
        )
        side = -(-self.synopsis_crop // 32)
        self.locator = Locator(width, classes, (self.frames, side, side), self.detail_frames)
        self.context = nn.Linear(width + classes, CONTEXT)
        self.context_dropout = nn.Dropout(dropout)
        self.frozen, self.stage_one = False, 1 / 3
        self._loss_gradient: Tensor | float = 1.0

    def outline(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Run the synopsis network: frames (B, 3, T, H, W) -> its last map (B, C, T, h, w) and logits (B, classes)."""
        raise NotImplementedError

    def details(self, x: Tensor, context: Tensor, likely: Tensor) -> Tensor:
        """Run the detail network: frames, the context m (B, CONTEXT) and s (B, classes) -> logits (B, classes)."""
        raise NotImplementedError

    def blocks(self) -> list[Residual]:
        return self.detail.blocks()

    def freeze_sampler(self, frozen: bool) -> None:
        """Switch to stage one of training, without locator (uniform time, centre crop), or to stage two, with it."""
        self.frozen = frozen
        self.locator.requires_grad_(not frozen)

    def begin_step(self, progress: float) -> None:
        self.freeze_sampler(progress < self.stage_one)

    def forward(self, x: Tensor) -> Tensor:
        return self._recognise(x)[0]

    def cam_layer(self) -> nn.Module:
        """Return the layer of the detail network."""
        return self.detail.cam_layer()

    def cam_frames(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input of the detail network, which may lie between frames, and is only a part of them."""
        outline, first = self.outline(synopsis(x, self.frames, self.synopsis_crop))
        likely, length, count = likely_classes(first, self.top_k), x.shape[2], self.detail_frames
        if self.frozen:
            mu = delta = x.new_zeros(x.shape[0])
            stride = length / count
        else:
            mu, delta = self.locator(outline, likely).time.unbind(1)
            stride = length / (2 * count)
        places = grid(mu, delta, length, count, stride).clamp(0, length - 1)
        return self._sample(x, outline, likely), places

    def training_loss(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the details' cross entropy, with label smoothing, plus a tenth of the synopsis', and the logits."""
        x, targets = self.mixed(x, y)
        logits, first = self._recognise(x)
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=SMOOTHING)
        loss = loss + SYNOPSIS_WEIGHT * F.cross_entropy(first.float(), targets)
        if loss.requires_grad:
            loss.register_hook(self._keep_loss_gradient)  # type: ignore[no-untyped-call]
        return loss, logits

    def _recognise(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits of the detail network and of the synopsis network."""
        outline, first = self.outline(synopsis(x, self.frames, self.synopsis_crop))
        likely = likely_classes(first, self.top_k)
        features = self.context_dropout(outline.mean((2, 3, 4)))
        context = F.relu(self.context(torch.cat([likely.to(features.dtype), features], 1)))
        return self.details(self._sample(x, outline.detach(), likely), context, likely), first

    def _sample(self, x: Tensor, outline: Tensor, likely: Tensor) -> Tensor:
        if self.frozen:
            return sample_uniformly(x, self.detail_frames, self.detail_crop, self.temporal_filter)
        self._loss_gradient = 1.0
        volume = sample(x, self.locator(outline, likely), self.detail_crop, self.temporal_filter)
        if volume.requires_grad:
            volume.register_hook(self._normalise)  # type: ignore[no-untyped-call]
        return volume

    def _keep_loss_gradient(self, grad: Tensor) -> None:
        self._loss_gradient = grad.detach()

    def _normalise(self, grad: Tensor) -> Tensor:
        """Scale the gradient of every sampled clip to -1..1, so that all clips weigh alike.

        It is multiplied by the gradient of the loss, 1 but for the scale of fp16, which the optimizer divides by.
        """
        peak = grad.abs().amax((1, 2, 3, 4), keepdim=True)
        return grad / peak.clamp_min(torch.finfo(grad.dtype).tiny) * self._loss_gradient


class TSMS2DNet(S2DNet):
    """TSM-MobileNetV2 for the synopsis, TSM-ResNet-50 for the details."""

    normalisation: ClassVar[dict[str, Any]] = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD}

    def __init__(self, sizes: Sizes, classes: int, clip: Clip, fusion: Fusion, places: Places, dropout: float) -> None:
        super().__init__(sizes, classes, clip, WIDTH, dropout)
        self.synopsis = tsm_mobilenet_v2(classes=classes, dropout=dropout)
        detail = tsm_resnet50(classes=classes, dropout=dropout)
        assert isinstance(detail, ResNet)
        detail.classifier = classifier(2048, classes, places.classifier)
        self.detail: ResNet = detail
        self.fuse_in_classifier = places.classifier
        self.fusions = nn.ModuleDict({f"res{number}": FUSIONS[fusion](64 * 2**number) for number in places.after})

    def outline(self, x: Tensor) -> tuple[Tensor, Tensor]:
        last = self.synopsis.features(x)
        return last, self.synopsis.classify(last)

    def details(self, x: Tensor, context: Tensor, likely: Tensor) -> Tensor:
        net = self.detail
        x = net.stem(x)
        for number, stage in enumerate(net.stages, 2):
            x = stage(x)
            if (name := f"res{number}") in self.fusions:
                x = self.fusions[name](x, context)
        frames_BCT = net.dropout(x.mean((3, 4)))
        cues = [context, likely] if self.fuse_in_classifier else [likely]
        logits: Tensor = net.classifier(torch.cat([frames_BCT.mean(2), *(c.to(context.dtype) for c in cues)], 1))
        return logits


class Add(nn.Module):
    """The sum x + W m on every position of a map x (B, C, T, H, W), with the context m (B, CONTEXT)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, CONTEXT).normal_(0.0, 0.01))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        return x + F.linear(context, self.weight)[..., None, None, None].to(x.dtype)


class Concat1x1(nn.Module):
    """The ReLU of a 1x1x1 convolution of [x, m], as in the authors' code; the part of m is computed once a clip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(width + CONTEXT, width, 1, bias=False)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        of_map, of_context = self.conv.weight[:, : x.shape[1]], self.conv.weight[:, x.shape[1] :]
        offset = F.linear(context, of_context.flatten(1))[..., None, None, None]
        return F.relu(pointwise_conv3d(x, channels_last(of_map)) + offset.to(x.dtype))


FUSIONS: dict[Fusion, type[Add] | type[Concat1x1]] = {"add": Add, "concat1x1": Concat1x1}


def synopsis(x: Tensor, frames: int, crop: int) -> Tensor:
    """Take frames evenly from the first to the last of x (B, 3, T, H, W), each resized to `crop`, nearest pixels."""
    of = torch.arange(frames, device=x.device) * (x.shape[2] - 1) // max(1, frames - 1)
    chosen = x.permute(0, 2, 3, 4, 1).index_select(1, of)
    images = F.interpolate(chosen.flatten(0, 1).permute(0, 3, 1, 2), size=(crop, crop))
    return images.view(x.shape[0], frames, -1, crop, crop).transpose(1, 2)


def likely_classes(logits: Tensor, top_k: TopK) -> Tensor:
    """Return s (B, classes): ones at the likeliest classes, without gradient; `soft`: their softmax, with gradient."""
    best = logits.detach().topk(min(LIKELY, logits.shape[1]), 1).indices
    hard = torch.zeros_like(logits).scatter(1, best, 1.0).detach()
    if top_k == "hard":
        return hard
    return torch.softmax(logits.masked_fill(hard == 0, -torch.inf), 1)


def classifier(width: int, classes: int, context: bool) -> nn.Linear:
    """Return a classifier of [features, m, s], or without m; of averaged features, to average their logits."""
    return make_classifier(width + CONTEXT * context + classes, classes)


class X3DS2DNet(S2DNet):
    """S2DNet whose synopsis and detail networks are X3Ds, for Kinetics-400.

    The paper says no more than that on Kinetics-400 S2DNet is "instantiated using X3D", from random weights. Which X3D,
    which sizes and where the two meet are ours: X3D-S both times, fused after its second and third stage, where a
    ResNet has res3 and res4.
    """

    def __init__(self, sizes: Sizes, classes: int, clip: Clip, fusion: Fusion, places: Places, dropout: float) -> None:
        super().__init__(sizes, classes, clip, MAP_WIDTH, dropout)
        space = x3d_architecture().as_space()
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


def make_s2dnet(
    *,
    network: type[TSMS2DNet | X3DS2DNet] = TSMS2DNet,
    sizes: Sizes,
    classes: int | None = None,
    frames: int | None = None,
    crop: int | None = None,
    top_k: TopK = "hard",
    temporal_filter: TemporalFilter = "gaussian",
    fusion: Fusion = "add",
    fuse_after: Sequence[int] = (3, 4),
    fuse_in_classifier: bool = True,
    stage_one: float = 1 / 3,
    dropout: float = 0.5,
) -> S2DNet:
    """Build both networks; by default with the classes, frames and crop of `sizes`.

    `fuse_after` are the stages of the detail network behind which the context m is fused in, out of res2 to res4;
    with `fuse_in_classifier` the classifier takes it, too. The default is row d0 of the supplement's Table 2. Both
    networks choose from `frames`. `stage_one` is the fraction of training in which the sampler rests (paper: 40 of 120
    epochs, 50 of 150). The size of the clip is ours: with 32 frames of 160x160 the sampler's products, which no table
    counts, stay within the published 22 GFLOPs; a larger crop enlarges everything.
    """
    size = frames or sizes.frames, crop or sizes.crop
    clip = Clip(*size, sampling="uniform", **network.normalisation)
    net = network(sizes, classes or sizes.classes, clip, fusion, Places(fuse_after, fuse_in_classifier), dropout)
    net.top_k, net.temporal_filter, net.stage_one = top_k, temporal_filter, stage_one
    return net


# For Something-Something V2, for Mini-Kinetics with the sizes of the authors' configuration, and for Kinetics-400.
s2dnet = partial(make_s2dnet, sizes=Sizes(8, 144, 12, 144, crop=160, frames=32, classes=174))
s2dnet_mini_kinetics = partial(make_s2dnet, sizes=Sizes(16, 144, 16, 112, crop=224, frames=64, classes=200))
s2dnet_x3d = partial(make_s2dnet, network=X3DS2DNet, sizes=Sizes(8, 144, 16, 160, crop=224))
