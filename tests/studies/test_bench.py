"""Networks side by side, at sizes that take no time."""

import csv
import json
import signal
from pathlib import Path
from typing import Any

import matplotlib.image
import pytest
import torch
from stopping import StopAt

import autovid
from autovid import measure
from autovid.cli import main
from autovid.export.package import TOLERANCE
from autovid.kernels.compute import Compute
from autovid.measure import Turns, largest_batch, most_clips, peak_memory, spare_memory
from autovid.run import Progress
from autovid.runtimes.sessions import Runtime
from autovid.space import load_space
from autovid.studies import Bench, BenchSettings, notes, open_measured, tables
from autovid.studies.measured import in_runtime
from autovid.train.recipe import view_crop

CPU = torch.device("cpu")
SMALL = ["--crop", "32", "--frames", "4", "--device", "cpu", "--repeats", "3", "--largest-batch", "3"]


@pytest.mark.slow
def test_a_table_a_plot_and_files_of_networks_architectures_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arch = load_space("tiny").sample(1, seed=1)[0]
    arch.save(tmp_path / "mine.yaml")
    words = ["bench", "tsn_resnet18", str(tmp_path / "mine.yaml"), *SMALL, "--views", "10", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "median and quartiles of 3 repeats" in shown
    assert "* more than 3 clips at once were not tried" in shown
    content = json.loads((tmp_path / "out" / "bench.json").read_text())
    first, second = content["figures"]
    assert content["finished"]
    counted = autovid.count(autovid.build(arch.scaled(32, 4)))
    assert (second["name"], second["params"], second["macs"]) == ("mine", counted.params, counted.macs)
    assert second["gflops_of_views"] == 10 * counted.macs / 1e9  # integers, and one division
    for figures in (first, second):
        assert 0 < figures["latency_q1"] <= figures["latency_median"] <= figures["latency_q3"]
        assert figures["repeats"] == 3
        assert (figures["largest_batch"], figures["largest_batch_is"]) == (3, "asked")
        assert 0 < figures["clips_per_second_q1"] <= figures["clips_per_second"] <= figures["clips_per_second_q3"]
        assert figures["peak_bytes"] > 4 * figures["params"]
    assert first["latency_ratio"] == first["clips_per_second_ratio"] == 1  # times divided by themselves
    with (tmp_path / "out" / "table.csv").open() as file:
        assert [float(row["params"]) for row in csv.DictReader(file)] == [first["params"], second["params"]]
    assert matplotlib.image.imread(tmp_path / "out" / "plot.png").shape[1] == 1500


def bench(**options: Any) -> Bench:
    candidate = open_measured("tsn_resnet18", Compute("cpu", "fp32"), frames=2, crop=32)
    return Bench([candidate], BenchSettings(**{"repeats": 6, "most": 2, **options}))


@pytest.mark.slow
def test_a_video_costs_its_views_at_the_crop_that_they_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As Auto-TSNet's Table 4. The figures are equal: the same products of numbers that JSON keeps as they are."""
    words = ["--views", "30", "--device", "cpu", "--repeats", "1", "--largest-batch", "1", "-o", str(tmp_path / "out")]
    assert main(["bench", "tsn_resnet18", "--frames", "1", *words]) == 0
    assert "a video: 30 views (10-lcr)" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "bench.json").read_text())
    (figures,) = content["figures"]
    assert (content["views"], content["views_per_video"], figures["crop"]) == ("10-lcr", 30, 256)  # its own is 224
    assert figures["macs"] == autovid.count(autovid.build("tsn_resnet18", frames=1, crop=256)).macs
    assert figures["gflops_of_views"] == figures["macs"] * 30 / 1e9
    assert figures["ms_per_video"] == figures["latency_median"] * 30
    assert figures["videos_per_second"] == figures["clips_per_second"] / 30


