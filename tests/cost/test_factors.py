"""The closed-form tables against counters that run the network."""

import pytest
import torch
from fvcore.nn import FlopCountAnalysis

from autovid.cost import count
from autovid.errors import ConfigError
from autovid.models import build
from autovid.space import list_spaces, load_space


@pytest.mark.parametrize("name", sorted(list_spaces()))
def test_table_equals_the_traced_count_of_200_architectures(name: str) -> None:
    space = load_space(name)
    archs = space.sample(200, seed=11)
    predicted = space.cost_table().macs(archs)
    for arch, macs in zip(archs, predicted.tolist()):
        with torch.device("meta"):
            net = build(arch)
        assert count(net).macs == macs, arch.hash


@pytest.mark.parametrize("name", sorted(list_spaces()))
def test_table_equals_fvcore_without_batch_norm_at_another_input(name: str) -> None:
    space = load_space(name)
    arch = space.sample(1, seed=5)[0]
    frames, crop, classes = 8, 68, 11
    net = build(arch, classes=classes).eval()
    analysis = FlopCountAnalysis(net, torch.zeros(1, 3, frames, crop, crop))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    by_operator = analysis.by_operator()
    del by_operator["batch_norm"]
    assert space.cost_table(crop=crop, frames=frames, classes=classes).macs([arch])[0] == sum(by_operator.values())


def test_frames_that_do_not_divide_among_the_streams_are_refused() -> None:
    with pytest.raises(ConfigError, match="multiple"):
        load_space("two_stream").cost_table(frames=30)
