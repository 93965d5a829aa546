"""autovid cam: what trained networks look at."""

import json
import os
import shutil
from pathlib import Path

import matplotlib.image
import pytest

from autovid.cli import main
from autovid.data.video import VideoFile
from autovid.space import load_space

SMALL = ["--epochs", "1", "--batch", "8", "--recipe", "proxy", "--device", "cpu", "--precision", "fp32"]
SMALL += ["--decoders", "0"]


@pytest.fixture(scope="module")
def trained(tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cam")
    load_space("tiny").sample(1, seed=3)[0].save(folder / "architecture.yaml")
    words = ["train", str(folder / "architecture.yaml"), "--data", str(tiny_videos), *SMALL, "-o", str(folder / "run")]
    assert main(words) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def weights(trained: Path) -> Path:
    return next(trained.glob("checkpoints/step-*/model.safetensors"))


@pytest.fixture(scope="module")
def clip(tiny_videos: Path) -> Path:
    return next((tiny_videos / "val" / "disc-left-rising").iterdir())


def cam(clip: Path, *words: str | Path) -> list[str]:
    return ["cam", str(clip), "--device", "cpu", *map(str, words)]


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "Traceback" not in error
    return error


@pytest.mark.slow
def test_a_run_and_files_with_the_same_weights_see_the_same(
    trained: Path, weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a b"
    files = ("--model", trained / "architecture.yaml", "--weights", weights)
    assert main(cam(clip, "--model", trained, *files, "--class", "4", "-o", out)) == 0
    run, file, where = capsys.readouterr().out.splitlines()
    assert run.startswith("run (tiny ")
    assert file.startswith("model (tiny ")  # of the files of one network, which one
    named = file.partition(": ")[2].replace("class 4", "disc-left-rising")
    # The same code on the same bytes: as printed.
    seen, _, chosen = run.partition(": ")[2].partition("; weights ")
    assert named.split(" (predicts")[0] == seen.split(" (predicts")[0]
    assert chosen.startswith("after epoch ")
    assert named.startswith("disc-left-rising ")
    assert where == f"in '{out}/filmstrip.png' and '{out}/film.mp4'"
    assert matplotlib.image.imread(out / "filmstrip.png").ndim == 3
    with VideoFile(out / "film.mp4") as film:
        assert len(film) == 50


@pytest.mark.slow
def test_the_predicted_class_is_the_default_and_a_number_is_one_too(
    trained: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(cam(clip, "--model", trained)) == 0
    predicted, where = capsys.readouterr().out.splitlines()
    assert "predicts" not in predicted
    assert where == f"in runs/cam-{clip.stem}/filmstrip.png and runs/cam-{clip.stem}/film.mp4"
    shown = []
    for words in (["--class", "3"], ["--class", "cross-right-sinking", "--method", "gradcam"]):
        assert main(cam(clip, "--model", trained, *words)) == 0
        shown.append(capsys.readouterr().out.splitlines()[0])
    assert shown[0] == shown[1]
    assert ": cross-right-sinking " in shown[0]
    assert (tmp_path / "runs" / f"cam-{clip.stem}-3" / "film.mp4").is_file()


def test_a_name_that_is_not_utf8_is_shown_with_its_bytes(
    trained: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    foreign = Path(shutil.copy(clip, tmp_path / os.fsdecode(b"caf\xe9.mp4")))
    assert main(cam(foreign, "--model", trained, "-o", tmp_path / "out")) == 0
    assert (tmp_path / "out" / "filmstrip.png").is_file()
    capsys.readouterr()
    assert main(["predict", str(trained), str(foreign), "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["video"] == f"{tmp_path}/caf\\xe9.mp4"
    foreign.write_bytes(b"")
    assert main(["predict", str(trained), str(foreign), "--json", "--device", "cpu"]) == 4
    assert json.loads(capsys.readouterr().out)["video"] == f"{tmp_path}/caf\\xe9.mp4"


def test_mistakes_are_one_line_each_with_their_exit_code(
    trained: Path, weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, empty, half = tmp_path / "text.mp4", tmp_path / "empty", tmp_path / "half"
    text.write_text("no video")
    empty.mkdir()
    half.mkdir()
    shutil.copy(trained / "config.yaml", half)
    yaml, out = trained / "architecture.yaml", ("-o", tmp_path / "out")
    mistakes: list[tuple[list[str], int, str]] = [
        (cam(tmp_path / "no.mp4", "--model", trained, *out), 4, "no.mp4: No such file"),
        (cam(text, "--model", trained, *out), 4, "text.mp4: not an mp4"),
        (cam(clip, "--model", empty, *out), 5, "not a run directory"),
        (cam(clip, "--model", half, *out), 5, "has no checkpoint yet"),
        (cam(clip, "--model", tmp_path / "norun", *out), 2, "neither a network nor a file"),
        (cam(clip, "--model", trained, "--class", "disc-left-risin", *out), 2, "did you mean disc-left-rising"),
        (cam(clip, "--model", trained, "--class", "12", *out), 2, "or numbers 0 to 11"),
        (cam(clip, "--model", yaml, "--weights", weights, "--class", "disc", *out), 2, "its names are not known"),
        (cam(clip, "--model", yaml, *out), 2, "holds no weights"),
        (cam(clip, "--model", trained, "--weights", weights, *out), 2, "a run has its own"),
        (cam(clip, "--model", yaml, "--weights", text, *out), 2, "text.mp4 is no safetensors file"),
        (cam(clip, "--model", yaml, "--weights", tmp_path / "no", *out), 2, "no safetensors file that can be read"),
        (cam(clip, "--model", "tsn_resnet18", "--weights", weights, *out), 2, "is not of tsn_resnet18: "),
        (cam(clip, "--model", trained, "-o", text / "out"), 5, "cannot make"),
    ]
    for words, code, message in mistakes:
        assert main(words) == code, words
        assert message in one_line(capsys), words
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_an_exported_folder_is_as_good_as_the_run(
    trained: Path, clip: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "exported"
    assert main(["export", str(trained), "-o", str(folder)]) == 0
    capsys.readouterr()
    assert main(cam(clip, "--model", trained, "--model", folder, "-o", tmp_path / "maps")) == 0
    run, exported, _ = capsys.readouterr().out.splitlines()
    assert exported.partition(": ")[2] == run.partition(": ")[2]
    said = []
    for what in (trained, folder):
        assert main(["evaluate", str(what), "--data", str(tiny_videos), "--device", "cpu"]) == 0
        said.append(capsys.readouterr().out.splitlines()[:2])
    assert said[0] == said[1]
    assert main(["evaluate", str(folder)]) == 4
    assert "give --data" in one_line(capsys)


@pytest.mark.slow
def test_the_clip_begins_where_it_is_asked_to(
    trained: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(trained), "-o", str(tmp_path / "maps")]
    assert main(cam(clip, *words)) == 0
    assert ", from 0.0 to " in capsys.readouterr().out
    assert main(cam(clip, *words, "--start", "0.4")) == 0
    assert ", from 0.4 to 0.6 s; weights after epoch 1 of 1" in capsys.readouterr().out
    assert main(cam(clip, *words, "--start", "9")) == 4
    assert "no frames from 9" in one_line(capsys)
