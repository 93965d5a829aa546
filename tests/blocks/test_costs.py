"""What blocks say of their costs, against networks that run: parameters, and what backward keeps of a clip."""

import pytest
import torch
from activations import kept

from autovid.models import build
from autovid.models.builder import module_name
from autovid.space import Architecture, SearchSpace, load_space

SPACES = ["tiny", "two_stream", "x3d"]


def covering(space: SearchSpace) -> list[Architecture]:
    """Architectures in which every candidate of every decision occurs, and two at random."""
    candidates = space.candidates
    most = max(len(choices) for choices in candidates.values())
    rounds = [{name: choices[i % len(choices)] for name, choices in candidates.items()} for i in range(most)]
    return [space.fix(choices).sample(1)[0] for choices in rounds] + space.sample(2, seed=3)


@pytest.mark.parametrize("name", SPACES)
def test_parameters_are_those_of_the_modules(name: str) -> None:
    for arch in covering(load_space(name)):
        with torch.device("meta"):
            net = build(arch)
        for site in net.plan:
            module = net.sites[module_name(site)]
            assert site.block.params(site, site.choice(arch.choices)) == sum(p.numel() for p in module.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames", "crop"), [("tiny", 16, 32), ("two_stream", 16, 48), ("x3d", 4, 48)])
def test_activations_are_what_backward_keeps_of_a_clip(name: str, frames: int, crop: int) -> None:
    """The sum over all sites is that of the network: what two sites keep of one map counts for who makes it."""
    for arch in covering(load_space(name)):
        arch = arch.scaled(crop=crop, frames=frames)
        net = build(arch).train()
        clip = torch.randn(1, 3, frames, crop, crop).contiguous(memory_format=torch.channels_last_3d)
        expected = sum(site.block.activation_bytes(site, site.choice(arch.choices)) for site in net.plan)
        assert kept(net, lambda net=net, clip=clip: net(clip), [clip]) == expected, arch.choices