def test_a_video_takes_its_share_of_a_batch() -> None:
    """As S2DNet's Table 3, and videos a second as Deep Analysis' Table 1. Halving is exact."""
    measured = bench(batch=2, repeats=1)
    measured.measure(Progress())
    (row,) = measured.rows
    assert row.latency_median is not None
    assert (row.ms_per_video, row.videos_per_second) == (row.latency_median / 2, row.clips_per_second)
    columns, ((name, gflops, *_),) = tables(measured)[2]
    assert (columns[0], columns[1:]) == ("a video: 1 view (center)", ["GFLOPs", "ms", "videos/s"])
    assert (name, gflops) == ("tsn_resnet18 2x32²", f"{row.macs / 1e9:.4g}")
    assert len(tables(bench())) == 2  # one clip at once, one a video: nothing to add


def test_views_cut_each_networks_own_crop_and_a_given_crop_stands(tmp_path: Path) -> None:
    load_space("tiny").sample(1, seed=1)[0].save(tmp_path / "a.yaml")
    compute, file = Compute("cpu", "fp32"), str(tmp_path / "a.yaml")
    own = open_measured(file, compute)
    assert open_measured(file, compute, views="10-center").clip == own.clip
    lcr = open_measured(file, compute, views="10-lcr")
    assert (lcr.clip.crop, lcr.model.hash) == (view_crop(own.clip.crop, "lcr"), own.model.hash)
    assert open_measured(file, compute, views="10-lcr", crop=40).clip.crop == 40
    assert open_measured("x3d_s", compute, views="10-lcr").clip.crop == 182  # Table 3 of Auto-TSNet


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = bench()
    with pytest.raises(KeyboardInterrupt):
        stopped.measure(StopAt(4))
    (row,) = stopped.rows
    assert (row.repeats, row.peak_bytes, stopped.finished) == (4, None, False)
    assert row.latency_median is not None
    monkeypatch.setattr("autovid.run.Progress", lambda title: StopAt(2))
    assert main(["bench", "tsn_resnet18", *SMALL, "-o", str(tmp_path)]) == 130
    content = json.loads((tmp_path / "bench.json").read_text())
    assert (content["finished"], content["figures"][0]["repeats"]) == (False, 2)
    monkeypatch.setattr("autovid.run.Progress", lambda title: StopAt(2, signal.SIGTERM))
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray has its own, where tests before this one have used it
    try:
        assert main(["bench", "tsn_resnet18", *SMALL, "-o", str(tmp_path / "terminated")]) == 143
    finally:
        signal.signal(signal.SIGTERM, before)
    assert (tmp_path / "terminated" / "plot.png").is_file()


def test_a_folder_with_something_in_it_is_not_written_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("hello")
    for out in (tmp_path, tmp_path / "mine"):
        assert main(["bench", "tsn_resnet18", "-o", str(out)]) == 5
        assert "exists already; choose another -o" in capsys.readouterr().err
    assert (tmp_path / "mine").read_text() == "hello"


def test_a_training_is_measured_as_it_was_trained(tiny_videos: Path, tmp_path: Path) -> None:
    load_space("tiny").sample(1, seed=3)[0].save(tmp_path / "arch.yaml")
    words = ["train", str(tmp_path / "arch.yaml"), "--data", str(tiny_videos), "-o", str(tmp_path / "run")]
    words += ["--epochs", "0.3", "--batch", "8", "--frames", "8", "--crop", "24", "--recipe", "proxy"]
    assert main([*words, "--device", "cpu", "--precision", "fp32", "--decoders", "0"]) == 0
    bench = Bench([open_measured(str(tmp_path / "run"), Compute("cpu", "fp32"))], BenchSettings()).rows[0]
    evaluated = json.loads((tmp_path / "run" / "evaluation-center.json").read_text())
    assert (bench.frames, bench.crop, bench.macs) == (8, 24, evaluated["macs_per_view"])
    assert bench.params == evaluated["params"]


