"""Detection of tracers and compilers, which have to record ordinary operations in place of functions of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

_translating = False


def is_traced() -> bool:
    """Return True if `torch.jit.trace` records, by itself or for fvcore, which counts with it.

    torch 2.13's fails at every `torch.autograd.Function`: "unordered_map::at".
    """
    return torch._C._get_tracing_state() is not None


def is_recorded() -> bool:
    """Return True if a tracer, a compiler or an exporter records."""
    return is_traced() or torch.compiler.is_compiling()


@contextmanager
def translating() -> Iterator[None]:
    """Inside, what an exporter records is for a runtime other than torch's."""
    global _translating
    before, _translating = _translating, True
    try:
        yield
    finally:
        _translating = before


def is_translated() -> bool:
    """Return True if convolutions of frames are to be recorded as 3-D ones.

    Folding frames into images is a view in torch. Elsewhere it is a copy of the map before and after each layer, and
    hides from a runtime which layers it could join.
    """
    return _translating


def trains_on_cpu(*tensors: Tensor) -> bool:
    """Return True if a gradient of these tensors of a CPU will be asked for, and nobody but autograd watches.

    False for tracers, compilers, fake tensors and function transforms, which need plain operations.
    """
    return (
        not is_recorded()
        and torch.is_grad_enabled()
        and tensors[0].device.type == "cpu"
        and any(tensor.requires_grad for tensor in tensors)
        and all(type(tensor) in (Tensor, torch.nn.Parameter) for tensor in tensors)
        and torch._C._functorch.peek_interpreter_stack() is None
    )
