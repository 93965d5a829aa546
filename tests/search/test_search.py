"""A whole search on the tiny space: what it leaves behind, and that nothing can make it forget."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from autovid.cli import main
from autovid.cost import CostRange
from autovid.errors import CostRangeError, RunError
from autovid.search import derive, read_search
from autovid.space import load_architecture

RANGE = CostRange(7_500_000, 8_000_000)
SCRIPT = Path(__file__).with_name("search_loop.py")


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Path:
    """A search that nobody disturbed."""
    out = tmp_path_factory.mktemp("search") / "run"
    subprocess.run([sys.executable, str(SCRIPT), str(out), str(tiny_videos)], check=True, capture_output=True)
    return out


def final_state(run: Path) -> dict[str, torch.Tensor]:
    """alpha and omega after the last step."""
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    return {**load_file(last / "model.safetensors"), **load_file(last / "search.safetensors")}


def test_a_search_ends_inside_its_range(finished: Path) -> None:
    arch = load_architecture(finished / "architecture.yaml")
    assert RANGE.low <= arch.macs() <= RANGE.high
    assert arch.cost["macs"] == arch.macs()
    assert "MACs" in str(arch.cost["convention"])


def test_every_step_is_logged_with_its_figures(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(9))
    for key in ("loss", "expected_gflops", "p_in_range", "entropy", "beta"):
        assert all(key in line for line in lines), key
    tops = [key for key in lines[-1] if key.startswith("top/")]
    assert tops


def test_parts_are_frozen_one_after_the_other(finished: Path) -> None:
    found, arch = read_search(finished), load_architecture(finished / "architecture.yaml")
    assert any(name.startswith("sparse.") for name in found.chosen)
    assert any(name.startswith("dense.") for name in found.chosen)
    assert all(arch.choices[name] == value for name, value in found.chosen.items())


def test_another_range_reopens_every_decision(finished: Path) -> None:
    found = read_search(finished)
    wanted = CostRange(12_000_000, 12_100_000)
    assert wanted.low <= derive(found, wanted).macs() <= wanted.high
    with pytest.raises(CostRangeError, match="GFLOPs"):
        derive(found, CostRange(1, 2))


@pytest.mark.parametrize(("scale", "says"), [("crop=9", "crop"), ("depth=1000", "depth"), ("frames=18", "multiple")])
def test_a_scale_that_no_file_could_hold_is_one_line_and_no_file(
    finished: Path, scale: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(finished.iterdir())
    assert main(["derive", str(finished), "--scale", scale]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert sorted(finished.iterdir()) == before


def test_killed_at_random_moments_and_resumed_equals_undisturbed(
    finished: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    out, chance, kills = tmp_path / "run", random.Random(0), 0
    for _ in range(60):
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(out), str(tiny_videos)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stdout is not None
        process.stdout.readline()  # it has imported everything; what follows is the search
        try:
            process.wait(timeout=chance.uniform(0.3, 2.5) if kills < 6 else None)
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            kills += 1
    assert process.returncode == 0, process.stderr.read() if process.stderr else ""
    assert kills >= 3
    mine, theirs = final_state(out), final_state(finished)
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert (out / "architecture.yaml").read_text() == (finished / "architecture.yaml").read_text()


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        read_search(tmp_path)
