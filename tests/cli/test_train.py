import json
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from processes import running

from autovid.cli import main
from autovid.run import RunDirectory, TaskState
from autovid.space import load_space

SMALL = ["--epochs", "1", "--batch", "8", "--frames", "8", "--crop", "24", "--stride", "1", "--recipe", "proxy"]
SMALL += ["--device", "cpu", "--precision", "fp32", "--decoders", "0"]


@pytest.fixture(scope="module")
def arch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("arch") / "architecture.yaml"
    load_space("tiny").sample(1, seed=3)[0].save(path)
    return path


@pytest.fixture(scope="module")
def trained(arch: Path, tiny_videos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", str(arch), "--data", str(tiny_videos), *SMALL, "-o", str(out)]) == 0
    return out


def test_train_says_what_came_out_where_it_is_and_what_is_next(
    arch: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "a run"
    assert main(["train", str(arch), "--data", str(tiny_videos), *SMALL, "-o", str(out)]) == 0
    shown = capsys.readouterr().out
    assert f"watch  tensorboard --logdir '{out}'\n" in shown
    assert "PROXY" in shown
    for words in ("top-1", "on 12 of 12 videos, centre view", "GFLOPs a view", "autovid evaluate"):
        assert words in shown


def test_the_run_of_a_search_is_an_architecture_too(
    arch: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    search = tmp_path / "search"
    command = ["train", str(search), "--data", str(tiny_videos), *SMALL, "-o", str(tmp_path / "run")]
    with RunDirectory.create_or_resume(search, {}, kind="search") as run:
        for words in (command, ["evaluate", str(search)]):
            assert main(words) == 5
            line = capsys.readouterr().err
            assert "it has no architecture.yaml yet; it is at work: it saves every few minutes" in line
            assert "derive" not in line
        run.save(1, TaskState())
        run.log("step 0 of 2: goes on with: autovid search --space tiny --resume")
    assert main(command) == 5
    line = capsys.readouterr().err
    assert "it has no architecture.yaml yet; go on with: autovid search --space tiny --resume; autovid derive" in line
    (search / "architecture.yaml").write_bytes(arch.read_bytes())
    assert main(command) == 0


@pytest.mark.slow
def test_the_cache_changes_no_result_and_may_change_when_a_run_goes_on(
    arch: Path, trained: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit: the same program on the same pixels."""
    words = ["train", str(arch), "--data", str(tiny_videos), *SMALL, "-o", str(tmp_path / "run")]
    assert main([*words, "--cache", "off"]) == 0
    assert "in memory" not in capsys.readouterr().out
    runs = [RunDirectory.open(path) for path in (trained, tmp_path / "run")]
    assert [run.config["cache"] for run in runs] == ["2.76 MB", "off"]
    with_cache, without = (run.load(3).state for run in runs)
    assert all(torch.equal(value, without.model[name]) for name, value in with_cache.model.items())
    assert main([*words, "--epochs", "2", "--cache", "1M", "-o", str(tmp_path / "longer")]) == 0
    (tmp_path / "longer" / "evaluation-center.json").unlink()
    assert main([*words, "--epochs", "2", "--cache", "0.5g", "-o", str(tmp_path / "longer"), "--resume"]) == 0
    assert "decoded frames are kept in memory: up to 0.5 GB" in capsys.readouterr().out
    log = (tmp_path / "longer" / "log.txt").read_text()
    assert "decoded frames in memory: up to 1 MB" in log
    assert "decoded frames in memory: up to 0.5 GB" in log


@pytest.mark.slow
def test_a_killed_training_goes_on_with_what_it_said_to_type(arch: Path, tiny_videos: Path, tmp_path: Path) -> None:
    """SIGTERM after the first step or a little later."""
    words = ["train", str(arch), "--data", str(tiny_videos), *SMALL, "--epochs", "12", "-o", str(tmp_path / "run")]
    program = [sys.executable, "-m", "autovid", *words]
    with running(program, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        log = tmp_path / "run" / "metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.stat().st_size):
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said.decode()
    stopped, _, command = said.decode().splitlines()[-1].partition("Go on with: autovid ")
    assert stopped.startswith("autovid train: stopped after step")
    assert 0 < RunDirectory.open(tmp_path / "run").steps()[-1] < 36
    assert main(shlex.split(command)) == 0
    assert RunDirectory.open(tmp_path / "run").steps()[-1] == 36


@pytest.mark.parametrize("views", ["center", "10-center", "10-lcr"])
def test_evaluate_prints_and_writes(trained: Path, views: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), "--views", views, "--device", "cpu", "--decoders", "0"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("top-1 ")
    assert "12 of 12 videos" in shown
    assert "1 GFLOPs = 1e9 MACs" in shown
    assert (trained / f"evaluation-{views}.json").is_file()


def test_the_plan_of_going_on_without_a_checkpoint_is_the_whole_training(
    trained: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With --data, as the training itself would begin again; without, nothing knows the videos."""
    run = shutil.copytree(trained, tmp_path / "run", ignore=shutil.ignore_patterns("step-*"))
    words = ["train", str(run), "--resume", "--device", "cpu", "--dry-run"]
    assert main([*words, "--data", str(tiny_videos)]) == 0
    shown = capsys.readouterr().out
    assert "a training of 1 epoch without a checkpoint yet" in shown
    assert "steps    3: 1 epoch of 24 videos, 8 clips a step" in shown
    assert "from scratch" in shown
    assert "left" not in shown
    assert main(words) == 5
    assert "has no checkpoint yet, so only the command that began it can go on" in one_line(capsys)
    (run / "config.yaml").write_text((run / "config.yaml").read_text() + "weights: abc\n")
    assert main([*words, "--data", str(tiny_videos)]) == 5
    assert "its training needs weights: go on with the command that began it" in one_line(capsys)


def test_evaluate_says_which_checkpoint_it_is_of_and_takes_a_test_split(
    trained: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(trained), "--device", "cpu", "--decoders", "0"]
    assert main(words) == 0
    assert "weights after epoch 1 of 1, the last\n" in capsys.readouterr().out
    assert main([*words, "--split", "test"]) == 4
    assert "no videos in its split test" in one_line(capsys)


def test_evaluate_takes_all_videos_of_a_folder_that_has_no_splits(
    trained: Path, tiny_videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default a fifth of each class, at least one video; a line says that this is not all."""
    others = tiny_videos / "train"
    words = ["evaluate", str(trained), "--data", str(others), "--device", "cpu", "--decoders", "0"]
    assert main(words) == 0
    shown = capsys.readouterr()
    assert "12 of 12 videos of train, split val; center: 1 view a video, 8 frames of " in shown.out
    assert "train has no split val: these are the 12 of its 24 videos that were put aside; --split all" in shown.err
    assert main([*words, "--split", "all"]) == 0
    shown = capsys.readouterr()
    assert "24 of 24 videos of train, split all" in shown.out
    assert "put aside" not in shown.err
    assert len(list(trained.glob("evaluation-center-all-on-train-*.json"))) == 1


@pytest.mark.slow
def test_a_training_goes_on_in_its_run_directory_and_can_be_made_longer(
    arch: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    data = ["--data", str(tiny_videos)]
    assert main(["train", str(arch), *data, *SMALL, "-o", str(out)]) == 0
    again = ["train", str(out), "--resume", "--device", "cpu", "--decoders", "0"]
    capsys.readouterr()
    assert main(again) == 0
    shown = capsys.readouterr().out
    assert f"{out}: a finished training of 1 epoch; to prolong it: autovid train {out} --resume --epochs 2" in shown
    assert "trained for 1 epoch" in shown
    assert main([*again, "--epochs", "3", "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "8 frames of 24x24" in shown
    assert "steps    9: 3 epochs of 24 videos, 8 clips a step" in shown
    assert "from scratch" not in shown
    assert "left     6 of 9 steps" in shown
    assert main([*again, "--epochs", "0.5", "--dry-run"]) == 2
    assert "can be made longer, not shorter" in one_line(capsys)
    assert main([*again, "--lr", "9"]) == 2
    assert "--lr: " in one_line(capsys)
    assert main([*again, "--epochs", "3"]) == 0
    shown = capsys.readouterr().out
    assert "prolonged from 1 epoch to 3" in shown
    assert "trained for 3 epochs" in shown
    assert "of 3, the best of 3 validations" in shown
    assert main(["evaluate", str(out), "--device", "cpu", "--decoders", "0"]) == 0
    assert "of 3, the best of 3 validations on these very videos" in capsys.readouterr().out


def test_evaluate_speaks_json(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(trained), "--json", "--device", "cpu", "--decoders", "0"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content == json.loads((trained / "evaluation-center.json").read_text())
    assert content["decoded"] == 12


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err.strip()
    assert "\n" not in error
    assert "Traceback" not in error
    return error


def test_mistakes_are_one_line_each_with_their_exit_code(
    arch: Path, trained: Path, tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tiny_videos)]
    new = ["-o", str(tmp_path / "new")]
    mistakes = [
        (["train", str(tmp_path / "no.yaml"), *data, *new], 2, "no.yaml"),
        (["train", str(arch), "--data", str(tmp_path / "no"), *new], 4, "no such folder"),
        (["train", str(arch), *data, *SMALL, "-o", str(trained)], 5, "--resume"),
        (["train", str(arch), *data, *SMALL, *new, "--resume"], 5, "no run to resume"),
        (["train", str(arch), *data, *SMALL, "--lr", "1", "-o", str(trained), "--resume"], 5, "recipe.lr"),
        (["train", str(arch), *data, *new, "--frames", "7"], 2, "7 frames"),
        (["train", str(arch), *data, *new, "--device", "abacus"], 2, "abacus"),
        (["train", str(tmp_path), *data, *new], 5, "not a run directory"),
        (["evaluate", str(tmp_path)], 5, "not a run directory"),
        (["evaluate", str(trained), "--data", str(tmp_path / "no")], 4, "no such folder"),
    ]
    for words, code, text in mistakes:
        assert main(words) == code, words
        assert text in one_line(capsys), words
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    "words", [["--jitter", "5"], ["--epochs", "nan"], ["--batch", "0"], ["--lr", "-1"], ["--precision", "int8"]]
)
def test_impossible_flags_are_refused_by_name(arch: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["train", str(arch), *words])
    assert stop.value.code == 2
    assert words[0] in one_line(capsys)
