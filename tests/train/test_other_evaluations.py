"""Evaluations on other videos, or of another checkpoint, are not told as those of the training."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
import torch
from small import recipe, train

from autovid.cli import main
from autovid.data import Video, VideoSet, open_videos
from autovid.export.source import find_source
from autovid.report.runs import read_run
from autovid.train import evaluate, open_trained
from autovid.train.accuracy import Accuracy
from autovid.train.evaluate import faults_file, file_of, read_evaluation


@pytest.fixture(scope="module")
def few(tiny_videos: Path) -> VideoSet:
    videos = open_videos(tiny_videos)
    return VideoSet("few", videos.root, videos.classes, videos.train[::6], videos.val[::3], test=videos.val[1::3])


@pytest.fixture(scope="module")
def trained(few: VideoSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training of two steps, of which the first one's checkpoint is the best."""
    out, turns = tmp_path_factory.mktemp("others") / "run", iter([50.0, 40.0])
    none = torch.zeros(12, 12, dtype=torch.int64)
    meter = SimpleNamespace(measure=lambda net: Accuracy(next(turns), 90.0, 4, none, 1.5), close=lambda: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("autovid.train.train.ValMeter", lambda *_, **__: meter)
        assert train(out, few, recipe=recipe(epochs=2, batch=4, warmup=1)).step == 1
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return shutil.copytree(trained, tmp_path / "run")


def others(few: VideoSet, name: str = "o/ther") -> VideoSet:
    return VideoSet(name, few.root, few.classes, few.train, (*few.val, *few.test))


def test_other_videos_have_a_file_of_their_own(run: Path, few: VideoSet) -> None:
    before, mine = (run / "evaluation-center.json").read_text(), read_evaluation(run)
    other = others(few)
    evaluate(open_trained(run, "cpu"), other)
    evaluate(open_trained(run, "cpu"), other, "lcr", "all")
    assert (run / "evaluation-center.json").read_text() == before
    suffix = f"on-o_ther-{other.fingerprint[:8]}"
    files = {file.name: json.loads(file.read_text()) for file in run.glob("evaluation-*.json")}
    assert set(files) == {
        "evaluation-center.json",
        f"evaluation-center-{suffix}.json",
        f"evaluation-lcr-all-{suffix}.json",
    }
    assert files[f"evaluation-center-{suffix}.json"]["data"] == "o/ther"
    assert (run / f"confusion-center-{suffix}.csv").is_file()
    assert [one for _, one in read_run(run).evaluations] == [mine]


def test_a_folder_that_is_alike_but_for_its_name_is_another(run: Path, few: VideoSet) -> None:
    """The fingerprint is of relative paths and labels, which synthetic folders share: the caution stays."""
    alike = msgspec.structs.replace(few, name="alike")
    assert alike.fingerprint == few.fingerprint
    assert evaluate(open_trained(run, "cpu"), alike).validations == 2
    assert len(list(run.glob("evaluation-center-on-alike-*.json"))) == 1


def test_what_has_recorded_no_videos_knows_no_others(run: Path, few: VideoSet) -> None:
    """As exported folders, and runs of old versions."""
    unknown = replace(open_trained(run, "cpu"), data="", fingerprint="")
    for one in (few, others(few)):
        assert file_of(unknown, evaluate(unknown, one)) == run / "evaluation-center.json"
        assert faults_file(unknown, one) == run / "faults.jsonl"


def test_another_checkpoint_has_a_file_of_its_own(run: Path, few: VideoSet) -> None:
    before = (run / "evaluation-center.json").read_text()
    assert evaluate(open_trained(run, "cpu", which="last"), few).step == 2
    assert (run / "evaluation-center.json").read_text() == before
    assert (run / "evaluation-center-step-2.json").is_file()
    evaluate(open_trained(run, "cpu", which="last"), few, split="test")
    test = evaluate(open_trained(run, "cpu"), few, split="test")
    assert [one.step for _, one in read_run(run).evaluations] == [1]
    assert read_run(run).tests == (test,)


@pytest.mark.parametrize("changes", [{"data": "d2", "fingerprint": "f"}, {"step": 2}])
def test_a_file_that_an_older_version_overwrote_is_not_the_runs_result(run: Path, changes: dict[str, object]) -> None:
    file = run / "evaluation-center.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))
    assert read_evaluation(run) is None
    assert read_run(run).best is None
    assert find_source(run).trained["accuracy"] == {}


def test_a_last_checkpoint_that_is_the_best_one_is_told_as_that(few: VideoSet, tmp_path: Path) -> None:
    train(tmp_path / "run", few, recipe=recipe(epochs=2, batch=4, warmup=1, patience=9))
    state = open_trained(tmp_path / "run", "cpu")
    last = open_trained(tmp_path / "run", "cpu", which="last")
    assert (last.weights == state.weights) == (last.step == state.step)


def test_other_videos_do_not_touch_the_faults_of_the_training(run: Path, few: VideoSet) -> None:
    """Of 9 videos one may be broken; those of the training do not count, and the new one is listed elsewhere."""
    mine = "".join(json.dumps({"path": f"train/{name}.mp4", "reason": "broken"}) + "\n" for name in "abc")
    (run / "faults.jsonl").write_text(mine)
    other = others(few)
    other = msgspec.structs.replace(other, val=(*other.val, Video("val/missing.mp4", 0)))
    one = evaluate(open_trained(run, "cpu"), other)
    assert (one.videos, one.decoded) == (9, 8)
    assert (run / "faults.jsonl").read_text() == mine
    assert "missing.mp4" in (run / f"faults-on-o_ther-{other.fingerprint[:8]}.jsonl").read_text()


def test_accuracy_on_videos_that_it_has_learned_from_is_flagged(
    tiny_videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, videos = tmp_path / "run", open_videos(tiny_videos)
    train(run, videos, recipe=recipe(epochs=0.3, warmup=0, validate_every=0))
    words = ["evaluate", str(run), "--device", "cpu", "--decoders", "0"]
    for split, flagged in (("train", True), ("all", True), ("val", False)):
        capsys.readouterr()
        assert main([*words, "--split", split]) == 0
        shown = capsys.readouterr().out
        assert ("the network has learned from 24 of these videos: on others its accuracy is" in shown) == flagged
    renamed = shutil.copytree(tiny_videos, tmp_path / "renamed")
    assert main([*words, "--split", "train", "--data", str(renamed)]) == 0
    shown = capsys.readouterr().out
    assert "the network has learned from 24 of these videos" in shown
    assert "evaluation-center-train-on-renamed-" in shown
    assert main([*words, "--split", "all", "--data", str(tiny_videos / "val")]) == 0
    shown = capsys.readouterr().out
    assert "has learned from" not in shown
    assert "evaluation-center-all-on-val-" in shown
