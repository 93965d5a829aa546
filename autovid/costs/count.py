"""Parameters and MACs of a network that exists: counted by a run without data, held against others, and measured.

`verify` holds the MACs against two counters that are not ours: those of fvcore and of torch, over one real pass on the
CPU. fvcore records the pass with `torch.jit.trace` and has a formula for each of some operators, batch norm among them;
`torch.utils.flop_counter` sees the operators as they are dispatched, and counts two FLOPs a MAC. On the CPU the layers
of TANet compute their convolution over time as products in place, which the counter of torch does not see, and show a
tracer the convolution. Every row is computed from the pass; what no row explains is left as such.
"""

import copy
import re
import time
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from autovid.clip import Clip
from autovid.errors import ConfigError
from autovid.layers.convolutions import Residual
from autovid.measure import MARGIN, peak_memory, spare_memory

_KINDS = {
    "convolution": "conv",
    "_convolution": "conv",
    "addmm": "linear",
    "mm": "linear",
    "bmm": "matmul",
    "baddbmm": "matmul",
}


class Count(msgspec.Struct, frozen=True):
    """Parameters, and the MACs of one clip by kind: convolution, linear, matmul."""

    params: int
    macs: int
    macs_by_kind: dict[str, int]


class Stage(msgspec.Struct, frozen=True):
    """A piece of a network, by its module's name, and its share of the whole."""

    name: str
    macs: int
    params: int


def count(net: nn.Module, clip: Clip | None = None) -> Count:
    """Count a network at `net.clip`, or at another clip. A copy runs on the meta device: no time, no memory.

    Raises ConfigError for a clip too small for the network's poolings.
    """
    return _whole(net, _trace(net, clip))


def count_stages(net: nn.Module) -> tuple[Count, list[Stage]]:
    """Count as `count` does, and the pieces in the order of the code: stem, stages, classifier, ...

    What costs nothing is left out; what is computed in none of the pieces is the last one, "elsewhere".
    """
    traced = _trace(net, None)
    whole = _whole(net, traced)
    stages = [Stage(name, _macs(traced, name, module), _params(module)) for name, module in _pieces(net)]
    macs, params = whole.macs - sum(s.macs for s in stages), whole.params - sum(s.params for s in stages)
    return whole, [stage for stage in [*stages, Stage("elsewhere", macs, params)] if stage.macs or stage.params]


def _trace(net: nn.Module, clip: Clip | None) -> dict[str, dict[str, int]]:
    """Return the MACs of every module by kind, by the module's name; "" is the network itself."""
    seen: Any = clip or net.clip
    ghost = copy.deepcopy(net).to("meta").eval()  # what is done in training alone is no part of the cost
    x = torch.empty(1, 3, seen.frames, seen.crop, seen.crop, device="meta")
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        try:
            ghost(x)
        except RuntimeError as error:
            if "too small" not in str(error):  # of a pooling
                raise
            raise ConfigError(f"frames {seen.frames}, crop {seen.crop}: nothing is left of a clip so small") from error
    macs_by_module = {"": dict.fromkeys(("conv", "linear", "matmul"), 0)}
    for path, operators in counter.get_flop_counts().items():
        whole, _, name = path.partition(".")  # "ResNet.stem.0", and "Global" for everything
        if name or whole == "Global":
            macs = macs_by_module[name] = dict.fromkeys(("conv", "linear", "matmul"), 0)
            for operator, flops in operators.items():
                macs[_KINDS[str(operator).split(".")[-1]]] += flops // 2  # the counter has two operations for each MAC
    return macs_by_module


def _whole(net: nn.Module, traced: dict[str, dict[str, int]]) -> Count:
    by_kind = traced[""]
    return Count(_params(net), sum(by_kind.values()), by_kind)


def _macs(traced: dict[str, dict[str, int]], name: str, module: nn.Module) -> int:
    """MACs of a module, or the sum over its children where it is never called itself."""
    if name in traced:
        return sum(traced[name].values())
    return sum(_macs(traced, f"{name}.{child}", its) for child, its in module.named_children())


