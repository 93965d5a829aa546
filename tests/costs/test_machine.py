"""The time of operations by a profile of round numbers, and files that are none.

Seconds are a few operations of float64, 1e-16 each, on positive numbers: approx's 1e-6 is far above. Where nothing
but a wrong choice is to be seen, a larger tolerance says what it leaves out.
"""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from planted import machine, write

from autovid.clip import Clip
from autovid.costs.machine import Decoding, FamilyRates, MeasuredOperation, read_machine_profile
from autovid.costs.operations import FAMILIES, Operation
from autovid.errors import ConfigError


@pytest.mark.parametrize(
    ("operation", "seconds"),
    [
        (Operation("frames", False, 3e6, 1e3), 6e-3),  # by MACs: 3e6 / 1e9, at half of the peak
        (Operation("frames", False, 1e3, 5e6), 10e-3),  # by bytes
        (Operation("frames", True, 3e6, 1e3), 12e-3),
        (Operation("norm", False, 0, 5e6), 10e-3),
    ],
)
def test_the_slower_of_macs_and_bytes_counts(operation: Operation, seconds: float) -> None:
    assert machine().seconds([operation, operation]) == pytest.approx([seconds, seconds])


def test_no_operation_is_quicker_than_the_constant() -> None:
    tiny, large = Operation("norm", False, 0, 8), Operation("norm", False, 0, 1e9)
    assert machine(constant=1e-4).seconds([tiny, large]) == pytest.approx([1e-4, 2.0])


def test_the_nearest_measurement_decides() -> None:
    rates = FamilyRates(forward=(MeasuredOperation(0, 1e3, 1e-3), MeasuredOperation(0, 1e9, 1.0)))
    planted = machine(operations=dict.fromkeys(FAMILIES, rates))
    near, between, far = planted.seconds([Operation("copy", True, 0, size) for size in (1e3, 1e6, 1e9)])
    assert near == pytest.approx(1e-3, rel=0.05)  # the other one has 0.02 % of the weight, and is 1000 times as good
    assert far == pytest.approx(1.0, rel=0.05)
    assert between == pytest.approx(1e-3 * math.sqrt(1e3), rel=0.01)  # half-way of two efficiencies, 0.001 and 1


def test_a_small_map_of_many_channels_is_taken_from_another_such_map() -> None:
    wide, deep = MeasuredOperation(1e9, 1e7, 1.0, 1e5), MeasuredOperation(1e9, 1e7, 2.0, 1e7)
    without = MeasuredOperation(1e9, 1e7, 8.0)  # a matrix product
    rates = FamilyRates(forward=(wide, deep, without))
    planted = machine(operations=dict.fromkeys(FAMILIES, rates))
    asked = [Operation("cubes", False, 1e9, 1e7, weights) for weights in (1e5, 1e7, 0.0)]
    assert planted.seconds(asked) == pytest.approx([1.0, 2.0, 8.0], rel=0.02)  # the others have 1 % of the weight


def test_files_without_weights_are_read_and_compared_without() -> None:
    old = msgspec.json.decode(b"[1e9, 1e7, 1.0]", type=MeasuredOperation)
    assert (old.seconds, old.weights) == (1.0, 0.0)
    near, far = old, MeasuredOperation(1e6, 1e4, 1.0)
    planted = machine(operations=dict.fromkeys(FAMILIES, FamilyRates(forward=(near, far))))
    with_weights, none = planted.seconds([Operation("cubes", False, 1e9, 1e7, weights) for weights in (1e6, 0.0)])
    assert with_weights == none


def test_a_message_takes_a_tree_of_hops_and_a_ring_of_bytes() -> None:
    planted = machine()
    assert planted.exchange_seconds(1e8, 1) == 0
    assert planted.exchange_seconds(1e8, 2) == pytest.approx(1e-3 + 1.0)
    assert planted.exchange_seconds(1e8, 64) == pytest.approx(6 * 1e-3 + 2 * 63 / 64)
    with pytest.raises(ConfigError, match=r'"exchange": .*--workers 1'):
        machine(exchange=None).exchange_seconds(1, 2)


def test_reading_counts_frames_and_pixels() -> None:
    decoding = Decoding(frame=1e-3, pixel=1e-6, augmented_pixel=2e-6)
    dense, uniform = Clip(8, 10, 4), Clip(8, 10, sampling="uniform")
    assert decoding.seconds(dense, False) == pytest.approx((7 * 4 + 1 + 6) * 1e-3 + 800e-6)
    assert decoding.seconds(dense, True) == pytest.approx((7 * 4 + 1 + 6) * 1e-3 + 2400e-6)
    assert decoding.seconds(uniform, False) == pytest.approx(8 * 6.5e-3 + 800e-6)


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_machine_profile(write(tmp_path / "machine.json")) == machine()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"format": 2}, "has format 2; this autovid reads 1"),
        ({"peak": 0}, "no machine profile.*peak"),
        ({"bandwidth": "fast"}, "no machine profile.*bandwidth"),
        ({"speed": 1}, "no machine profile.*speed"),
        ({"precision": "fp8"}, "no machine profile.*fp8"),
        ({"hardware": "a\u001b[2Jb"}, "control characters"),
        ({"operations": {}}, "'activation' are unknown or missing"),
        ({"operations": {name: {"forward": []} for name in FAMILIES}}, "'product' are unknown or missing"),
        ({"operations": {name: {"forward": [[1, 1, -1]]} for name in FAMILIES}}, "no machine profile"),
    ],
)
def test_a_broken_file_is_told_in_a_line(change: dict[str, Any], says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "machine.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=says) as raised:
        read_machine_profile(path)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_file_that_is_not_there_or_no_json(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="autovid profile makes one"):
        read_machine_profile(tmp_path / "none.json")
    (tmp_path / "text.json").write_text("a text")
    with pytest.raises(ConfigError, match="no machine profile"):
        read_machine_profile(tmp_path / "text.json")
