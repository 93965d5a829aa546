"""A table of blocks: what is in the file is not measured again, and one that is not finished is not believed."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from autovid.cli import main
from autovid.costs import LatencyFile, latency_table, read_latency_file
from autovid.costs.latency import distinct_blocks
from autovid.errors import ConfigError, RunError
from autovid.export.package import TOLERANCE
from autovid.kernels.compute import Compute
from autovid.run import Progress
from autovid.space import load_space
from autovid.studies import block_latency as module
from autovid.studies import measure_blocks

SPACE = load_space("tiny")
BLOCK, NETWORK = 1000, 50_000  # nanoseconds


class Clock:
    """In place of the measurement: a block takes BLOCK, a network NETWORK, and everything `pace` times that."""

    def __init__(self) -> None:
        self.pace, self.measured, self.stop_after = 1.0, 0, 10**9

    def __call__(self, runs: Sequence[Any], compute: Compute, repeats: int, calls: Sequence[int] = ()) -> list[int]:
        if self.measured >= self.stop_after:
            raise KeyboardInterrupt
        self.measured += len(runs)
        return [round(self.pace * (NETWORK if number == 1 else BLOCK)) for number in calls]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """What is measured is not built either."""
    fake = Clock()
    monkeypatch.setattr(module, "times_of", fake)
    monkeypatch.setattr(module, "block_run", lambda *args: None)
    monkeypatch.setattr(module, "network_run", lambda *args: None)
    return fake


def measure(out: Path, **options: Any) -> LatencyFile:
    return measure_blocks([SPACE], out, Compute("cpu", "fp32"), progress=Progress(), **options)


def test_a_finished_table_is_left_as_it_is(clock: Clock, tmp_path: Path) -> None:
    first = measure(tmp_path / "t.json")
    every = len(distinct_blocks([SPACE]))
    assert len(first.blocks) == every
    assert clock.measured == every + module.NETWORKS + module.GROUP
    clock.pace = 3.0
    assert measure(tmp_path / "t.json", resume=True) == first == read_latency_file(tmp_path / "t.json")
    assert clock.measured == every + module.NETWORKS + module.GROUP
    with pytest.raises(RunError, match="repeats: 20 there, 5 now"):
        measure(tmp_path / "t.json", resume=True, repeats=5)


def test_networks_on_a_machine_that_has_become_slower_are_brought_to_the_tables_pace(
    clock: Clock, tmp_path: Path
) -> None:
    expected = measure(tmp_path / "even.json").overhead
    clock.measured, clock.stop_after = 0, len(distinct_blocks([SPACE]))
    with pytest.raises(KeyboardInterrupt):
        measure(tmp_path / "slow.json")
    clock.pace, clock.stop_after = 3.0, 10**9
    assert measure(tmp_path / "slow.json", resume=True).overhead == expected
    some = SPACE.sample(1, seed=1_000)[0]
    assert expected is not None
    assert abs(module.predicted(some, read_latency_file(tmp_path / "slow.json")) - NETWORK) < 10 * BLOCK


@pytest.mark.parametrize("after", [100, 471])
def test_a_table_that_is_not_finished_is_refused(
    after: int, clock: Clock, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clock.stop_after = after
    out = str(tmp_path / "t.json")
    assert main(["latency-table", "--space", "tiny", "--device", "cpu", "-o", out]) == 130
    assert "the same command with --resume goes on" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="unfinished; go on with autovid latency-table and --resume"):
        latency_table(SPACE, read_latency_file(out))
    words = ["search", "--space", "tiny", "--latency", "1:2", "--latency-table", out, "-o", str(tmp_path / "run")]
    assert main(words) == 2
    assert "unfinished" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"overhead": -(10**15)}, "an overhead of -1000000000000000 ns cannot be"),
        ({"blocks": {"stem": 9 * 10**18}}, "stem takes 9000000000000000000 ns"),
        ({"blocks": {"stem": -1}}, "stem takes -1 ns"),
        ({"hardware": "\x1b[31mred"}, "control characters"),
    ],
)
def test_a_file_that_was_changed_is_refused(change: dict[str, Any], says: str, clock: Clock, tmp_path: Path) -> None:
    measure(tmp_path / "t.json")
    content = json.loads((tmp_path / "t.json").read_text())
    (tmp_path / "t.json").write_text(json.dumps({**content, **change}))
    with pytest.raises(ConfigError, match=says):
        read_latency_file(tmp_path / "t.json")


def test_another_runtime_is_in_the_file_and_goes_on_only_with_itself(clock: Clock, tmp_path: Path) -> None:
    file = measure(tmp_path / "t.json", runtime="openvino")
    assert file.runtime == "openvino"
    assert "openvino, cpu, fp32" in file.about()
    with pytest.raises(RunError, match="runtime: openvino there, torch now"):
        measure(tmp_path / "t.json", resume=True)


@pytest.mark.slow
def test_a_block_computes_the_same_in_another_runtime() -> None:
    """To what whole exports are held to; a block has fewer layers."""
    compute, blocks = Compute("cpu", "fp32"), distinct_blocks([SPACE])
    for kind, runtime in {"stem": "openvino", "strided_conv": "onnxruntime"}.items():
        site, choice = next(place for key, place in blocks.items() if key.startswith(kind))
        expected, actual = (
            torch.as_tensor(module.block_run(site, choice, compute, 1, one)()) for one in ("torch", runtime)
        )
        assert (actual - expected).abs().max() <= TOLERANCE * max(1.0, float(expected.abs().max()))
