"""A whole search on the tiny space: what it leaves behind, and that nothing can make it forget."""

import io
import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from search_loop import moments, tiny_search
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import autovid
from autovid.cli import main
from autovid.costs import Macs
from autovid.costs.count import count
from autovid.data import open_videos
from autovid.errors import CostRangeError, RunError
from autovid.models import build
from autovid.run import RunDirectory
from autovid.search import Constraint, derive, parse_constraints, read_search, search, settings_for
from autovid.search.monitor import probability_image
from autovid.search.problem import whole_problem
from autovid.search.strategies.parsec import Prior
from autovid.solver import CostRange
from autovid.space import load_architecture, load_space
from autovid.space.layout import is_searched_in

RANGE = CostRange(7_500_000, 8_000_000)
SCRIPT = Path(__file__).with_name("search_loop.py")
ENDS = {"sparse": 2, "dense": 5, "attention": 8, "joint": 11}  # the last step of each part


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Path:
    """A search that nobody disturbed, on one thread as that which is killed: with more, sums are taken otherwise."""
    out, threads = tmp_path_factory.mktemp("search") / "run", torch.get_num_threads()
    torch.set_num_threads(1)
    tiny_search(out, tiny_videos)
    torch.set_num_threads(threads)
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
    assert (arch.provenance["autovid"], arch.provenance["torch"]) == (autovid.__version__, version("torch"))


def test_every_step_is_logged_with_its_figures(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(12))
    for key in ("loss", "expected_gflops", "p_in_range", "entropy"):
        assert all(key in line for line in lines), key
    assert all("beta" in line for line in lines if not line["warmup"])
    tops = [key for key in lines[-1] if key.startswith("top/")]
    assert tops


def test_the_probability_of_every_candidate_is_recorded_part_by_part(finished: Path) -> None:
    lines = [json.loads(line) for line in (finished / "probabilities.jsonl").read_text().splitlines()]
    searched = read_search(finished)
    last: dict[str, list[float]] = {}
    for line in lines:
        number, _ = searched.settings.locate(line.pop("step"))
        parts = searched.space.parts[number : number + 1] or searched.space.parts  # in the joint phase all of them
        opened = [d.name for d in searched.space.decisions if any(is_searched_in(part, d.name) for part in parts)]
        assert list(line) == opened
        # written with five decimals: 4 candidates are off by half of the last each
        assert all(sum(values) == pytest.approx(1, abs=1e-4) for values in line.values())
        last |= line
    priors = zip(searched.space.decisions, searched.log_probs(searched.space))
    assert last == {d.name: pytest.approx(np.exp(logp), abs=1e-5) for d, logp in priors}


def test_parts_are_frozen_one_after_the_other_and_all_open_in_the_joint_phase(finished: Path) -> None:
    directory = RunDirectory.open(finished)
    chosen = [directory.load(end + 1).state.info["chosen"] for end in ENDS.values()]
    assert chosen[0] == chosen[3] == {}
    assert {name.split(".")[0] for name in chosen[1]} == {"sparse"}
    assert {name.split(".")[0] for name in chosen[2]} == {"sparse", "dense", "fusion"}
    assert all(chosen[2][name] == value for name, value in chosen[1].items())
    assert read_search(finished).chosen == {}


def test_another_range_reopens_every_decision(finished: Path) -> None:
    result = read_search(finished)
    ends = CostRange(12_000_000, 12_100_000)
    assert ends.low <= derive(result, [Constraint(Macs(), ends)]).macs() <= ends.high
    with pytest.raises(CostRangeError, match="GFLOPs"):
        derive(result, [Constraint(Macs(), CostRange(1, 2))])


