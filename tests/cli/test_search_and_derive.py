"""The commands search and derive with their options, on the tiny space."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from autovid.cli import main
from autovid.search import read_search
from autovid.search.problem import Choices
from autovid.search.strategies.parsec import Parsec
from autovid.search.supernet import StreamingSoftmax
from autovid.space import load_architecture

SHORT = ["--alpha-every", "1", "--steps", "2", "--batch", "4", "--decoders", "0", "--precision", "fp32"]


def search(out: Path, videos: Path, *arguments: str) -> int:
    return main(["search", "--space", "tiny", "--data", str(videos), "-o", str(out), *SHORT, *arguments])


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Path:
    out = tmp_path_factory.mktemp("ways") / "run"
    assert search(out, tiny_videos, "--flops", "0.0075:0.008") == 0
    return out


def records(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_as_many_samples_as_the_entropy_asks_for(tmp_path: Path, tiny_videos: Path) -> None:
    """K = 13 at the start of each part; a prior that one huge step has made sure of itself is drawn from less."""
    out = tmp_path / "run"
    assert search(out, tiny_videos, "--samples", "auto", "--beta", "0.1", "--arch-lr", "4") == 0
    assert read_search(out).finished
    lines = records(out)
    assert [line["samples"] for line in lines[::2]] == [13, 13, 13]
    assert all(2 <= after["samples"] < 13 for after in lines[1::2])


@pytest.mark.slow
def test_a_likelihood_summed_over_the_clips_weighs_by_their_number(
    tmp_path: Path, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: dict[str, list[float]] = {"sum": [], "mean": []}
    weigh = StreamingSoftmax.weigh

    def watched(softmax: StreamingSoftmax, value: float) -> tuple[float, float]:
        losses[kind].append(-value)
        return weigh(softmax, value)

    monkeypatch.setattr(StreamingSoftmax, "weigh", watched)
    for kind in losses:
        out = tmp_path / kind
        assert search(out, tiny_videos, "--samples", "2", "--steps", "1", "--likelihood", kind) == 0
        assert read_search(out).settings.options["likelihood"] == kind
    assert losses["sum"][:2] == [4 * loss for loss in losses["mean"][:2]]  # of four clips: exact


@pytest.mark.slow
def test_in_range_draws_nothing_outside(tmp_path: Path, tiny_videos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing outside the range of the part, in the warm-up as after it."""
    seen: list[bool] = []
    draw = Parsec.draw

    def watched(strategy: Parsec, *args: Any) -> Choices:
        drawn = draw(strategy, *args)
        (constraint,) = strategy.problem.constraints
        seen.extend(constraint.inside(drawn).tolist())
        return drawn

    monkeypatch.setattr(Parsec, "draw", watched)
    out = tmp_path / "run"
    assert search(out, tiny_videos, "--samples", "2", "--in-range", "--flops", "0.0075:0.008") == 0
    assert seen == [True] * 12
    assert 7_500_000 <= load_architecture(out / "architecture.yaml").macs() <= 8_000_000


@pytest.mark.slow
def test_a_range_of_a_parts_own_is_met_by_that_part(tmp_path: Path, tiny_videos: Path) -> None:
    out = tmp_path / "run"
    assert search(out, tiny_videos, "--samples", "2", "--flops", "sparse=0.0028:0.003") == 0
    searched = read_search(out)
    sparse = {name: value for name, value in searched.chosen.items() if name.startswith("sparse.")}
    assert 2_800_000 <= searched.space.part_space(0, sparse).cost_table().smallest()[0] <= 3_000_000


def test_derive_retargets_and_scales(searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", str(searched), "--flops", "0.012:0.0122", "-o", str(tmp_path / "other.yaml")]) == 0
    assert 12_000_000 <= load_architecture(tmp_path / "other.yaml").macs() <= 12_200_000
    assert main(["derive", str(searched), "--scale", "crop=64,depth=2.0,frames=32"]) == 0
    small = load_architecture(searched / "architecture.yaml")
    large = load_architecture(searched / "architecture-crop64-depth2.0-frames32.yaml")
    assert (large.reference.crop, large.reference.frames, large.network.depth_factor) == (64, 32, 2.0)
    assert large.macs() > 8 * small.macs()
    assert "M parameters" in capsys.readouterr().out


@pytest.mark.parametrize("scale", ["crop=0", "width=2", "crop=64,crop=32", "depth=x"])
def test_a_scale_that_cannot_be_is_one_line(searched: Path, scale: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["derive", str(searched), "--scale", scale]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_truncated_checkpoint_is_passed_over_and_a_lost_one_is_one_line(
    searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    shutil.copytree(searched, run)
    steps = sorted((run / "checkpoints").glob("step-*"))
    assert len(steps) >= 2
    whole = (steps[-1] / "search.safetensors").read_bytes()
    (steps[-1] / "search.safetensors").write_bytes(whole[: len(whole) // 2])
    assert main(["derive", str(run), "-o", str(tmp_path / "a.yaml")]) == 0  # the one before it is good
    assert read_search(run).step == int(steps[-2].name.split("-")[1])
    for step in steps[:-1]:
        (step / "model.safetensors").write_bytes(b"")
    capsys.readouterr()
    assert main(["derive", str(run), "-o", str(tmp_path / "b.yaml")]) == 5
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (tmp_path / "b.yaml").exists()


@pytest.mark.slow
def test_a_video_of_zero_bytes_is_replaced_listed_and_counted(tmp_path: Path, tiny_videos: Path) -> None:
    videos = tmp_path / "videos"
    shutil.copytree(tiny_videos, videos)
    broken = min((videos / "train").rglob("*.mp4"))
    broken.write_bytes(b"")
    out = tmp_path / "run"
    assert search(out, videos, "--samples", "2") == 0
    faults = [json.loads(line) for line in (out / "faults.jsonl").read_text().splitlines()]
    assert {Path(fault["path"]).name for fault in faults} == {broken.name}
    assert all(fault["reason"] for fault in faults)