def _params(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _pieces(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the children of a network, by name; lists, and what holds several stages of residual blocks, are opened."""
    for name, child in module.named_children():
        stages = {block.stage for block in child.modules() if isinstance(block, Residual)}
        if isinstance(child, nn.ModuleList | nn.ModuleDict) or len(stages) > 1:
            yield from _pieces(child, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", child


MACS = frozenset({"conv", "linear", "matmul", "einsum", "addmm", "bmm", "mm"})  # fvcore's names of what ours counts
CALLED = {"batch_norm": "batch norm", "upsample_nearest2d": "resizing", "upsample_bilinear2d": "resizing"}
MULTIPLIES = re.compile(r"mul|mm|conv|linear|attention|dot|lstm|gru|rnn|PythonOp|CallFunction")  # an operator's name

ByModule = Mapping[str, Counter[str]]  # what a module does itself, by operator; by its name, "" the network's


class Row(msgspec.Struct, frozen=True):
    """An addend that makes a counter's figure ours, in its own unit, and why."""

    what: str
    fvcore: int = 0
    torch: int = 0


class Verification(msgspec.Struct, frozen=True):
    """Three counts of one clip: ours in MACs, fvcore's sum over its operators, torch's FLOPs, two for each MAC."""

    ours: int
    fvcore: int
    torch: int
    rows: list[Row]
    unexplained: Row  # ours, less a counter's figure and its rows
    no_formula: dict[str, int]  # operators for which fvcore has none, and how often they ran


def verify(net: nn.Module, clip: Clip, ours: int) -> Verification:
    """Pass one clip (1, 3, T, H, W) of zeros twice through a network on the CPU; `ours` is what we count, in MACs.

    Leaves the network in evaluation mode.
    """
    x = torch.zeros(1, 3, clip.frames, clip.crop, clip.crop)
    with torch.no_grad():
        by_fvcore, no_formula = _fvcore(net.eval(), x)
        by_torch, flops, uncounted = _torch(net, x)
    whole = sum(by_fvcore.values(), Counter[str]())
    macs = {name: sum(n for op, n in operators.items() if op in MACS) for name, operators in by_fvcore.items()}
    rows = [Row("2 FLOPs are 1 MAC", torch=flops // 2 - flops)]
    rows += [
        Row(f"{CALLED.get(operator, operator)}, not in ours", fvcore=-n)
        for operator, n in whole.items()
        if operator not in MACS
    ]
    rows += [Row(f"{kind}: unseen by fvcore", fvcore=n) for kind, n in _unseen(net, macs, by_torch, no_formula)]
    rows += [Row(f"{kind}: unseen by torch", torch=n) for kind, n in _unseen(net, by_torch, macs, uncounted)]
    left = ours - whole.total() - sum(row.fvcore for row in rows), ours - flops - sum(row.torch for row in rows)
    unnamed = sum(no_formula.values(), Counter[str]())
    return Verification(ours, whole.total(), flops, rows, Row("unexplained", *left), dict(sorted(unnamed.items())))


def _fvcore(net: nn.Module, x: Tensor) -> tuple[ByModule, ByModule]:
    """Return fvcore's figures, and how often operators ran for which it has no formula."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fvcore.nn import FlopCountAnalysis  # here: nothing else needs it

    analysis = FlopCountAnalysis(net, x)
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    counted = analysis.by_module_and_operator()
    figures = {name: Counter({op: round(n) for op, n in operators.items()}) for name, operators in counted.items()}
    return _own(figures), _own({name: _plain(analysis.unsupported_ops(name)) for name in counted})


def _plain(operators: Mapping[str, int]) -> Counter[str]:
    return Counter({name.removeprefix("aten::"): n for name, n in operators.items()})


def _own(by_module: ByModule) -> ByModule:
    """Return, of sums over a module and the modules that its name holds, those of each by itself."""
    own = {name: Counter(operators) for name, operators in by_module.items()}
    for name, operators in by_module.items():
        if name:
            own[name.rpartition(".")[0]].subtract(operators)
    return {name: +operators for name, operators in own.items()}


def _torch(net: nn.Module, x: Tensor) -> tuple[dict[str, int], int, ByModule]:
    """MACs by module, FLOPs of all, and how often operators ran that its counter counts nothing for."""
    with _inside(net) as stack, FlopCounterMode(display=False) as counter, _Dispatched(counter, stack) as seen:
        net(x)
    return seen.macs, counter.get_total_flops(), seen.uncounted


class _Dispatched(TorchDispatchMode):
    """A record of torch's count of every operator, by module. `stack`: the modules that run, the inner last."""

    def __init__(self, counter: FlopCounterMode, stack: list[str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._counter, self._stack = counter, stack
        self.macs: dict[str, int] = defaultdict(int)
        self.uncounted: dict[str, Counter[str]] = defaultdict(Counter)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        before = self._counter.get_total_flops()
        out = func(*args, **(kwargs or {}))
        flops = self._counter.get_total_flops() - before
        self.macs[self._stack[-1]] += flops // 2
        if not flops:
            self.uncounted[self._stack[-1]][func._overloadpacket.__name__] += 1
        return out


@contextmanager
def _inside(net: nn.Module) -> Iterator[list[str]]:
    """Keep the names of the modules that are running. A module that stands in two places has one name."""
    stack: list[str] = []
    names = {module: name for name, module in net.named_modules()}

    def enter(module: nn.Module, _x: Any) -> None:
        stack.append(names[module])

    def leave(_module: nn.Module, _x: Any, _out: Any) -> None:
        stack.pop()

    hooks = [module.register_forward_pre_hook(enter) for module in names]
    hooks += [module.register_forward_hook(leave) for module in names]
    try:
        yield stack
    finally:
        for hook in hooks:
            hook.remove()


def _unseen(
    net: nn.Module, seen: Mapping[str, int], other: Mapping[str, int], operators: ByModule
) -> Iterator[tuple[str, int]]:
    """Yield MACs that the other counter sees more of, by the kind of module with operators that multiply uncounted.

    Where one counter sees less and nothing uncounted multiplies, that is no explanation.
    """
    missing_by_kind: dict[str, list[int]] = {}
    for name, module in net.named_modules():
        missing = other.get(name, 0) - seen.get(name, 0)
        products = sorted(filter(MULTIPLIES.search, operators.get(name, ())))
        if missing > 0 and products:
            missing_by_kind.setdefault(f"{type(module).__name__}, by {', '.join(products)}", []).append(missing)
    for kind, each in missing_by_kind.items():
        yield f"{len(each)} {kind}", sum(each)


SAFETY_FACTOR = 3  # times the closed form that a step may take, to be on the safe side


def step_peak(net: nn.Module, clip: Clip, expected: int) -> int | None:
    """Bytes at the peak of a forward and a backward pass of one clip on the CPU, in fp32.

    Weights, their gradients and the clip count, too. None where the step might not fit into memory: `expected` are
    the bytes that it is taken to keep.
    """
    cpu = torch.device("cpu")
    weights = sum(4 * parameter.numel() for parameter in net.parameters())
    if SAFETY_FACTOR * expected + 2 * weights > MARGIN * spare_memory(cpu):
        return None
    x = _clips(clip, 1)
    net.train()
    return peak_memory(lambda: _step(net, x), weights + 4 * x.numel(), cpu)


def clip_seconds(net: nn.Module, clip: Clip) -> float:
    """Return the seconds of a forward and a backward pass of a clip on the CPU: the second pass of two clips."""
    x = _clips(clip, 2)
    net.train()
    _step(net, x)
    start = time.perf_counter()
    _step(net, x)
    return (time.perf_counter() - start) / len(x)


def _clips(clip: Clip, number: int) -> torch.Tensor:
    x = torch.zeros(number, 3, clip.frames, clip.crop, clip.crop)
    return x.contiguous(memory_format=torch.channels_last_3d)


def _step(net: nn.Module, x: torch.Tensor) -> None:
    torch.autograd.backward(F.cross_entropy(net(x), torch.zeros(len(x), dtype=torch.int64)))
