"""A network's MACs held against two counters that are not ours: fvcore's and torch's, over one real pass on the CPU.

fvcore records the pass with `torch.jit.trace` and has a formula for each of some operators, batch norm among them;
`torch.utils.flop_counter` sees the operators as they are dispatched, and counts two FLOPs a MAC. On the CPU TANet's
layers compute their convolution over time as products in place, which torch's counter does not see, and show a tracer
the convolution. Every row below is computed from the pass; what no row explains is left as such.
"""

import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from autovid.clip import Clip

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
    rows += [Row(f"{what}: unseen by fvcore", fvcore=n) for what, n in _unseen(net, macs, by_torch, no_formula)]
    rows += [Row(f"{what}: unseen by torch", torch=n) for what, n in _unseen(net, by_torch, macs, uncounted)]
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
    for what, each in missing_by_kind.items():
        yield f"{len(each)} {what}", sum(each)
