"""One builder: the supernet routed to A and the network built for A are the same network.

They are equal bit for bit on any machine, since they call the same operations on the same numbers in the same memory
layout: that is tested by itself, with every call seen, and so does not rest on how the libraries of one machine round.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from autovid.errors import ConfigError
from autovid.layers.convolutions import channels_last
from autovid.models import build, inherit
from autovid.models.builder import SearchNetwork
from autovid.space import Architecture, SearchSpace, load_space

SPACES = [
    ("tiny", 16, 32),
    ("two_stream", 8, 32),
    pytest.param("x3d", 4, 32, marks=pytest.mark.thorough, id="x3d-4-32"),  # its blocks are two_stream's
]
MOVES = {  # what gives numbers another place or type, one by one: no layout changes what comes out
    *("clone", "copy_", "_to_copy", "detach", "_unsafe_view", "_reshape_alias"),
    *("slice_backward", "new_zeros", "zeros", "zeros_like", "empty", "empty_like", "empty_strided", "new_empty"),
}


class Calls(TorchDispatchMode):
    """Every operation that computes, forward and backward, with its arguments; of a tensor its type and layout."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, operation: Any, types: object, args: Any = (), kwargs: Any = None) -> Any:
        if not operation.is_view and operation.overloadpacket.__name__ not in MOVES:
            self.seen.append((operation, [layout(leaf) for leaf in tree_leaves((args, kwargs or {}))]))
        return operation(*args, **(kwargs or {}))


def layout(leaf: object) -> object:
    """Memory is allocated at multiples of 64 bytes, so that equal offsets are equal alignments."""
    if not isinstance(leaf, Tensor):
        return leaf
    return leaf.dtype, tuple(leaf.shape), leaf.stride(), leaf.storage_offset()


def covering(space: SearchSpace) -> list[Architecture]:
    """Architectures in which every candidate of every decision occurs, one at random, and one of each part."""
    candidates = space.candidates
    most = max(len(choices) for choices in candidates.values())
    rounds = [{name: choices[i % len(choices)] for name, choices in candidates.items()} for i in range(most)]
    parts = [space.part_space(number, {}).sample(1, seed=number)[0] for number in range(len(space.parts))]
    return [space.fix(choices).sample(1)[0] for choices in rounds] + space.sample(1, seed=3) + parts


def clips(frames: int, crop: int) -> Tensor:
    x = torch.randn(2, 3, frames, crop, crop, generator=torch.Generator().manual_seed(1))
    return x.contiguous(memory_format=torch.channels_last_3d)


