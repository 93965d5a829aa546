"""The synaptic flow of networks: the same each time, and a sum of positive parts of which one is known."""

import math

import pytest
import torch

from autovid.models import build
from autovid.space import load_space
from autovid.studies.zero_cost import synaptic_flow

SPACE = load_space("bench")
ARCHS = SPACE.sample(6, seed=0)


def test_it_depends_on_architecture_and_seed_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    scores = [synaptic_flow(arch) for arch in ARCHS]
    assert torch.equal(torch.get_rng_state(), before)
    assert scores == [synaptic_flow(arch) for arch in ARCHS]  # to the bit: the same code on the same bytes
    assert len(set(scores)) == len({arch.hash for arch in ARCHS})
    assert synaptic_flow(ARCHS[0], seed=1) != scores[0]


def test_the_flow_through_the_last_layer_is_the_sum_of_the_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    # The logits are linear in the last weights, so |w * dR/dw| sums to R (without the bias): the least that can flow.
    from autovid.studies import zero_cost

    nets: list[torch.nn.Module] = []
    monkeypatch.setattr(zero_cost, "build", lambda arch, classes: nets.append(build(arch, classes=classes)) or nets[0])  # type: ignore[func-returns-value]
    score = zero_cost.synaptic_flow(ARCHS[0])
    flows = {name: float((p * p.grad).detach().sum()) for name, p in nets[0].named_parameters() if p.grad is not None}
    assert all(flow >= 0 for flow in flows.values())  # every parameter and every activation is positive
    # Sums of positive float64 numbers: rounding alone.
    assert math.log10(sum(flows.values())) == pytest.approx(score, rel=1e-12)
    last = next(flow for name, flow in flows.items() if name.endswith("output.weight"))
    at_reference = torch.ones(1, 3, 16, 16, 16, dtype=torch.float64)
    with torch.no_grad():
        # As above, through other operations: some thousand terms a layer lose 1e-13 of it.
        assert float(nets[0](at_reference).sum()) == pytest.approx(last + flows.get("head.output.bias", 0.0), rel=1e-9)
