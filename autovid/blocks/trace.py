"""The costs that blocks state, against those of the modules that they build, counted without data."""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from autovid.blocks.block import Block, Choice, Value
from autovid.blocks.site import Input, Site
from autovid.errors import ConfigError


class Traced(NamedTuple):
    """MACs and parameters of a module, and the shape of what it gives for one clip."""

    macs: int
    params: int
    shape: tuple[int, ...]


def check_costs(site: Site, candidates: Mapping[str, tuple[Value, ...]]) -> None:
    """Hold what blocks of a plugin or a package state at a site against a trace, for first and last candidates.

    Ours are tested and not traced here. Raises ConfigError with both numbers.
    """
    for choice in _ends(site, candidates):
        definition = site.definition(choice)
        if definition is not None and definition[0].source(definition[1]) is not None:
            registry, name = definition
            _check(registry.load(name), f"{registry.kind} {name}", site, tuple(choice.items()))


def trace(block: Block[Any], site: Site, choice: Choice, inputs: Sequence[Input]) -> Traced:
    """Build a block's module at a site for one choice, and run it on the meta device: no time, no memory."""
    with torch.device("meta"):
        module = block.build(site, {name: (value,) for name, value in choice.items()}).eval()
        maps = [example(one, site, choice) for one in inputs]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        out: Tensor = module(*maps, choice=choice)
    params = sum(parameter.numel() for parameter in module.parameters())
    return Traced(counter.get_total_flops() // 2, params, tuple(out.shape))  # it has two operations for each MAC


def example(one: Input, site: Site, choice: Choice) -> Tensor:
    """Noise in the shape of what a site reads of one clip: a map in channels_last_3d, or a vector."""
    width = site.width_of(one, choice)
    if one.size is None:
        return torch.randn(1, width)
    return torch.randn(1, width, *one.size).contiguous(memory_format=torch.channels_last_3d)


def _ends(site: Site, candidates: Mapping[str, tuple[Value, ...]]) -> Iterator[Choice]:
    """Yield for each operation, or once, the choice of all first candidates, and that of all last ones."""
    values = site.candidates(candidates)
    for operation in values.get("operation", (None,)):
        for end in (0, -1):
            choice = {name: those[end] for name, those in values.items()}
            yield choice if operation is None else {**choice, "operation": operation}


@lru_cache(maxsize=4096)
def _check(block: type[Block[Any]], name: str, site: Site, pairs: tuple[tuple[str, Value], ...]) -> None:
    """Check one choice. `block` is there to tell a class from an older one of the same name."""
    choice = dict(pairs)
    where = f"{name} at {site.name} with {', '.join(f'{key} {value}' for key, value in pairs)}"
    try:
        actual = trace(site.block, site, choice, site.inputs)
        stated = Traced(site.block.macs(site, choice), site.block.params(site, choice), actual.shape)
    except Exception as error:  # anything may go wrong in somebody else's code
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error
    shape = (1, choice["width"], *site.size)
    if actual.shape != shape:
        raise ConfigError(f"{where} gives {actual.shape}, and the network needs {shape}")
    for cost in ("macs", "params"):
        traced, said = getattr(actual, cost), getattr(stated, cost)
        if traced != said:
            raise ConfigError(f"{where} has {traced:,} {cost} in a trace, and its {cost}() says {said:,}; correct it")