def shaken(net: SearchNetwork, x: Tensor, archs: list[Architecture]) -> SearchNetwork:
    """Parameters random, so that no block is the identity, and statistics that fit: without, GloRe's cubes overflow."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            noise = torch.rand(parameter.shape, generator=generator)
            if name.endswith("norm.weight"):
                parameter.copy_(0.5 + noise)
            elif "norm" in name:
                parameter.copy_(noise - 0.5)
        for arch in archs:
            net.train()(x, arch)
    return net.eval()


@pytest.mark.parametrize(("name", "frames", "crop"), SPACES)
def test_supernet_routed_to_an_architecture_equals_its_frozen_network(name: str, frames: int, crop: int) -> None:
    space = load_space(name)
    x, archs = clips(frames, crop), [*space.sample(8, seed=3), *covering(space)[-len(space.parts) :]]
    torch.manual_seed(0)
    supernet = shaken(build(space, classes=7), x, archs)
    for arch in archs:
        frozen = build(arch, classes=7)
        inherit(frozen, supernet)
        with torch.no_grad():
            # to the bit: by the test of equal calls, and since one process repeats its own results
            out = supernet(x, arch)
            assert bool(out.isfinite().all())
            assert torch.equal(out, frozen.eval()(x)), arch.hash


CALLS = [
    pytest.param(
        *space,
        *how,
        marks=[pytest.mark.thorough] if (space[0], how[0]) in (("x3d", how[0]), ("two_stream", "train")) else [],
    )
    for space in (("tiny", 16, 32), ("two_stream", 8, 32), ("x3d", 4, 32))
    for how in (("eval", "fp32"), ("scoring", "bf16"), ("train", "fp32"))
]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames", "crop", "mode", "precision"), CALLS)
def test_supernet_and_frozen_network_call_the_same_operations_on_the_same_layouts(
    name: str, frames: int, crop: int, mode: str, precision: str
) -> None:
    space = load_space(name)
    supernet, x = build(space, classes=7), clips(frames, crop)
    for arch in covering(space):
        frozen = build(arch, classes=7)
        if mode == "train":
            calls(frozen, x, arch, mode, precision)  # constants are made once and kept
        ours, theirs = (calls(net, x, arch, mode, precision) for net in (supernet, frozen))
        assert len(ours) > 50
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert one == other, arch.hash


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["scoring", "train"])
def test_kernels_for_large_maps_are_called_alike_too(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autovid.kernels.batch_norm.LARGE", 1)
    monkeypatch.setattr("autovid.kernels.maps.PIXELS", 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 1)
    space = load_space("tiny")
    supernet, x = build(space, classes=7), clips(16, 32)
    for arch in covering(space):
        frozen = build(arch, classes=7)
        calls(frozen, x, arch, mode, "fp32")  # constants are made once and kept
        ours, theirs = (calls(net, x, arch, mode, "fp32") for net in (supernet, frozen))
        assert ours == theirs, arch.hash
        assert torch.ops.aten.batch_norm_update_stats.default in {operation for operation, _ in ours}


def calls(net: SearchNetwork, x: Tensor, arch: Architecture, mode: str, precision: str) -> list[tuple[Any, Any]]:
    """What a pass calls, in training forward and backward."""
    scoring: AbstractContextManager[None] = net.scoring() if mode == "scoring" else nullcontext()
    net.train(mode == "train")
    autocast = torch.autocast("cpu", enabled=precision == "bf16")
    with scoring, torch.set_grad_enabled(mode == "train"), Calls() as seen:
        with autocast:
            loss = F.cross_entropy(net(x, arch).float(), torch.arange(len(x)))
        if mode == "train":
            torch.autograd.grad(loss, list(net.parameters()), allow_unused=True)
    return seen.seen


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames", "crop"), SPACES)
def test_gradients_and_statistics_of_the_supernet_are_those_of_the_frozen_network(
    name: str, frames: int, crop: int
) -> None:
    """To the bit, by the test of equal calls; the rest of the supernet has gradients of zero or none."""
    space = load_space(name)
    supernet, x = build(space, classes=7).train(), clips(frames, crop)
    for arch in covering(space):
        frozen = build(arch, classes=7).train()
        inherit(frozen, supernet)
        for net in (supernet, frozen):
            net.zero_grad()
            torch.manual_seed(0)  # dropout
            F.cross_entropy(net(x, arch), torch.arange(len(x))).backward()
        routed, part = gradients(supernet, space), build(arch, classes=7)
        inherit(part, routed)
        for (key, one), other in zip(gradients(frozen, arch).state_dict().items(), part.state_dict().values()):
            assert torch.equal(one, other), (arch.hash, key)
        sums = [
            sum(float(p.detach().abs().sum(dtype=torch.float64)) for p in net.parameters()) for net in (routed, part)
        ]
        assert sums[0] == pytest.approx(sums[1])  # float64: nothing but the slices has any


def gradients(net: SearchNetwork, what: SearchSpace | Architecture) -> SearchNetwork:
    """A network with the gradients of `net` for weights, zeros for none, and its statistics."""
    built = build(what, classes=7)
    built.load_state_dict(net.state_dict())
    with torch.no_grad():
        for p, own in zip(built.parameters(), net.parameters()):
            p.copy_(torch.zeros_like(own) if own.grad is None else own.grad)
    return built


def test_the_frozen_network_has_no_weights_that_it_does_not_use() -> None:
    for arch in load_space("tiny").sample(5, seed=1):
        net = build(arch)
        net(torch.randn(2, 3, 16, 32, 32)).sum().backward()
        assert all(p.grad is not None for p in net.parameters())


def test_scoring_leaves_running_statistics_and_modes_alone() -> None:
    space = load_space("tiny")
    net = build(space).train()
    before = {name: t.clone() for name, t in net.state_dict().items()}
    x, arch = torch.randn(2, 3, 16, 32, 32), space.sample(1, seed=0)[0]
    with torch.no_grad(), net.scoring():
        first, second = net(x, arch), net(x, arch)
    assert torch.equal(first, second)  # to the bit: the same operations on the same bytes, twice
    assert net.training
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_an_open_network_asks_for_an_architecture() -> None:
    with pytest.raises(ConfigError, match="needs an architecture"):
        build(load_space("tiny"))(torch.zeros(1, 3, 16, 32, 32))


def test_every_operation_can_be_trained() -> None:
    space = load_space("tiny")
    for fusion in space.candidates["fusion.stem"]:
        for attention in space.candidates["attention.stage1"]:
            fixed = {name: fusion for name in space.candidates if name.startswith("fusion.")}
            fixed |= {name: attention for name in space.candidates if name.startswith("attention.")}
            net = build(space.fix(fixed).sample(1, seed=0)[0])
            net(torch.randn(2, 3, 16, 32, 32)).square().sum().backward()
            grads = [p.grad for p in net.parameters()]
            assert all(g is not None and bool(torch.isfinite(g).all()) for g in grads), (fusion, attention)


def test_a_whole_weight_lies_as_its_layer_wants_it() -> None:
    net = build(load_space("tiny").sample(1, seed=1)[0])
    net.load_state_dict(build(net.space, 12).state_dict())
    weights = [parameter for parameter in net.parameters() if parameter.dim() == 5]
    assert weights
    assert all(channels_last(weight) is weight for weight in weights)


def test_x3d_is_an_architecture_of_its_space() -> None:
    """X3D-S and -M have 3,794,322 parameters with 400 classes (PySlowFast's count)."""
    space = load_space("x3d")
    widths = {1: 24, 2: 48, 3: 96, 4: 192}
    fixed: dict[str, int | float | str] = {"temporal_kernel": 3, "spatial_kernel": 3, "expansion": 2.25}
    choices = {
        name: widths[int(name.split(".")[1][-1])] if name.endswith("width") else fixed[name.split(".")[-1]]
        for name in space.candidates
    }
    arch = space.fix(choices).sample(1)[0]
    with torch.device("meta"):
        assert sum(p.numel() for p in build(arch, classes=400).parameters()) == 3_794_322
    # 1.963 G at 13 frames of 160 in the published count, which has the classifier once
    assert round(arch.macs() / 1e9, 3) == 1.963
