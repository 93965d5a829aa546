"""Predictions by a profile of round numbers, against sums worked out here.

Seconds are sums of at most some thousand float64 numbers, which lose 1e-13 of them, and differences of such sums that
are a thousandth of them or more: 1e-10. Approx's default of 1e-6 is above both on any machine.
"""

import math
from typing import Any

import pytest
from planted import machine

from autovid.costs.machine import Exchange, FamilyRates, MeasuredOperation
from autovid.costs.operations import FAMILIES
from autovid.errors import ConfigError
from autovid.models import NetworkSpec
from autovid.search import settings_for
from autovid.search.plan import SearchPlan
from autovid.space import load_space
from autovid.studies.prediction import SearchWork, TrainingWork, describe, messages_seconds, widest
from autovid.train import make_recipe

NET = NetworkSpec(network="tsm_resnet18", classes=5, frames=4, crop=32)
WEIGHTS = 11_179_077  # of a ResNet-18 with 5 classes


def training(**changes: Any) -> TrainingWork:
    small = {"batch": 16, "frames": 4, "crop": 32, "epochs": 2, "validate_every": 1, "augment": "none"}
    return TrainingWork(NET, make_recipe(NET, name="proxy", **small | changes), 5, 160, 40)


@pytest.fixture(scope="module")
def work() -> TrainingWork:
    return training()


def seconds(work: TrainingWork, clips: float) -> float:
    """Forward at half of what is best, backward at a quarter; best is 1e9 MACs or bytes a second."""
    return sum(max(o.macs, o.bytes) / 1e9 * (4 if o.backward else 2) for o in work.trace.at(clips))


def test_a_step_is_the_sum_of_its_operations_and_the_optimizer(work: TrainingWork) -> None:
    step = work.step(machine(), 1)
    optimizer = 2 * 20 * WEIGHTS / 1e9 + 2 * 4 * WEIGHTS / 1e9  # five numbers a weight, and one for the norm
    assert work.trace.weights == WEIGHTS
    assert step.compute == pytest.approx(seconds(work, 16) + optimizer)
    assert step.exchange == 0
    assert step.reading == pytest.approx(16 * 4 * 6.5e-3 / 2)  # 8 frames of 13 / 2 to decode each, on two cores
    assert step.total == pytest.approx(step.compute + step.reading)
    assert work.step(machine(device="cuda"), 1).total == pytest.approx(max(step.compute, step.reading))


def test_several_workers_have_their_part_of_the_clips_and_wait_for_messages(work: TrainingWork) -> None:
    alone, step = work.step(machine(), 1), work.step(machine(), 4)
    assert alone.compute - step.compute == pytest.approx(seconds(work, 16) - seconds(work, 4))
    sent = 4 * WEIGHTS
    by_hand = 2 * 3 / 4 * sent / 1e8 + (len(work.trace.messages) + 3) * 2 * 1e-3  # a ring; log2 4 hops
    copies = 2 * 2 * 2 * sent / 1e9  # in and out, read and written, at half of what is best
    assert step.exchange == pytest.approx(by_hand + copies)
    assert step.reading == pytest.approx(alone.reading / 4)


def test_shared_norms_send_two_messages_each(work: TrainingWork) -> None:
    more = training(sync_norm=True).step(machine(), 4).exchange - work.step(machine(), 4).exchange
    assert more == pytest.approx(2 * 20 * 2e-3)  # ResNet-18 has 20 norms


def test_a_gpu_sends_while_backward_runs(work: TrainingWork) -> None:
    times = [1.0] * len(work.trace.at(4))  # a second for every operation
    fast = machine(device="cuda", exchange=Exchange(latency=0, bandwidth=1e20), bandwidth=1e20)
    assert messages_seconds(fast, 4, work.trace, times) == pytest.approx(0, abs=1e-6)
    slow = machine(device="cuda", exchange=Exchange(latency=0, bandwidth=1.0), bandwidth=1e20)
    wait = messages_seconds(slow, 2, work.trace, times)
    first = work.trace.messages[0][1]
    assert wait == pytest.approx(first + 4 * WEIGHTS - len(times))  # all is sent, one after the other, from there on
    with_cpu = messages_seconds(machine(exchange=Exchange(latency=0, bandwidth=1.0)), 2, work.trace, times)
    assert with_cpu >= 4 * WEIGHTS


def test_accumulated_parts_are_computed_one_after_the_other() -> None:
    parts = training(accumulate=4)
    whole = parts.step(machine(), 1).compute
    assert whole == pytest.approx(4 * seconds(parts, 4) + 2 * 24 * WEIGHTS / 1e9)


