"""Memory of an update of a search's weights, counted from shapes.

One architecture's graph is in memory at a time (`autovid.search.supernet`): the largest of some that the search may
draw stands for all. Ours.
"""

from collections.abc import Sequence

import numpy as np
import torch

from autovid import distributed
from autovid.clip import Clip
from autovid.costs import Memory
from autovid.kernels.compute import Compute
from autovid.measure.memory import StepMemory
from autovid.models import build_space
from autovid.search.constraints import Constraint, final_constraints
from autovid.search.problem import whole_problem
from autovid.search.settings import SearchSettings
from autovid.space import SearchSpace
from autovid.space.schema import Reference

DRAWS = 64


def step_memory(
    space: SearchSpace,
    settings: SearchSettings,
    classes: int,
    workers: int,
    half: bool,
    constraints: Sequence[Constraint] = (),
) -> StepMemory:
    """Count an update as each of the `workers` does it; `half`: in half precision."""
    clip = Clip(settings.frames, settings.crop, settings.stride)
    inside = final_constraints(constraints, space) if settings.options.get("in_range") else ()
    rows = whole_problem(space, inside).sample(DRAWS, np.random.default_rng(settings.seed))
    kept = int(Memory().table(space, Reference.of(clip, classes)).total(rows).max())
    with torch.device("meta"):
        weights = sum(tensor.nbytes for tensor in build_space(space, classes).state_dict().values())
    # architectures side by side: each worker has the whole batch
    clips = max(1, settings.batch // workers) if settings.divides_batch(workers) else settings.batch
    return StepMemory(3 * weights, kept // (2 if half else 1), clips, settings.batch)


def check_memory(
    space: SearchSpace, settings: SearchSettings, classes: int, compute: Compute, constraints: Sequence[Constraint] = ()
) -> StepMemory:
    """Return the memory of an update. Raises ConfigError where it does not fit into a CPU's."""
    half = compute.precision.train == "bf16"
    memory = step_memory(space, settings, classes, distributed.size(), half, constraints)
    memory.check(compute.device)
    return memory