def test_a_name_is_the_network_also_where_a_folder_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tsn_resnet18").mkdir()
    assert open_measured("tsn_resnet18", Compute("cpu", "fp32"), frames=1, crop=32).clip.crop == 32
    assert main(["draw", "tsn_resnet18", "-o", "out.svg"]) == 0


def test_an_architecture_of_a_run_has_the_runs_name(tmp_path: Path) -> None:
    for run in ("one", "two"):
        (tmp_path / run).mkdir()
        load_space("tiny").sample(1, seed=1)[0].save(tmp_path / run / "architecture.yaml")
    compute = Compute("cpu", "fp32")
    names = [open_measured(str(tmp_path / run / "architecture.yaml"), compute).name for run in ("one", "two")]
    assert names == ["one", "two"]


def test_an_unsteady_measurement_says_so() -> None:
    measured = bench()
    row = measured.rows[0]
    row.latency_q1, row.latency_median, row.latency_q3 = 0.95, 1.0, 1.1
    assert not any("spread" in line for line in notes(measured))
    row.latency_q3 = 1.2
    assert any("the latencies spread by more than 20%" in line for line in notes(measured))


@pytest.mark.slow
def test_a_name_is_no_formula(tmp_path: Path) -> None:
    load_space("tiny").sample(1, seed=1)[0].save(tmp_path / r"a $\frac$ b.yaml")
    words = ["bench", str(tmp_path / r"a $\frac$ b.yaml"), *SMALL[:-1], "0", "-o", str(tmp_path / "out")]
    assert main(words) == 0
    assert (tmp_path / "out" / "plot.png").is_file()


