"""What the backward pass keeps of a clip, as autograd saves it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def kept(module: nn.Module, call: Callable[[], Tensor], inputs: list[Tensor]) -> int:
    """Bytes behind the tensors that autograd saves: each memory once, none of inputs, parameters and statistics."""
    own = {t.untyped_storage().data_ptr() for t in [*inputs, *module.parameters(), *module.buffers()]}
    saved: dict[int, Tensor] = {}

    def see(tensor: Tensor) -> Tensor:
        if tensor.dim() and tensor.untyped_storage().data_ptr() not in own:
            saved[tensor.untyped_storage().data_ptr()] = tensor  # kept alive, so that no memory is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        call()
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())