@pytest.mark.parametrize(("scale", "says"), [("crop=9", "crop"), ("depth=1000", "depth"), ("frames=18", "multiple")])
def test_a_scale_that_no_file_could_hold_is_one_line_and_no_file(
    finished: Path, scale: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(finished.iterdir())
    assert main(["derive", str(finished), "--scale", scale]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert says in line
    assert sorted(finished.iterdir()) == before


def records(run: Path) -> list[dict[str, float]]:
    """metrics.jsonl without the time of day."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


@pytest.mark.slow
def test_killed_at_random_moments_and_resumed_equals_undisturbed(
    finished: Path, tiny_videos: Path, tmp_path: Path
) -> None:
    """Inside steps, inside saves (around a rename, half-way through a write), and after the last step."""
    out, seed = tmp_path / "run", 0
    words = [sys.executable, str(SCRIPT), str(out), str(tiny_videos), str(seed)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    killed = json.loads(done.stdout)
    assert [where for where, _ in killed] == [moment[0] for moment in moments(seed)]
    assert {operation for where, operation in killed if where == "save"} >= {"write", "fsync", "rename"}
    starts = [int(step) for step in re.findall(r"step (\d+) of 12: starting", (out / "log.txt").read_text())]
    assert starts == sorted(starts)  # nothing that was saved is lost
    mine, theirs = final_state(out), final_state(finished)
    assert mine.keys() == theirs.keys()
    # to the bit: the kernels of the checkpoint, the same thread, and random numbers that are functions of the step
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert records(out) == records(finished)
    for file in ("architecture.yaml", "search.png", "probabilities.jsonl"):
        assert (out / file).read_bytes() == (finished / file).read_bytes()
    kept = [[path.name for path in sorted((run / "checkpoints").iterdir())] for run in (out, finished)]
    assert kept[0] == kept[1]


@pytest.fixture(scope="module")
def board(finished: Path) -> EventAccumulator:
    """What TensorBoard shows of the search."""
    board = EventAccumulator(str(finished / "tensorboard"), {"images": 0, "histograms": 0, "scalars": 0})
    return board.Reload()  # type: ignore[no-any-return]


def test_tensorboard_has_every_scalar_of_the_log(finished: Path, board: EventAccumulator) -> None:
    logged: dict[str, list[tuple[int, float]]] = {}
    for record in records(finished):
        for name, value in record.items():
            if name != "step":
                # TensorBoard keeps float32: rounded by 2^-24
                logged.setdefault(name, []).append((int(record["step"]), pytest.approx(value, rel=1e-6)))
    shown = {name: [(e.step, e.value) for e in board.Scalars(name)] for name in board.Tags()["scalars"]}
    assert shown == logged
    assert {"loss", "expected_gflops", "p_in_range", "entropy/sparse.stage1.width"} <= shown.keys()


def test_tensorboard_has_a_histogram_of_every_alpha_at_the_end_of_its_part(
    finished: Path, board: EventAccumulator
) -> None:
    learned = read_search(finished).learned
    assert sorted(board.Tags()["histograms"]) == sorted(f"log_probability/{name}" for name in learned)
    for name, logp in learned.items():
        events = board.Histograms(f"log_probability/{name}")
        stream = name.split(".")[0]
        assert [event.step for event in events] == [ENDS["dense" if stream == "fusion" else stream], ENDS["joint"]]
        value = events[-1].histogram_value
        assert (value.min, value.max, value.num) == (logp.min(), logp.max(), len(logp))


def test_tensorboard_has_the_picture_of_alpha(finished: Path, board: EventAccumulator) -> None:
    events = board.Images("probabilities")
    assert [event.step for event in events] == sorted(ENDS.values())
    learned = RunDirectory.open(finished).load(ENDS["sparse"] + 1).state.search
    part_space = load_space("tiny").part_space(0, {})
    problem = replace(
        whole_problem(part_space),
        searched=tuple(
            d for d, one in enumerate(part_space.decisions) if is_searched_in(part_space.parts[0], one.name)
        ),
    )
    image = matplotlib.image.imread(io.BytesIO(events[0].encoded_image_string), format="png")
    log_probs = [learned[d.name].numpy() if d.name in learned else np.zeros(1) for d in part_space.decisions]
    assert ((image[:, :, :3] * 255).round() == probability_image(problem, log_probs)).all()
    assert (events[0].width, events[0].height) == (image.shape[1], image.shape[0])


@pytest.mark.slow
def test_a_space_of_one_stream_is_searched_into_its_range(tiny_videos: Path, tmp_path: Path) -> None:
    space, out = load_space("x3d"), tmp_path / "run"
    settings = settings_for(
        space,
        proxy=True,
        videos=12,
        steps=2,
        samples=2,
        alpha_every=1,
        batch=2,
        frames=4,
        crop=16,
        jitter=(16, 20),
        open_prior="quarter",
    )
    constraints = parse_constraints(space, {"flops": "2:2.1"})
    videos = open_videos(tiny_videos)
    done = search(space, videos, settings, out, constraints=constraints, device="cpu", precision="fp32")
    arch = done.architecture
    assert load_architecture(out / "architecture.yaml") == arch
    assert 2_000_000_000 <= arch.macs() <= 2_100_000_000
    with torch.device("meta"):
        assert count(build(arch)).macs == arch.cost["macs"] == arch.macs()
    lines = records(out)
    assert [line["part"] for line in lines] == [0.0, 0.0]
    assert lines[-1]["entropy"] < Prior(space).uniform_entropy()


def test_a_run_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run directory"):
        read_search(tmp_path)
