"""The published figures of DNR: exact, on the meta device.

Cai, Yao and Chen, "Dynamic normalization and relay for video action recognition", NeurIPS 2021, supplement, D;
docs/papers.md#dnr.
"""

from __future__ import annotations

import pytest
from torch import nn

import autovid
from autovid.layers.dnr import RelayCell
from autovid.models import Network, NetworkSpec, build_network

WEIGHTS = {"temporal": 3_143_680, "layer": 870_400}
AFFINE = {"temporal": 7_552, "layer": 7_552}  # gamma and beta of the batch norms that are replaced, 15,104 in all


def meta(relay: str | None, network: str = "tsn_resnet50", **options: object) -> Network:
    modules = {} if relay is None else {"dnr": {"relay": relay, **options}}
    return build_network(NetworkSpec(network=network, modules=modules), device="meta")  # type: ignore[arg-type]


def cells(net: nn.Module) -> list[RelayCell]:
    return [module for module in net.modules() if isinstance(module, RelayCell)]


def params(net: nn.Module, *, weights_only: bool = False) -> int:
    return sum(p.numel() for p in net.parameters() if p.dim() > 1 or not weights_only)


@pytest.mark.parametrize("relay", ["temporal", "layer"])
def test_weights_of_one_kind_of_relay(relay: str) -> None:
    assert sum(params(cell, weights_only=True) for cell in cells(meta(relay))) == WEIGHTS[relay]


def test_one_lstm_a_bottleneck_and_one_a_stage() -> None:
    assert [len(cells(meta(relay))) for relay in ("temporal", "layer", "both")] == [16, 4, 20]


def test_lstms_of_all_bottlenecks_have_4_054_336_parameters() -> None:
    assert sum(map(params, cells(meta("both")))) == 4_054_336


@pytest.mark.parametrize("network", ["tsn_resnet50", "tsm_resnet50", "tanet_resnet50", "tdn_resnet50"])
def test_networks_grow_by_4_039_232_parameters(network: str) -> None:
    assert params(meta("both", network)) - params(meta(None, network)) == 4_039_232


def test_growth_is_the_lstms_less_the_affine_that_is_gone() -> None:
    for relay, affine in AFFINE.items():
        net = meta(relay)
        assert params(net) - params(meta(None)) == sum(map(params, cells(net))) - affine


def test_temporal_relay_of_two_groups_costs_6_287_360_macs() -> None:
    """0.006 G in print. Convolutions stay as they are."""
    plain, relayed = autovid.count(meta(None)), autovid.count(meta("temporal"))
    assert relayed.macs - plain.macs == 2 * WEIGHTS["temporal"] == 6_287_360
    assert relayed.macs_by_kind["conv"] == plain.macs_by_kind["conv"]


@pytest.mark.slow
def test_macs_grow_with_the_groups_and_layer_relay_costs_one_step_a_block() -> None:
    plain = autovid.count(meta(None)).macs
    assert autovid.count(meta("temporal", group=2)).macs - plain == 4 * WEIGHTS["temporal"]
    assert autovid.count(meta("temporal", group=8)).macs - plain == WEIGHTS["temporal"]
    assert autovid.count(meta("layer")).macs - plain == 3_143_680  # 5/2 C² a block, as the temporal relay a group
    assert autovid.count(meta("both")).macs - plain == 3 * 3_143_680
