"""The measurement of a machine: a few operations of each family, messages and decoding; no time is asserted."""

import io

import pytest
import torch

from autovid.costs.operations import FAMILIES
from autovid.kernels.compute import Compute
from autovid.run import Progress
from autovid.studies.decoding_speed import measure_decoding
from autovid.studies.profile import ONLY_FORWARD, cases, count_case, measure_exchange, measure_machine


@pytest.mark.parametrize("family", FAMILIES)
def test_every_case_is_an_operation_of_its_family(family: str) -> None:
    every = list(cases(family))
    assert len(every) >= 4
    sizes = {count_case(case)[0][2:] for case in every}
    assert 2 * len(sizes) >= len(every)
    for case in every:
        forward, backward = count_case(case)
        assert forward.bytes > 0, case
        assert (backward is None) is (not case.backward or case.function in ONLY_FORWARD)
        if backward is not None:
            assert backward.bytes > 0, case
            assert backward.macs == 2 * forward.macs, case


def test_a_machine_is_measured_in_all_families(capsys: pytest.CaptureFixture[str]) -> None:
    shown = io.StringIO()
    compute = Compute("cpu", "fp32")
    profile = measure_machine(compute, decoding=False, exchange=False, some=1, progress=Progress("p", shown))
    assert profile.operations.keys() == FAMILIES.keys()
    for family, rates in profile.operations.items():
        assert len(rates.forward) == 1, family
        assert all(0 < one.seconds < 60 for one in (*rates.forward, *rates.backward))
    assert (profile.device, profile.precision, profile.threads) == ("cpu", "fp32", torch.get_num_threads())
    assert profile.exchange is None is profile.decoding
    assert "100 %" in shown.getvalue()


@pytest.mark.slow
def test_two_workers_exchange_messages() -> None:
    exchange = measure_exchange(Compute("cpu", "fp32"))
    assert exchange is not None
    assert exchange.latency > 0 < exchange.bandwidth
    assert exchange.slowdown >= 1


def test_decoding_has_a_time_for_frames_and_for_pixels() -> None:
    decoding = measure_decoding()
    assert decoding is not None
    assert decoding.frame + decoding.pixel > 0
