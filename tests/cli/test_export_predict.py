"""autovid export and autovid predict: what a training has learned, in every format, says the same of a video."""

import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import pytest
import torch

import autovid
from autovid.cli import main
from autovid.data import clips
from autovid.data.clips import read_windows
from autovid.data.loader import normalised
from autovid.errors import ConfigError
from autovid.export import FILES, find_source, package, prediction
from autovid.export.manifest import WEIGHTS
from autovid.runtimes.sessions import open_openvino
from autovid.space import load_space

pytestmark = pytest.mark.slow

SMALL = ["--epochs", "1", "--batch", "8", "--frames", "8", "--crop", "32", "--stride", "1", "--recipe", "proxy"]
SMALL += ["--device", "cpu", "--precision", "fp32", "--decoders", "0", "--seed", "5"]


@pytest.fixture(scope="module")
def trained(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small architecture: one stage deep, as little as there is."""
    folder = tmp_path_factory.mktemp("export")
    load_space("tiny").sample(1, seed=3)[0].scaled(depth_factor=0.3).save(folder / "architecture.yaml")
    words = ["train", str(folder / "architecture.yaml"), "--data", str(tiny_videos), *SMALL, "-o", str(folder / "run")]
    assert main(words) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def exported(trained: Path) -> dict[str, Path]:
    """The run in each format."""
    folders = {kind: trained.parent / kind for kind in FILES}
    for kind, folder in folders.items():
        assert main(["export", str(trained), "--format", kind, "-o", str(folder)]) == 0
    return folders


def test_it_says_what_it_is_at_before_it_takes_long(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said: list[str] = []

    def told(step: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            said.append(capsys.readouterr().err)
            return step(*args, **options)

        return noted

    capsys.readouterr()
    for step in (package.trace, package.open_file):
        monkeypatch.setattr(package, step.__name__, told(step))
    assert main(["export", str(trained), "--format", "torch", "-o", str(tmp_path / "out")]) == 0
    lines = ["tracing the network with torch.export", "running model.pt2, to compare it with the network"]
    assert said == [f"autovid export · {line}\n" for line in lines]


def test_accuracy_on_the_videos_of_the_training_is_not_exported(trained: Path, tmp_path: Path) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    evaluation = json.loads((run / "evaluation-center.json").read_text())
    (run / "evaluation-center-train.json").write_text(json.dumps(evaluation | {"split": "train"}))
    assert list(find_source(run).trained["accuracy"]) == ["center"]


def test_what_a_training_knows_goes_with_its_weights(
    trained: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An architecture with the weights of its training; and another one, which they do not fit."""
    arch, out = trained.parent / "architecture.yaml", tmp_path / "out"
    assert main(["export", str(arch), "--weights", str(trained), "-o", str(out)]) == 0
    (prediction,) = predict(capsys, out, clip)
    (want,) = predict(capsys, trained, clip)
    assert [guess["label"] for guess in prediction["top"]] == [guess["label"] for guess in want["top"]]
    assert "center" in json.loads((out / "model.json").read_text())["trained"]["accuracy"]
    other = load_space("tiny").sample(1, seed=4)[0]
    other.save(tmp_path / "other.yaml")
    assert main(["export", str(tmp_path / "other.yaml"), "--weights", str(trained), "-o", str(tmp_path / "no")]) == 2
    theirs = load_space("tiny").sample(1, seed=3)[0].scaled(depth_factor=0.3).hash
    assert f"are of architecture {theirs}, and" in capsys.readouterr().err


def test_doubtful_weights_are_told_of_with_every_prediction(
    trained: Path, exported: dict[str, Path], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(exported["safetensors"], tmp_path / "copy")
    about = json.loads((folder / "model.json").read_text())
    for trained_, says in (({"step": 2, "steps": 9}, "at step 2 of 9 of its training"), ({}, "random weights")):
        (folder / "model.json").write_text(json.dumps({**about, "trained": trained_}))
        assert main(["predict", str(folder), str(clip), "--device", "cpu"]) == 0
        assert says in capsys.readouterr().err
    assert main(["predict", str(trained), str(clip), "--device", "cpu"]) == 0
    assert capsys.readouterr().err == "autovid predict: weights after epoch 1 of 1, the last\n"


@pytest.fixture(scope="module")
def clip(tiny_videos: Path) -> Path:
    return next((tiny_videos / "val" / "disc-left-rising").iterdir())


def predict(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 0) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["predict", *map(str, words), "--json", "--device", "cpu"]) == code
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_a_run_its_exports_and_the_onnx_file_alone_predict_the_same(
    trained: Path,
    exported: dict[str, Path],
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of all twelve classes: which are the first five, rounding could decide.

    An export's logits are as near as every export is checked to be, d; a softmax moves by 2 p (1 - p) d <= d / 2.
    """
    monkeypatch.setattr(sys.modules["autovid.export.prediction"], "TOP", 12)
    shutil.copy(exported["onnx"] / "model.onnx", tmp_path / "alone.onnx")
    (want,) = predict(capsys, trained, clip)
    assert want["video"] == str(clip)
    assert (want["start"], want["end"], want["clips"]) == (0.0, 0.64, 2)  # 16 frames, two clips of 8
    # Logits that are off by e move a probability by e / 2 at most, as p (1 - p) is 1/4 at most; `export` has refused on
    # this very machine where e was above TOLERANCE.
    expected = {guess["label"]: guess["probability"] for guess in want["top"]}
    assert len(expected) == 12
    for model in (*exported.values(), tmp_path / "alone.onnx"):
        (prediction,) = predict(capsys, model, clip)
        probabilities = {guess["label"]: guess["probability"] for guess in prediction["top"]}
        assert probabilities == pytest.approx(expected, rel=0, abs=package.TOLERANCE / 2)


def test_probabilities_are_the_mean_over_the_clips(
    exported: dict[str, Path], clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = exported["safetensors"]
    net = autovid.build(folder / "architecture.yaml").eval()
    autovid.load_weights(net, folder / "model.safetensors")
    (window,) = read_windows(clip, net.clip)
    with torch.no_grad():
        want = torch.softmax(net(normalised(window.pixels, net.clip)), 1).mean(0)
    (prediction,) = predict(capsys, folder, clip)
    assert [guess["index"] for guess in prediction["top"]] == want.topk(5).indices.tolist()
    # The same network on the same bytes; the mean over clips, of two, rounds by 6e-8 whatever its order.
    assert torch.allclose(torch.tensor([guess["probability"] for guess in prediction["top"]]), want.topk(5).values)


def test_what_a_folder_says_of_itself(trained: Path, exported: dict[str, Path]) -> None:
    arch = autovid.load_architecture(trained / "architecture.yaml")
    for kind, folder in exported.items():
        assert sorted(file.name for file in folder.iterdir()) == sorted(
            ["README.md", "architecture.yaml", "model.json", FILES[kind], *([WEIGHTS[kind]] if kind in WEIGHTS else [])]
        )
        about = json.loads((folder / "model.json").read_text())
        assert (about["hash"], about["kind"], about["outputs"]) == (arch.hash, kind, 12)
        assert about["classes"][4] == "disc-left-rising"
        size = {name: about["clip"][name] for name in ("frames", "crop", "stride", "sampling", "mean", "std")}
        assert size == {
            "frames": 8,
            "crop": 32,
            "stride": 1,
            "sampling": "dense",
            "mean": [0.45] * 3,
            "std": [0.225] * 3,
        }
        assert about["provenance"]["space"] == "tiny"
        assert about["trained"]["recipe"]["seed"] == 5
        assert "center" in about["trained"]["accuracy"]
        assert about["check"]["difference"] <= package.TOLERANCE  # or it would not have been written
        net = autovid.build(folder / "architecture.yaml")
        assert (net.classes, net.clip.frames, net.clip.crop, net.clip.stride) == (12, 8, 32, 1)
        assert about["cost"]["macs"] == autovid.count(net).macs
        assert "8 frames at 32x32, 12 classes" in about["cost"]["convention"]
        for text in (folder / FILES[kind], folder / "model.json", folder / "README.md"):
            assert str(trained.parent).encode() not in text.read_bytes()
            assert b"autovid/layers/" not in text.read_bytes()  # no lines of code of the machine that exported


def test_a_program_of_torch_needs_no_autovid(exported: dict[str, Path]) -> None:
    script = (
        "import sys, torch\n"
        "net = torch.export.load(sys.argv[1]).module()\n"
        "with torch.no_grad(): print([tuple(net(torch.zeros(b, 3, 8, 32, 32)).shape) for b in (1, 4)])\n"
        "assert 'autovid' not in sys.modules"
    )
    words = [sys.executable, "-I", "-c", script, str(exported["torch"] / "model.pt2")]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.stdout.strip() == "[(1, 12), (4, 12)]", done.stderr


def test_long_videos_go_window_by_window_and_broken_ones_cost_one_line(
    exported: dict[str, Path], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, broken = exported["safetensors"], tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:300])
    lines = predict(capsys, model, clip, broken, clip, "--window", "0.2", code=4)
    assert [line.get("start") for line in lines] == [0.0, 0.2, 0.4, None, 0.0, 0.2, 0.4]
    assert set(lines[3]) == {"video", "error"}
    assert lines[:3] == lines[4:]  # the same code on the same bytes
    assert main(["predict", str(model), str(clip), str(broken), "--window", "0.2", "--device", "cpu"]) == 4
    out, error = capsys.readouterr()
    assert [line[:16] for line in out.splitlines()[1:]] == ["  0:00.0 – 0:00.", "  0:00.2 – 0:00.", "  0:00.4 – 0:00."]
    assert error.splitlines() == [f"autovid predict: {lines[3]['error']}"]
    assert main(["predict", str(model), str(clip), "--device", "cpu"]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    assert first == str(clip)
    assert len(rest) == 5
    assert rest[0].split(" %  ")[1] in json.loads((model / "model.json").read_text())["classes"]


def test_a_timeline_is_printed_and_written(
    exported: dict[str, Path], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, out = exported["safetensors"], tmp_path / "out dir"
    lines = predict(capsys, model, clip, "--window", "0.2", "--timeline", out)
    assert [line["start"] for line in lines] == [0.0, 0.2, 0.4]
    assert main(["predict", str(model), str(clip), "--window", "0.2", "--timeline", str(out), "--device", "cpu"]) == 0
    first, *segments, last = capsys.readouterr().out.splitlines()
    assert first == str(clip)
    assert segments[0].startswith("  0:00.0 – 0:0")
    assert last.startswith(f"in '{out}/{clip.stem}.timeline.png', ")
    assert len((out / f"{clip.stem}.timeline.csv").read_text().splitlines()) == 1 + 3
    assert main(["predict", str(model), str(clip), str(clip), "--timeline", str(out)]) == 2
    assert "give each a --timeline folder of its own" in capsys.readouterr().err


def test_a_stopped_timeline_keeps_what_it_has_seen_and_says_how_far_it_is(
    exported: dict[str, Path],
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("autovid.run.progress.LINE_SECONDS", 0.0)
    scored = prediction.score

    def stopped(*arguments: Any) -> Iterator[prediction.ScoredWindow]:
        yield from itertools.islice(scored(*arguments), 2)
        raise KeyboardInterrupt

    words = ["predict", str(exported["safetensors"]), str(clip), "--device", "cpu", "--window", "0.2", "--timeline"]
    monkeypatch.setattr(prediction, "score", stopped)
    assert main([*words, str(tmp_path / "part")]) == 130
    out, error = capsys.readouterr()
    assert len((tmp_path / "part" / f"{clip.stem}.timeline.csv").read_text().splitlines()) == 1 + 2
    assert out.splitlines()[-1].startswith(f"in {tmp_path}/part/{clip.stem}.timeline.png, ")
    steps = [line.partition(" · step ")[2] for line in error.splitlines()[:3]]
    assert [step[:3] for step in steps] == ["0/3", "1/3", "2/3"]
    assert error.splitlines()[-2:] == [
        f"autovid predict: {clip}: the timeline ends at 0:00.4",
        "autovid predict: stopped",
    ]
    (tmp_path / "file").write_text("")
    assert main([*words, str(tmp_path / "file" / "folder")]) == 5  # before the video is read
    assert "cannot make" in capsys.readouterr().err


def test_a_damaged_window_leaves_a_hole_and_a_line(
    exported: dict[str, Path],
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    take = clips.read_in_turn
    monkeypatch.setattr(
        clips, "read_in_turn", lambda *arguments: (None if i == 1 else one for i, one in enumerate(take(*arguments)))
    )
    words = ["predict", str(exported["safetensors"]), str(clip), "--device", "cpu", "--window", "0.2"]
    for more in [], ["--timeline", str(tmp_path)]:
        assert main([*words, *more]) == 0
        out, error = capsys.readouterr()
        assert [line[:17] for line in out.splitlines()[1:3]] == ["  0:00.0 – 0:00.2", "  0:00.4 – 0:00.6"]
        says = "1 window cannot be decoded and is left out; the first begins at 0:00.2"
        assert error.splitlines()[-1] == f"autovid predict: {clip}: {says}"


def test_a_growing_file_is_followed_until_ctrl_c(
    exported: dict[str, Path],
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    source = tmp_path / "live.ts"
    with av.open(str(clip)) as video, av.open(str(source), "w") as out:
        stream = out.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            packet.stream = stream
            out.mux([packet] if packet.dts is not None else [])
    printed: list[str] = []
    sleep = time.sleep

    def until_printed(seconds: float) -> None:
        printed.append(capsys.readouterr().out)
        if printed[-1]:
            raise KeyboardInterrupt
        assert len(printed) < 60
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", until_printed)
    words = ["predict", str(exported["safetensors"]), "--device", "cpu", "--follow", str(source)]
    assert main(words) == 130
    assert printed[-1].startswith("  0:00.")
    assert capsys.readouterr().err.splitlines()[-2].startswith("autovid predict: followed 0:00.")
    for more, message in {
        str(clip): "--follow takes one source",
        "--timeline=x": "--timeline is for videos that have an end",
    }.items():
        assert main([*words, more]) == 2
        assert message in capsys.readouterr().err
    assert main(["predict", str(exported["safetensors"]), "--give-up", "3", str(clip)]) == 2
    assert "--give-up is for --follow" in capsys.readouterr().err


def test_windows_shorter_than_a_frame_are_refused_and_times_have_the_decimals_they_need(
    exported: dict[str, Path], clip: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(exported["safetensors"]), str(clip), "--device", "cpu", "--window"]
    assert main([*words, "0.0399"]) == 2  # of 25 frames a second
    error = capsys.readouterr().err.strip()
    assert error.endswith("windows of 0.0399 s are shorter than a frame; give 0.04 or more")
    for window, second in {"0.04": "  0:00.04 – 0:00.08", "0.125": "  0:00.125 – 0:00.250"}.items():
        assert main([*words, window]) == 0
        assert capsys.readouterr().out.splitlines()[2].startswith(f"{second}  ")


def test_a_name_that_would_break_a_line_is_written_as_escapes(
    exported: dict[str, Path], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(exported["safetensors"], folder)
    about = json.loads((folder / "model.json").read_text())
    about["classes"] = [f"{number}\n\u202e\x1b[31mé" for number in range(12)]
    (folder / "model.json").write_text(json.dumps(about))
    words = ["predict", str(folder), str(clip), "--device", "cpu"]
    for more, lines in ([], 6), (["--window", "0.2"], 4):
        assert main([*words, *more]) == 0
        lines_shown = capsys.readouterr().out.splitlines()
        assert len(lines_shown) == lines
        assert all(line.endswith(r"\n\u202e\x1b[31mé") for line in lines_shown[1:])


def test_weights_in_a_file_of_their_own_are_checked_too(
    exported: dict[str, Path], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(exported["openvino"], tmp_path / "folder")
    (folder / "model.bin").write_bytes((exported["openvino"] / "model.bin").read_bytes()[:-4] + b"1234")
    assert main(["predict", str(folder), str(clip), "--device", "cpu"]) == 2
    assert "model.bin is changed or damaged" in capsys.readouterr().err
    (folder / "model.bin").unlink()
    assert main(["predict", str(folder), str(clip), "--device", "cpu"]) == 2
    assert "model.bin is missing; export again" in capsys.readouterr().err


def test_what_is_no_model_of_openvino_is_refused_in_one_line() -> None:
    with pytest.raises(ConfigError, match=r"^mine is no model that this OpenVINO can read: .+") as refused:
        open_openvino(b"<net", b"", "cpu", "mine")
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="run on the CPU here, not on cuda"):
        open_openvino(b"", b"", "cuda", "mine")


def test_a_package_that_is_missing_is_named_with_what_to_install(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert main(["export", str(trained), "--format", "openvino", "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.endswith("openvino is not installed: pip install openvino onnx onnxscript")
    assert not (tmp_path / "out").exists()


def test_every_format_is_evaluated_and_has_the_accuracy_of_its_run(
    trained: Path, exported: dict[str, Path], tiny_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the probabilities, which a rounding may bring a draw's other class for: one video of 12 at most."""
    words = ["--data", str(tiny_videos), "--device", "cpu", "--decoders", "0", "--json"]
    capsys.readouterr()
    figures = {}
    for name, folder in {"run": trained, **exported}.items():
        assert main(["evaluate", str(folder), *words]) == 0
        figures[name] = json.loads(capsys.readouterr().out)
    run = figures["run"]
    for figure in figures.values():
        assert abs(figure["top1"] - run["top1"]) <= 100 / run["decoded"] + 1e-9
        assert (figure["macs_per_view"], figure["params"]) == (run["macs_per_view"], run["params"])
    assert main(["evaluate", str(exported["openvino"]), *words, "--views", "lcr"]) == 2
    assert "takes crops of 32 alone, and views lcr are of" in capsys.readouterr().err


def test_int8_of_a_few_clips_says_what_it_loses(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("autovid.export.quantized.CLIPS", 2)
    out = tmp_path / "out"
    assert main(["export", str(trained), "--int8", "--format", "onnx", "-o", str(out)]) == 0
    shown, about = capsys.readouterr().out, json.loads((out / "model.json").read_text())
    quantized = about["quantized"]
    assert f"top-1 {quantized['int8']:.2f} % in int8, {quantized['fp32']:.2f} % before" in shown
    assert (quantized["clips"], quantized["videos"]) == (2, 12)
    assert b"DequantizeLinear" in (out / "model.onnx").read_bytes()


@pytest.mark.thorough
def test_int8_says_what_it_loses_and_predicts(
    trained: Path, tiny_videos: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "out", ["export", str(trained), "--int8", "-o", str(tmp_path / "out")]
    assert main([*words, "--format", "openvino"]) == 0
    shown = capsys.readouterr().out
    about = json.loads((out / "model.json").read_text())
    quantized = about["quantized"]
    assert f"top-1 {quantized['int8']:.2f} % in int8, {quantized['fp32']:.2f} % before" in shown
    assert "compute in int8" in (out / "README.md").read_text()
    assert 0 < quantized["clips"] <= 128
    assert main(["evaluate", str(trained), "--device", "cpu", "--decoders", "0", "--json"]) == 0
    evaluation = json.loads(capsys.readouterr().out)
    assert (quantized["fp32"], quantized["videos"]) == (evaluation["top1"], evaluation["decoded"])
    assert b"FakeQuantize" in (out / "model.xml").read_bytes()
    assert 1e-7 < about["check"]["difference"] < 0.3 * about["check"]["largest_logit"]
    assert len(predict(capsys, out, clip)) == 1


def test_int8_of_what_cannot_have_it_is_refused(
    trained: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["-o", str(tmp_path / "out")]
    for words, message in {
        (str(trained), "--int8", "--format", "torch"): "there is no int8 for torch; give --format onnx or openvino",
        (str(trained), "--data", str(tiny_videos)): "--data is for --int8; leave it out",
        (
            str(trained.parent / "architecture.yaml"),
            "--int8",
        ): "is no training, which would know its videos",
    }.items():
        assert main(["export", *words, *out]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", FILES)
def test_a_folder_that_was_changed_is_refused_in_one_line(
    kind: str, exported: dict[str, Path], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "folder"
    shutil.copytree(exported[kind], folder)
    text = (folder / "model.json").read_text()
    about = json.loads(text)
    fewer = {**about, "outputs": 11, "classes": about["classes"][:11]}
    changes = {
        text.replace('"crop": 32', '"crop": 40'): "clips 3x8x32x32 to 12 classes, and is said to take clips 3x8x40x40",
        text.replace('"frames": 8', '"frames": 4'): "said to take clips 3x4x32x32 to 12; export it again",
        json.dumps(fewer): "said to take clips 3x8x32x32 to 11; export it again",
    }
    for changed, message in changes.items():
        (folder / "model.json").write_text(changed)
        assert main(["predict", str(folder), str(clip), "--device", "cpu"]) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error, error
    (folder / "model.json").write_text(text)
    with (folder / "architecture.yaml").open("a") as file:
        file.write("# changed\n")
    assert main(["predict", str(folder), str(clip), "--device", "cpu"]) == 2
    assert "architecture.yaml is changed or damaged" in capsys.readouterr().err
    del about["architecture_sha256"]  # as the first exports had none
    (folder / "model.json").write_text(json.dumps(about))
    assert len(predict(capsys, folder, clip)) == 1


def test_an_onnx_file_alone_is_held_against_what_it_says_of_itself(
    exported: dict[str, Path], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = (exported["onnx"] / "model.onnx").read_bytes()
    assert data.count(b'"crop":32') == 1
    (tmp_path / "a.onnx").write_bytes(data.replace(b'"crop":32', b'"crop":40'))
    assert main(["predict", str(tmp_path / "a.onnx"), str(clip), "--device", "cpu"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "said to take clips 3x8x40x40" in line


def test_mistakes_are_one_line_and_leave_nothing(
    trained: Path,
    exported: dict[str, Path],
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(exported["safetensors"], damaged)
    data = bytearray((damaged / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (damaged / "model.safetensors").write_bytes(data)
    greedy = tmp_path / "greedy"
    shutil.copytree(exported["safetensors"], greedy)
    text = (greedy / "model.json").read_text()
    (greedy / "model.json").write_text(text.replace('"frames": 8', '"frames": 999999'))
    (tmp_path / "foreign.onnx").write_bytes(b"nonsense")
    odd_name = tmp_path / "<b>&'q"
    odd_name.mkdir()
    (odd_name / "config.yaml").write_text("autovid: 0.1.0\nkind: search\n")
    shutil.copy(trained / "architecture.yaml", odd_name)
    run, weights = str(trained), str(exported["safetensors"] / "model.safetensors")
    mistakes = [
        (["export", run, "-o", str(exported["onnx"])], 5, "exists already"),
        (["export", run, "--weights", weights], 2, "has weights of its own"),
        (["export", "tsn_resnet19"], 2, "did you mean tsn_resnet"),
        (["export", "resnet110_cifar", "--weights", weights], 2, "is not of resnet110_cifar"),
        (["predict", str(damaged), str(clip)], 2, "is changed or damaged"),
        (["predict", str(greedy), str(clip)], 2, "no such clip can be read"),
        (["predict", str(tmp_path), str(clip)], 5, "not a run directory"),
        (["predict", str(odd_name), str(clip)], 5, f"autovid train '{tmp_path}/<b>&'\"'\"'q'"),
        (["predict", str(tmp_path / "foreign.onnx"), str(clip)], 2, "is no ONNX file"),
        (["predict", weights, str(clip)], 2, f"give the folder, {exported['safetensors']}"),
        (["draw", weights, "-o", str(tmp_path / "x.svg")], 2, "holds weights, not what a network is"),
        (["predict", str(clip), str(clip)], 2, "no run directory, exported folder or ONNX file"),
        (["predict", str(exported["onnx"]), str(clip), "--device", "cuda"], 2, "has no device cuda"),
    ]
    capsys.readouterr()
    for words, code, message in mistakes:
        assert main(words) == code, words
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error, error
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "onnx", None)  # as if it were not installed
    assert main(["export", run, "--format", "onnx"]) == 2
    assert capsys.readouterr().err.strip().endswith("pip install onnx onnxscript onnxruntime")
    assert list((tmp_path / "exports").iterdir()) == []