def test_throughputs_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine slows down; the ratio does not. What does not fit at all has none."""
    candidate = open_measured("tsn_resnet18", Compute("cpu", "fp32"), frames=1, crop=32)
    measured = Bench([candidate] * 3, BenchSettings(repeats=1))
    for row, batch in zip(measured.rows, (2, 1, 0)):
        row.largest_batch = batch
    took = iter([9.0, 9.0, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0, 8.0, 8.0, 16.0, 16.0])
    monkeypatch.setattr("autovid.studies.bench.seconds", lambda run, device: next(took))
    measured._throughputs(lambda text: None)
    assert [row.clips_per_second for row in measured.rows] == [0.5, 0.25, None]
    for row in measured.rows:
        row.clips_per_second = None
    took = iter([9.0, 9.0, 1.0, 1.0, 2.0])
    with pytest.raises(StopIteration):  # in the place of Ctrl-C: the first round is kept
        measured._throughputs(lambda text: None)
    assert [row.clips_per_second for row in measured.rows] == [2.0, 1.0, None]
    assert [row.clips_per_second_ratio for row in measured.rows] == [1.0, 0.5, None]


def test_runs_take_turns_and_a_ratio_is_taken_within_a_round() -> None:
    called: list[str] = []
    turns = Turns([lambda: called.append("a"), lambda: called.append("b")], CPU)
    turns.one_round()
    turns.one_round()
    assert called == ["a", "b", "b", "a"]
    turns.rounds = [[1.0, 2.0], [10.0, 30.0], [100.0, 150.0]]  # the machine slows down; the ratio does not
    assert turns.ratio(1) == 2.0
    assert turns.quartiles(0) == (5.5, 10.0, 55.0)


@pytest.mark.parametrize(
    ("limit", "most", "expected"), [(37, 256, 37), (1, 256, 1), (0, 256, 0), (300, 256, 256), (64, 100, 64)]
)
def test_the_largest_batch_is_found_by_doubling_and_bisection(limit: int, most: int, expected: int) -> None:
    tried: list[int] = []

    def fits(batch: int) -> bool:
        tried.append(batch)
        return batch <= limit

    assert largest_batch(fits, most) == expected
    assert len(tried) <= 2 * 9
    assert max(tried) <= min(most, max(1, 2 * limit))  # never far beyond what fits


def test_a_cpu_is_never_asked_for_more_than_half_of_the_memory_that_it_can_spare(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert 0 < spare_memory(CPU) < 2**50
    monkeypatch.setattr(measure, "spare_memory", lambda device: 10 * 2**30)
    assert most_clips(2**30, 2**30, CPU, 256) == 4
    assert most_clips(2**20, 0, CPU, 256) == 256
    assert most_clips(2**40, 0, CPU, 256) == 1
    monkeypatch.setattr("autovid.measure.MARGIN", 1e-9)
    small = bench(most=64)
    small.measure(Progress())
    assert (small.rows[0].largest_batch, small.rows[0].largest_batch_is) == (1, "memory")


def test_peak_memory_is_that_of_the_tensors_alive_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    x = torch.zeros(2**18)

    def run() -> torch.Tensor:
        y = x + 1
        z = y + 1  # two of them, 1 MiB each
        del y
        return z + 1

    run()
    assert 2 * 2**20 <= peak_memory(run, 5, CPU) - 5 < 2.1 * 2**20
    assert capfd.readouterr().err == ""


def test_what_cannot_be_measured_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, says in [
        (["nothing"], "nothing"),
        (["tsn_resnet18", "--device", "cuda:99"], "cuda"),
        (["tsn_resnet18", "--device", "cpu", "--precision", "fp16"], "fp16"),
        (["tsn_resnet18", "--device", "cpu", "--batch", "100000000"], "100,000,000 clips at once do not fit"),
        (["tsn_resnet18", "--views", "7"], "views '7': give center, lcr, 10-center or 10-lcr"),
        (["tiny"], "tiny is a search space; give a network, an architecture or a run"),
        (["dnr_ssv1"], "dnr_ssv1 is an experiment"),
        (["auto_tsnet_s", "--frames", "3"], "auto_tsnet_s, at this --frames or --crop: "),
    ]:
        assert main(["bench", *words, "-o", str(tmp_path / "no")]) == 2
        error = capsys.readouterr().err.strip()
        assert says in error
        assert "\n" not in error
    assert not (tmp_path / "no").exists()


@pytest.mark.slow
def test_runtimes_side_by_side_compute_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", "tsn_resnet18", *SMALL, "--largest-batch", "2", "--runtime", "torch,openvino,onnxruntime"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    assert "openvino" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "bench.json").read_text())
    assert [row["runtime"] for row in content["figures"]] == ["torch", "openvino", "onnxruntime"]
    assert {"torch", "openvino", "onnxruntime"} <= set(content["versions"])
    for row in content["figures"][1:]:
        assert row["peak_bytes"] is None
        assert row["latency_median"] > 0
        assert row["largest_batch"] == 2


@pytest.mark.thorough  # the exports of the suite are compared with torch as well
@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino"])
def test_a_network_in_another_runtime_has_the_logits_of_torch(runtime: Runtime) -> None:
    """To what exports are held to."""
    network = open_measured("slowonly_r34_8x8", Compute("cpu", "fp32"), frames=2, crop=32)
    other = in_runtime(network, runtime)
    for batch in (1, 3):
        x = network.input(batch)
        expected, actual = network.run(x)(), torch.as_tensor(other.run(x)())
        assert isinstance(expected, torch.Tensor)
        assert (actual - expected).abs().max() <= TOLERANCE * max(1.0, float(expected.abs().max()))


@pytest.mark.slow
def test_what_a_runtime_cannot_do_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in {
        ("--runtime", "tensorrt"): "give some of torch, onnxruntime, openvino",
        ("--runtime", "onnxruntime", "--precision", "bf16"): "onnxruntime does not compute in bf16 here",
        ("--runtime", "openvino", "--compile"): "--compile is torch's",
    }.items():
        try:
            code = main(["bench", "tsn_resnet18", *SMALL, *words])
        except SystemExit as stop:
            code = int(stop.code or 0)
        assert code == 2
        assert message in capsys.readouterr().err
