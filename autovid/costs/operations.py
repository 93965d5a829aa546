"""The operations of a training step, by a run on the meta device: family, MACs and bytes of each, for any batch.

The network runs forward and backward once for each of two batches, with shapes alone: what every operation counts is
linear in the number of clips. A map's operation is seen as torch has it: a depthwise convolution is one operation, by
whatever kernels a machine computes it. Views count nothing. Bytes are those of all tensors that go in and come out, in
fp32. All of this is ours.
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from autovid import distributed
from autovid.clip import Clip

FAMILIES = {
    "product": "pointwise (1x1x1) convolutions and matrix products",
    "frames": "dense convolutions of single frames, 1 x k x k",
    "time": "dense convolutions over time alone, k x 1 x 1",
    "cubes": "dense convolutions over frames and time",
    "depthwise": "depthwise convolutions",
    "norm": "batch normalisation",
    "activation": "sigmoid, Swish, softmax, dropout",
    "elementwise": "ReLU, sums and products of maps",
    "copy": "copies, shifts and joins of maps",
    "reduction": "means and sums over a map",
    "pool": "max and average pooling",
    "optimizer": "the step of the optimizer, fused",
}
CLIPS = (2, 4)  # of the two runs; batch norm does not train on one value of a channel
KINDS = {  # of operators' names, the first that matches
    "norm": r"batch_norm|layer_norm|group_norm",
    "activation": r"sigmoid|silu|softmax|exp|tanh|gelu|dropout|bernoulli|hardswish",
    "copy": r"copy|clone|cat|fill|zero|slice_|select_|index|roll|stack|pad|gather|scatter|flip|repeat",
    "pool": r"pool|upsample|grid_sampler",
    "reduction": r"sum|mean|var|amax|max|norm",
}
PRODUCTS = frozenset({"mm", "addmm", "bmm", "baddbmm"})
FREE = re.compile(r"empty|detach|alias|_unsafe_view|reshape|scalar")  # operators that move nothing


class Operation(NamedTuple):
    """One operation of a batch: what it is, and how much of it.

    `weights` are the bytes of a convolution's weights; `bytes` holds them, too. They tell a small map of many channels
    from a large one of few, which a machine computes at other rates.
    """

    family: str
    backward: bool
    macs: float
    bytes: float
    weights: float = 0.0


class StepTrace(NamedTuple):
    """The operations of a forward and a backward pass, in their order, for each of two batches."""

    runs: tuple[list[Operation], list[Operation]]
    messages: list[tuple[int, int]]  # of gradients: bytes, and how many operations come before it can be sent
    weights: int

    @property
    def norms(self) -> int:
        """The number of norms that run."""
        return sum(one.family == "norm" and not one.backward for one in self.runs[0])

    def at(self, clips: float) -> list[Operation]:
        """Return the operations of so many clips."""
        first, second = CLIPS
        share = (clips - first) / (second - first)
        return [
            a._replace(macs=a.macs + share * (b.macs - a.macs), bytes=a.bytes + share * (b.bytes - a.bytes))
            for a, b in zip(*self.runs, strict=True)
        ]


def trace_step(net: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], clip: Clip) -> StepTrace:
    """Trace a step of a network that lies on the meta device. `loss_of` takes clips (B, 3, T, H, W) and labels (B,)."""
    net.train()
    (first, arrivals), (second, _) = (
        _run(net, loss_of, (clips, 3, clip.frames, clip.crop, clip.crop)) for clips in CLIPS
    )
    messages = []
    for message in distributed.messages([p for p in net.parameters() if p.requires_grad]):
        sent = [weight for weight in message if id(weight) in arrivals]
        if sent:
            messages.append((sum(weight.nbytes for weight in sent), max(arrivals[id(weight)] for weight in sent)))
    return StepTrace((first, second), messages, sum(weight.numel() for weight in net.parameters()))


def optimizer_operation(weights: int, adamw: bool = False) -> Operation:
    """Return the step of an optimizer: SGD reads three numbers for each weight and writes two, AdamW four and three."""
    return Operation("optimizer", False, 0, 4.0 * weights * (7 if adamw else 5))


def trace(run: Callable[[], object]) -> list[Operation]:
    """Return the operations of a function of tensors on the meta device; all count as of a forward pass."""
    recorder = _Recorder()
    with recorder:
        run()
    return recorder.operations


def _run(
    net: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor], shape: tuple[int, ...]
) -> tuple[list[Operation], dict[int, int]]:
    """Return the operations of a batch, and of each parameter, by its id, how many come before its gradient."""
    x = torch.empty(shape, device="meta").contiguous(memory_format=torch.channels_last_3d)
    y = torch.zeros(shape[0], dtype=torch.int64, device="meta")
    recorder, arrivals = _Recorder(), dict[int, int]()

    def arrive(weight: Tensor) -> None:
        arrivals[id(weight)] = len(recorder.operations)

    hooks = [p.register_post_accumulate_grad_hook(arrive) for p in net.parameters() if p.requires_grad]  # type: ignore[no-untyped-call]
    net.zero_grad(set_to_none=True)
    try:
        with recorder:
            loss = loss_of(x, y)
            recorder.backward = True
            torch.autograd.backward(loss)
    finally:
        for hook in hooks:
            hook.remove()
    return recorder.operations, arrivals


class _Recorder(TorchDispatchMode):
    """A record of what torch is asked to compute."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.operations: list[Operation] = []
        self.backward = False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func._overloadpacket.__name__
        tensors = [leaf for leaf in tree_leaves((args, out)) if isinstance(leaf, Tensor)]
        if tensors and not func.is_view and not FREE.search(name):
            moved, weights = sum(tensor.nbytes for tensor in tensors), 0
            if "convolution" in name:
                weights = _weight(name, args).nbytes
            one = Operation(_family(name, args), self.backward, _macs(func, args, out), moved, weights)
            self.operations.append(one)
        return out


def _family(name: str, args: tuple[Any, ...]) -> str:
    """Return the family of an operator of torch."""
    if "convolution" in name:
        return _convolution(_weight(name, args))
    if name in PRODUCTS:
        return "product"
    return next((family for family, pattern in KINDS.items() if re.search(pattern, name)), "elementwise")


def _weight(name: str, args: tuple[Any, ...]) -> Tensor:
    """Return the weight among the arguments of a convolution, or of its gradients."""
    weight: Tensor = args[2 if "backward" in name else 1]
    return weight


def _macs(func: Any, args: tuple[Any, ...], out: Any) -> int:
    """Return the MACs of an operator. Those of a convolution's gradients are ours: torch errs where it has groups."""
    name = func._overloadpacket.__name__
    if name == "convolution_backward":
        return int(args[0].numel() * args[2][0].numel() * sum(args[10][:2]))
    if name == "convolution":
        return int(out.numel() * args[1][0].numel())
    if name in PRODUCTS:
        return int(flop_registry[func._overloadpacket](*args, out_val=out) // 2)  # it has two operations for each MAC
    return 0


def _convolution(weight: Tensor) -> str:
    """Return the family of a convolution by its weight (D, C / groups, t, h, w), or of images (D, C / groups, h, w)."""
    if weight.shape[1] == 1 < weight.shape[0] and max(weight.shape[2:]) > 1:
        return "depthwise"
    kernel = weight.shape[2:]
    if max(kernel) == 1:
        return "product"
    if kernel[-1] == 1:  # over time as frames in a row: k x 1 over T x (H W)
        return "time"
    return "cubes" if len(kernel) == 3 and kernel[0] > 1 else "frames"