def test_the_widest_is_the_last_that_pays(work: TrainingWork) -> None:
    planted = machine(exchange=Exchange(latency=1e-3, bandwidth=1e7), decoding=None)
    alone = work.step(planted, 1).total
    shares = {n: alone / n / work.step(planted, n).total for n in (2, 4, 8, 16)}
    paying = [n for n, share in shares.items() if share >= 0.5]
    assert paying != list(shares)  # else the last of all is taken for any reason
    assert widest(work, planted).workers == max([1, *paying])
    ideal = machine(exchange=Exchange(latency=0, bandwidth=1e20), bandwidth=1e20, decoding=None)
    assert widest(work, ideal).workers == 16
    assert widest(work, machine(exchange=Exchange(latency=0, bandwidth=1.0))) == (1, 1.0)


def test_what_is_printed(work: TrainingWork) -> None:
    lines = {line.split()[0]: line for line in describe(work, machine(memory=1e6), 2)}
    step = work.step(machine(), 2)
    assert f"{step.total:.3g} s on 2 workers" in lines["step"]
    assert f"({step.exchange / step.total:.0%})" in lines["step"]
    hours = (20 * step.total + work.forward_clips() * work.forward(machine()) / 2) / 3600
    assert work.steps == 20
    assert work.forward_clips() == 2 * 40
    assert "20 steps" in lines["whole"]
    assert f"{2 * hours:,.3g} worker-hours" in lines["whole"]
    assert "0.026 s of a core for a clip" in lines["reading"]
    assert lines["memory"].endswith("that does not fit")
    assert "planted" in lines["by"]
    assert "GPU-hours" in " ".join(describe(work, machine(device="cuda"), 2))
    assert "not measured" in " ".join(describe(work, machine(decoding=None), 1))


def test_what_cannot_be_predicted_is_refused(work: TrainingWork) -> None:
    with pytest.raises(ConfigError, match="16 clips does not divide among 3"):
        describe(work, machine(), 3)
    with pytest.raises(ConfigError, match="says nothing of the exchange"):
        describe(work, machine(exchange=None), 2)
    assert describe(work, machine(exchange=None), 1)


def searched(workers: int, **changes: Any) -> SearchWork:
    space = load_space("tiny")
    given = {"batch": 8, "frames": 8, "crop": 32, "steps": 100, "samples": 5, "beta": 0.0, **changes}
    settings = settings_for(space, proxy=False, videos=1000, constrained=False, **given)
    return SearchWork(SearchPlan("", space, settings, (), "", 5, workers))


def test_architectures_are_dealt_to_workers_and_scored_now_and_then() -> None:
    work = searched(1, alpha_every=2)
    planted = machine(operations=dict.fromkeys(FAMILIES, SECOND), constant=1.0, cores=1e9)
    operations = work.traces[0].at(8)
    forward = sum(not one.backward for one in operations)
    sgd = 4 * sum(1 for _ in range(work.tensors))
    one = work.step_of(0, planted, 1)
    assert one.compute == pytest.approx(5 * len(operations) + 5 / 2 * forward + sgd)
    two = work.step_of(0, planted, 2)
    assert two.compute == pytest.approx(3 * len(operations) + 3 / 2 * forward + sgd)  # the larger half of five
    assert one.exchange == 0 < two.exchange


def test_two_workers_of_a_machine_slow_each_other_down(work: TrainingWork) -> None:
    slowed = machine(exchange=Exchange(latency=1e-3, bandwidth=1e8, slowdown=1.5))
    for one in (work, searched(2)):
        assert one.step(slowed, 2).compute == pytest.approx(1.5 * one.step(machine(), 2).compute)
        assert one.step(slowed, 2)[1:] == one.step(machine(), 2)[1:]
        assert one.step(slowed, 1) == one.step(machine(), 1)


def test_adamw_is_one_fused_operation() -> None:
    planted = machine(operations=dict.fromkeys(FAMILIES, SECOND), constant=1.0, cores=1e9)
    sgd, adamw = (searched(1, optimizer=name) for name in ("sgd", "adamw"))
    more = sgd.step_of(0, planted, 1).compute - adamw.step_of(0, planted, 1).compute
    assert more == pytest.approx(4 * sgd.tensors - 1)  # sums of whole seconds and of nanoseconds, in float64


SECOND = FamilyRates(forward=(MeasuredOperation(1, 1, 1e-9),))
"""So fast that the planted constant, a second an operation, counts alone."""


@pytest.mark.slow
def test_a_divided_batch_has_all_architectures_on_its_part() -> None:
    work = searched(2, split="batch")
    one, two = work.step_of(0, machine(), 1), work.step_of(0, machine(), 2)
    assert two.compute < one.compute
    step = sum(max(o.macs, o.bytes) / 1e9 * (4 if o.backward else 2) for o in work.traces[0].at(4))
    assert two.compute > 5 * step


@pytest.mark.slow
def test_parts_count_by_their_steps() -> None:
    work = searched(1, steps={"sparse": 300, "dense": 100, "attention": 100})
    each = [work.step_of(number, machine(), 1).compute for number in range(3)]
    assert each[0] < each[1]  # one stream, then two
    assert work.step(machine(), 1).compute == pytest.approx(0.6 * each[0] + 0.2 * each[1] + 0.2 * each[2])
    assert math.isfinite(sum(each))
