"""Checks that a block or an operation of your own keeps its side of the agreement (`autovid.blocks.block.Block`).

At sites of several kinds, for several of its candidates:
- the supernet's module, routed to a choice, gives the bits of the module that is built for this choice alone;
- MACs, parameters and kept activations are those of the module, and its result has the site's size;
- equal keys stand for equal work, and a label is a few short texts.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from autovid.blocks.block import Block, Choice
from autovid.blocks.site import AttentionSite, BlockSite, FusionSite, Input, Site, Size
from autovid.blocks.trace import example, trace
from autovid.models.builder import inherit

MOST = 12  # choices at each site
LABEL = 16  # characters of a part
WIDTHS = {"in": (8, 12), "out": (12, 16)}
SIZE = Size(8, 10, 10)  # a fusion leaves more than one frame of it
NAME = "checked"


def check_block(block: Block[Any], candidates: Mapping[str, Sequence[Any]]) -> None:
    """Check a block of stages, with these candidates of its choices. Raises AssertionError that says what is wrong."""
    assert set(block.choices) == set(candidates), f"choices are {list(block.choices)}; give candidates for each"
    own = {name: tuple(values) for name, values in candidates.items()}
    keys: dict[str, Any] = {}
    for stride, squeeze, width_in in ((2, 16, "in"), (1, 0, "out"), (1, 16, "in")):
        site = BlockSite(
            **_common("block", width_in, SIZE.strided(stride)),
            variables=(("width_in", width_in), ("width", "out"), *((name, name) for name in own)),
            stage=1,
            stride=stride,
            squeeze=squeeze,
        )
        _check(block, site, {**WIDTHS, **own}, site.inputs, True, keys)


def check_operation(operation: Block[Any], kind: Literal["fusion", "attention"]) -> None:
    """Check a fusion or an attention operation. Raises AssertionError that says what is wrong."""
    keys: dict[str, Any] = {}
    values = {**WIDTHS, NAME: (NAME,)}
    if kind == "attention":
        variables = (("width_in", "out"), ("width", "out"), ("operation", NAME))
        for most in (4, 16):
            attention = AttentionSite(**_common(kind, "out", SIZE), variables=variables, keys=most)
            _check(operation, attention, values, attention.inputs, True, keys)
        return
    variables = (("width_in", "in"), ("width", "out"), ("operation", NAME))
    for ratio in (2, 4):
        size = SIZE._replace(frames=SIZE.frames // ratio)
        fusion = FusionSite(**_common(kind, "in", size), variables=variables, ratio=ratio, kernel=3)
        _check(operation, fusion, values, fusion.inputs, False, keys)


def _common(kind: str, width_in: str, size: Size) -> dict[str, Any]:
    inputs = (Input("main", width_in, SIZE),)
    return {"name": NAME, "kind": kind, "place": "stage1", "stream": "main", "inputs": inputs, "size": size}


def _check(
    block: Block[Any],
    site: Site,
    candidates: Mapping[str, tuple[Any, ...]],
    inputs: Sequence[Input],
    keeps_result: bool,
    keys: dict[str, Any],
) -> None:
    """Check one choice. `keeps_result`: what comes out is kept by whatever follows, and counts here."""
    torch.manual_seed(0)
    supernet = _randomised(block.build(site, site.candidates(candidates)))
    for choice in _some(site, candidates):
        where = f"{type(block).__name__} with {dict(choice)}"
        frozen = block.build(site, {name: (value,) for name, value in choice.items()})
        frozen = frozen.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        inherit(frozen, supernet)
        maps = [example(one, site, choice) for one in inputs]
        _check_equal(supernet, frozen, maps, choice, where)
        stated = _stated(block, site, choice)
        traced = trace(block, site, choice, inputs)
        assert traced.shape == (1, choice["width"], *site.size), f"{where} gives {traced.shape}, not {site.size}"
        assert stated["macs"] == traced.macs, f"{where}: macs() says {stated['macs']:,}, a trace {traced.macs:,}"
        assert stated["params"] == traced.params, f"{where}: params() says {stated['params']:,}, not {traced.params:,}"
        kept = kept_bytes(frozen.train(), maps, choice, keeps_result)
        said = stated["activation_bytes"]
        assert said == kept, f"{where}: activation_bytes() says {said:,}, and backward keeps {kept:,}"
        key, shapes = block.key(site, choice), [tuple(p.shape) for p in frozen.parameters()]
        assert key, f"{where}: its key is empty, which stands for no module"
        work = (site.stride, site.size, traced, shapes, kept)
        assert keys.setdefault(key, work) == work, f"{where}: {key!r} is also the key of other work"
        label = block.label(site, choice)
        short = isinstance(label, tuple) and 0 < len(label) <= 3 and all(0 < len(part) <= LABEL for part in label)
        assert short, f"{where}: label() gives {label!r}; give up to three texts of at most {LABEL} characters"


def _check_equal(supernet: nn.Module, frozen: nn.Module, maps: list[Tensor], choice: Choice, where: str) -> None:
    """Equal to the bit, in evaluation and in training; and nothing of the frozen module is left unused."""
    for training in (False, True):
        with torch.no_grad():
            ours, theirs = (net.train(training)(*maps, choice=choice) for net in (supernet, frozen))
        when = "training" if training else "evaluation"
        assert torch.equal(ours, theirs), f"{where}: the supernet's result in {when} is not the frozen module's"
    frozen(*maps, choice=choice).sum().backward()
    unused = [name for name, parameter in frozen.named_parameters() if parameter.grad is None]
    assert not unused, f"{where}: {', '.join(unused)} take no part; build what a choice needs and no more"
    frozen.zero_grad()


def _stated(block: Block[Any], site: Site, choice: Choice) -> dict[str, int]:
    costs = ("macs", "params", "activation_bytes")
    stated = {name: getattr(block, name)(site, choice) for name in costs}
    odd = [name for name, value in stated.items() if type(value) is not int or value < 0]
    assert not odd, f"{type(block).__name__}.{odd[0]}() gives {stated[odd[0]]!r}; give a whole number"
    return stated


def kept_bytes(module: nn.Module, maps: Sequence[Tensor], choice: Choice, keeps_result: bool) -> int:
    """Bytes behind the tensors that autograd saves: each memory once, none of inputs, parameters and statistics."""
    maps = [one.clone().requires_grad_() for one in maps]
    own = {t.untyped_storage().data_ptr() for t in [*maps, *module.parameters(), *module.buffers()]}
    kept: dict[int, Tensor] = {}

    def see(tensor: Tensor) -> Tensor:
        if tensor.dim() and tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # alive, so that no memory is used twice
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(see, lambda tensor: tensor):
        out = module(*maps, choice=choice)
    if keeps_result:
        see(out)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _some(site: Site, candidates: Mapping[str, tuple[Any, ...]]) -> Iterator[Choice]:
    """All choices at a site, or MOST of them, the first and the last among these."""
    every = [dict(zip(site.scope, values)) for values in itertools.product(*(candidates[name] for name in site.scope))]
    step = max(1, (len(every) - 1) / (MOST - 1))
    for place in sorted({round(step * number) for number in range(min(MOST, len(every)))}):
        yield site.choice(every[place])


def _randomised(module: nn.Module) -> nn.Module:
    """Parameters and statistics at random: no module is the identity, as one whose last norm starts at zero is."""
    with torch.no_grad():
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                tensor.copy_(0.5 + torch.rand_like(tensor) if "norm" in name or tensor.dim() == 1 else tensor)
    return module.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload, no-any-return]
