"""Operations of a step by a run on shapes alone, against counters, and against the same run with other clips."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autovid.clip import Clip
from autovid.costs.count import count
from autovid.costs.operations import FAMILIES, Operation, StepTrace, trace, trace_step
from autovid.layers.convolutions import DepthwiseConv3d, FrameConv, PointwiseConv3d, TemporalConv
from autovid.models import NetworkSpec, build, build_network
from autovid.models.registry import FILES
from autovid.space import load_space

CLIP = Clip(4, 32)


class Small(nn.Module):
    """One layer of every family of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.clip = CLIP
        self.frames = FrameConv(3, 8, 3, padding=1, bias=False)
        self.time = TemporalConv(8, 8)
        self.depthwise = DepthwiseConv3d(8, 3)
        self.product = PointwiseConv3d(8, 6)
        self.cubes = nn.Conv3d(6, 4, 3, padding=1, bias=False)
        self.classifier = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.frames, self.time, self.depthwise, self.product, self.cubes):
            x = F.relu(layer(x))
        logits: Tensor = self.classifier(x.mean((2, 3, 4)))
        return logits


def traced(net: nn.Module, clip: Clip = CLIP) -> StepTrace:
    return trace_step(net.to("meta"), lambda x, y: F.cross_entropy(net(x), y), clip)


def macs(operations: list[Operation], backward: bool) -> dict[str, float]:
    sums = dict.fromkeys(FAMILIES, 0.0)
    for one in operations:
        sums[one.family] += one.macs * (one.backward is backward)
    return {family: total for family, total in sums.items() if total}


def test_macs_are_of_their_families_and_backward_has_two_gradients() -> None:
    operations, pixels = traced(Small()).at(1), 4 * 32 * 32
    by_hand = {
        "frames": 3 * 8 * 9 * pixels, "time": 8 * 8 * 3 * pixels, "depthwise": 8 * 27 * pixels,
        "product": 8 * 6 * pixels + 4 * 5, "cubes": 6 * 4 * 27 * pixels,
    }  # fmt: skip
    assert macs(operations, False) == by_hand
    twice = {family: 2 * total for family, total in by_hand.items()}
    assert macs(operations, True) == {**twice, "frames": by_hand["frames"]}  # the clip has no gradient


@pytest.mark.slow
@pytest.mark.parametrize("name", [next(iter(names)) for names in FILES.values()])
def test_networks_have_the_macs_that_count_says(name: str) -> None:
    net = build_network(NetworkSpec(network=name, classes=5), "meta")
    step = trace_step(net, lambda x, y: F.cross_entropy(net(x), y), net.clip)
    # in training S2DNet computes what evaluation leaves out
    if not net.has_sampler:
        assert sum(macs(step.at(1), False).values()) == count(net).macs
    assert all(one.macs >= 0 and one.bytes >= 0 for one in step.at(1))


def test_operations_are_linear_in_the_clips() -> None:
    net = build(load_space("tiny").sample(1, seed=1)[0], 5).to("meta").train()
    step = trace_step(net, lambda x, y: F.cross_entropy(net(x), y), CLIP)
    x = torch.empty(3, 3, CLIP.frames, CLIP.crop, CLIP.crop, device="meta")
    x, y = x.contiguous(memory_format=torch.channels_last_3d), torch.zeros(3, dtype=torch.int64, device="meta")
    three = trace(lambda: F.cross_entropy(net(x), y))
    forward = [one for one in step.at(3) if not one.backward]
    assert [(one.family, one.macs) for one in forward] == [(one.family, one.macs) for one in three]
    assert [one.bytes for one in forward] == [one.bytes for one in three]


def test_messages_hold_all_gradients_and_come_in_the_order_of_backward(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autovid.distributed.GRADIENTS", 1000)  # bytes, so that there are several
    net = Small()
    step = traced(net)
    assert sum(size for size, _ in step.messages) == sum(weight.nbytes for weight in net.parameters())
    assert len(step.messages) > 3
    after = [number for _, number in step.messages]
    assert after == sorted(after)
    first = next(number for number, one in enumerate(step.at(1)) if one.backward)
    assert first < after[0] < after[-1] <= len(step.at(1))


def test_views_and_empty_tensors_count_nothing() -> None:
    x = torch.empty(2, 3, 4, device="meta")
    assert trace(lambda: (x.view(6, 4), x.transpose(0, 1), torch.empty_like(x))) == []
    assert trace(lambda: x + x) == [Operation("elementwise", False, 0, 3 * x.nbytes)]
