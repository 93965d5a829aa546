"""Tables of parameters and of memory against networks that run, over random architectures of the shipped spaces."""

import msgspec
import pytest
import torch
from activations import kept

from autovid.costs import COSTS, Cost, Macs, Memory, Params, cost_names, make_cost, recorded_costs
from autovid.costs.count import step_peak
from autovid.errors import ConfigError
from autovid.models import build
from autovid.space import list_spaces, load_space

SMALL = {"tiny": (16, 32), "two_stream": (16, 48), "x3d": (4, 48), "bench": (16, 16)}


@pytest.mark.parametrize("name", sorted(list_spaces()))
def test_parameters_are_those_of_the_network_with_the_reference_classes(name: str) -> None:
    space = load_space(name)
    archs = space.sample(12, seed=5)
    for arch, params in zip(archs, Params().table(space).of(archs).tolist()):
        with torch.device("meta"):
            assert sum(p.numel() for p in build(arch).parameters()) == params == Params().of(arch), arch.hash


@pytest.mark.parametrize("name", sorted(list_spaces()))
def test_memory_is_what_backward_keeps_of_a_clip(name: str) -> None:
    space, (frames, crop) = load_space(name), SMALL[name]
    reference = msgspec.structs.replace(space.reference, frames=frames, crop=crop)
    archs = space.sample(4, seed=6)
    for arch, memory in zip(archs, Memory().table(space, reference).of(archs).tolist()):
        net = build(arch).train()
        clip = torch.randn(1, 3, frames, crop, crop).contiguous(memory_format=torch.channels_last_3d)
        assert kept(net, lambda net=net, clip=clip: net(clip), [clip]) == memory, arch.hash


def test_the_peak_of_a_step_is_above_what_is_kept_of_it_and_not_tried_where_it_would_not_fit() -> None:
    (arch,) = load_space("tiny").sample(1)
    net, memory = build(arch), Memory().of(arch)
    peak = step_peak(net, net.clip, memory)
    assert peak is not None
    assert memory < peak < 5 * memory + 20 * Params().of(arch)
    assert step_peak(net, net.clip, 10**15) is None


@pytest.mark.parametrize("cost", [Macs(), Params(), Memory()])
def test_a_cost_is_told_by_its_name_and_its_figures_are_read_back(cost: Cost) -> None:
    (arch,) = load_space("tiny").sample(1)
    assert make_cost(cost.name) == cost
    assert cost_names()[cost.option] == cost.name
    figures = cost.figures(cost.of(arch))
    (value,) = recorded_costs(figures).values()
    assert value == pytest.approx(cost.of(arch) / cost.quantity.atoms, rel=0, abs=1e-4)  # four decimals at least


def test_every_cost_has_an_option_and_a_key_of_its_own() -> None:
    kinds = [COSTS.load(name) for name in COSTS]
    assert [kind.name for kind in kinds] == list(COSTS)
    assert len({kind.option for kind in kinds}) == len({kind.metric for kind in kinds}) == len(kinds)
    with pytest.raises(ConfigError, match="no cost is called 'mac'; did you mean macs"):
        make_cost("mac")
