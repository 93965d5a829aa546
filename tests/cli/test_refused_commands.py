"""A command that cannot work is refused in one line before a run directory is made; a plan says what would be done."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from autovid import cli
from autovid.cli import main, options, training
from autovid.data import Video, VideoSet
from autovid.errors import AutovidError, ConfigError
from autovid.measure import StepMemory
from autovid.search import part_ranges
from autovid.space import load_space
from autovid.train import make_recipe

TINY = ["search", "--space", "tiny"]
TOO_MUCH = [
    ["--batch", "65537"],
    ["--frames", "1025"],
    ["--crop", "2049"],
    ["--epochs", "100001"],
    ["--stride", "1025"],
]


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code and the one line on stderr."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    assert code != 0
    return code, lines[0]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--seed", "-1"], "-1"),
        (["--seed", str(2**70)], str(2**70)),
        (["--device", "meta"], "cuda"),
        (["--device", "foo"], "foo"),
        (["--device", "cpu:7"], "cpu:7"),
        (["--device", "cuda:99"], "cuda"),
        (["--device", "cpu", "--precision", "fp16"], "fp16"),
        (["--in-range"], "--flops"),
        (["--decoders", "-3"], "-3"),
        (["--cache", "512"], "500M or 2G"),
        (["--cache", "0M"], "500M or 2G"),
        (["--workers", "2", "--gpus-per-worker", "1.5"], "whole ones"),
        (["--gpus-per-worker", "1"], "--workers"),
        (["--address", "auto"], "--workers"),
        (["--data", ""], "--data"),
        (["--batch", "65537"], "65536"),
        (["--frames", "4096"], "1024"),
        (["--crop", "100000"], "2048"),
        (["--epochs", "1e30"], "100000"),
        (["--stride", "1025"], "1024"),
    ],
)
def test_a_wrong_argument_leaves_no_directory(
    arguments: list[str], says: str, tmp_path: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    code, line = refused([*TINY, "--data", str(tiny_videos), "-o", str(out), *arguments], capsys)
    assert code == 2
    assert says in line
    assert not out.exists()


@pytest.mark.parametrize("what", ["train", "random-baseline"])
@pytest.mark.parametrize("arguments", [["--data", ""], ["--decoders", "-3"], ["--seed", "-1"], *TOO_MUCH])
def test_trainings_refuse_the_same(
    what: str, arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    words = ["train", "auto_tsnet_s"] if what == "train" else [what, "--space", "tiny", "--flops", "0.0075:0.008"]
    code, line = refused([*words, "-o", str(out), *arguments], capsys)
    assert code == 2
    assert arguments[0].lstrip("-") in line
    assert not out.exists()


def test_a_sweep_does_not_take_two_names_of_a_key_for_two_keys(capsys: pytest.CaptureFixture[str]) -> None:
    _, line = refused(["sweep", "tsn_resnet18", "--over", "lr=0.1", "--over", "recipe.lr=0.2"], capsys)
    assert "--over lr is given twice" in line


# Data that cannot be divided or read


def some_videos(source: Path, folder: Path, videos: dict[str, int]) -> Path:
    """A folder without splits with so many videos of each class."""
    files = sorted(source.rglob("*.mp4"))
    for name, count in videos.items():
        (folder / name).mkdir(parents=True)
        for number in range(count):
            shutil.copy(files[number], folder / name / f"{number}.mp4")
    return folder


@pytest.mark.parametrize(
    ("videos", "says"),
    [
        ({"jump": 1, "run": 4}, "1 class has one: jump"),
        ({"jump": 4, "run": 1, "swim": 1, "walk": 3}, "2 classes have one: run, swim"),
        ({f"class{n:02}": 1 for n in range(12)}, "12 classes have one: class00, class01, class02, ..."),
    ],
)
def test_a_class_that_cannot_be_halved_is_named(
    videos: dict[str, int], says: str, tmp_path: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = some_videos(tiny_videos, tmp_path / "videos", videos), tmp_path / "run"
    code, line = refused([*TINY, "--data", str(data), "-o", str(out)], capsys)
    assert code == 4
    assert "two training videos of each class" in line
    assert says in line
    assert not out.exists()


@pytest.mark.parametrize("dry", [["--dry-run"], []])
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            ["train", "tsn_resnet18"],
            r"list.csv: no videos in its split val; .*two files of a class are needed, as parts",
        ),
        (
            TINY,
            "list: .*two training files of each class, .*all parts of a file together; 2 classes have one: jump, run",
        ),
    ],
)
def test_one_file_of_several_parts_a_class_is_said_to_be_one_file(
    words: list[str], says: str, dry: list[str], tmp_path: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some_videos(tiny_videos, tmp_path, {"jump": 1, "run": 1})
    rows = [f"{name}/0.mp4,{name},{k / 20},{k / 20 + 0.05}" for name in ("jump", "run") for k in range(6)]
    (tmp_path / "list.csv").write_text("\n".join(["path,label,start,end", *rows]))
    out = ["--device", "cpu", "-o", str(tmp_path / "out")]
    code, line = refused([*words, "--data", str(tmp_path / "list.csv"), *out, *dry], capsys)
    assert code == 4
    assert re.search(says, line)
    assert "leave that column out" not in line
    assert not (tmp_path / "out").exists()


def test_a_folder_that_may_not_be_read_is_one_line(
    tmp_path: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, scandir = str(tiny_videos / "train"), os.scandir

    def refuse(path: str | Path = ".") -> object:
        if str(path) == locked:
            raise PermissionError(13, "Permission denied", locked)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)  # whoever tests as root may read everything
    code, line = refused([*TINY, "--data", str(tiny_videos), "-o", str(tmp_path / "run")], capsys)
    assert code == 4
    assert locked in line
    assert "Permission denied" in line


# Files and folders that cannot be made


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory, tiny_videos: Path) -> Path:
    """A finished search."""
    out = tmp_path_factory.mktemp("before") / "run"
    short = ["--steps", "1", "--samples", "1", "--batch", "2", "--decoders", "0", "--precision", "fp32"]
    assert main([*TINY, "--data", str(tiny_videos), "-o", str(out), *short]) == 0
    return out


@pytest.mark.slow
@pytest.mark.parametrize("file", ["/proc/none/a.yaml", "FILE/x.yaml"])
def test_derive_says_which_folder_cannot_be_made(
    file: str, searched: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("precious")
    out_file = file.replace("FILE", str(tmp_path / "file"))
    capsys.readouterr()
    code, line = refused(["derive", str(searched), "-o", out_file], capsys)
    assert code == 5
    assert str(Path(out_file).parent) in line
    assert (tmp_path / "file").read_text() == "precious"


def test_whatever_the_machine_refuses_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> int:
        raise OSError(28, "No space left on device", "/somewhere/file")

    monkeypatch.setattr("autovid.cli.list.run", refuse)
    code, line = refused(["list"], capsys)
    assert code == 5
    assert line == "autovid list: /somewhere/file: No space left on device"


def test_a_reader_who_has_seen_enough_hears_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(_: object) -> int:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("autovid.cli.list.run", refuse)
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["list"]) == 0
    assert capsys.readouterr().err == ""


# Where a run is that goes on


def test_resume_without_a_name_takes_the_newest_run(
    searched: Path, tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(searched, tmp_path / "runs" / "search-tiny")
    short = ["--steps", "1", "--samples", "1", "--batch", "2", "--decoders", "0", "--precision", "fp32"]
    assert main([*TINY, "--data", str(tiny_videos), *short, "--resume"]) == 0
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["search-tiny"]


def test_the_newest_run_is_the_one_begun_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for when, name in enumerate(["train-a", "train-a-3", "train-a-2", "train-a-b", "train-a-10x", "search-a"]):
        (tmp_path / "runs" / name).mkdir(parents=True)
        config = tmp_path / "runs" / name / "config.yaml"
        config.touch()
        os.utime(config, (1000 + when, 1000 + when))
    (tmp_path / "runs" / "train-a-4").mkdir()  # no run
    assert options.run_directory("train-a", resume=True) == Path("runs/train-a-2")
    assert options.run_directory("train-a", resume=False) == Path("runs/train-a-5")
    with pytest.raises(AutovidError, match="--resume"):
        options.run_directory("train-c", resume=True)


@pytest.mark.parametrize(
    ("arguments", "stem"),
    [
        (["search", "--space", "tiny"], "search-tiny"),
        (["train", "x3d_m", "--epochs", "1"], "train-x3d_m"),
        (["random-baseline", "--space", "tiny", "--flops", "0.0075:0.008"], "random-tiny"),
    ],
)
def test_where_nothing_is_to_be_resumed_that_is_said(
    arguments: list[str],
    stem: str,
    tiny_videos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, line = refused([*arguments, "--data", str(tiny_videos), "--recipe", "proxy", "--resume"], capsys)
    assert code == 5
    assert f"{Path('runs') / stem}" in line
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["search", "--space", "tiny", "--recipe", "proxy"],
        ["search", "--space", "tiny", "--budget", "1m"],
        ["train", "tsn_resnet18", "--recipe", "proxy"],
        ["train", "ARCH", "--recipe", "proxy"],
        ["compare", "tsn_resnet18", "ARCH", "--recipe", "proxy"],
        ["random-baseline", "--space", "tiny", "--flops", "0.0075:0.008", "-n", "2", "--recipe", "proxy"],
    ],
)
def test_a_step_that_does_not_fit_into_memory_is_refused_with_the_batch_that_does(
    words: list[str],
    tmp_path: Path,
    tiny_videos: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("autovid.measure.spare_memory", lambda device: 2**31)
    (tmp_path / "a.yaml").write_text(load_space("tiny").sample(1)[0].to_yaml())
    words = [str(tmp_path / "a.yaml") if word == "ARCH" else word for word in words]
    out = tmp_path / "run"
    common = [*words, "--data", str(tiny_videos), "--device", "cpu"]
    for more in (["-o", str(out)], ["--dry-run"]):
        code, line = refused([*common, "--batch", "4096", *more], capsys)
        assert code == 2
        match = re.search(r"a step of 4,096 clips keeps about .* GiB .*; --batch (\d+) fits", line)
        assert match
        assert not out.exists()
    assert main([*common, "--batch", match[1], "--dry-run"]) == 0
    assert "ready; nothing was" in capsys.readouterr().out
    refused([*common, "--batch", str(int(int(match[1]) * 1.1)), "--dry-run"], capsys)


def test_workers_of_one_machine_share_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autovid.measure.spare_memory", lambda device: 1300)
    step = StepMemory(fixed=100, per_clip=10, clips=50, batch=100)
    step.check(torch.device("cpu"))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="--batch 44 fits"):
        step.check(torch.device("cpu"))
    step.check(torch.device("cuda"))


def test_random_ones_have_a_plan_as_well(tiny_videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["random-baseline", "--space", "tiny", "--flops", "0.0075:0.008", "--recipe", "proxy", "--dry-run"]
    assert main([*words, "--data", str(tiny_videos)]) == 0
    assert "16 architectures of 0.0075" in (shown := capsys.readouterr().out)
    assert "12 classes, 24 videos, 12 in val\n" in shown


def test_a_batch_larger_than_the_set_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    arch = load_space("tiny").sample(1)[0]
    videos = VideoSet("mine", Path("."), ("a",), tuple(Video(f"{n}.mp4", 0) for n in range(28)), ())
    training.note_batch(make_recipe(arch), videos)
    said = " ".join(capsys.readouterr().out.split())
    assert said == (
        "A batch of 256 clips has each of the 28 videos 9 times or so, and 300 epochs are 33 steps: --batch 4 makes "
        "more of them."
    )
    training.note_batch(make_recipe(arch, name="proxy"), videos)
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_dry_run_says_how_long_it_would_take(tiny_videos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["--data", str(tiny_videos), "--dry-run", "--device", "cpu"]
    assert main(["search", "--space", "tiny", "--recipe", "proxy", *common]) == 0
    assert re.search(r"time     about [\d.]+ (s|min|h) on this CPU", capsys.readouterr().out)
    assert main(["search", "--space", "tiny", "--budget", "90m", *common]) == 0
    assert "time     1.5 h: updates are measured when" in capsys.readouterr().out
    assert main(["train", "tsn_resnet18", "--recipe", "proxy", *common]) == 0
    assert re.search(r"time     about [\d.]+ (s|min|h) on this CPU", capsys.readouterr().out)
    assert main(["compare", "tsn_resnet18", "tsm_resnet18", "--recipe", "proxy", *common]) == 0
    assert re.search(r"time     about [\d.]+ \w+ on this CPU \([\d.]+ \w+, [\d.]+ \w+\)", capsys.readouterr().out)
    words = ["random-baseline", "--space", "tiny", "--flops", "0.0075:0.008", "-n", "3", "--recipe", "proxy", *common]
    assert main(words) == 0
    assert re.search(r"time     about [\d.]+ \w+ on this CPU \(3 times [\d.]+ \w+\)", capsys.readouterr().out)


@pytest.mark.parametrize("space", [["--space", "tiny"], ["own.yaml"]], ids=["flags", "experiment"])
def test_ranges_are_resolved_once_for_the_name_and_for_the_search(
    space: list[str], tiny_videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a command with --processes does it: the name first, before another process is started."""
    text = "command: search\nabout: x\nspace: tiny\ndataset: {name: x, classes: 3, train: 30, val: 9}\n"
    (tmp_path / "own.yaml").write_text(text)
    monkeypatch.chdir(tmp_path)
    calls, resolve = [], part_ranges.resolve_part_ranges
    monkeypatch.setattr(part_ranges, "resolve_part_ranges", lambda *args: calls.append(args) or resolve(*args))
    words = ["search", *space, "--flops", "0.0071:0.0079", "--data", str(tiny_videos), "--dry-run"]
    args = cli._parser("search").parse_args(words)
    assert args.run_name(args) == "search-tiny"
    assert args.run(args) == 0
    assert len(calls) == 1


@pytest.mark.parametrize("words", [["train", "tsn_resnet18"], ["search", "--space", "tiny"]])
def test_one_class_is_nothing_to_learn(
    words: list[str], tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "one.csv"
    names = sorted((tiny_videos / "train" / "disc-left-rising").iterdir())
    for number, name in enumerate(names):
        shutil.copy(name, tmp_path / f"{number}.mp4")
    one.write_text("".join(f"{number}.mp4,disc\n" for number in range(len(names))))
    code, line = refused([*words, "--data", str(one), "--recipe", "proxy", "-o", str(tmp_path / "run")], capsys)
    assert code == 4
    assert "one: all videos to train on are of one class, disc, and one class is nothing to learn" in line
    assert not (tmp_path / "run").exists()
