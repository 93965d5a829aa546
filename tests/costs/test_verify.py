"""MACs of hand-designed networks are fvcore's, which traces a real pass; counted without norms, pools and resizing."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from tolerance import DEEP

import autovid

CASES: list[Any] = [
    ("tsm_resnet18", 5, 49, {"temporal_pooling": True}),
    pytest.param("tsm_inception_v1", 3, 33, {}, marks=pytest.mark.thorough),
    ("tsm_mobilenet_v2", 3, 45, {}),
    ("nln_resnet18", 3, 57, {}),
    pytest.param("s2dnet", 9, 40, {}, marks=pytest.mark.thorough),
    ("tsn_resnet18", 5, 33, {"modules": {"dnr": {"group": 2, "direction": "both"}}}),
]
KINDS = {"conv": "conv", "linear": "linear", "matmul": "matmul", "einsum": "matmul"}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "frames", "crop", "options"), CASES, ids=lambda value: str(value)[:40])
def test_macs_by_kind_are_fvcores(name: str, frames: int, crop: int, options: dict[str, Any]) -> None:
    net = autovid.build(name, 7, frames=frames, crop=crop, **options).eval()
    analysis = FlopCountAnalysis(net, torch.zeros(1, 3, frames, crop, crop))
    analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
    macs_by_kind = dict.fromkeys(("conv", "linear", "matmul"), 0)
    for operator, macs in analysis.by_operator().items():
        if operator in KINDS:
            macs_by_kind[KINDS[operator]] += int(macs)
    assert macs_by_kind == autovid.count(net).macs_by_kind


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_a_traced_network_computes_what_the_network_does() -> None:
    torch.manual_seed(0)
    net = autovid.build("tsn_resnet18", 5, frames=3, crop=32, modules=["dnr"]).double().eval()
    x = torch.randn(2, 3, 3, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        traced = torch.jit.trace(net, x, check_trace=False)  # type: ignore[no-untyped-call]
        want = net(x)
        assert (traced(x) - want).norm() < DEEP * want.norm()
