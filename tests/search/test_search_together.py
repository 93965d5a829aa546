"""Two workers search as one does: equal draws, equal alpha on both, the weights of one alone but for rounding."""

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from stopping import StopAt
from workers import together

from autovid.data import open_videos
from autovid.run import Interrupted
from autovid.search import search, settings_for
from autovid.search.run import Found
from autovid.search.task import SearchTask
from autovid.space import load_space

STEPS = 9  # three of each part


def tiny_search(out: Path, data: Path, stop_at: int | None = None, **options: Any) -> Found:
    space = load_space("tiny")
    settings = settings_for(
        space, proxy=True, videos=12, steps=3, samples=2, batch=4, crop=16, jitter=(16, 20), flops=("0.0075:0.008",)
    )
    progress = StopAt(stop_at, signal.SIGUSR1) if stop_at else None
    options = {"checkpoint_every": 1, "device": "cpu", "precision": "fp32", "progress": progress, **options}
    return search(space, open_videos(data), settings, out, **options)


def watched_search(out: Path, data: Path) -> dict[str, Any]:
    """A search, and what this worker has drawn and learned in it: in memory, not as the first one has saved it."""
    seen: dict[str, Any] = {"archs": [], "alpha": [], "losses": []}
    step, draw = SearchTask.step, SearchTask._draw

    def watch_draw(task: SearchTask, index: int, warm: bool) -> torch.Tensor:
        seen["archs"].append(draw(task, index, warm))
        return seen["archs"][-1]  # type: ignore[no-any-return]

    def watch_step(task: SearchTask, index: int) -> dict[str, float]:
        metrics = step(task, index)
        seen["alpha"].append({name: alpha.clone() for name, alpha in task.prior.tensors().items()})
        seen["losses"].append(metrics["loss"])
        seen["weights"] = {name: value.clone() for name, value in task.net.state_dict().items()}
        return metrics

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SearchTask, "_draw", watch_draw)
        patch.setattr(SearchTask, "step", watch_step)
        seen["found"] = tiny_search(out, data).architecture.hash
    return seen


@pytest.fixture(scope="module")
def alone(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    out = tmp_path_factory.mktemp("alone") / "run"
    return out, watched_search(out, tiny_videos)


@pytest.fixture(scope="module")
def pair(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    out = tmp_path_factory.mktemp("pair") / "run"
    return out, together(watched_search, out, tiny_videos)


Alone = tuple[Path, dict[str, Any]]
Pair = tuple[Path, list[dict[str, Any]]]


def test_both_workers_draw_the_same_architectures_as_one_alone(alone: Alone, pair: Pair) -> None:
    for worker in pair[1]:
        assert all(torch.equal(a, b) for a, b in zip(worker["archs"], alone[1]["archs"], strict=True))


def test_alpha_is_the_same_bit_for_bit_on_both_and_that_of_one_alone_to_rounding(alone: Alone, pair: Pair) -> None:
    first, second = pair[1]
    moved = 0.0
    for one, two, whole in zip(first["alpha"], second["alpha"], alone[1]["alpha"], strict=True):
        for name in whole:
            assert torch.equal(one[name], two[name]), name
            assert torch.allclose(one[name], whole[name], rtol=1e-3, atol=1e-5), name
            moved = max(moved, float(whole[name].abs().max()))
    assert moved > 0.01  # else this would say nothing


def test_weights_and_statistics_are_those_of_one_alone_to_rounding(alone: Alone, pair: Pair) -> None:
    first, second = pair[1]
    for name, whole in alone[1]["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        assert torch.allclose(first["weights"][name], whole, rtol=1e-3, atol=1e-4), name
    assert first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(alone[1]["losses"], rel=1e-4)


def test_the_first_alone_writes_and_both_know_what_was_found(alone: Alone, pair: Pair) -> None:
    out, workers = pair
    assert {worker["found"] for worker in workers} == {alone[1]["found"]}
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(STEPS))
    assert (out / "log.txt").read_text().count("starting, 2 workers") == 1
    assert len(list((out / "tensorboard").iterdir())) == 1


def interrupted(out: Path, data: Path) -> str:
    try:
        tiny_search(out, data, stop_at=4)
    except Interrupted as stopped:
        return str(stopped)
    return "not stopped"


def resumed(out: Path, data: Path) -> str:
    return tiny_search(out, data, resume=True).architecture.hash


def test_one_asked_to_stop_stops_both_and_going_on_changes_nothing(
    pair: Pair, tiny_videos: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    messages = together(interrupted, out, tiny_videos)
    assert all("stopped after step 4 of 9; saved at step 4" in message for message in messages)
    together(resumed, out, tiny_videos)
    for file in ("model.safetensors", "search.safetensors"):
        ours, theirs = (load_file(path / f"checkpoints/step-{STEPS:06d}/{file}") for path in (out, pair[0]))
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
