"""Memory of a step of training, counted without taking it.

The network runs once on the meta device, which knows shapes alone, in training mode; autograd says which tensors it
keeps for the backward pass, and each piece of memory behind them counts once. To that come weights, gradients and
momentum (AdamW has two), and where asked for the average of the weights. Not counted are the workspace of kernels, the
reserve of the allocator, and CUDA itself, so a device has to have more. Counted twice are maps that are copied only
because shapes alone do not keep channels_last_3d through some functions: in TAM that is a seventh of the whole.
"""

import copy
from typing import NamedTuple

import torch
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.costs import Memory, Params
from autovid.measure import StepMemory
from autovid.models import Model, Network, NetworkSpec, build_network
from autovid.space.schema import Reference
from autovid.train.recipe import Recipe

CLIPS = 8  # so that what does not grow with the clips, copies of weights, hardly counts


class TrainingMemory(NamedTuple):
    """Bytes in fp32 of a network and of one clip."""

    of_weights: int  # and statistics
    kept_per_clip: int  # by autograd

    def step(self, clips: int, recipe: Recipe, half: bool) -> int:
        """Return the bytes of a step with so many clips at once; half precision halves those that autograd keeps."""
        kept = self.kept_per_clip * clips // (2 if half else 1)
        copies = 3 + (recipe.ema is not None) + (recipe.optimizer == "adamw")
        return self.of_weights * copies + kept


def step_memory(model: Model, recipe: Recipe, classes: int, workers: int, half: bool) -> StepMemory:
    """Count a step as each of the `workers` takes it; `half`: in half precision."""
    clips = max(1, recipe.batch // workers // recipe.accumulate)
    if isinstance(model, NetworkSpec):
        net = build_network(model.changed(classes=classes, frames=recipe.frames, crop=recipe.crop), "meta")
        memory = count_memory(net, recipe.clip(net.clip))
    else:
        reference = Reference(frames=recipe.frames, crop=recipe.crop, classes=classes, stride=recipe.stride)
        weights = 4 * Params().of(model, reference)
        memory = TrainingMemory(weights, Memory().of(model, reference))
    fixed = memory.step(0, recipe, half)
    return StepMemory(fixed, memory.kept_per_clip // (2 if half else 1), clips, recipe.batch)


def count_memory(net: Network, clip: Clip) -> TrainingMemory:
    """Count for clips of this size."""
    ghost = copy.deepcopy(net).to("meta").train()
    own = {id_of(tensor) for tensor in [*ghost.parameters(), *ghost.buffers()]}
    kept: dict[int, int] = {}
    alive: list[Tensor] = []  # so that no two pieces of memory have one id

    def record(tensor: Tensor) -> Tensor:
        if id_of(tensor) not in own and id_of(tensor) not in kept:
            kept[id_of(tensor)] = tensor.untyped_storage().nbytes()
            alive.append(tensor)
        return tensor

    for module in ghost.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(_channels_last)
    x = torch.empty(CLIPS, 3, clip.frames, clip.crop, clip.crop, device="meta")
    with torch.autograd.graph.saved_tensors_hooks(record, lambda tensor: tensor):
        ghost(x.contiguous(memory_format=torch.channels_last_3d))
    weights = sum(tensor.nbytes for tensor in [*ghost.parameters(), *ghost.buffers()])
    return TrainingMemory(weights, sum(kept.values()) // CLIPS)


def _channels_last(module: nn.Module, inputs: object, x: Tensor) -> Tensor:
    """Restore channels_last_3d, which shapes alone lose in a convolution; folding frames would then copy them."""
    return x.contiguous(memory_format=torch.channels_last_3d)


def id_of(tensor: Tensor) -> int:
    """Return a number that is the same for tensors in the same memory."""
    return int(tensor.untyped_storage()._cdata)
