"""FLOPs ranges as text: exact, inclusive, and clear about mistakes."""

import pytest

from autovid.costs import GFLOPS, gflops
from autovid.errors import ConfigError
from autovid.solver.cost_range import UNLIMITED, CostRange


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("1.37:1.43", 1_370_000_000, 1_430_000_000),
        (" 0 : 1e-3 ", 0, 1_000_000),
        ("2.4:2.4", 2_400_000_000, 2_400_000_000),
        ("0.1:0.3", 100_000_000, 300_000_000),  # 0.1 * 1e9 and 0.3 * 1e9 are not whole in floating point
        ("1.0000000001:1.0000000019", 1_000_000_001, 1_000_000_001),  # ends between two MACs
        ("0.000000000000000000000000000001:1", 1, 1_000_000_000),
        (":1.43", 0, 1_430_000_000),
        (" 1.37 :", 1_370_000_000, UNLIMITED),
    ],
)
def test_text_is_read_exactly(text, low, high):
    assert GFLOPS.parse(text) == CostRange(low, high)


@pytest.mark.parametrize(
    "text",
    ["", ":", "1.37", "1:2:3", ":1:", "::", "a:b", "1,37:1,43", "nan:1", "0:inf", "-1:1", "0x1:2", "1_0:20", "0:1e10",
     "0:1e999999999", "1:" + "9" * 10_000, "1.0000000001:1.0000000002"],
)  # fmt: skip
def test_malformed_text_is_refused_in_one_short_line(text):
    with pytest.raises(ConfigError) as error:
        GFLOPS.parse(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


def test_a_reversed_range_is_shown_the_right_way_round():
    with pytest.raises(ConfigError, match=r"1\.37:1\.43"):
        GFLOPS.parse("1.43:1.37")


def test_a_range_shows_itself():
    assert GFLOPS.say(1_370_000_000, 1_430_000_000) == "1.37–1.43 GFLOPs"
    assert GFLOPS.say(0, 20_000_000_000) == "at most 20 GFLOPs"
    assert GFLOPS.say(*GFLOPS.parse("1.37:")) == "at least 1.37 GFLOPs"
    assert GFLOPS.say(0, 0) == "0–0 GFLOPs"
    assert gflops(1) == "0.000000001"
    assert gflops(1_234_567_891) == "1.234567891"


def test_a_share_is_exact_and_keeps_a_single_value_single():
    assert GFLOPS.parse("1.37:1.43").scaled(0.57) == CostRange(780_900_000, 815_100_000)
    assert GFLOPS.parse("1.37:1.43").scaled(1) == GFLOPS.parse("1.37:1.43")
    low, high = CostRange(7, 7).scaled(0.82)
    assert low == high == 6


@pytest.mark.parametrize("text", ["1.37:1.43", ":1.43", "1.37:", "0.000000001:1000000000", "1.123456789:2.987654321"])
def test_a_range_is_written_as_it_is_read(text):
    assert GFLOPS.write(GFLOPS.parse(text)) == text
    assert GFLOPS.parse(GFLOPS.write(CostRange(0, 0))) == CostRange(0, 0)
    assert GFLOPS.parse(GFLOPS.write(CostRange(0, UNLIMITED))) == CostRange(0, UNLIMITED)


def test_an_end_that_limits_nothing_stays_so():
    for ends in (GFLOPS.parse("1.37:"), GFLOPS.parse(":1.43")):
        for other in (ends.scaled(0.5), ends.middle()):
            assert (other.low == 0) == (ends.low == 0)
            assert (other.high == UNLIMITED) == (ends.high == UNLIMITED)
    assert GFLOPS.parse("1:").shifted(10**8) == CostRange(900_000_000, UNLIMITED)
    assert GFLOPS.parse(":1").middle() == CostRange(0, 990_000_000)
