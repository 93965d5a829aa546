"""Batch norms folded into the convolutions before them: a copy of a network that computes the same in fewer passes.

In evaluation a batch norm is a scale and a shift of each channel by constants: norm(W x + b) = (s W) x + s (b - mean) +
beta, with s = gamma / sqrt(var + eps). So the scale goes into the weight, the shift into a bias, and the norm is left
out. Which norm follows which convolution is found by running a copy on the meta device, without data.
"""

import copy
from collections import Counter
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autovid.blocks.elastic import ElasticBatchNorm, ElasticConv, ElasticDepthwise, ElasticPointwise
from autovid.clip import Clip
from autovid.layers.convolutions import DepthwiseConv3d, FrameConv, PointwiseConv3d, TemporalConv
from autovid.models.network import Network

# By exact type: another class may do more with its weight than to convolve with it.
CONVOLUTIONS = (
    nn.Conv2d, nn.Conv3d, FrameConv, TemporalConv, DepthwiseConv3d, PointwiseConv3d,
    ElasticPointwise, ElasticDepthwise, ElasticConv,
)  # fmt: skip
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d, ElasticBatchNorm)

M = TypeVar("M", bound=nn.Module)


def folded(net: Network, clip: Clip | None = None) -> Network:
    """Return a copy of a network for evaluation, its norms folded; found at `clip`, by default at `net.clip`.

    Logits are those of `net` to rounding. The copy is not to be trained.
    """
    seen, dtype = clip or net.clip, next(net.parameters()).dtype
    return fold_norms(net, torch.empty(1, 3, seen.frames, seen.crop, seen.crop, device="meta", dtype=dtype))


def fold_norms(module: M, *inputs: Tensor, **options: Any) -> M:
    """Return a copy of a module for evaluation, its norms folded; found by calling it with `inputs` on meta.

    Folded is a norm whose input is what a convolution has returned, if nothing else uses that, and both are called
    once.
    """
    pairs = _pairs(module, inputs, options)
    result = copy.deepcopy(module).eval().requires_grad_(False)
    for convolution, norm in pairs:
        _fold(result.get_submodule(convolution), result.get_submodule(norm))
        parent, _, name = norm.rpartition(".")
        setattr(result.get_submodule(parent), name, nn.Identity())
    return result


@torch.no_grad()
def _fold(convolution: nn.Module, norm: nn.Module) -> None:
    """Scale the weight and set the bias, both computed in float64 and rounded once."""
    weight, bias = convolution.weight, convolution.bias
    assert isinstance(weight, nn.Parameter)
    mean, var, shift = (getattr(norm, name).double() for name in ("running_mean", "running_var", "bias"))
    scale = norm.weight.double() * torch.rsqrt(var + norm.eps)  # type: ignore[operator]
    shift = shift + scale * ((0.0 if bias is None else bias.double()) - mean)
    weight.copy_(weight.double() * scale.view(-1, *[1] * (weight.dim() - 1)))  # in place: the layout stays
    convolution.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)


def _pairs(module: nn.Module, inputs: tuple[Tensor, ...], options: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the names of (convolution, norm) that can become one."""
    ghost = copy.deepcopy(module).to("meta").eval()
    uses = _Uses()
    for name, part in ghost.named_modules():
        if type(part) in CONVOLUTIONS:
            part.register_forward_hook(partial(uses.convolved, name))
        elif type(part) in NORMS:
            part.register_forward_pre_hook(partial(uses.enters_norm, name))
            part.register_forward_hook(uses.leaves_norm)
    with torch.no_grad(), uses:
        ghost(*(x.to("meta") for x in inputs), **options)
    parts = dict(ghost.named_modules())
    return [(one, norm) for one, norm in uses.pairs() if len(parts[one].weight) == len(parts[norm].weight)]


class _Uses(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A record of the readers of the maps that convolutions return: a norm, or anything else.

    A map is told by its storage, so that its views count, too.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._maps: dict[int, tuple[str, Tensor]] = {}  # the tensors are kept, so that no other gets their storage
        self._readers: dict[str, list[str]] = {}  # norms, or "" for anything else, by convolution
        self._calls: Counter[str] = Counter()
        self._norm: str | None = None  # that is being computed

    def convolved(self, name: str, part: nn.Module, inputs: Any, out: Tensor) -> None:
        """Note that convolution `name` has returned a map."""
        self._calls[name] += 1
        self._maps[_storage(out)] = name, out

    def enters_norm(self, name: str, part: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Note that norm `name` begins; only the map itself can be folded, not a part of it."""
        self._calls[name] += 1
        convolution, out = self._maps.get(_storage(inputs[0]), ("", None))
        if inputs[0] is out:
            self._readers.setdefault(convolution, []).append(name)
            self._norm = convolution

    def leaves_norm(self, part: nn.Module, inputs: Any, out: Any) -> None:
        """Note that the norm has ended."""
        self._norm = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                convolution, _ = self._maps.get(_storage(leaf), ("", None))
                if convolution and convolution != self._norm:
                    self._readers.setdefault(convolution, []).append("")
        return func(*args, **(kwargs or {}))

    def pairs(self) -> list[tuple[str, str]]:
        """Return (convolution, norm) where the one is called once, and all that reads its map is the other, once."""
        return [
            (convolution, readers[0])
            for convolution, readers in self._readers.items()
            if len(readers) == 1 and readers[0] and self._calls[convolution] == self._calls[readers[0]] == 1
        ]


def _storage(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
