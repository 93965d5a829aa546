"""Ranges of cost as they are typed: read once, resolved once, and clear about mistakes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from autovid.cli import main
from autovid.costs import Macs
from autovid.errors import ConfigError, CostRangeError
from autovid.search import Constraint, parse_constraints, part_ranges, read_constraints, read_search
from autovid.search.constraints import ranges_text
from autovid.solver import UNLIMITED, CostRange
from autovid.space import load_space

SPACE = load_space("tiny")
SMALL = ["--steps", "1", "--samples", "2", "--batch", "4", "--crop", "16", "--jitter", "16:20", "--device", "cpu"]


def test_open_ends_and_parts_are_read() -> None:
    (constraint,) = read_constraints(SPACE, {"flops": [":0.008", "sparse=0.002:"]})
    assert constraint.whole == CostRange(0, 8_000_000)
    assert constraint.parts == {"sparse": CostRange(2_000_000, UNLIMITED)}
    assert constraint.texts() == [":0.008", "sparse=0.002:"]
    text = "at most 0.008 GFLOPs and at least 0.002 GFLOPs at the end of part sparse"
    assert ranges_text([constraint]) == text
    assert read_constraints(SPACE, {"flops": ":0.008,sparse=0.002:"}) == (constraint,)
    assert read_constraints(SPACE, {"flops": []}) == ()


@pytest.mark.parametrize("text", [":0.008", "0.015:", "0.0075:0.008"])
def test_every_part_has_a_range_with_the_same_open_end(text: str) -> None:
    (constraint,) = parse_constraints(SPACE, {"flops": text})
    assert list(constraint.parts) == [part.name for part in SPACE.parts]
    for ends in constraint.parts.values():
        assert (ends.low == 0) == text.startswith(":")
        assert (ends.high == UNLIMITED) == text.endswith(":")
    assert constraint.parts["attention"] == constraint.whole
    assert Constraint.from_record(Macs(), constraint.record()) == constraint


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"flops": ""}, "the FLOPs range '' is not MIN:MAX in GFLOPs"),
        ({"flops": ":"}, "is not MIN:MAX"),
        ({"flops": "2:1"}, "reversed; write 1:2"),
        ({"flops": ":1,43"}, "write decimal numbers with a point"),
        ({"flops": "nose=1:2"}, "no part is called nose; there are sparse, dense, attention"),
        ({"flops": ["1:2", "2:3"]}, "two ranges for the whole network; 2:3 is the second"),
        ({"flops": "sparse=1:2,sparse=:3"}, "two ranges for part sparse"),
        ({"flops": ["1:2", "attention=1:3"]}, "the last part's range is the whole network's"),
        ({"flop": "1:2"}, "no cost is called 'flop'; there are flops,"),
        ({"flops": "1,37:1,43"}, "--flops '1,37:1,43': write decimal numbers with a point, like --flops 1.37:1.43"),
        ({"flops": "sparse=0,7:0,8"}, "write decimal numbers with a point"),
        ({"latency": "1:2"}, "--latency needs --latency-table FILE"),
    ],
)
def test_a_mistake_is_one_line(ranges: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        read_constraints(SPACE, ranges)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["1:", ":0.001", "sparse=1:"])
def test_an_open_range_out_of_reach_says_what_can_be_reached(text: str) -> None:
    with pytest.raises(
        CostRangeError, match=r"--flops: no architecture has at (most|least) .*: reachable is "
    ) as error:
        parse_constraints(SPACE, {"flops": text})
    assert "\n" not in str(error.value)


@pytest.mark.slow
def test_a_command_reads_and_resolves_its_ranges_once(
    tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(name: str) -> Callable[..., Any]:
        function = getattr(part_ranges, name)
        return lambda *arguments: (calls.append(name), function(*arguments))[1]

    for name in ("read_constraints", "resolve_part_ranges", "check"):
        monkeypatch.setattr(part_ranges, name, counted(name))
    out = tmp_path / "run"
    words = ["search", "--space", "tiny", "--data", str(tiny_videos), "-o", str(out), *SMALL]
    assert main([*words, "--flops", ":0.008", "--flops", "sparse=0.0025:"]) == 0
    assert calls == ["read_constraints", "resolve_part_ranges", "check"]
    searched = read_search(out)
    assert calls == ["read_constraints", "resolve_part_ranges", "check"]
    assert searched.constraints == parse_constraints(SPACE, {"flops": ":0.008,sparse=0.0025:"})
