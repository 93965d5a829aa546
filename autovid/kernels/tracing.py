"""Detection of tracers, which have to record ordinary operations in place of functions of ours."""

import torch


def is_traced() -> bool:
    """Return True if `torch.jit.trace` records, by itself or for fvcore, which counts with it.

    torch 2.13's fails at every `torch.autograd.Function`: "unordered_map::at".
    """
    return torch._C._get_tracing_state() is not None
