"""Pieces and layers of networks in words, as papers call them, instead of the names that they have in the code."""

import re
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence

from torch import nn

from autovid.layers.residual import Residual
from autovid.models.factory import NetworkSpec, Option

LAYERS = {
    "DenseAggregation": "temporal convolution",
    "DynamicNorm": "dynamic norm",
    "GloRe": "GloRe",
    "LearnableShift": "learned shift",
    "LongTermDifference": "long-term difference",
    "NonLocalBlock": "non-local",
    "RandomDrop": "random drop",
    "RandomMeanScaling": "random mean scaling",
    "ShakeDrop": "ShakeDrop",
    "TemporalAdaptive": "temporal adaptive module",
    "TemporalAggregation": "temporal aggregation",
    "TemporalShift": "temporal shift",
}
"""By class: what stands between the convolutions of a network, and tells it from another."""

PIECES = {
    "context": "context vector, for the details",
    "elsewhere": "computed outside of its layers",
    "locator": "sampler: where and when to look closer",
    "sampling": "cutting the details out of the clip",
    "short_term": "short-term differences, beside stem and stage 1",
    "synopsis": "synopsis network",
}
"""By name of a module: pieces that are neither a stem nor a stage."""


def piece(name: str) -> str:
    """A piece of a network by its module's name: `fast.stages.0` is `fast stage 1`."""
    if name in PIECES:
        return PIECES[name]
    text = re.sub(r"\bstages\.(\d+)", lambda found: f"stage {int(found[1]) + 1}", name)
    text = re.sub(r"\blaterals\.(\d+)", lambda found: f"lateral connection {int(found[1]) + 1}", text)
    text = re.sub(r"\b(layers|sites)\.|\bmain-", "", text).replace("fusions.", "context into ")
    text = re.sub(r"\b(stage|block|inception|conv)(\d)", r"\1 \2", text)
    return re.sub(r"[.\-_]", " ", text)


def place(name: str, module: nn.Module) -> str:
    """Where a piece of a stream stands in it: `stem`, `stage 1 (res2)`, `head`."""
    within = piece(name.partition(".")[2]) if name.split(".")[0] not in ("stages", "layers", "after") else piece(name)
    stage = re.match(r"stage \d+", within or piece(name))
    if stage is None:
        return within or piece(name)
    numbers = {block.stage for block in module.modules() if isinstance(block, Residual)}
    return f"{stage[0]} (res{numbers.pop()})" if len(numbers) == 1 and ".stages." in f".{name}" else stage[0]


def inside(module: nn.Module, blocks: int) -> list[str]:
    """What a piece has between its convolutions: `temporal shift` where every block has one, else `2 × non-local`."""
    there = Counter(LAYERS[kind] for layer in module.modules() if (kind := type(layer).__name__) in LAYERS)
    return [name if number == max(1, blocks) else f"{number} × {name}" for name, number in there.items()]


def options(spec: NetworkSpec) -> list[str]:
    """What a network was asked for beside its name: `temporal pooling`, `rms: kernel 5`."""
    modules = [f"{name}: {', '.join(_options(given))}" for name, given in spec.modules.items() if given]
    return [*_options(spec.options), *modules]


def _options(given: Mapping[str, Option]) -> list[str]:
    return [_option(name.replace("_", " "), value) for name, value in given.items()]


def _option(name: str, value: Option) -> str:
    if isinstance(value, bool):
        return name if value else f"no {name}"
    return f"{name} {'×'.join(map(str, value)) if isinstance(value, list) and 'kernel' in name else value}"


def lines(parts: Sequence[str], most: int) -> list[str]:
    """Parts with points between them, in lines of at most so many characters where words allow it."""
    found: list[str] = []
    for part in parts:
        if found and len(found[-1]) + 3 + len(part) <= most:
            found[-1] += f" · {part}"
        else:
            found.append(part)
    return [line for long in found for line in _broken(long, most)]


def _broken(line: str, most: int) -> list[str]:
    return textwrap.wrap(line, most, break_long_words=False) or [line]
